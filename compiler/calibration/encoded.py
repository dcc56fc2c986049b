"""Ranges of values by the encodings of a file, instead of by samples."""

from __future__ import annotations

import os
from collections.abc import Collection

from tilewright.errors import InputError

from ...passes.quantization.parameters import Range
from ..quantization.encodings import read_encodings

BITS = 8
"""Of the integers that networks are quantised to."""


def encoded_ranges(path: str | os.PathLike[str], names: Collection[str]) -> dict[str, Range]:
    """The ranges of those of ``names`` that an ``.encodings`` file gives 8 bits and one scale; quantising by them gives
    the same scale and zero point again.

    Raises:
        InputError: the file cannot be read, is none, or is for other tensors; names file, tensor and field.
    """
    found: dict[str, Range] = {}
    given = read_encodings(path).activations
    if given and names and not any(name in names for name in given):
        raise InputError(
            f"{os.fspath(path)!r}: no encoding is for a tensor that is quantised",
            stage="calibration",
            expected=", ".join(map(repr, [*names][:5])),
            found=", ".join(repr(str(name)) for name in [*given][:5]),
            hint="Give the encodings that belong to this model.",
        )
    for name, encoding in given.items():
        if name not in names or not isinstance(name, str) or encoding.bits != BITS:
            continue
        if encoding.scale is not None and encoding.offset is not None and encoding.scale.ndim == 0:
            scale, lowest = encoding.scale.item(), encoding.offset.item()
            found[name] = (scale * lowest, scale * (lowest + 2**BITS - 1))
    return found
