"""CRC-32 by two threads."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tilewright.runtime.artifact import memory as checksum


@pytest.mark.parametrize("lengths", [(0, 0), (0, 5), (5, 0), (1, 1), (7, 4096), (100_000, 3), (12_345, 67_890)])
def test_checksums_of_parts_give_that_of_the_whole(lengths: tuple[int, int]) -> None:
    first, second = map(np.random.default_rng(3).bytes, lengths)
    found = checksum.combined(zlib.crc32(first), zlib.crc32(second), len(second))
    assert found == zlib.crc32(first + second)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) + 1, (1 << 22) - 1, 1 << 22, (1 << 23) + 5])
def test_any_stretch_has_the_checksum_of_zlib(size: int) -> None:
    content = np.random.default_rng(4).bytes(size + 20)
    memory = memoryview(bytearray(len(content)))
    filled: list[tuple[int, int]] = []

    def fill(begin: int, end: int) -> None:
        memory[begin:end] = content[begin:end]
        filled.append((begin, end))

    assert checksum.crc32(memory, 10, 10 + size, fill) == zlib.crc32(content[10 : 10 + size])
    assert sum(end - begin for begin, end in filled) == size
