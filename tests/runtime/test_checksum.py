"""CRC-32 while another thread reads ahead."""

from __future__ import annotations

import threading
import zlib

import numpy as np
import pytest

from tilewright.runtime.artifact import memory as checksum


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


def test_who_is_interrupted_reads_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted, ended = threading.Event(), threading.Event()
    filled: list[int] = []

    def fill(begin: int, end: int) -> None:
        filled.append(begin)
        if len(filled) > 1:
            interrupted.wait(60)
            # It is told to end, or would fill all others.
            ended.wait(0.1)

    def interrupt(data: object, crc: int) -> int:
        interrupted.set()
        raise KeyboardInterrupt

    monkeypatch.setattr(zlib, "crc32", interrupt)
    with pytest.raises(KeyboardInterrupt):
        checksum.crc32(memoryview(bytearray(1 << 24)), 0, 1 << 24, fill)
    assert len(filled) < 16
    assert not [thread for thread in threading.enumerate() if thread.name == "tilewright-read"]
