"""Inputs that users make constants: from numbers, texts and arrays, of the type that the model declares."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.errors import UsageError

from ...ir.types import DType
from ...runtime.files.array_file import open_array

Frozen = Mapping[str, object]
"""Values by the names of inputs: numbers, nested lists of them, arrays, paths of .npy files, or texts such as 1,2,3."""

_TRUTHS = {"true": True, "false": False}


def frozen_array(name: str, given: object, dtype: DType, declared: Sequence[int | str | None] | None) -> np.ndarray:
    """The elements of a frozen input.

    Args:
        declared: extents of the input, where they are not open; ``None`` where not even their number is known. One
            number stands for all shapes of one element.

    Raises:
        UsageError: the value is no array of the input's type.
        InputError: it is a file that cannot be read, or is none.
    """
    if isinstance(given, os.PathLike) or (isinstance(given, str) and given.endswith(".npy")):
        given = open_array(given).read()
    given = _numbers(name, given, dtype) if isinstance(given, str) else given
    is_typed = isinstance(given, np.ndarray)
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.asarray(None)
    found = array.astype(dtype.numpy) if array.dtype.kind in "biuf" else None
    # Arrays have a type of their own; numbers only have to be such elements.
    is_equal = found is not None and array.dtype == dtype.numpy
    is_exact = found is not None and (dtype.is_float or dtype.is_integer) and array.dtype.kind != "b"
    is_exact = is_exact and (dtype.is_float or bool((found == array).all()))
    if found is None or not (is_equal or (is_exact and not is_typed)):
        shown = f"{array.dtype}{list(array.shape)}" if is_typed else f"{given!r:.60}"
        raise _error(name, f"elements of {dtype.numpy}", shown)
    if declared is None:
        return found
    if found.size == 1 and not found.ndim:
        found = found.reshape([1 for _ in declared])
    if len(declared) != found.ndim or any(
        isinstance(d, int) and d != e for d, e in zip(declared, found.shape, strict=True)
    ):
        expected = ", ".join("?" if extent is None else str(extent) for extent in declared)
        raise _error(name, f"shape [{expected}]", list(found.shape))
    return found


def _numbers(name: str, text: str, dtype: DType) -> object:
    """One number, or a list of several between commas."""
    try:
        if dtype is DType.BOOL:
            found: list[object] = [_TRUTHS[each.strip().lower()] for each in text.split(",")]
        else:
            found = [float(each) if dtype.is_float else int(each) for each in text.split(",")]
    except (KeyError, ValueError):
        expected = "true or false" if dtype is DType.BOOL else f"elements of {dtype.numpy}"
        raise _error(
            name, f"{expected}, with commas between them, or the path of a .npy file", repr(text)[:60]
        ) from None
    return found if len(found) > 1 else found[0]


def _error(name: str, expected: object, found: object) -> UsageError:
    return UsageError(f"wrong value for the frozen input {name!r}", stage="import", expected=expected, found=found)
