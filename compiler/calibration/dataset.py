"""Calibration data: images, ``.npy`` or ``.npz`` arrays, sounds, tables, or random numbers when asked for by name."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Union, cast

import numpy as np

from tilewright import limits
from tilewright.errors import CalibrationWarning, UsageError, warn

from ...ir.types import TensorType
from ...runtime.files.array_file import StoredArray, open_arrays
from ...runtime.files.input_file import is_url, listed
from ...runtime.files.sound_file import SOUND, StoredSound, open_sound
from ...runtime.files.table_file import read_table
from ...runtime.pictures.declaration import DEFAULT, SUFFIXES
from ...runtime.pictures.inputs import Declaration, for_input
from ...runtime.pictures.preprocessing import CHANNELS, WITH_ALPHA, Preprocessing
from .sample_sets import (
    ArrayFiles,
    CalibrationSet,
    Held,
    ImageFiles,
    RandomSet,
    Sample,
    SampleList,
    SideBySide,
    StackedArrays,
    as_array,
    check_names,
    only_input,
    reading,
    refusal,
)

RANDOM = "random"
"""The source that stands for random inputs; never a default, for it says nothing about real data."""

ARRAYS, TABLE = (".npy", ".npz"), ".csv"
_SAMPLES = (*ARRAYS, SOUND)

Source = Union[
    str,
    "os.PathLike[str]",
    np.ndarray,
    Mapping[str, np.ndarray],
    Mapping[str, Union[str, "os.PathLike[str]", np.ndarray]],
    Iterable[Sample],
    Held,
]


def open_calibration_set(
    source: Source,
    inputs: Mapping[str, TensorType],
    *,
    preprocessing: Declaration | None = None,
    limit: int | None = None,
) -> CalibrationSet:
    """The samples of ``source`` for a network with these ``inputs``.

    Args:
        source: an image or a folder of images; a ``.npy`` file or array [samples, ...] for a network of one input; a
            ``.npz`` file or mapping with such an array for each input by name, the file perhaps with others beside; a
            folder of such files, of one sample or more each, or of ``.wav`` files, or one, for a network that takes
            waveforms; a ``.csv`` file with a line of numbers for each sample,
            whose columns are those of the one input, or have the names of several; ``"random"``; or an iterable of
            samples, each an array or a mapping of arrays in the shapes of the inputs, a batch dimension of 1 left out
            or not. Or any of these for each input by name, in a mapping or as text: ``left=photos/,right=depth.npy``.
            Files may be named by URLs, where fsspec is installed.
        inputs: type of each input by name. A leading dimension greater than 1 takes so many samples at once.
        preprocessing: how images become inputs, of all inputs or by name.
        limit: use at most this many samples: evenly spaced images of a folder, the first ones of an array.

    Raises:
        CalibrationError: there is nothing there, or it does not fit; names the file and what to do.
        UsageError: the source is none of these, or the preprocessing is wrong.
    """
    if limit is not None and limit < 1:
        raise refusal("the limit leaves no sample", expected="at least 1", found=limit)
    limit = min(limit, sys.maxsize) if limit is not None else None  # which is as long as sequences get
    for name, type in inputs.items():
        if 0 in type.shape[:1]:
            raise refusal(f"input {name!r} takes no sample at all", expected="a batch of at least 1", found=type)
    if isinstance(source, Held):
        return source
    named = sources_by_input(source)
    if named is not None:
        check_names("the calibration data", named, inputs)
        found: dict[str, CalibrationSet] = {
            name: open_calibration_set(named[name], {name: type}, preprocessing=preprocessing, limit=limit)
            for name, type in inputs.items()
        }
        real = [len(part) for part in found.values() if not isinstance(part, RandomSet)]
        if real:
            # There are as many random ones as are asked for.
            noise = (name for name, part in found.items() if isinstance(part, RandomSet))
            found |= {name: RandomSet({name: inputs[name]}, real[0]) for name in noise}
        counts = {name: len(part) for name, part in found.items()}
        if len(set(counts.values())) > 1:
            raise refusal("the inputs have different numbers of samples", found=_listed(counts))
        return SideBySide(tuple(found.values()))
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    path = source if isinstance(source, str) and source != RANDOM else None
    if path is not None and not is_url(path) and not os.path.exists(path):
        raise refusal(
            f"there is no {path!r}",
            expected=f"an image, a .npy, .npz or .wav file, a folder of these, a .csv file, or {RANDOM!r} for random "
            "inputs",
        )
    if path is not None and are_images(source):
        return _images(path, inputs, preprocessing, limit)
    if isinstance(source, np.ndarray):
        name = only_input(inputs, "an array")
        return _arrays("the array", {name: as_array(source, "the array", name)}, inputs, limit)
    if isinstance(source, Mapping):
        arrays = {str(name): as_array(array, "the mapping", str(name)) for name, array in source.items()}
        return _arrays("the mapping", arrays, inputs, limit)
    if not isinstance(source, str):
        return _samples(source, inputs, limit)
    if path is None:
        return RandomSet(inputs, min(limit, limits.RANDOM_SAMPLES) if limit is not None else 8)
    suffix = Path(path).suffix.lower()
    if suffix in _SAMPLES:
        return _array_file(path, inputs, limit)
    if suffix == TABLE:
        return _arrays(repr(path), _table(path, inputs, limit), inputs, limit)
    files = array_files(path)
    if files:
        chosen = tuple(spread(files, limit))
        parts = tuple(_array_file(file, inputs, None) for file in chosen)
        sounds = [each for part in parts for each in part.arrays.values() if isinstance(each, StoredSound)]
        rates = {sound.rate: sound.path for sound in sounds}
        if len(rates) > 1:
            told = ", ".join(f"{rate} samples a second in {path!r}" for rate, path in rates.items())
            hint = "Convert all of them to the rate that the network was trained with."
            raise refusal("sounds have different rates", expected="one rate", found=told[:200], hint=hint)
        return ArrayFiles(chosen, parts, limit)
    raise refusal(
        f"{path!r} is not calibration data",
        expected="images, .npy, .npz, .wav or .csv",
        found=suffix or "a name without an ending",
    )


def array_files(path: str | os.PathLike[str]) -> list[str]:
    """The files of arrays and sounds in a folder and its subfolders, if there are no images in it."""
    found: list[Path] = []
    for each in Path(path).rglob("*"):
        suffix = each.suffix.lower()
        # The first image ends it: there may be a million.
        if suffix in SUFFIXES and each.is_file():
            return []
        if suffix in _SAMPLES and each.is_file():
            found.append(each)
    return [os.fspath(each) for each in sorted(found)]


def _array_file(path: str, inputs: Mapping[str, TensorType], limit: int | None) -> StackedArrays:
    what = repr(path)
    with reading():
        if Path(path).suffix.lower() == SOUND:
            name = only_input(inputs, what)
            found = open_sound(path, name, inputs[name].shape, inputs[name].dtype.numpy)
        else:
            found = open_arrays(path, inputs)
    arrays = found if isinstance(found, dict) else {only_input(inputs, what): found}
    return _arrays(what, arrays, inputs, limit)


def _table(path: str, inputs: Mapping[str, TensorType], limit: int | None) -> dict[str, np.ndarray]:
    """Columns of numbers as samples of each input."""
    lines = None if limit is None else limit * max((type.shape[:1] or (1,))[0] for type in inputs.values())
    with reading():
        return read_table(path, {name: (type.shape[1:], type.dtype.numpy) for name, type in inputs.items()}, lines)


def are_images(source: Source | None) -> bool:
    """Whether calibration data is a folder of images, or an image."""
    if not isinstance(source, (str, os.PathLike)) or source == RANDOM:
        return False
    if is_url(source):
        return Path(source).suffix.lower() not in (*_SAMPLES, TABLE)
    return not array_files(source) if os.path.isdir(source) else Path(source).suffix.lower() in SUFFIXES


def sources_by_input(source: Source | None) -> Mapping[str, str | os.PathLike[str] | np.ndarray] | None:
    """The calibration data of each input, where each is given its own."""
    if isinstance(source, Mapping) and any(isinstance(each, (str, os.PathLike)) for each in source.values()):
        return cast("Mapping[str, str | os.PathLike[str] | np.ndarray]", source)
    if not isinstance(source, str) or "=" not in source or is_url(source) or os.path.exists(source):
        return None
    parts = [part.partition("=") for part in source.split(",")]
    named = {name: path for name, _, path in parts}
    if not all(name and path for name, path in named.items()):
        return None
    if len(named) < len(parts):
        raise refusal("an input is given data twice", found=source)
    return named


def image_inputs(source: Source | None, names: Iterable[str]) -> tuple[str, ...]:
    """The names of those inputs, of all these, that are given images as calibration data."""
    if isinstance(source, Held):
        return tuple(each.input for each in source.images)
    named = sources_by_input(source)
    if named is not None:
        return tuple(name for name, each in named.items() if are_images(each))
    return tuple(names) if are_images(source) else ()


def image_files(path: str) -> list[str]:
    """The images that a path or a URL stands for: of a folder those in its subfolders, too, in order of their names."""
    if is_url(path):
        return [each for each in listed(path) if Path(each).suffix.lower() in SUFFIXES]
    if not os.path.isdir(path):
        return [path]
    found = sorted(f for f in Path(path).rglob("*") if f.is_file() and f.suffix.lower() in SUFFIXES)
    return [os.fspath(each) for each in found]


def _images(
    path: str, inputs: Mapping[str, TensorType], declaration: Declaration | None, limit: int | None
) -> ImageFiles:
    name = only_input(inputs, repr(path))
    declared = for_input(declaration, name)
    preprocessing = declared.preprocessing
    files = image_files(path)
    if not files:
        raise refusal(
            f"there are no images in {path!r}",
            expected=f"files that end in {', '.join((*sorted(SUFFIXES), *ARRAYS))} or {SOUND}",
        )
    shape = inputs[name].shape
    has_last = has_channels_last(preprocessing, shape)
    with reading(HAVE_LAST if has_last else "Give the calibration inputs as .npy or .npz instead."):
        preprocessing.check(shape, inputs[name].dtype.numpy)
    channels = shape[1 if preprocessing.layout == "nchw" else 3]
    if channels in WITH_ALPHA and declared.origin == DEFAULT:
        colours = "grey" if channels == 2 else "red, green and blue"
        warn(
            f"input {name!r} has {channels} channels, which get the {colours} and the opacity of images. Give arrays "
            "(.npy, .npz) where it takes others, such as latents, and --preprocess where it does not",
            CalibrationWarning,
        )
    return ImageFiles(tuple(spread(files, limit)), name, inputs[name], preprocessing)


HAVE_LAST = "Give --preprocess layout=nhwc."


def has_channels_last(preprocessing: Preprocessing, shape: Sequence[object]) -> bool:
    """Whether images would fit an input of this shape, in which extents may be open, in the other layout alone."""
    if preprocessing.layout != "nchw" or len(shape) != 4 or shape[3] not in CHANNELS or shape[1] in CHANNELS:
        return False
    # Maps of as many columns are maps.
    return shape[2] != shape[3]


def spread(files: Sequence[str], limit: int | None) -> Sequence[str]:
    """At most ``limit`` files at even distances: sorted folders often hold one class after the other."""
    if limit is None or limit >= len(files):
        return files
    return [files[i * len(files) // limit] for i in range(limit)]


def _arrays(
    what: str, arrays: Mapping[str, np.ndarray | StoredArray], inputs: Mapping[str, TensorType], limit: int | None
) -> StackedArrays:
    check_names(what, arrays, inputs)
    rows: dict[str, int] = {}
    counts: dict[str, int] = {}
    for name, type in inputs.items():
        array = arrays[name]
        rank = len(array.shape)
        # A sample by itself, without the dimension of a batch of one.
        single = rank == type.rank - 1 > 0 and (1, *array.shape) == type.shape
        stacked = rank == type.rank + 1 and array.shape[1:] == type.shape
        batched = rank == type.rank and type.rank > 0 and array.shape[1:] == type.shape[1:]
        if not single and not stacked and not batched:
            raise refusal(
                f"{what} does not fit input {name!r}",
                expected=f"[samples, {', '.join(map(str, type.shape[1:]))}]",
                found=list(array.shape),
                hint=_in_order(array.shape[1:], type.shape[1:]),
            )
        rows[name] = 1 if stacked else array.shape[0] if single else type.shape[0]
        counts[name] = array.shape[0] // rows[name]
    # Of nothing, a file of a few bytes can hold any number.
    samples = min(counts.values()) if any(0 not in type.shape for type in inputs.values()) else 0
    if samples == 0:
        raise refusal(f"{what} holds no sample", expected="at least one", found=_listed(counts))
    if len(set(counts.values())) > 1:
        raise refusal(f"{what} holds different numbers of samples", found=_listed(counts))
    return StackedArrays(what, arrays, inputs, rows, samples if limit is None else min(limit, samples))


def _in_order(found: Sequence[int], wanted: Sequence[int]) -> str | None:
    """How samples get their shape that have as many numbers in another one, if that is plain."""
    solid = [[extent for extent in shape if extent != 1] for shape in (found, wanted)]
    if solid[0] == solid[1]:
        return f"Save the array as array.reshape({', '.join(map(str, (-1, *wanted)))})."
    if sorted(found) != sorted(wanted):
        return "Cut or pad the samples to one shape." if len(found) == len(wanted) else None
    axes = [0]
    for extent in wanted:
        axes.append(next(axis for axis, each in enumerate(found, 1) if each == extent and axis not in axes))
    return f"Save the array as array.transpose({', '.join(map(str, axes))})."


def _samples(source: Iterable[Sample], inputs: Mapping[str, TensorType], limit: int | None) -> SampleList:
    if not isinstance(source, Iterable):
        expected = "a path, 'random', an array, a mapping of arrays, or an iterable of samples"
        raise UsageError("wrong calibration data", expected=expected, found=type(source).__name__)
    samples = list(islice(source, limit))
    if not samples:
        raise refusal("the calibration data holds no sample", expected="at least one")
    return SampleList("sample", samples, inputs)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} for {name}" for name, count in counts.items())
