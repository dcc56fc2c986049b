"""Arguments of the functions, which programs may get wrong."""

from __future__ import annotations

import operator
import os
from enum import IntEnum
from typing import TypeVar

from ...files.input_file import InputFile, open_regular
from .refusal import Refusal
from .return_codes import ApiReturnCode

E = TypeVar("E", bound=IntEnum)

LARGEST = 2**31 - 1
"""Of ports and times."""


def integer(name: str, value: object, largest: int = LARGEST) -> int:
    """A number from 0 on.

    Raises:
        Refusal: `KP_ERROR_INVALID_PARAM_12`.
    """
    try:
        number = operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise wrong(name, "int", value) from None
    if not 0 <= number <= largest:
        raise wrong(name, f"0 to {largest}", number)
    return number


def member(name: str, value: object, kind: type[E]) -> E:
    """A member of an enumeration, or its number.

    Raises:
        Refusal: `KP_ERROR_INVALID_PARAM_12`.
    """
    try:
        return kind(operator.index(value))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise wrong(name, f"one of {kind.__name__}", value) from None


def content(name: str, value: object) -> bytes:
    """Bytes.

    Raises:
        Refusal: `KP_ERROR_INVALID_PARAM_12`.
    """
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise wrong(name, "bytes", type(value).__name__)
    return bytes(value)


def open_file(path: object) -> InputFile:
    """A file that a program names.

    Raises:
        Refusal: `KP_ERROR_FILE_OPEN_FAILED_20`, it cannot be opened, or is no regular file.
    """
    try:
        return open_regular(os.fsdecode(path), InputFile)  # pyright: ignore[reportArgumentType]
    except (OSError, TypeError) as error:
        raise _unreadable(path, error) from error


def read_file(path: object) -> bytes:
    """The content of a file that a program names.

    Raises:
        Refusal: `KP_ERROR_FILE_OPEN_FAILED_20`, it cannot be read.
    """
    with open_file(path) as file:
        try:
            return file.readall() or b""
        except OSError as error:
            raise _unreadable(path, error) from error


def _unreadable(path: object, error: Exception) -> Refusal:
    reason = getattr(error, "strerror", None) or str(error)
    return Refusal(ApiReturnCode.KP_ERROR_FILE_OPEN_FAILED_20, f"cannot read {path!r:.400}: {reason}")


def wrong(name: str, expected: str, found: object) -> Refusal:
    """The refusal of an argument."""
    code = ApiReturnCode.KP_ERROR_INVALID_PARAM_12
    return Refusal(code, f"{name} is wrong", expected=expected, found=f"{found!r:.80}")
