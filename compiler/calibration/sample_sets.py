"""Samples of a network in their forms: images in files, arrays one by one or stacked, random numbers, in memory."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from itertools import islice
from typing import Union

import numpy as np

from tilewright.errors import CalibrationError, InputError
from tilewright.immutable import Immutable

from ...ir.types import TensorType
from ...runtime.execution.buffers import is_narrower, refuse_masked
from ...runtime.files.array_file import StoredArray
from ...runtime.files.sound_file import StoredSound
from ...runtime.pictures.declaration import PRESETS
from ...runtime.pictures.preprocessing import Preprocessing
from ...runtime.report.execution import least
from .computations import Seen

Inputs = dict[str, np.ndarray]
Sample = Union[np.ndarray, Mapping[str, np.ndarray]]


class SideBySide(Immutable):
    """The samples of several inputs, each of its own source."""

    parts: tuple[CalibrationSet, ...]

    def __len__(self) -> int:
        return len(self.parts[0])

    def __iter__(self) -> Iterator[Inputs]:
        return between(self, 0, len(self))


class ImageFiles(Immutable):
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
            with reading():
                images = [self.preprocessing.load(file, self.type.shape, self.type.dtype.numpy) for file in chosen]
            array = np.concatenate(images)
            yield {self.input: check_sample(array, self.type, f"{chosen[0]!r}", self.input)}


class SampleList(Immutable):
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
                sample = {only_input(self.inputs, what): sample}
            check_names(what, sample, self.inputs)
            found: Inputs = {}
            for name, type in self.inputs.items():
                array = as_array(sample[name], what, name)
                array = array[np.newaxis] if type.shape[:1] == (1,) and array.shape == type.shape[1:] else array
                found[name] = check_sample(array, type, what, name)
            yield found


class StackedArrays(Immutable):
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
            with reading():
                sample = {name: next(parts[name]).reshape(type.shape) for name, type in self.inputs.items()}
            yield {name: check_sample(sample[name], type, what, name) for name, type in self.inputs.items()}

    def _parts(self, name: str, first: int, last: int) -> Iterator[np.ndarray]:
        array, rows = self.arrays[name], self.rows[name]
        if isinstance(array, StoredArray):
            return array.blocks(rows, last - first, first)
        return (array[index * rows : (index + 1) * rows] for index in range(first, last))


class ArrayFiles(Immutable):
    """The samples of several files of arrays, one file after the other."""

    files: tuple[str, ...]
    parts: tuple[StackedArrays, ...]
    limit: int | None = None

    def __len__(self) -> int:
        total = sum(map(len, self.parts))
        return total if self.limit is None else min(total, self.limit)

    def __iter__(self) -> Iterator[Inputs]:
        return self.between(0, len(self))

    def between(self, first: int, last: int) -> Iterator[Inputs]:
        """Samples of these numbers alone."""
        start = 0
        for part in self.parts:
            yield from part.between(max(first - start, 0), min(last - start, len(part)))
            start += len(part)


class RandomSet(Immutable):
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
    high = 128 if type.dtype.bytes == 1 and type.dtype.is_integer else 2
    return rng.integers(least(type.shape, type.dtype.numpy), high, type.shape).astype(type.dtype.numpy)


class Held(Immutable):
    """Samples in memory.

    Attributes:
        images: that they were read from, where they were.
        seen: what was found of them, for as long as they are held.
        rates: of inputs that sounds are for, as `rate_of` tells them.
        numbers: of these samples among all; by default none are left out.
    """

    images: tuple[ImageFiles, ...]
    samples: Sequence[Inputs]
    seen: Seen = field(default_factory=dict, repr=False, compare=False)
    rates: Mapping[str, int] = field(default_factory=dict)
    numbers: Sequence[int] = ()

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Inputs]:
        return iter(self.samples)

    def only(self, at: Sequence[int]) -> Held:
        """Those at these places."""
        images = tuple(each.only(at) for each in self.images)
        numbers = [numbers_of(self)[index] for index in at]
        return Held(images, [self.samples[index] for index in at], rates=self.rates, numbers=numbers)


CalibrationSet = Union[ImageFiles, SampleList, StackedArrays, ArrayFiles, RandomSet, SideBySide, Held]
"""Samples, of which each is arrays by input name, of the network's shapes and dtypes, checked."""


def hold(samples: CalibrationSet, at: Sequence[int]) -> Held:
    """The samples at these places, in rising order, read once."""
    if isinstance(samples, SideBySide):
        parts = [hold(part, at) for part in samples.parts]
        rows = zip(*(part.samples for part in parts), strict=True)
        merged = [{name: array for sample in row for name, array in sample.items()} for row in rows]
        images = tuple(images for part in parts for images in part.images)
        rates = {name: rate for part in parts for name, rate in part.rates.items()}
        return Held(images, merged, rates=rates, numbers=at)
    if isinstance(samples, ImageFiles):
        images = samples.only(at)
        return Held((images,), [*images], numbers=at)
    wanted = set(at)
    held = [sample for index, sample in enumerate(islice(samples, at[-1] + 1)) if index in wanted]
    return Held((), held, rates={name: rate_of(samples, name) for name in next(iter(held), {})}, numbers=at)


def numbers_of(samples: CalibrationSet) -> Sequence[int]:
    """The number of each sample, as it was given."""
    return (samples.numbers if isinstance(samples, Held) else ()) or range(len(samples))


def images_of(samples: CalibrationSet) -> tuple[ImageFiles, ...]:
    """The images among samples."""
    if isinstance(samples, Held):
        return samples.images
    parts = samples.parts if isinstance(samples, SideBySide) else (samples,)
    return tuple(part for part in parts if isinstance(part, ImageFiles))


def has_noise(samples: CalibrationSet) -> bool:
    """Whether some of the inputs are given random numbers."""
    parts = samples.parts if isinstance(samples, SideBySide) else (samples,)
    return any(isinstance(part, RandomSet) for part in parts)


def unsaid(samples: CalibrationSet, told: Collection[str] = ()) -> list[str]:
    """What to tell of images whose preprocessing nobody gave. ``told``: the inputs for which it is known all the
    same."""
    return [
        f"nothing says how images become input {each.input!r}, so it is {each.preprocessing.text()}. Try "
        f"--preprocess with what the network was trained with: {', '.join(PRESETS)}, or pairs such as "
        "resize=stretch,units=0-1"
        for each in images_of(samples)
        if each.input not in told
    ]


def rate_of(samples: CalibrationSet, name: str) -> int:
    """Numbers a second of samples for an input that are sounds, which all have the same; else 0."""
    if isinstance(samples, Held):
        return samples.rates.get(name, 0)
    if isinstance(samples, SideBySide):
        return max(rate_of(part, name) for part in samples.parts)
    part = samples.parts[0] if isinstance(samples, ArrayFiles) else samples
    found = part.arrays.get(name) if isinstance(part, StackedArrays) else None
    return found.rate if isinstance(found, StoredSound) else 0


def between(samples: CalibrationSet, first: int, last: int) -> Iterator[Inputs]:
    """Samples of these numbers alone; what files hold of others is not read."""
    if isinstance(samples, SideBySide):
        for sample in zip(*(between(part, first, last) for part in samples.parts), strict=True):
            yield {name: array for part in sample for name, array in part.items()}
    elif isinstance(samples, ImageFiles):
        yield from samples.only(range(first, last))
    elif isinstance(samples, (StackedArrays, ArrayFiles)):
        yield from samples.between(first, last)
    else:
        yield from islice(samples, first, last)


def shards_of(samples: CalibrationSet, size: int) -> list[tuple[int, int]]:
    """All samples, so many to a shard: the numbers of its first one and of that behind its last, as for `between`."""
    total = len(samples)
    return [(first, min(first + size, total)) for first in range(0, total, size)]


def files_of(samples: CalibrationSet) -> list[str]:
    """Paths of the files that samples are read from."""
    if isinstance(samples, SideBySide):
        return [file for part in samples.parts for file in files_of(part)]
    if isinstance(samples, ArrayFiles):
        return [*samples.files]
    if isinstance(samples, StackedArrays):
        return [array.path for array in samples.arrays.values() if isinstance(array, StoredArray)]
    return [file for each in images_of(samples) for file in each.files]


def as_array(data: object, what: str, name: str) -> np.ndarray:
    """What is given for an input as an array; ``what`` begins what is said about it."""
    if isinstance(data, (str, os.PathLike)):
        hint = "Give the folder that it is in, or arrays."
        raise refusal(f"{what} is a path", expected=f"an array for input {name!r}", found=data, hint=hint)
    with reading():
        refuse_masked(data, f"{what} for input {name!r}")
    try:
        return np.asarray(data)
    except ValueError as error:
        raise refusal(f"{what} holds no array for input {name!r}: {error}") from None


_SCALED = ", scaled as the network expects its input"


def check_sample(array: np.ndarray, type: TensorType, what: str, name: str) -> np.ndarray:
    """``array`` as an input of ``type``; floats of another width are converted, and integers to wider ones.
    Raises CalibrationError: wrong shape or kind of numbers, NaN or infinity; names the source."""
    if array.shape != type.shape:
        raise refusal(f"{what} does not fit input {name!r}", expected=list(type.shape), found=list(array.shape))
    if array.dtype != type.dtype.numpy:
        if not is_narrower(array.dtype, type.dtype.numpy) and (array.dtype.kind != "f" or not type.dtype.is_float):
            raise refusal(
                f"{what} does not fit input {name!r}",
                expected=type.dtype.numpy,
                found=array.dtype,
                hint=f"Save the array as {type.dtype.numpy}{_SCALED if type.dtype.is_float else ''}.",
            )
        array = array.astype(type.dtype.numpy)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        count = int(array.size - np.isfinite(array).sum())
        raise refusal(
            f"{what} holds numbers that are not finite",
            found=f"{count} of {array.size} NaN or infinite in input {name!r}",
            hint="Leave the sample out or repair it.",
        )
    return array


def check_names(what: str, arrays: Mapping[str, object], inputs: Mapping[str, object], *, more: bool = False) -> None:
    """Refuse arrays of other names than those of the inputs, or with ``more`` than those of these and others."""
    if not inputs.keys() <= arrays.keys() or (arrays.keys() != inputs.keys() and not more):
        missing = [name for name in inputs if name not in arrays]
        wrong = ", ".join(map(repr, missing or [name for name in arrays if name not in inputs]))
        hint = f"Give {wrong} as well." if missing else f"Leave out {wrong}."
        if missing and "arr_0" in arrays:
            hint = f"Save arrays by name, as numpy.savez(PATH, **{{{missing[0]!r}: …}}) does."
        raise refusal(
            f"{what} does not have the names of the inputs",
            expected=", ".join(inputs),
            found=", ".join(arrays) or "none",
            hint=hint,
        )


def only_input(inputs: Mapping[str, TensorType], what: str) -> str:
    """The name of the input, where there is one alone, which ``what`` takes for granted."""
    if len(inputs) != 1:
        raise refusal(
            f"{what} only works for networks with one input",
            found=", ".join(inputs),
            hint="Give each its own, as NAME=PATH,NAME=PATH, or a .npz file with an array for each.",
        )
    return next(iter(inputs))


@contextmanager
def reading(hint: str | None = None) -> Iterator[None]:
    """What is wrong with a file is an error about calibration here, with this hint unless it has one."""
    try:
        yield
    except InputError as error:
        raise refusal(error.message, expected=error.expected, found=error.found, hint=error.hint or hint) from None


def refusal(
    message: str, *, expected: object = None, found: object = None, hint: str | None = None
) -> CalibrationError:
    """An error about samples."""
    return CalibrationError(message, stage="calibration", expected=expected, found=found, hint=hint)
