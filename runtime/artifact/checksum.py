"""CRC-32 of memory that is filled meanwhile, piece by piece, while the piece is in the processor's cache."""

from __future__ import annotations

import contextlib
import threading
import zlib
from collections.abc import Callable
from functools import lru_cache

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
