"""Shapes that samples tell of inputs whose extents a model leaves open."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache

import numpy as np

from tilewright.errors import CalibrationWarning, TilewrightError, warn

from ...runtime.files.array_file import StoredArray, open_arrays
from ...runtime.pictures.inputs import Declaration, for_input
from ...runtime.pictures.preprocessing import Preprocessing
from ..frontend.formats import Model, import_model, open_inputs_of
from ..frontend.input_shapes import Declared
from ..options import CompileOptions
from . import dataset
from .sample_sets import check_names, reading, refusal

_Extents = Sequence[int | str | None]

MOST_IMAGES, STEP = 100, 32
"""Images whose sizes are looked at; and what rows and columns are a multiple of, unless all images have the same and
the network takes it: most halve them five times."""

_BATCH = re.compile("[Bb]atch|^(N|B|b|bs)$")
_LENGTH = re.compile("seq|len|time|frame|step|token|height|width", re.I)
"""Names of first extents that say what they count."""


def with_open_inputs(model: Model, options: CompileOptions) -> CompileOptions:
    """The options, with the shapes that samples tell where a model and what is given leave some open; it is said."""
    if options.calibration is None:
        return options
    shapes, declared = open_inputs_of(model, options.input_shapes, options.freeze)
    sizes = cache(_sizes)
    given = options.calibration, declared, options.preprocessing
    found = told_shapes(*given, step=1, sizes=sizes) if len(shapes) == 1 else {}
    if not found:
        return options
    even = told_shapes(*given, sizes=sizes)
    with suppress(TilewrightError):
        if found != even:
            import_model(model, {**shapes[0].given, **found}, options.external_data, options.freeze, options.bounds)
        even = found
    text = " ".join(f"--input-shape {name}={','.join(map(str, shape))}" for name, shape in even.items())
    warn(f"the model leaves shapes open, and gets those of a sample, as by {text}", CalibrationWarning)
    return replace(options, input_shapes={**shapes[0].given, **even})


def _sizes(source: str, is_upright: bool) -> list[tuple[int, int]]:
    """Width and height of images; of the largest folders, of some."""
    from ...runtime.pictures.image_file import noted

    files = dataset.spread(dataset.image_files(source), MOST_IMAGES) if dataset.are_images(source) else []
    found = [noted(file, upright=is_upright)[:2] for file in files]
    return [(width, height) for width, height in found if width]


def told_shapes(
    source: dataset.Source,
    declared: Declared,
    preprocessing: Declaration | None = None,
    step: int = STEP,
    sizes: Callable[[str, bool], Sequence[tuple[int, int]]] = _sizes,
) -> dict[str, tuple[int, ...]]:
    """The shapes of open inputs by name: those of samples where they are arrays, of images of the median size of all,
    and of one sample where nothing but the number of samples is open; none at all where one is not told, or two tell an
    extent of one name differently, for the import to say what is missing.
    ``declared``: extents of the inputs with open ones. ``step``: what rows and columns of images of one size are a
    multiple of. ``sizes``: those of the images of a path, as it is or upright."""
    named = dataset.sources_by_input(source)
    arrays = _shapes(source) if named is None else {name: _shapes(each).get("") for name, each in named.items()}
    if named is None and arrays and "" not in arrays:
        check_names(f"{source!r}" if isinstance(source, str) else "the mapping", arrays, declared, more=True)
    alone = arrays.get("") if len(declared) == 1 else None
    found: dict[str, tuple[int, ...]] = {}
    for name, extents in declared.items():
        one = source if named is None else named.get(name)
        is_line = isinstance(one, (str, os.PathLike)) and os.fspath(one).lower().endswith(dataset.TABLE)
        shape = arrays.get(name, alone)
        if shape is None and extents is not None and (named is not None or len(declared) == 1):
            shape = _image_shape(one, extents, for_input(preprocessing, name).preprocessing, step, sizes)
        told = None if extents is None else _told(extents, shape, is_line=is_line)
        if told is None:
            return {}
        found[name] = told
    pairs = {pair for name, shape in found.items() for pair in zip(declared[name] or (), shape, strict=True)}
    by_name = {pair for pair in pairs if isinstance(pair[0], str)}
    return found if len(dict(by_name)) == len(by_name) else {}


def _told(extents: _Extents, shape: tuple[int, ...] | None, *, is_line: bool) -> tuple[int, ...] | None:
    """The shape of one sample with these extents, from that of an array of samples; None where it does not say so. A
    line of numbers fills a batch of one where the other extents are known."""
    begins = _begins_with_batch(extents) or (is_line and {*map(type, extents[1:])} == {int})
    batch = tuple(each if isinstance(each, int) else 1 for each in extents[:begins])
    rest = extents[len(batch) :]
    if not all(isinstance(each, int) for each in rest):
        # A batch dimension of its own may be left out, or stand behind that of the samples.
        if shape is None or not len(extents) + 1 - 2 * len(batch) <= len(shape) <= len(extents) + 1:
            return None
        own = shape[len(shape) - len(rest) :]
        if any(isinstance(each, int) and each != extent for each, extent in zip(rest, own, strict=True)):
            return None
        rest = own
    return (*batch, *(each for each in rest if isinstance(each, int)))


def _begins_with_batch(extents: _Extents) -> bool:
    """Whether the first extent is a number of samples, rather than a length, of which one would be another network."""
    name = extents[0] or ""
    if isinstance(name, int):
        return True
    is_map = len(extents) > 3 or (len(extents) == 3 and all(isinstance(each, int) for each in extents[1:]))
    return _BATCH.search(name) is not None or (is_map and not _LENGTH.search(name))


def _image_shape(
    source: dataset.Source | None,
    extents: _Extents,
    by: Preprocessing,
    step: int,
    sizes: Callable[[str, bool], Sequence[tuple[int, int]]],
) -> tuple[int, ...] | None:
    """The shape of an array of images, of the median size of those of a folder; ``None`` where it holds none, or they
    do not fit such extents."""
    if len(extents) != 4 or not isinstance(source, (str, os.PathLike)) or not os.path.exists(source):
        return None
    found = sizes(os.fspath(source), by.orientation == "exif")
    if not found:
        return None
    if dataset.has_channels_last(by, extents):
        shown = [each or "?" for each in extents]
        expected = "[N, C, H, W], or with layout=nhwc [N, H, W, C]"
        raise refusal("images do not fit this input", expected=expected, found=shown, hint=dataset.HAVE_LAST)
    step = step if {*found} == {found[0]} else STEP
    width, height = (int(side) // step * step or int(side) for side in np.median(found, 0))
    at = {2: height, 3: width} if by.layout == "nchw" else {1: height, 2: width}
    shape = [at.get(axis, 0) if not isinstance(extent, int) else extent for axis, extent in enumerate(extents)]
    return (len(found), *shape[1:]) if by.fits((1, *shape[1:])) else None


def _shapes(source: object) -> dict[str, tuple[int, ...] | None]:
    """Shapes of the arrays that are given, by name; of one alone by none."""
    opened = source
    if isinstance(source, (str, os.PathLike)):
        files = dataset.array_files(source) if os.path.isdir(source) else [os.fspath(source)]
        if not files or not files[0].lower().endswith(dataset.ARRAYS) or not os.path.exists(files[0]):
            return {}
        with reading():
            opened = open_arrays(files[0])
    if isinstance(opened, (np.ndarray, StoredArray)):
        return {"": opened.shape}
    each = opened if isinstance(opened, Mapping) else {}
    return {name: array.shape for name, array in each.items() if isinstance(array, (np.ndarray, StoredArray))}
