"""Arrays of the caller: the images of a batch out of those that come in, and results into those that are given.

Everything that comes in and goes out is float32 in C order, whatever the network computes with. How an array is shaped
does not matter: its elements in C order are those of one image of the network after the other.
"""

import math
from collections.abc import Sequence

import numpy as np

from ....artifact.manifest import TensorSpec
from ..errors import AcceleratorError, ContainerError

Image = dict[str, np.ndarray]
"""The inputs of one run of a network, by name."""

Results = list[list[np.ndarray]]
"""For each output, what each run of the batch gave, as float32."""


def flattened(images: object) -> list[np.ndarray]:
    """The arrays of whatever container calls take, in order. Raises ContainerError: it is another one."""
    if isinstance(images, np.ndarray):
        parts = list(images.flat) if images.dtype == object else []
        return parts if parts and all(isinstance(part, np.ndarray) for part in parts) else [images]
    if not isinstance(images, (tuple, list)):
        raise ContainerError(type(images).__name__)
    if not images:
        raise ContainerError(f"an empty {type(images).__name__}")
    found: list[np.ndarray] = []
    for part in images:
        if isinstance(part, np.ndarray):
            found.append(part)
        elif isinstance(part, (tuple, list)) and part and all(isinstance(each, np.ndarray) for each in part):
            found += part
        else:
            raise ContainerError(f"{type(images).__name__} with {type(part).__name__}")
    return found


def images_of(images: object, networks: Sequence[Sequence[TensorSpec]], *, only_float32: bool) -> list[list[Image]]:
    """The runs of each network that arrays ask for: each array holds one or several images of its input.

    As many arrays as the networks have inputs are one for each; a multiple of them are the inputs of the first image,
    then those of the second, and so on.
    ``networks``: the inputs of each.
    ``only_float32``: whether other arrays than of float32, or of the type that the network takes, are refused.
    Raises AcceleratorError: they are not as many as the networks have inputs, or do not hold whole images."""
    arrays = flattened(images)
    inputs = [spec for network in networks for spec in network]
    if not inputs or len(arrays) % len(inputs):
        raise _other_number("input", inputs, arrays)
    split: list[list[Image]] = []
    position = 0
    for network in networks:
        split.append([])
        for first in range(position, len(arrays), len(inputs)):
            split[-1] += _runs(arrays[first : first + len(network)], network, only_float32)
        position += len(network)
    return split


def _other_number(stage: str, specs: Sequence[TensorSpec], found: Sequence[np.ndarray]) -> AcceleratorError:
    expected = f"{len(specs)} {'array' if len(specs) == 1 else 'arrays'}: {', '.join(map(str, specs))}"
    what = f"the network has another number of {'inputs' if stage == 'input' else 'outputs'}"
    return AcceleratorError(what, stage=stage, expected=expected, found=len(found))


def _runs(arrays: Sequence[np.ndarray], inputs: Sequence[TensorSpec], only_float32: bool) -> list[Image]:
    pieces = {spec.name: _pieces(array, spec, only_float32) for array, spec in zip(arrays, inputs, strict=True)}
    counts = {len(each) for each in pieces.values()}
    if len(counts) > 1:
        found = ", ".join(f"{len(each)} of {name!r}" for name, each in pieces.items())
        raise AcceleratorError("the inputs hold different numbers of images", stage="input", found=found)
    return [{name: each[index] for name, each in pieces.items()} for index in range(max(counts, default=0))]


def _pieces(array: np.ndarray, spec: TensorSpec, only_float32: bool) -> np.ndarray:
    """The images of an input, [images, …] of its shape and type."""
    each = elements(spec)
    if not each or not array.size or array.size % each:
        expected, found = (
            f"{each} elements, as {list(spec.shape)}, for each image",
            f"{array.size}, as {list(array.shape)}",
        )
        what = f"input {spec.name!r} does not hold whole images"
        raise AcceleratorError(what, stage="input", expected=expected, found=found)
    if only_float32 and array.dtype not in (np.dtype(np.float32), spec.numpy):
        what, hint = f"input {spec.name!r} has the wrong dtype", "Convert it with array.astype('float32')."
        raise AcceleratorError(what, stage="input", expected="float32", found=array.dtype, hint=hint)
    return _converted(array, spec).reshape(-1, *spec.shape)


def _converted(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    target = spec.numpy
    if array.dtype == target:
        return array
    if array.dtype.kind not in "fiub":
        what = f"input {spec.name!r} is not of numbers"
        raise AcceleratorError(what, stage="input", expected="float32", found=array.dtype)
    if target.kind in "iu" and array.dtype.kind == "f":
        array = np.rint(array)
    if target.kind in "iu":
        bounds = np.iinfo(target)
        # In Python, where no type is too small for either bound; NaN is within none.
        low, high = array.min().item(), array.max().item()
        if not (bounds.min <= low and high <= bounds.max):
            what = f"input {spec.name!r} holds numbers that the network does not take"
            expected, found = f"{bounds.min} to {bounds.max}", f"{low} to {high}"
            raise AcceleratorError(what, stage="input", expected=expected, found=found)
    with np.errstate(over="ignore"):
        return array.astype(target)


def stacked(results: Results) -> np.ndarray | list[np.ndarray]:
    """New arrays, one for each output with the images along its first dimension; without a list if there is one."""
    arrays = [np.concatenate([np.atleast_1d(each) for each in runs]) for runs in results]
    return arrays[0] if len(arrays) == 1 else arrays


def targets(result: object, outputs: Sequence[TensorSpec]) -> list[np.ndarray]:
    """The arrays that results go into, checked before anything runs.
    Raises ContainerError: they are no arrays; AcceleratorError: they are not as many as there are outputs, no float32,
    too small for one image or read-only."""
    found = flattened(result)
    if len(found) != len(outputs):
        raise _other_number("result", outputs, found)
    for array, spec in zip(found, outputs, strict=True):
        if array.dtype != np.float32:
            what = f"the result for {spec.name!r} has the wrong dtype"
            raise AcceleratorError(what, stage="result", expected="float32", found=array.dtype)
        if not array.flags.writeable:
            raise AcceleratorError(f"the result for {spec.name!r} is read-only", stage="result")
        _check_room(array, spec, 1)
    return found


def elements(spec: TensorSpec) -> int:
    """Of a tensor of one image."""
    return math.prod(spec.shape)


def _check_room(array: np.ndarray, spec: TensorSpec, images: int) -> None:
    needed = elements(spec) * images
    if array.size < needed:
        expected = f"{needed} elements for {images} {'image' if images == 1 else 'images'}"
        what = f"the result for {spec.name!r} is too small"
        raise AcceleratorError(what, stage="result", expected=expected, found=array.size)


def fill(found: Sequence[np.ndarray], outputs: Sequence[TensorSpec], results: Results) -> None:
    """Write results into checked arrays, in C order whatever their shape; what is beyond the results stays. Nothing is
    written where one is too small for all images."""
    for array, spec, runs in zip(found, outputs, results, strict=True):
        _check_room(array, spec, len(runs))
    for array, runs in zip(found, results, strict=True):
        position = 0
        for values in runs:
            array.flat[position : position + values.size] = values.reshape(-1)
            position += values.size
