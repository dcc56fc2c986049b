"""Samples for a comparison: arrays in files, images as a network takes them, or random numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import numpy as np

from tilewright.errors import UsageError

from ...compiler import compiler_for
from ...pictures.inputs import ImageInput, chosen
from ..simulator.input_data import ENDINGS as ARRAYS
from ..simulator.input_data import TYPES, Feeds, InputData, NodeArg

RANDOM = "random"
Data = str | np.ndarray | Mapping[str, np.ndarray]
"""A path, `RANDOM`, or arrays of samples, by the names of inputs where there are several."""

_DTYPES = {name: dtype for dtype, name in TYPES.items()}


def read_samples(
    data: Data,
    inputs: Sequence[NodeArg],
    preprocessing: str | None = None,
    limit: int | None = None,
    images: Mapping[str, ImageInput] | None = None,
    *,
    force: bool = False,
) -> tuple[int, Iterator[tuple[str, Feeds]]]:
    """How many samples there are, and these by name.

    Args:
        data: a folder or file of arrays, as `InputData` reads it; an image or a folder of images; or other samples.
        inputs: of the network that takes them. An extent that the model leaves open is 1 for images and random numbers.
        preprocessing: how images become inputs.
        limit: how many samples there are to be at most.
        images: what is known of how images become inputs, by the names of these.
        force: use the preprocessing that is given even if another is known.

    Raises:
        UsageError: preprocessing is given for arrays, is wrong, or contradicts what is known.
        InputError, CalibrationError: there is nothing there, or it does not fit; names the file.
    """
    if preprocessing is not None and (not isinstance(data, str) or have_shapes(data)):
        found = f"arrays in {data!r}" if isinstance(data, str) else "arrays"
        raise UsageError("preprocessing is for images", found=found, hint="Leave --preprocess out.")
    if isinstance(data, str) and have_shapes(data):
        arrays = InputData(data, inputs)
        return min(len(arrays), limit or len(arrays)), islice(arrays.items(), limit)
    known, flag = images or {}, "--preprocess"
    pairs = ((each.name, chosen(each.name, known, preprocessing, force=force, flag=flag)) for each in inputs)
    declared = {name: found for name, found in pairs if found is not None}
    with compiler_for("images and random numbers as samples"):
        from ....compiler.calibration.dataset import open_calibration_set
        from ....ir.types import DType, TensorType

    types = {each.name: TensorType(with_ones(each), DType(_DTYPES[each.type])) for each in inputs}
    found = open_calibration_set(data, types, preprocessing=declared or None, limit=limit)
    return len(found), ((str(index), sample) for index, sample in enumerate(found))


def with_ones(each: NodeArg) -> tuple[int, ...]:
    return tuple(extent if isinstance(extent, int) else 1 for extent in each.shape)


def have_shapes(data: Data) -> bool:
    """Whether samples are arrays of files, and not made in the shapes of the inputs or for these."""
    if not isinstance(data, str) or data == RANDOM:
        return False
    if os.path.isdir(data):
        return any(name.lower().endswith(ARRAYS) and not name.startswith(".") for name in os.listdir(data))
    return data.lower().endswith(ARRAYS) or not os.path.exists(data)
