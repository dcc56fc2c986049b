"""CRC-32 of what is read meanwhile."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from tilewright.runtime.artifact import memory as checksum


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, (1 << 22) + 5])
def test_any_stretch_has_the_checksum_of_zlib(size: int) -> None:
    content = np.random.default_rng(4).bytes(size + 20)
    memory = memoryview(bytearray(len(content)))
    filled: list[tuple[int, int]] = []

    def fill(begin: int, end: int) -> None:
        memory[begin:end] = content[begin:end]
        filled.append((begin, end))

    assert checksum.crc32(memory, 10, 10 + size, fill) == zlib.crc32(content[10 : 10 + size])
    assert sum(end - begin for begin, end in filled) == size
