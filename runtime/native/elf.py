"""Reading ELF relocatable objects for 64-bit little-endian Linux, every bound checked.

Sources: System V ABI, chapter 4 (object files); the layouts are those of ``Elf64_Ehdr``, ``Elf64_Shdr``, ``Elf64_Sym``
and ``Elf64_Rela``. `relocation.py` gives the relocations their meaning, `mapping.py` maps the result.
"""

import struct
from typing import NamedTuple

from tilewright.errors import ArtifactError
from tilewright.limits import NATIVE_CODE

MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""ELF machine numbers and the architectures as the operating system calls them."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_RELOCATION = struct.Struct("<QQq")

_PROGRAM_DATA, _SYMBOL_TABLE, _STRING_TABLE, _RELA, _ZEROS, _REL, _UNWIND = 1, 2, 3, 4, 8, 9, 0x70000001
_WRITE, _ALLOCATE, _EXECUTE, _THREAD_LOCAL, _COMPRESSED = 1, 2, 4, 0x400, 0x800
_FIRST_RESERVED_INDEX = 0xFF00


def damaged(what: str, expected: object = None, found: object = None) -> ArtifactError:
    """The error for an object that cannot be loaded."""
    return ArtifactError(
        f"the object code {what}",
        stage="load native code",
        expected=expected,
        found=found,
        hint="Compile the model again.",
    )


class ObjectSection(NamedTuple):
    """A section that takes part in execution; `data` is empty for a section of zeros, and else at `offset`."""

    name: str
    offset: int
    data: bytes
    size: int
    alignment: int
    writable: bool
    executable: bool


class Symbol(NamedTuple):
    """A symbol: defined at `value` in the section with index `section`, or undefined when `section` is 0.

    `section` is None where the symbol stands for nothing that can be referred to, such as a file name."""

    name: str
    section: int | None
    value: int
    is_global: bool


class Relocation(NamedTuple):
    """Bytes (at an offset of a section, by index) that must receive a value computed from a symbol and an addend."""

    section: int
    offset: int
    kind: int
    symbol: int
    addend: int


class ElfObject(NamedTuple):
    """A parsed object. Keys of `sections` are the indices of the file's section table."""

    machine: str
    sections: dict[int, ObjectSection]
    symbols: list[Symbol]
    relocations: list[Relocation]


class _Header(NamedTuple):
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry_size: int

    @property
    def loaded(self) -> bool:
        return bool(self.flags & _ALLOCATE)


def parse(content: bytes) -> ElfObject:
    """Parse an object.
    Raises ArtifactError: the bytes are no such object, an offset or index leads out of its table, or the object uses
    something that the loader does not offer (thread-local data, constructors, common symbols)."""
    return _Parser(content).parse()


class _Parser:
    def __init__(self, content: bytes) -> None:
        self._content = content
        self._headers: list[_Header] = []
        # Bytes that parts and names may still take: where thousands of parts overlap, they would multiply those of the
        # file. Strings are read for sections, for symbols, and as names, of which one may be the end of another.
        self._left = 4 * len(content)

    def parse(self) -> ElfObject:
        machine, names_index = self._read_headers()
        names = self._strings(names_index)
        sections: dict[int, ObjectSection] = {}
        size = 0
        for index, header in enumerate(self._headers):
            name = self._name(names, header.name)
            # Unwinding tables serve debuggers and exceptions; nothing in this process would look them up.
            if header.loaded and header.size and header.kind != _UNWIND and name != ".eh_frame":
                sections[index] = self._section(header, name)
                size += header.size + sections[index].alignment
                if size > NATIVE_CODE:
                    raise damaged("is too large", f"at most {NATIVE_CODE} bytes")
        symbols, table = self._symbols(sections)
        return ElfObject(machine, sections, symbols, self._relocations(sections, table, len(symbols)))

    def _slice(self, offset: int, size: int, what: str) -> bytes:
        if offset > len(self._content) or size > len(self._content) - offset:
            raise damaged(f"is truncated: {what} lies outside it")
        self._take(size)
        return self._content[offset : offset + size]

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise damaged("has parts that overlap")

    def _read_headers(self) -> tuple[str, int]:
        if len(self._content) < _HEADER.size or self._content[:7] != b"\x7fELF\x02\x01\x01":
            raise damaged("is not a 64-bit little-endian ELF file")
        fields = _HEADER.unpack_from(self._content)
        kind, machine, version, table, header_size, entry_size, count, names = (
            fields[1], fields[2], fields[3], fields[6], fields[8], fields[11], fields[12], fields[13],
        )  # fmt: skip
        if (kind, version, header_size, entry_size) != (1, 1, _HEADER.size, _SECTION.size):
            raise damaged("is not a relocatable ELF object")
        if machine not in MACHINES:
            raise damaged("is for an unknown architecture", " or ".join(MACHINES.values()), f"machine {machine}")
        lines = self._slice(table, count * _SECTION.size, "its section table")
        self._headers = [_Header(*line) for line in _SECTION.iter_unpack(lines)]
        return MACHINES[machine], names

    def _strings(self, index: int) -> bytes:
        if index >= len(self._headers) or self._headers[index].kind != _STRING_TABLE:
            raise damaged("names a section of strings that is none")
        header = self._headers[index]
        return self._slice(header.offset, header.size, "a section of strings")

    def _name(self, strings: bytes, offset: int) -> str:
        end = strings.find(b"\0", offset)
        if end < 0:
            raise damaged("has a name that does not end")
        self._take(end - offset)
        try:
            return strings[offset:end].decode()
        except UnicodeDecodeError:
            raise damaged("has a name that is not text") from None

    def _section(self, header: _Header, name: str) -> ObjectSection:
        unknown = header.kind not in (_PROGRAM_DATA, _ZEROS) or header.flags & (_THREAD_LOCAL | _COMPRESSED)
        if unknown or name.startswith((".ctors", ".dtors")):
            raise damaged(f"needs what the loader does not offer: section {name!r}")
        writable, executable = bool(header.flags & _WRITE), bool(header.flags & _EXECUTE)
        if writable and executable:
            raise damaged(f"has a section that is writable and executable: {name!r}")
        alignment = max(header.alignment, 1)
        if alignment & (alignment - 1) or alignment > 4096:
            raise damaged(f"aligns section {name!r} oddly", "a power of two up to 4096", alignment)
        data = b"" if header.kind == _ZEROS else self._slice(header.offset, header.size, f"section {name!r}")
        return ObjectSection(name, header.offset, data, header.size, alignment, writable, executable)

    def _symbols(self, sections: dict[int, ObjectSection]) -> tuple[list[Symbol], int]:
        """The symbols and the index of the section that holds them."""
        tables = [index for index, header in enumerate(self._headers) if header.kind == _SYMBOL_TABLE]
        if len(tables) != 1:
            raise damaged("has no single symbol table", 1, len(tables))
        header = self._headers[tables[0]]
        if header.entry_size != _SYMBOL.size or header.size % _SYMBOL.size:
            raise damaged("has a symbol table of an unknown form")
        strings = self._strings(header.link)
        symbols: list[Symbol] = []
        content = self._slice(header.offset, header.size, "its symbol table")
        for name_offset, info, _, section, value, _ in _SYMBOL.iter_unpack(content):
            name = self._name(strings, name_offset)
            binding, kind = info >> 4, info & 15
            home: int | None = section
            if section >= _FIRST_RESERVED_INDEX or (section and section not in sections) or kind > 3:
                home = None
            elif section and value > sections[section].size:
                raise damaged(f"puts symbol {name!r} outside its section")
            symbols.append(Symbol(name, home, value, binding != 0))
        return symbols, tables[0]

    def _relocations(self, sections: dict[int, ObjectSection], table: int, symbols: int) -> list[Relocation]:
        relocations: list[Relocation] = []
        for header in self._headers:
            if header.kind not in (_RELA, _REL) or header.info not in sections:
                continue
            if header.kind == _REL or header.link != table or header.entry_size != _RELOCATION.size:
                raise damaged("has relocations of an unknown form")
            target = sections[header.info]
            if header.size % _RELOCATION.size or not target.data:
                raise damaged(f"has relocations that do not fit section {target.name!r}")
            content = self._slice(header.offset, header.size, "a section of relocations")
            for offset, info, addend in _RELOCATION.iter_unpack(content):
                symbol = info >> 32
                if symbol >= symbols:
                    raise damaged("relocates by a symbol that does not exist", f"below {symbols}", symbol)
                relocations.append(Relocation(header.info, offset, info & 0xFFFFFFFF, symbol, addend))
        return relocations
