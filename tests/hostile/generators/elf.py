"""ELF objects with damaged headers, tables and relocations; parsed and linked, never executed."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
from artifact_samples import LINUX_TRIPLES, PROGRAM, compile_object

from tilewright.runtime.native.elf import parse
from tilewright.runtime.native.link import lay_out, link

from ..generator import Case, generator
from ..mutation import damage_bytes, pick, pick_integer

_SECTION_BYTES = 64
_FIELDS = {
    "header": (64, ((16, 2), (18, 2), (20, 4), (24, 8), (32, 8), (40, 8), (48, 4), (52, 2), (58, 2), (60, 2), (62, 2))),
    "section": (
        _SECTION_BYTES,
        ((0, 4), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (40, 4), (44, 4), (48, 8), (56, 8)),
    ),
    "symbol": (24, ((0, 4), (4, 1), (5, 1), (6, 2), (8, 8), (16, 8))),
    "relocation": (24, ((0, 8), (8, 4), (12, 4), (16, 8))),
}
"""Size of an entry, and the offsets and sizes of its fields."""
_TABLES = {2: "symbol", 4: "relocation"}


@cache
def objects() -> list[bytes]:
    """Objects for all processors, small and large code models."""
    found: list[bytes] = []
    for triple in LINUX_TRIPLES.values():
        found += [compile_object(PROGRAM, triple, code_model=model) for model in ("small", "large")]
        found.append(compile_object(PROGRAM, triple, relocation="static"))
    return found


def _entries(content: bytes) -> list[tuple[str, int]]:
    """Kind and offset of every entry of every table."""
    (table,) = struct.unpack_from("<Q", content, 40)
    (count,) = struct.unpack_from("<H", content, 60)
    found = [("header", 0)]
    for index in range(count):
        at = table + index * _SECTION_BYTES
        found.append(("section", at))
        (kind,) = struct.unpack_from("<I", content, at + 4)
        if kind in _TABLES:
            offset, size = struct.unpack_from("<QQ", content, at + 24)
            entry = _FIELDS[_TABLES[kind]][0]
            found += [(_TABLES[kind], offset + i) for i in range(0, size, entry)]
    return found


def _damage(rng: np.random.Generator, content: bytes) -> bytes:
    damaged = bytearray(content)
    entries = _entries(content)
    for _ in range(int(rng.integers(1, 4))):
        # Sections are few among thousands of entries, and matter most.
        kind = pick(rng, sorted({kind for kind, _ in entries}))
        at = pick(rng, [offset for each, offset in entries if each == kind])
        offset, size = pick(rng, _FIELDS[kind][1])
        old = int.from_bytes(damaged[at + offset : at + offset + size], "little")
        value = pick_integer(rng, old) % (1 << 8 * size)
        damaged[at + offset : at + offset + size] = value.to_bytes(size, "little")
    return bytes(damaged)


@generator("elf", prepare=objects)
def elf(rng: np.random.Generator) -> Case:
    content = pick(rng, objects())
    content = damage_bytes(rng, content) if rng.integers(5) == 0 else _damage(rng, content)

    def run() -> None:
        parsed = parse(content)
        layout = lay_out(parsed, 4096)
        link(parsed, layout, 0x7F0000000000, lambda name: 0x7F1234567890)

    return Case(f"{len(content)} bytes: {content[:64].hex()}…", run)
