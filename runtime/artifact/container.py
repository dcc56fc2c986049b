"""The binary container of a ``.twa`` file: a header, a table of sections, and the sections.

All numbers are little-endian. The file starts with a header of 256 bytes:

====== ====== ==========================================================================================
offset size   field
====== ====== ==========================================================================================
0      8      magic, ``89 54 57 41 0D 0A 1A 0A`` (a transfer in text mode breaks it visibly)
8      4      format version
12     4      flags, zero in this version
16     4      number of sections
20     4      CRC-32 of the header with this field as zero
24     8      length of the whole file
32     32     digest: SHA-256 of the header with CRC and all from here on as zero, followed by the section table
64     32     tag: HMAC-SHA256 of the digest under the writer's machine key (`trust/machine_key.py`), or zeros
96     32     public key of the signer (Ed25519), or zeros
128    64     signature of the digest (`trust/credentials.py`), or zeros
192    64     zeros
====== ====== ==========================================================================================

Then one entry of 128 bytes for each section: name (48 bytes UTF-8, padded with zeros), kind (4), CRC-32 of the content
(4), offset (8), length (8), SHA-256 of the content (32), zeros (24). Sections follow in the order of the table, each at
the first multiple of its alignment (4096 bytes for constants and device weights, 64 for the rest) after its
predecessor, and the gaps hold zeros; so every byte of the file is covered by a check, and equal content gives an equal
file. Because the table holds each section's SHA-256, the digest stands for the whole file.

A packed artifact is such a file deflated, so that weights of 4 bits take half a byte: a magic of 8 bytes,
``89 54 57 5A 0D 0A 1A 0A``, the length of the artifact in 8, and the artifact in the form of RFC 1950. Digest, tag and
signature are those of the artifact inside, which is unpacked when it is loaded.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from tilewright.errors import ArtifactError

from ..trust.credentials import NO_TAG, Credentials, sha256
from .memory import Fill, crc32, private_pages

MAGIC = b"\x89TWA\r\n\x1a\n"
FORMAT_VERSION = 9
MAXIMUM_SECTIONS = 4096

_HEADER = struct.Struct("<8sIIIIQ32s32s32s64s64x")
_ENTRY = struct.Struct("<48sIIQQ32s24x")


class SectionKind(IntEnum):
    """What a section holds."""

    MANIFEST = 1
    CODE = 2
    CONSTANTS = 3
    MODULE = 4
    DEVICE_INSTRUCTIONS = 16
    DEVICE_WEIGHTS = 17

    @property
    def alignment(self) -> int:
        """Alignment of the section in the file, in bytes."""
        return 4096 if self in (SectionKind.CONSTANTS, SectionKind.DEVICE_WEIGHTS) else 64


class Section(NamedTuple):
    """A section to be written: a name of at most 48 bytes, its kind, and its content (any C-contiguous buffer)."""

    name: str
    kind: SectionKind
    data: bytes | bytearray | memoryview


class SectionEntry(NamedTuple):
    """One line of the section table of a file."""

    name: str
    kind: SectionKind
    crc: int
    offset: int
    length: int
    sha256: bytes


def _align(offset: int, alignment: int) -> int:
    return (offset + alignment - 1) // alignment * alignment


def _header_bytes(sections: int, length: int, credentials: Credentials, crc: int = 0) -> bytes:
    return _HEADER.pack(MAGIC, FORMAT_VERSION, 0, sections, crc, length, *credentials)


def _digest(sections: int, length: int, table: bytes) -> bytes:
    return sha256(_header_bytes(sections, length, Credentials(bytes(32))) + table)


def header(sections: int, length: int, credentials: Credentials) -> bytes:
    """The finished header of a file of so many sections and bytes."""
    blank = _header_bytes(sections, length, credentials)
    return _header_bytes(sections, length, credentials, zlib.crc32(blank))


class SectionLayout(NamedTuple):
    """Where everything lies in a file that is about to be written."""

    table: bytes
    entries: tuple[SectionEntry, ...]
    length: int
    digest: bytes


def lay_out(sections: Sequence[Section]) -> SectionLayout:
    """Find where sections go and compute their checksums.
    Raises ArtifactError: too many sections, a name that is empty, too long or used twice."""
    if len(sections) > MAXIMUM_SECTIONS:
        raise ArtifactError(
            "too many sections", stage="write artifact", expected=f"at most {MAXIMUM_SECTIONS}", found=len(sections)
        )
    entries: list[SectionEntry] = []
    names: set[str] = set()
    end = _HEADER.size + _ENTRY.size * len(sections)
    for section in sections:
        encoded = section.name.encode()
        if not 0 < len(encoded) <= 48 or b"\0" in encoded or section.name in names:
            raise ArtifactError(
                f"section name {section.name!r} cannot be stored",
                stage="write artifact",
                expected="a name of 1 to 48 bytes, used once",
            )
        names.add(section.name)
        content = memoryview(section.data).cast("B")
        offset = _align(end, section.kind.alignment)
        entries.append(
            SectionEntry(section.name, section.kind, zlib.crc32(content), offset, len(content), sha256(content))
        )
        end = offset + len(content)
    table = b"".join(_ENTRY.pack(e.name.encode(), e.kind, e.crc, e.offset, e.length, e.sha256) for e in entries)
    return SectionLayout(table, tuple(entries), end, _digest(len(entries), end, table))


def chunks(sections: Sequence[Section], layout: SectionLayout, tag: bytes = NO_TAG) -> Iterable[bytes | memoryview]:
    """The bytes of the file, piece by piece, without joining the sections in memory."""
    yield header(len(layout.entries), layout.length, Credentials(layout.digest, tag))
    yield layout.table
    end = _HEADER.size + len(layout.table)
    for section, entry in zip(sections, layout.entries, strict=True):
        yield bytes(entry.offset - end)
        yield memoryview(section.data).cast("B")
        end = entry.offset + entry.length


class Container:
    """A container whose header, table, layout and checksums have been verified.

    Args:
        buffer: the whole file; sections are views of it.
        origin: how messages call the file.
        fill: called before a stretch of the buffer is looked at for the first time, so that a file can be read and
            checked piece by piece.

    Attributes:
        sections: the section table, in file order.
        credentials: what its header says about who made it, not judged.

    Raises:
        ArtifactError: anything about the file is not exactly as `lay_out` would write it.
    """

    def __init__(self, buffer: memoryview, origin: str, fill: Fill) -> None:
        self.origin = origin
        self._buffer = buffer
        fill(0, min(_HEADER.size, len(buffer)))
        if len(buffer) < _HEADER.size or buffer[:8] != MAGIC:
            if len(buffer) >= 8 and buffer[:8] == MAGIC:
                raise self._damaged("it ends within the header", f"{_HEADER.size} bytes", f"{len(buffer)}")
            # Late: only refusals need it.
            from ..files.foreign_model import START, foreign_format

            fill(0, min(START, len(buffer)))
            known = foreign_format(bytes(buffer[:START]), origin)
            if known is not None:
                hint = known.advice(origin)
                raise ArtifactError(f"{origin} is {known.name}, no artifact", stage="load artifact", hint=hint)
            raise ArtifactError(
                f"{origin} is not a Tilewright artifact",
                stage="load artifact",
                expected="a .twa file",
                found=f"{len(buffer)} bytes that start with {bytes(buffer[:8])!r}",
                hint="Of a model, `tilewright compile` makes one.",
            )
        _, version, flags, count, crc, length, *credentials = _HEADER.unpack_from(buffer)
        if version != FORMAT_VERSION:
            raise ArtifactError(
                f"{origin} has another format version",
                stage="load artifact",
                expected=FORMAT_VERSION,
                found=version,
                hint="Load it with the version of Tilewright that made it, or a newer one."
                if version > FORMAT_VERSION
                else "Compile the model again with this version of Tilewright.",
            )
        if length != len(buffer):
            raise self._damaged("its length is not the one in its header", f"{length} bytes", f"{len(buffer)}")
        table_end = _HEADER.size + _ENTRY.size * count
        self.credentials = Credentials(*credentials)
        blank = _header_bytes(count, length, self.credentials)
        if flags or not 0 < count <= MAXIMUM_SECTIONS or table_end > length or blank[24:] != buffer[24 : _HEADER.size]:
            raise self._damaged("its header is inconsistent")
        if zlib.crc32(blank) != crc:
            raise self._damaged("the checksum of its header is wrong")
        fill(_HEADER.size, table_end)
        table = bytes(buffer[_HEADER.size : table_end])
        if _digest(count, length, table) != self.credentials.digest:
            raise self._damaged("the digest of its section table is wrong")
        self.sections: dict[str, SectionEntry] = {}
        end = table_end
        for index in range(count):
            line = table[index * _ENTRY.size : (index + 1) * _ENTRY.size]
            fields = _ENTRY.unpack(line)
            if _ENTRY.pack(*fields) != line:
                raise self._damaged(f"the unused bytes of section {index} are not empty")
            end = self._read_entry(index, fields, end, fill)
        if end != length:
            raise self._damaged("bytes follow its last section", f"{end} bytes", f"{length}")

    def _damaged(self, what: str, expected: str | None = None, found: str | None = None) -> ArtifactError:
        return ArtifactError(
            f"{self.origin} is damaged: {what}",
            stage="load artifact",
            expected=expected,
            found=found,
            hint="Copy or compile it again.",
        )

    def _read_entry(self, index: int, fields: tuple[bytes, int, int, int, int, bytes], end: int, fill: Fill) -> int:
        """Check one table entry against the end of the section before it; returns where this section ends."""
        raw_name, kind_number, crc, offset, length, digest = fields
        try:
            name = raw_name.rstrip(b"\0").decode()
            kind = SectionKind(kind_number)
        except ValueError:
            raise self._damaged(f"section {index} has an unreadable name or kind") from None
        if not name or "\0" in name or name in self.sections:
            raise self._damaged(f"section {index} has no name of its own")
        if offset != _align(end, kind.alignment) or length > len(self._buffer) - offset:
            raise self._damaged(f"section {name!r} does not lie where its predecessor ends")
        fill(end, offset)
        if any(self._buffer[end:offset]):
            raise self._damaged(f"the gap before section {name!r} is not empty")
        if crc32(self._buffer, offset, offset + length, fill) != crc:
            raise self._damaged(f"the checksum of section {name!r} is wrong")
        self.sections[name] = SectionEntry(name, kind, crc, offset, length, digest)
        return offset + length

    @property
    def length(self) -> int:
        """Bytes of the whole file."""
        return len(self._buffer)

    @property
    def digest(self) -> str:
        """``sha256:`` and the hash that stands for the whole content; tag and signature are no part of it."""
        return self.credentials.digest_text

    def section(self, name: str, kind: SectionKind | None = None) -> memoryview:
        """The content of a section, read-only and without a copy.
        Raises ArtifactError: there is no such section, or it is of another kind."""
        entry = self.sections.get(name)
        if entry is None:
            raise self._damaged(f"section {name!r} is missing")
        if kind is not None and entry.kind is not kind:
            raise self._damaged(f"section {name!r} is of the wrong kind", kind.name.lower(), entry.kind.name.lower())
        return self._buffer[entry.offset : entry.offset + entry.length]

    def copy(self, name: str) -> bytes:
        """A private copy of a section, compared with its SHA-256; what native code must be taken from.

        Opening compares CRC-32. Whoever can change the file while it is mapped cannot change the copy.
        Raises ArtifactError: there is no such section, or its content is not what was written."""
        content = bytes(self.section(name))
        if sha256(content) != self.sections[name].sha256:
            raise self._damaged(f"the SHA-256 of section {name!r} is wrong")
        return content

    def check_sha256(self) -> None:
        """Compare the content of every section with its SHA-256: the whole file is what the digest stands for.
        Raises ArtifactError: a section is not what was written."""
        for name, entry in self.sections.items():
            if sha256(self.section(name)) != entry.sha256:
                raise self._damaged(f"the SHA-256 of section {name!r} is wrong")

    def signed(self, public_key: bytes, signature: bytes) -> Iterable[bytes | memoryview]:
        """The bytes of the file, piece by piece, with another signature."""
        credentials = self.credentials._replace(public_key=public_key, signature=signature)
        yield header(len(self.sections), len(self._buffer), credentials)
        yield self._buffer[_HEADER.size :]


HEAD = struct.Struct("<8sQ")
_MAGIC = b"\x89TWZ\r\n\x1a\n"
_PIECE = 1 << 14
_MOST = 1032
"""Bytes that one can stand for, by RFC 1951: a length of 258 in two bits."""


def packed(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The bytes of a packed artifact, given those of the artifact."""
    deflate, length = zlib.compressobj(), 0
    found: list[bytes] = []
    for piece in pieces:
        length += len(piece)
        found.append(deflate.compress(piece))
    yield HEAD.pack(_MAGIC, length)
    yield from found
    yield deflate.flush()


def unpacked_length(head: bytes | memoryview) -> int | None:
    """The length of the artifact, given the beginning of a file; ``None`` if it is not packed."""
    is_packed = len(head) >= HEAD.size and head[: len(_MAGIC)] == _MAGIC
    return HEAD.unpack_from(head)[1] if is_packed else None


def unpacked(content: memoryview, length: int, origin: str) -> memoryview:
    """The artifact in a packed one, on pages of its own. Raises ArtifactError: it is damaged."""

    def damaged(found: object) -> ArtifactError:
        what, expected = f"{origin} is damaged: it cannot be unpacked", f"{length} bytes"
        return ArtifactError(
            what, stage="load artifact", expected=expected, found=found, hint="Copy or compile it again."
        )

    if length > _MOST * len(content):
        raise damaged(f"{len(content)} packed ones")
    pages, inflate, end = private_pages(length, "an artifact"), zlib.decompressobj(), 0
    try:
        for start in range(HEAD.size, len(content), _PIECE):
            part = inflate.decompress(content[start : start + _PIECE])
            if end + len(part) > length or inflate.unused_data:
                raise damaged("more")
            pages[end : end + len(part)] = part
            end += len(part)
    except zlib.error as error:
        raise damaged(str(error)) from None
    if end != length or not inflate.eof:
        raise damaged(end)
    return pages.toreadonly()
