"""CRC-32 of memory that is filled meanwhile, piece by piece, while the piece is in the processor's cache."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from functools import cache

_PIECE = 1 << 20
_LARGE = 1 << 22
"""Bytes from which on a second thread takes the second half."""

_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31

Fill = Callable[[int, int], None]
"""Called with a begin and an end, it returns when the memory between them has been filled."""


def already_filled(begin: int, end: int) -> None:
    """What fills memory that holds everything from the beginning."""


def crc32(memory: memoryview, begin: int, end: int, fill: Fill) -> int:
    """The CRC-32 of ``memory[begin:end]``, as :func:`zlib.crc32` gives it.

    Raises:
        Exception: whatever `fill` raises.
    """
    if end - begin < _LARGE:
        return _in_pieces(memory, begin, end, fill)
    # A second half of whole pieces has a length of few bits, which `combined` is the faster for.
    middle = end - (end - begin) // 2 // _PIECE * _PIECE
    found: list[int | BaseException] = []

    def second_half() -> None:
        try:
            found.append(_in_pieces(memory, middle, end, fill))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=second_half, name="tilewright-checksum", daemon=True)
    try:
        thread.start()
    except RuntimeError:
        # Where there is no thread to be had, it takes a little longer.
        return _in_pieces(memory, begin, end, fill)
    try:
        first = _in_pieces(memory, begin, middle, fill)
    finally:
        thread.join()
    (second,) = found
    if isinstance(second, BaseException):
        raise second
    return combined(first, second, end - middle)


def _in_pieces(memory: memoryview, begin: int, end: int, fill: Fill) -> int:
    crc = 0
    for start in range(begin, end, _PIECE):
        stop = min(start + _PIECE, end)
        fill(start, stop)
        crc = zlib.crc32(memory[start:stop], crc)
    return crc


def combined(first: int, second: int, length: int) -> int:
    """The CRC-32 of two stretches together, from those of each; ``length`` is that of the second in bytes.

    A CRC is a remainder of polynomials over GF(2): bytes that follow multiply it by x to the power of their bits. What
    the initial and the final complement of CRC-32 add cancels out. (ISO 3309; the bits of a number are the coefficients
    from x^0 at the most significant bit on.)
    """
    power = _ONE
    for bit in range(length.bit_length()):
        if length >> bit & 1:
            power = _product(power, _shift(bit))
    return _product(first, power) ^ second


@cache
def _shift(bit: int) -> int:
    """What ``2**bit`` bytes that follow multiply a remainder by."""
    return _product(_shift(bit - 1), _shift(bit - 1)) if bit else _ONE >> 8


def _product(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo that of CRC-32."""
    result = 0
    while a:
        if a & _ONE:
            result ^= b
        a = a << 1 & 0xFFFFFFFF
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return result
