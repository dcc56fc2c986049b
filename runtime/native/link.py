"""Laying out and linking a relocatable object: where each section goes, and the bytes for a given base address.

An image has three parts on pages of their own, because each gets other rights: instructions followed by stubs (read and
execute), read-only data followed by the table of addresses (read), and data (read and write). Nothing here touches
memory, so that the arithmetic can be tested for any base address and for architectures other than the host's.
"""

from collections.abc import Callable
from typing import NamedTuple

from .elf import ElfObject, ObjectSection, Relocation, damaged
from .relocation import ARCHITECTURES, Kind

_ALIGNMENT = 16
_TABLE_ENTRY_SIZE = 8


class ImageLayout(NamedTuple):
    """Offsets within the image, which starts on a page.

    `sections` are by index of the object's section table; `stubs` and `table` hold, by symbol index, the stub and the
    entry of the table of addresses. The parts end at `text_end`, `read_only_end` and `size`, each a page boundary.
    `low` tells that the image must lie in the lowest 2 GiB of the address space."""

    sections: dict[int, int]
    stubs: dict[int, int]
    table: dict[int, int]
    text_end: int
    read_only_end: int
    size: int
    low: bool


def _align(offset: int, alignment: int) -> int:
    return (offset + alignment - 1) // alignment * alignment


def kind_of(elf: ElfObject, relocation: Relocation) -> Kind:
    """What a relocation of this object means. Raises ArtifactError: the type is unknown to the loader."""
    kind = ARCHITECTURES[elf.machine].kinds.get(relocation.kind)
    if kind is None:
        raise damaged(f"uses a relocation type of {elf.machine} that the loader does not know", found=relocation.kind)
    return kind


def lay_out(elf: ElfObject, page: int) -> ImageLayout:
    """Lay out the image of an object for pages of `page` bytes.
    Raises ArtifactError: a relocation is of an unknown type or lies outside its section."""
    stubs: dict[int, int] = {}
    table: dict[int, int] = {}
    stub_size = len(ARCHITECTURES[elf.machine].stub(0))
    low = False
    for relocation in elf.relocations:
        kind = kind_of(elf, relocation)
        size = elf.sections[relocation.section].size
        if relocation.offset > size or kind.size > size - relocation.offset:
            raise damaged("relocates bytes outside its section", f"within {size} bytes", relocation.offset)
        low = low or kind.low
        if kind.table:
            table.setdefault(relocation.symbol, len(table))
        elif kind.near and elf.symbols[relocation.symbol].section == 0:
            stubs.setdefault(relocation.symbol, len(stubs))
    offsets: dict[int, int] = {}

    def add(start: int, wanted: Callable[[ObjectSection], bool]) -> int:
        end = start
        for index, section in elf.sections.items():
            if wanted(section):
                offsets[index] = _align(end, max(section.alignment, _ALIGNMENT))
                end = offsets[index] + section.size
        return _align(end, _ALIGNMENT)

    stubs_start = add(0, lambda section: section.executable)
    text_end = _align(stubs_start + stub_size * len(stubs), page)
    table_start = add(text_end, lambda section: not section.executable and not section.writable)
    read_only_end = _align(table_start + _TABLE_ENTRY_SIZE * len(table), page)
    size = _align(add(read_only_end, lambda section: section.writable), page)
    return ImageLayout(
        offsets,
        {symbol: stubs_start + stub_size * number for symbol, number in stubs.items()},
        {symbol: table_start + _TABLE_ENTRY_SIZE * number for symbol, number in table.items()},
        text_end,
        read_only_end,
        size,
        low,
    )


def link(elf: ElfObject, layout: ImageLayout, base: int, resolve: Callable[[str], int]) -> bytearray:
    """The bytes of the image when it lies at address `base`.
    ``resolve``: the address of a function outside the object; raises ArtifactError for one that it does not offer.
    Raises ArtifactError: a symbol is not to be had, or a distance or address does not fit its field."""
    image = bytearray(layout.size)
    for index, section in elf.sections.items():
        image[layout.sections[index] : layout.sections[index] + len(section.data)] = section.data
    addresses: dict[int, int] = {}

    def address(number: int) -> int:
        if number not in addresses:
            symbol = elf.symbols[number]
            if symbol.section is None or (symbol.section == 0 and not symbol.name):
                raise damaged(f"refers to symbol {symbol.name!r}, which has no address")
            if symbol.section == 0:
                addresses[number] = resolve(symbol.name)
            else:
                addresses[number] = base + layout.sections[symbol.section] + symbol.value
        return addresses[number]

    architecture = ARCHITECTURES[elf.machine]
    for number, offset in layout.stubs.items():
        stub = architecture.stub(address(number))
        image[offset : offset + len(stub)] = stub
    for number, offset in layout.table.items():
        image[offset : offset + _TABLE_ENTRY_SIZE] = address(number).to_bytes(_TABLE_ENTRY_SIZE, "little")
    seen: dict[int, tuple[int, int]] = {}
    pairs: list[tuple[Kind, Relocation, int]] = []
    for relocation in elf.relocations:
        kind = architecture.kinds[relocation.kind]
        number = relocation.symbol
        offset = layout.sections[relocation.section] + relocation.offset
        if not kind.size:
            continue
        if kind.of_pair:
            pairs.append((kind, relocation, offset))
            continue
        if kind.table:
            target = base + layout.table[number]
        elif number in layout.stubs and kind.near:
            target = base + layout.stubs[number]
        else:
            target = address(number)
        seen[base + offset] = target + relocation.addend, base + offset
        kind.apply(image, offset, *seen[base + offset])
    for kind, relocation, offset in pairs:
        pair = seen.get(address(relocation.symbol))
        if pair is None:
            raise damaged("refers to the relocation of an instruction that has none")
        kind.apply(image, offset, *pair)
    return image


def exported(elf: ElfObject, layout: ImageLayout) -> dict[str, int]:
    """Offsets in the image of the symbols that the object offers to others."""
    return {
        symbol.name: layout.sections[symbol.section] + symbol.value
        for symbol in elf.symbols
        if symbol.is_global and symbol.section and symbol.name
    }
