"""Reading files that someone else may change meanwhile: what is read is private, and nothing is waited for."""

from __future__ import annotations

import mmap
import os
import threading
from io import FileIO

from .checksum import Fill


def mapped(file: FileIO) -> memoryview:
    """A file itself in memory, read-only; it must not be empty.

    Raises:
        OSError: the system refuses to map it.
    """
    try:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError as error:
        raise OSError(str(error)) from None


def reader(file: FileIO, memory: memoryview) -> Fill:
    """What reads stretches of a file into the same places of memory of its size; several threads may call it.

    It raises OSError when the file cannot be read or has become shorter.
    """
    lock = threading.Lock()

    def read_at(memory: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(file.fileno(), [memory], offset)
        with lock:
            file.seek(offset)
            return file.readinto(memory) or 0

    def fill(begin: int, end: int) -> None:
        done = begin
        while done < end:
            count = read_at(memory[done:end], done)
            if not count:
                raise OSError(f"it ended after {done} of {len(memory)} bytes, so something else changes it")
            done += count

    return fill
