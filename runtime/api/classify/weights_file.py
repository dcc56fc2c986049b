"""The text file of a layer's integers: comma separated, row by row, a class a row, with or without a last comma."""

from __future__ import annotations

import os

import numpy as np

from tilewright import limits
from tilewright.errors import InputError

from ...files.input_file import contents

_LONGEST = 4
"""Characters of a number from -128 to 255."""

_PIECE = 2**20
"""Bytes of the file that are taken apart at once."""


def read_integers(path: str | os.PathLike[str], expected: int, what: str) -> np.ndarray:
    """The integers in a file, int16[expected].

    The original program reads the nothing after the last comma as one more number, which it drops: so one more is
    dropped here.

    Args:
        what: has so many integers, for the message.

    Raises:
        InputError: the file cannot be read, holds another number of integers, or something else than integers of -128
            to 255; says where.
    """
    name = os.fspath(path)
    text = np.frombuffer(contents(name, limits.WEIGHTS_FILE), np.uint8)
    parts: list[np.ndarray] = []
    count = start = 0
    # In pieces that end between numbers: memory is taken for those that are expected, whatever the file holds.
    while start < text.size and count <= expected + 1:
        piece = text[start : start + _PIECE]
        is_separator = (piece == ord(",")) | (piece <= ord(" "))
        if start + piece.size < text.size and is_separator.any():
            piece = piece[: piece.size - int(is_separator[::-1].argmax())]
            is_separator = is_separator[: piece.size]
        edges = np.flatnonzero(np.diff(np.concatenate([[True], is_separator, [True]]).astype(np.int8)))
        parts.append(_numbers(piece, edges[::2], edges[1::2], count, name))
        count += len(parts[-1])
        start += piece.size
    if count not in (expected, expected + 1):
        found = count if count < expected else f"more than {expected + 1}"
        raise InputError(f"{name!r} does not fit {what}", expected=f"{expected} integers, row by row", found=found)
    return np.concatenate(parts)[:expected] if parts else np.zeros(0, np.int16)


def _numbers(text: np.ndarray, starts: np.ndarray, ends: np.ndarray, before: int, name: str) -> np.ndarray:
    """The values of all words at once, one digit after the other; so many came before them."""
    lengths = ends - starts
    wrong = lengths > _LONGEST
    values, is_negative = np.zeros(len(starts), np.int16), np.zeros(len(starts), bool)
    padded = np.concatenate([text, np.zeros(_LONGEST, np.uint8)])
    for position in range(_LONGEST):
        character = padded[starts + position]
        is_inside = lengths > position
        digit = character.astype(np.int16) - ord("0")
        is_digit = is_inside & (digit >= 0) & (digit <= 9)
        is_sign = is_inside & (position == 0) & (character == ord("-")) & (lengths > 1)
        wrong |= is_inside & ~is_digit & ~is_sign
        is_negative |= is_sign
        values = np.where(is_digit, values * 10 + digit, values)
    values = np.where(is_negative, -values, values)
    wrong |= (values < -128) | (values > 255)
    if wrong.any():
        first = int(wrong.argmax())
        found = bytes(text[starts[first] : ends[first]][:20])
        place = f"{found!r} as number {before + first + 1}"
        raise InputError(f"{name!r} holds more than integers", expected="-128 to 255", found=place)
    return values
