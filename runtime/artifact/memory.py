"""Memory in whole pages: this process's own, what is read into it, and files themselves.

Someone else may change a file meanwhile: what is read is private, and nothing is waited for.
"""

import contextlib
import mmap
import zlib
from collections.abc import Callable
from io import FileIO

import numpy as np

from tilewright.errors import ResourceError

_PIECE = 1 << 20

Fill = Callable[[int, int], None]
"""Called with a begin and an end, it returns when the memory between them has been filled."""


def already_filled(begin: int, end: int) -> None:
    """What fills memory that holds everything from the beginning."""


def crc32(memory: memoryview, begin: int, end: int, fill: Fill) -> int:
    """The CRC-32 of ``memory[begin:end]``, as :func:`zlib.crc32` gives it. Raises Exception: whatever `fill` raises."""
    crc = 0
    # What has just been read is in the cache. A thread that read ahead would gain less than waiting for it can take.
    for first in range(begin, end, _PIECE):
        last = min(first + _PIECE, end)
        fill(first, last)
        crc = zlib.crc32(memory[first:last], crc)
    return crc


_HUGE_PAGE = 1 << 21


def private_pages(size: int, purpose: str) -> memoryview:
    """So many bytes of zeros, page aligned; physical memory is taken when it is first touched.

    A process that is forked off has a copy of its own.
    Raises ResourceError: the system has no such amount for this `purpose`."""
    # Python's default is memory that parent and child share after a fork, and that has no huge pages.
    flags = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    is_huge = size >= 2 * _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE")
    # Whole huge pages only: small ones at the ends would take longer than all the others.
    room = (-(-size // _HUGE_PAGE) + 1) * _HUGE_PAGE if is_huge else max(size, 1)
    try:
        pages = mmap.mmap(-1, room, **flags)
    except (OSError, ValueError, OverflowError, MemoryError) as error:
        raise ResourceError(f"no memory for {purpose} of {size} bytes: {error}", stage="load artifact") from error
    start = 0
    if is_huge:
        # Fewer page faults and address translations; a kernel without huge pages says no, which is fine.
        with contextlib.suppress(OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
        start = -np.frombuffer(pages, np.uint8).ctypes.data % _HUGE_PAGE
    return memoryview(pages)[start : start + size]


def mapped(file: FileIO) -> memoryview:
    """A file itself in memory, read-only; it must not be empty. Raises OSError: the system refuses to map it."""
    try:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError as error:
        raise OSError(str(error)) from None


def reader(file: FileIO, memory: memoryview) -> Fill:
    """What reads stretches of a file into the same places of memory of its size, one after the other.

    It raises OSError when the file cannot be read or has become shorter."""

    def fill(begin: int, end: int) -> None:
        done = begin
        file.seek(begin)
        while done < end:
            count = file.readinto(memory[done:end])
            if not count:
                raise OSError(f"it ended after {done} of {len(memory)} bytes, so something else changes it")
            done += count

    return fill
