"""Calibration data: images, ``.npy`` or ``.npz`` arrays, or random numbers when asked for by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Union, cast

import numpy as np

from tilewright import limits
from tilewright.errors import CalibrationError, InputError, UsageError

from ...ir.types import TensorType
from ...runtime.files.array_file import StoredArray, open_arrays
from ...runtime.files.remote import is_url, listed
from ...runtime.pictures.declaration import SUFFIXES
from ...runtime.pictures.inputs import Declaration, for_input
from ...runtime.pictures.preprocessing import Preprocessing

RANDOM = "random"
"""The source that stands for random inputs; never a default, for it says nothing about real data."""

_ARRAYS = (".npy", ".npz")

Inputs = dict[str, np.ndarray]
Sample = Union[np.ndarray, Mapping[str, np.ndarray]]
Source = Union[
    str,
    "os.PathLike[str]",
    np.ndarray,
    Mapping[str, np.ndarray],
    Mapping[str, Union[str, "os.PathLike[str]", np.ndarray]],
    Iterable[Sample],
    "Held",
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
            ``.npz`` file or mapping with such an array for each input by name; ``"random"``; or an iterable of samples,
            each an array or a mapping of arrays in the shapes of the inputs, a batch dimension of 1 left out or not. Or
            any of these for each input by name, in a mapping or as text: ``left=photos/,right=depth.npy``. Files may
            be named by URLs, where fsspec is installed.
        inputs: type of each input by name. A leading dimension greater than 1 takes so many samples at once.
        preprocessing: how images become inputs, of all inputs or by name.
        limit: use at most this many samples: evenly spaced images of a folder, the first ones of an array.

    Raises:
        CalibrationError: there is nothing there, or it does not fit; names the file and what to do.
        UsageError: the source is none of these, or the preprocessing is wrong.
    """
    if limit is not None and limit < 1:
        raise _error("the limit leaves no sample", expected="at least 1", found=limit)
    limit = min(limit, sys.maxsize) if limit is not None else None  # which is as long as sequences get
    for name, type in inputs.items():
        if 0 in type.shape[:1]:
            raise _error(f"input {name!r} takes no sample at all", expected="a batch of at least 1", found=type)
    if isinstance(source, Held):
        return source
    named = sources_by_input(source)
    if named is not None:
        _check_names("the calibration data", named, inputs)
        parts = {
            name: open_calibration_set(named[name], {name: type}, preprocessing=preprocessing, limit=limit)
            for name, type in inputs.items()
        }
        counts = {name: len(part) for name, part in parts.items()}
        if len(set(counts.values())) > 1:
            raise _error("the inputs have different numbers of samples", found=_listed(counts))
        return SideBySide(tuple(parts.values()))
    if isinstance(source, os.PathLike):
        source = os.fspath(source)
    path = source if isinstance(source, str) and source != RANDOM else None
    if path is not None and not is_url(path) and not os.path.exists(path):
        raise _error(
            f"there is no {path!r}",
            expected=f"an image or a folder of images, a .npy or .npz file, or {RANDOM!r} for random inputs",
        )
    if path is not None and are_images(source):
        return _images(path, inputs, preprocessing, limit)
    if isinstance(source, np.ndarray):
        return _arrays("the array", {_only_input(inputs, "an array"): source}, inputs, limit)
    if isinstance(source, Mapping):
        arrays = {str(name): _array(array, "the mapping", str(name)) for name, array in source.items()}
        return _arrays("the mapping", arrays, inputs, limit)
    if not isinstance(source, str):
        return _samples(source, inputs, limit)
    if path is None:
        return RandomSet(inputs, min(limit, limits.RANDOM_SAMPLES) if limit is not None else 8)
    suffix = Path(path).suffix
    if suffix in _ARRAYS:
        what = repr(path)
        with _reading():
            found = open_arrays(path)
        arrays = found if isinstance(found, dict) else {_only_input(inputs, what): found}
        return _arrays(what, arrays, inputs, limit)
    raise _error(f"{path!r} is not calibration data", expected="images, .npy or .npz", found=suffix)


def are_images(source: Source | None) -> bool:
    """Whether calibration data is a folder of images, or an image."""
    if not isinstance(source, (str, os.PathLike)) or source == RANDOM:
        return False
    if is_url(source):
        return Path(source).suffix not in _ARRAYS
    return os.path.isdir(source) or Path(source).suffix.lower() in SUFFIXES


def sources_by_input(source: Source | None) -> Mapping[str, str | os.PathLike[str] | np.ndarray] | None:
    """The calibration data of each input, where each is given its own."""
    if isinstance(source, Mapping) and any(isinstance(each, (str, os.PathLike)) for each in source.values()):
        return cast("Mapping[str, str | os.PathLike[str] | np.ndarray]", source)
    if not isinstance(source, str) or "=" not in source or is_url(source) or os.path.exists(source):
        return None
    parts = [part.partition("=") for part in source.split(",")]
    return {name: path for name, _, path in parts} if all(name and path for name, _, path in parts) else None


def image_inputs(source: Source | None, names: Iterable[str]) -> tuple[str, ...]:
    """The names of those inputs, of all these, that are given images as calibration data."""
    if isinstance(source, Held):
        return tuple(each.input for each in source.images)
    named = sources_by_input(source)
    if named is not None:
        return tuple(name for name, each in named.items() if are_images(each))
    return tuple(names) if are_images(source) else ()


@dataclass(frozen=True)
class SideBySide:
    """The samples of several inputs, each of its own source."""

    parts: tuple[CalibrationSet, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __iter__(self) -> Iterator[Inputs]:
        return between(self, 0, len(self))


@dataclass(frozen=True)
class ImageFiles:
    """Images: of a folder and its subfolders, in order of their names, or one."""

    files: tuple[str, ...]
    input: str
    type: TensorType
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return -(-len(self.files) // self.type.shape[0])

    def only(self, at: Sequence[int]) -> ImageFiles:
        """The samples at these places."""
        return replace(self, files=tuple(self.files[index] for each in at for index in self.files_of(each)))

    def files_of(self, index: int) -> list[int]:
        """Which files a sample is made of; the last batch is filled up from the beginning."""
        batch = self.type.shape[0]
        return [place % len(self.files) for place in range(index * batch, (index + 1) * batch)]

    def __iter__(self) -> Iterator[Inputs]:
        for index in range(len(self)):
            chosen = [self.files[place] for place in self.files_of(index)]
            with _reading():
                images = [self.preprocessing.load(file, self.type.shape, self.type.dtype.numpy) for file in chosen]
            array = np.concatenate(images)
            yield {self.input: check_sample(array, self.type, f"{chosen[0]!r}", self.input)}


@dataclass(frozen=True)
class SampleList:
    """Samples one by one; ``what`` begins what is said about each."""

    what: str
    samples: Sequence[Sample]
    inputs: Mapping[str, TensorType]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Inputs]:
        for index, sample in enumerate(self.samples):
            what = f"{self.what} {index}"
            if not isinstance(sample, Mapping):
                sample = {_only_input(self.inputs, what): sample}
            _check_names(what, sample, self.inputs)
            found: Inputs = {}
            for name, type in self.inputs.items():
                array = _array(sample[name], what, name)
                array = array[np.newaxis] if type.shape[:1] == (1,) and array.shape == type.shape[1:] else array
                found[name] = check_sample(array, type, what, name)
            yield found


@dataclass(frozen=True)
class StackedArrays:
    """Samples stacked along the first dimension of an array for each input, read as they are needed."""

    what: str
    arrays: Mapping[str, np.ndarray | StoredArray]
    inputs: Mapping[str, TensorType]
    rows: Mapping[str, int]
    samples: int

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[Inputs]:
        return self.between(0, self.samples)

    def between(self, first: int, last: int) -> Iterator[Inputs]:
        """Samples of these numbers alone."""
        parts = {name: self._parts(name, first, last) for name in self.inputs}
        for index in range(first, last):
            what = f"{self.what}, sample {index}"
            with _reading():
                sample = {name: next(parts[name]).reshape(type.shape) for name, type in self.inputs.items()}
            yield {name: check_sample(sample[name], type, what, name) for name, type in self.inputs.items()}

    def _parts(self, name: str, first: int, last: int) -> Iterator[np.ndarray]:
        array, rows = self.arrays[name], self.rows[name]
        if isinstance(array, StoredArray):
            return array.blocks(rows, last - first, first)
        return (array[index * rows : (index + 1) * rows] for index in range(first, last))


@dataclass(frozen=True)
class RandomSet:
    """Standard normal floats and uniform integers, the same ones at each iteration."""

    inputs: Mapping[str, TensorType]
    samples: int
    seed: int = 0

    def __len__(self) -> int:
        return self.samples

    def __iter__(self) -> Iterator[Inputs]:
        rng = np.random.default_rng(self.seed)
        for _ in range(self.samples):
            yield {name: _random(rng, type) for name, type in self.inputs.items()}


def _random(rng: np.random.Generator, type: TensorType) -> np.ndarray:
    if type.dtype.is_float:
        return rng.standard_normal(type.shape).astype(type.dtype.numpy)
    if type.dtype.is_integer:
        # Wide integers are indices or masks as a rule: 0 and 1 are valid for either.
        high = 2 if type.dtype.bytes > 1 else 128
        return rng.integers(0, high, type.shape).astype(type.dtype.numpy)
    return rng.integers(0, 2, type.shape).astype(bool)


@dataclass(frozen=True)
class Held:
    """Samples in memory, and the images that they were read from, where they were."""

    images: tuple[ImageFiles, ...]
    samples: Sequence[Inputs]

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Inputs]:
        return iter(self.samples)


CalibrationSet = Union[ImageFiles, SampleList, StackedArrays, RandomSet, SideBySide, Held]
"""Samples, of which each is arrays by input name, of the network's shapes and dtypes, checked."""


def hold(samples: CalibrationSet, at: Sequence[int]) -> Held:
    """The samples at these places, in rising order, read once."""
    if isinstance(samples, SideBySide):
        parts = [hold(part, at) for part in samples.parts]
        rows = zip(*(part.samples for part in parts), strict=True)
        merged = [{name: array for sample in row for name, array in sample.items()} for row in rows]
        return Held(tuple(images for part in parts for images in part.images), merged)
    if isinstance(samples, ImageFiles):
        images = samples.only(at)
        return Held((images,), [*images])
    wanted = set(at)
    return Held((), [sample for index, sample in enumerate(islice(samples, at[-1] + 1)) if index in wanted])


def images_of(samples: CalibrationSet) -> tuple[ImageFiles, ...]:
    """The images among samples."""
    if isinstance(samples, Held):
        return samples.images
    parts = samples.parts if isinstance(samples, SideBySide) else (samples,)
    return tuple(part for part in parts if isinstance(part, ImageFiles))


def between(samples: CalibrationSet, first: int, last: int) -> Iterator[Inputs]:
    """Samples of these numbers alone; what files hold of others is not read."""
    if isinstance(samples, SideBySide):
        for sample in zip(*(between(part, first, last) for part in samples.parts), strict=True):
            yield {name: array for part in sample for name, array in part.items()}
    elif isinstance(samples, ImageFiles):
        yield from samples.only(range(first, last))
    elif isinstance(samples, StackedArrays):
        yield from samples.between(first, last)
    else:
        yield from islice(samples, first, last)


def files_of(samples: CalibrationSet) -> list[str]:
    """Paths of the files that samples are read from."""
    if isinstance(samples, SideBySide):
        return [file for part in samples.parts for file in files_of(part)]
    if isinstance(samples, StackedArrays):
        return [array.path for array in samples.arrays.values() if isinstance(array, StoredArray)]
    return [file for each in images_of(samples) for file in each.files]


def _array(data: object, what: str, name: str) -> np.ndarray:
    try:
        return np.asarray(data)
    except ValueError as error:
        raise _error(f"{what} holds no array for input {name!r}: {error}") from None


def check_sample(array: np.ndarray, type: TensorType, what: str, name: str) -> np.ndarray:
    """``array`` as an input of ``type``; floats of another width are converted.

    Raises:
        CalibrationError: wrong shape or kind of numbers, NaN or infinity; names the source.
    """
    if array.shape != type.shape:
        raise _error(f"{what} does not fit input {name!r}", expected=list(type.shape), found=list(array.shape))
    if array.dtype != type.dtype.numpy:
        if array.dtype.kind != "f" or not type.dtype.is_float:
            raise _error(
                f"{what} does not fit input {name!r}",
                expected=type.dtype.numpy,
                found=array.dtype,
                hint=f"Save the array as {type.dtype.numpy}, scaled as the network expects its input.",
            )
        array = array.astype(type.dtype.numpy)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int(array.size - np.isfinite(array).sum())
        raise _error(
            f"{what} holds numbers that are not finite",
            found=f"{count} of {array.size} NaN or infinite in input {name!r}",
            hint="Leave the sample out or repair it.",
        )
    return array


def _images(
    path: str, inputs: Mapping[str, TensorType], declaration: Declaration | None, limit: int | None
) -> ImageFiles:
    name = _only_input(inputs, repr(path))
    preprocessing = for_input(declaration, name).preprocessing
    files = [path]
    if is_url(path):
        files = [each for each in listed(path) if Path(each).suffix.lower() in SUFFIXES]
    elif os.path.isdir(path):
        found = sorted(f for f in Path(path).rglob("*") if f.is_file() and f.suffix.lower() in SUFFIXES)
        files = [os.fspath(each) for each in found]
    if not files:
        raise _error(
            f"there are no images in {path!r}",
            expected=f"files that end in {', '.join(sorted(SUFFIXES))}",
        )
    with _reading("Give the calibration inputs as .npy or .npz instead."):
        preprocessing.check(inputs[name].shape, inputs[name].dtype.numpy)
    return ImageFiles(tuple(_spread(files, limit)), name, inputs[name], preprocessing)


def _spread(files: Sequence[str], limit: int | None) -> Sequence[str]:
    """At most ``limit`` files at even distances: sorted folders often hold one class after the other."""
    if limit is None or limit >= len(files):
        return files
    return [files[i * len(files) // limit] for i in range(limit)]


def _arrays(
    what: str, arrays: Mapping[str, np.ndarray | StoredArray], inputs: Mapping[str, TensorType], limit: int | None
) -> StackedArrays:
    _check_names(what, arrays, inputs)
    rows: dict[str, int] = {}
    counts: dict[str, int] = {}
    for name, type in inputs.items():
        array = arrays[name]
        rank = len(array.shape)
        stacked = rank == type.rank + 1 and array.shape[1:] == type.shape
        batched = rank == type.rank and type.rank > 0 and array.shape[1:] == type.shape[1:]
        if not stacked and not batched:
            raise _error(
                f"{what} does not fit input {name!r}",
                expected=f"[samples, {', '.join(map(str, type.shape[1:]))}]",
                found=list(array.shape),
            )
        rows[name] = 1 if stacked else type.shape[0]
        counts[name] = array.shape[0] // rows[name]
    # Of nothing, a file of a few bytes can hold any number.
    samples = min(counts.values()) if any(0 not in type.shape for type in inputs.values()) else 0
    if samples == 0:
        raise _error(f"{what} holds no sample", expected="at least one", found=_listed(counts))
    if len(set(counts.values())) > 1:
        raise _error(f"{what} holds different numbers of samples", found=_listed(counts))
    return StackedArrays(what, arrays, inputs, rows, samples if limit is None else min(limit, samples))


def _samples(source: Iterable[Sample], inputs: Mapping[str, TensorType], limit: int | None) -> SampleList:
    if not isinstance(source, Iterable):
        expected = "a path, 'random', an array, a mapping of arrays, or an iterable of samples"
        raise UsageError("wrong calibration data", expected=expected, found=type(source).__name__)
    samples = list(islice(source, limit))
    if not samples:
        raise _error("the calibration data holds no sample", expected="at least one")
    return SampleList("sample", samples, inputs)


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} for {name}" for name, count in counts.items())


def _check_names(what: str, arrays: Mapping[str, object], inputs: Mapping[str, TensorType]) -> None:
    if arrays.keys() != inputs.keys():
        raise _error(
            f"{what} does not have the names of the inputs",
            expected=", ".join(inputs),
            found=", ".join(arrays) or "none",
        )


def _only_input(inputs: Mapping[str, TensorType], what: str) -> str:
    if len(inputs) != 1:
        raise _error(
            f"{what} only works for networks with one input",
            found=", ".join(inputs),
            hint="Give a .npz file with an array for each input.",
        )
    return next(iter(inputs))


@contextmanager
def _reading(hint: str | None = None) -> Iterator[None]:
    """What is wrong with a file is an error about calibration here, with this hint unless it has one."""
    try:
        yield
    except InputError as error:
        raise _error(error.message, expected=error.expected, found=error.found, hint=error.hint or hint) from None


def _error(message: str, *, expected: object = None, found: object = None, hint: str | None = None) -> CalibrationError:
    return CalibrationError(message, stage="calibration", expected=expected, found=found, hint=hint)
