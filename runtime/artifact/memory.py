"""Memory in whole pages: this process's own, what is read into it, and files themselves.

Someone else may change a file meanwhile: what is read is private, and nothing is waited for.
"""

import contextlib
import mmap
import os
import threading
import zlib
from collections.abc import Callable
from functools import lru_cache
from io import FileIO

import numpy as np

from tilewright.errors import ResourceError

_PIECE = 1 << 20
_LARGE = 1 << 22
"""Bytes from which on a second thread takes part."""

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31

Fill = Callable[[int, int], None]
"""Called with a begin and an end, it returns when the memory between them has been filled."""


def already_filled(begin: int, end: int) -> None:
    """What fills memory that holds everything from the beginning."""


def crc32(memory: memoryview, begin: int, end: int, fill: Fill, meanwhile: Callable[[], object] = lambda: None) -> int:
    """The CRC-32 of ``memory[begin:end]``, as :func:`zlib.crc32` gives it.

    Args:
        meanwhile: what this thread does first where another one takes part, and does not do otherwise.

    Raises:
        Exception: whatever `fill` or `meanwhile` raises.
    """
    if end - begin < _LARGE:
        return _piece(memory, begin, end, fill)
    starts = range(begin, end, _PIECE)
    # Two threads take from it in order: taking is atomic.
    left = iter(starts)
    found: dict[int, int] = {}
    errors: list[BaseException] = []

    def work() -> None:
        for start in left:
            if errors:
                return
            found[start] = _piece(memory, start, min(start + _PIECE, end), fill)

    def work_aside() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work_aside, name="tilewright-checksum", daemon=True)
    # Where there is no thread to be had, it takes a little longer.
    with contextlib.suppress(RuntimeError):
        thread.start()
    try:
        meanwhile()
        work()
    except BaseException as error:
        errors.append(error)
        raise
    finally:
        if thread.ident is not None:
            thread.join()
    if errors:
        raise errors[0]
    crc = 0
    for start in starts:
        crc = combined(crc, found[start], min(_PIECE, end - start))
    return crc


def _piece(memory: memoryview, begin: int, end: int, fill: Fill) -> int:
    fill(begin, end)
    return zlib.crc32(memory[begin:end])


def combined(first: int, second: int, length: int) -> int:
    """The CRC-32 of two stretches together, from those of each; ``length`` is that of the second in bytes.

    A CRC is a remainder of polynomials over GF(2): bytes that follow multiply it by x to the power of their bits. What
    the initial and the final complement of CRC-32 add cancels out. (ISO 3309; the bits of a number are the coefficients
    from x^0 at the most significant bit on.)
    """
    return _product(first, _shift(length)) ^ second


@lru_cache
def _shift(length: int) -> int:
    """What so many bytes that follow multiply a remainder by."""
    half = _shift(length >> 1) if length > 1 else _ONE
    power = _product(half, half)
    return _product(power, _ONE >> 8) if length & 1 else power


def _product(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo that of CRC-32."""
    result = 0
    while a:
        if a & _ONE:
            result ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return result


_HUGE_PAGE = 1 << 21


def private_pages(size: int, purpose: str) -> memoryview:
    """So many bytes of zeros, page aligned; physical memory is taken when it is first touched.

    A process that is forked off has a copy of its own.

    Raises:
        ResourceError: the system has no such amount for this `purpose`.
    """
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
