"""Ranges of values by the encodings of a file, instead of by samples."""

from __future__ import annotations

import os
from collections.abc import Collection

from ...passes.quantization.parameters import Range
from ...runtime.api.simulator.encodings import read_encodings

BITS = 8
"""Of the integers that networks are quantised to."""


def encoded_ranges(path: str | os.PathLike[str], names: Collection[str]) -> dict[str, Range]:
    """The ranges of those of ``names`` that an ``.encodings`` file gives 8 bits and one scale; quantising by them gives
    the same scale and zero point again.

    Raises:
        InputError: the file cannot be read, or is none; names file, tensor and field.
    """
    found: dict[str, Range] = {}
    for name, encoding in read_encodings(path).activations.items():
        if name not in names or not isinstance(name, str) or encoding.bits != BITS:
            continue
        if encoding.scale is not None and encoding.offset is not None and encoding.scale.ndim == 0:
            scale, lowest = encoding.scale.item(), encoding.offset.item()
            found[name] = (scale * lowest, scale * (lowest + 2**BITS - 1))
    return found
