"""What an object may cost to read: memory and time in proportion to its bytes, whatever its tables say."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from artifact_samples import LINUX_TRIPLES, compile_object

from tilewright.errors import ArtifactError
from tilewright.runtime.native.elf import parse
from tilewright.runtime.native.link import lay_out

SECTION = struct.Struct("<IIQQQQIIQQ")
PROGRAM_DATA, SYMBOLS, STRINGS, ZEROS = 1, 2, 3, 8
ALLOCATE = 2


def sample() -> bytes:
    return compile_object("@x = global i32 7\ndefine i32 @f() { ret i32 1 }", LINUX_TRIPLES["x86_64"])


def sections_of(content: bytes) -> list[list[int]]:
    (table,) = struct.unpack_from("<Q", content, 40)
    (count,) = struct.unpack_from("<H", content, 60)
    return [list(SECTION.unpack_from(content, table + index * SECTION.size)) for index in range(count)]


def with_sections(content: bytes, sections: list[list[int]]) -> bytes:
    """The object with another section table, at its end."""
    head = bytearray(content)
    struct.pack_into("<Q", head, 40, len(head))
    struct.pack_into("<H", head, 60, len(sections))
    return bytes(head) + b"".join(SECTION.pack(*section) for section in sections)


def refused(content: bytes) -> str:
    """What the error says, found in memory of a few times the size of the object."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError) as caught:
            lay_out(parse(content), 4096)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16 * len(content) + (1 << 20)
    return str(caught.value)


def test_sections_that_overlap_do_not_multiply_the_file() -> None:
    content = sample() + bytes(1 << 20)
    whole = [0, PROGRAM_DATA, ALLOCATE, 0, 0, len(content), 0, 0, 1, 0]
    assert refused(with_sections(content, [*sections_of(content), *[whole] * 5000])) == (
        "load native code: the object code has parts that overlap. Compile the model again."
    )


def test_names_that_share_their_end_do_not_multiply_the_file() -> None:
    content = sample()
    sections = sections_of(content)
    names = bytes([0]) + b"n" * (1 << 18) + bytes([0])
    symbols = struct.pack("<IBBHQQ", 1, 0, 0, 0, 0, 0) * 2000
    for section in sections:
        if section[1] == STRINGS:
            section[4:6] = [len(content), len(names)]
        if section[1] == SYMBOLS:
            section[4:6] = [len(content) + len(names), len(symbols)]
        section[0] = 0
    assert "the object code has parts that overlap" in refused(with_sections(content + names + symbols, sections))


def test_zeros_and_alignments_have_limits() -> None:
    content = sample()
    for size in (1 << 28, 1 << 40, (1 << 64) - 1):
        zeros = [0, ZEROS, ALLOCATE, 0, 0, size, 0, 0, 16, 0]
        assert refused(with_sections(content, [*sections_of(content), zeros])) == (
            "load native code: the object code is too large; expected at most 268435456 bytes. Compile the model again."
        )
    many = [0, ZEROS, ALLOCATE, 0, 0, 1, 0, 0, 4096, 0]
    assert "is too large" in refused(with_sections(content, [*sections_of(content), *[many] * 0xFFF0]))
    for alignment in (3, 8192, 1 << 63, (1 << 64) - 1):
        odd = [0, ZEROS, ALLOCATE, 0, 0, 16, 0, 0, alignment, 0]
        assert f"expected a power of two up to 4096, found {alignment}" in refused(
            with_sections(content, [*sections_of(content), odd])
        )
