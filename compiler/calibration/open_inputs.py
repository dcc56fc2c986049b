"""Shapes that samples tell of inputs whose extents a model leaves open."""

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tilewright.errors import CalibrationWarning, warn

from ...runtime.files.array_file import StoredArray, open_arrays
from ..frontend.formats import Model, open_inputs_of
from ..frontend.input_shapes import Declared
from ..options import CompileOptions
from .dataset import ARRAYS, Source, array_files, sources_by_input
from .sample_sets import reading


def with_open_inputs(model: Model, options: CompileOptions) -> CompileOptions:
    """The options, with the shapes that samples tell where a model leaves some open and is given none; it is said."""
    if options.input_shapes or options.calibration is None:
        return options
    found = told_shapes(options.calibration, open_inputs_of(model, options.freeze))
    if not found:
        return options
    text = " ".join(f"--input-shape {name}={','.join(map(str, shape))}" for name, shape in found.items())
    warn(f"the model leaves shapes open, and gets those of a sample, as by {text}", CalibrationWarning)
    return replace(options, input_shapes=found)


def told_shapes(source: Source, declared: Declared) -> dict[str, tuple[int, ...]]:
    """The shapes of open inputs by name: those of samples where they are arrays, and of one sample where nothing but
    the number of samples is open; none at all where one is not told, for the import to say what is missing.

    Args:
        declared: extents of the inputs with open ones.
    """
    named = sources_by_input(source)
    arrays = _shapes(source) if named is None else {name: _shapes(each).get("") for name, each in named.items()}
    alone = arrays.get("") if len(declared) == 1 else None
    found: dict[str, tuple[int, ...]] = {}
    for name, extents in declared.items():
        shape = arrays.get(name, alone)
        if extents is None:
            return {}
        first = [each if isinstance(each, int) else 1 for each in extents[:1]]
        rest = extents[1:]
        if shape is not None and len(shape) >= len(rest):
            # A batch dimension of its own may be left out, or stand behind that of the samples.
            rest = shape[len(shape) - len(rest) :]
        known = [*first, *(each for each in rest if isinstance(each, int))]
        if len(known) < len(extents):
            return {}
        found[name] = tuple(known)
    return found


def _shapes(source: object) -> dict[str, tuple[int, ...] | None]:
    """Shapes of the arrays that are given, by name; of one alone by none."""
    opened = source
    if isinstance(source, (str, os.PathLike)):
        files = array_files(source) if os.path.isdir(source) else [os.fspath(source)]
        if not files or not files[0].lower().endswith(ARRAYS) or not os.path.exists(files[0]):
            return {}
        with reading():
            opened = open_arrays(files[0])
    if isinstance(opened, (np.ndarray, StoredArray)):
        return {"": opened.shape}
    each = opened if isinstance(opened, Mapping) else {}
    return {name: array.shape for name, array in each.items() if isinstance(array, (np.ndarray, StoredArray))}
