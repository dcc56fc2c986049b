"""Input data of the Simulator API: samples in files, read one at a time.

A path names a folder, of which every ``.npz``, ``.npy`` and ``.h5`` is read, or one such file. A ``.npz`` or ``.h5``
holds an array for each input by its name (``/`` at either end apart), and may hold others; a ``.npy`` is for the only
input. An array is one sample in the shape of the input, whose first dimension may be left out if it is 1; or samples
stacked along the first dimension, or along one before it. A first dimension that the model leaves open is 1 here. The
sample is called like the file without its ending, in a stack of several with its position behind it: ``name[0]``.
Floating-point numbers of any width become what the input takes, integers where none changes its value.

Original: ``.h5`` alone, of float32.
"""

from __future__ import annotations

import os
import re
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from typing import Any, Union

import numpy as np

from tilewright.errors import InputError
from tilewright.immutable import Immutable

from ...artifact.manifest import NUMPY_DTYPES, TensorSpec
from ...files.array_file import StoredArray, open_arrays
from .h5_file import H5Array, open_h5

TYPES = {name: f"tensor({dtype.name})" for name, dtype in NUMPY_DTYPES.items()}
TYPES |= {"f32": "tensor(float)", "f64": "tensor(double)"}
"""How onnxruntime calls element types, by what artifacts call them."""


class NodeArg(Immutable):
    """An input or output of a network.

    Attributes:
        name: by which it is fed or asked for.
        type: of the elements, such as ``tensor(float)``.
        shape: a number for each dimension; for one that the model leaves open its name, or None.
    """

    name: str
    type: str
    shape: list[int | str | None]


def node_arg(spec: TensorSpec) -> NodeArg:
    """What an artifact takes or gives, as onnxruntime tells it."""
    return NodeArg(spec.name, TYPES[spec.dtype], [*spec.shape])


def numpy_type(type: str) -> np.dtype[Any]:
    """What NumPy makes of elements of a type such as ``tensor(float)``."""
    kind = type.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64"}.get(kind, kind))


Feeds = dict[str, np.ndarray]
"""The arrays of a sample by name of the input."""

STAGE = "input data"
ONLY_INPUT = "input"
"""What the array of a ``.npy`` file is called where no network says how its input is called."""

_H5 = (".h5", ".hdf5")
ENDINGS = (".npz", ".npy", *_H5)
"""What the names of files of arrays end in."""
_POSITION = re.compile(r"(.*)\[(0|[1-9][0-9]{0,17})\]", re.DOTALL)

_Array = Union[StoredArray, H5Array]


class InputData(Mapping[str, Feeds]):
    """Samples by name, each read from its file when it is asked for. Iterate over `items` to read each file once.

    Args:
        path: a folder or a file, as `tilewright.runtime.api.simulator.input_data` says.
        inputs: of the network that takes the samples, as `get_inputs` of its session tells; arrays then come in their
            shapes and types. Without, files are samples as they are stored, and none is a stack.

    Raises:
        InputError: there is nothing there, or it does not fit the inputs; names the file, and what was expected.
        NotInstalledError: a file is a ``.h5``, and h5py is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], inputs: Sequence[NodeArg] | None = None) -> None:
        self._stacks: dict[str, _Stack] = {}
        wanted = [each.name for each in inputs or ()]
        for file in _files(os.fspath(path)):
            arrays = open_h5(file) if file.lower().endswith(_H5) else open_arrays(file, wanted)
            stack = _as_stored(arrays) if inputs is None else _stacked(file, arrays, inputs)
            name = os.path.splitext(os.path.basename(file))[0]
            if name in self._stacks:
                raise _error(f"two files of the same name are the sample {name!r}", found=file)
            self._stacks[name] = stack
        for name in self._stacks:
            position = _POSITION.fullmatch(name)
            if position and int(position[2]) < self._count(position[1]):
                raise _error(f"{name!r} is a file, and the sample of another", hint="Rename the file.")

    def __getitem__(self, name: str) -> Feeds:
        stack = self._stacks.get(name)
        if stack is not None and stack.count == 1:
            return stack.sample(0)
        position = _POSITION.fullmatch(name)
        if position is None or int(position[2]) >= self._count(position[1]):
            raise KeyError(name)
        return self._stacks[position[1]].sample(int(position[2]))

    def __iter__(self) -> Iterator[str]:
        for name, stack in self._stacks.items():
            yield from (name,) if stack.count == 1 else (f"{name}[{index}]" for index in range(stack.count))

    def __len__(self) -> int:
        return sum(stack.count for stack in self._stacks.values())

    def items(self) -> ItemsView[str, Feeds]:
        """The samples with their names, in order, of which one at a time is in memory."""
        return _Items(self)

    def values(self) -> ValuesView[Feeds]:
        """The samples in order, of which one at a time is in memory."""
        return _Values(self)

    def _stream(self) -> Iterator[Feeds]:
        for stack in self._stacks.values():
            yield from stack.samples(stack.count)

    def _count(self, name: str) -> int:
        """How many samples carry this name with a position."""
        stack = self._stacks.get(name)
        return stack.count if stack is not None and stack.count > 1 else 0


class _Items(ItemsView[str, Feeds]):
    _mapping: InputData

    def __iter__(self) -> Iterator[tuple[str, Feeds]]:
        return zip(self._mapping, self._mapping._stream(), strict=True)


class _Values(ValuesView[Feeds]):
    _mapping: InputData

    def __iter__(self) -> Iterator[Feeds]:
        return self._mapping._stream()


class _Part(Immutable):
    """What a file holds for one input.
    ``rows``: how many rows of the array are a sample; None where the whole array is.
    ``input``: what takes it; None where the array is handed over as it is stored."""

    array: _Array
    rows: int | None = None
    input: NodeArg | None = None

    def arrays(self, count: int, first: int) -> Iterator[np.ndarray]:
        blocks = iter((self.array.read(),)) if self.rows is None else self.array.blocks(self.rows, count, first)
        return blocks if self.input is None else (adapted(block, self.input, str(self.array)) for block in blocks)


class _Stack(Immutable):
    """The samples of a file."""

    parts: Mapping[str, _Part]
    count: int = 1

    def sample(self, index: int) -> Feeds:
        return next(self.samples(1, index))

    def samples(self, count: int, first: int = 0) -> Iterator[Feeds]:
        arrays = {name: part.arrays(count, first) for name, part in self.parts.items()}
        for _ in range(count):
            yield {name: next(iterator) for name, iterator in arrays.items()}


def adapted(array: np.ndarray, input: NodeArg, what: str) -> np.ndarray:
    """An array of so many elements in the type and shape of an input, of which dimensions of 1 may differ.
    Raises InputError: the type cannot become that of the input without changing values; begins with ``what``."""
    fixed = [extent for extent in input.shape if isinstance(extent, int)]
    if len(fixed) == len(input.shape):
        array = array.reshape(fixed)
    elif array.ndim != len(input.shape):
        array = array[0] if array.ndim > len(input.shape) else array[np.newaxis]
    wanted = numpy_type(input.type)
    if array.dtype.kind == "f" and wanted.kind == "f":
        with np.errstate(over="ignore"):
            return array.astype(wanted, copy=False)
    if array.dtype == wanted or (array.dtype.kind in "iu" and wanted.kind in "iu"):
        found = array.astype(wanted, copy=False)
        if array.dtype == wanted or np.array_equal(found, array):
            return found
    hint = f"Save the array as {wanted}{', scaled as the network expects its input' if wanted.kind == 'f' else ''}."
    raise _error(f"{what} does not fit input {input.name!r}", expected=wanted, found=array.dtype, hint=hint)


def _files(path: str) -> list[str]:
    if not os.path.exists(path):
        raise _error(f"there is no {path!r}", expected=f"a folder, or a file that ends in {', '.join(ENDINGS)}")
    if not os.path.isdir(path):
        return [path]
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        raise _error(f"cannot read {path!r}: {error.strerror}") from None
    files = [name for name in names if name.lower().endswith(ENDINGS) and not name.startswith(".")]
    if not files:
        raise _error(f"there is no sample in {path!r}", expected=f"files that end in {', '.join(ENDINGS)}")
    return [os.path.join(path, name) for name in files]


def _as_stored(arrays: Mapping[str, _Array] | StoredArray) -> _Stack:
    named = {ONLY_INPUT: arrays} if isinstance(arrays, StoredArray) else arrays
    return _Stack({name: _Part(array) for name, array in named.items()})


def _stacked(file: str, arrays: Mapping[str, _Array] | StoredArray, inputs: Sequence[NodeArg]) -> _Stack:
    if isinstance(arrays, StoredArray):
        if len(inputs) != 1:
            found = ", ".join(input.name for input in inputs)
            hint = "Give a .npz file with an array for each input."
            raise _error(f"{file!r} only works for networks with one input", found=found, hint=hint)
        arrays = {inputs[0].name: arrays}
    named = {name.strip("/"): array for name, array in arrays.items()}
    counts: dict[str, int] = {}
    parts: dict[str, _Part] = {}
    for input in inputs:
        if input.name.strip("/") not in named:
            expected, found = ", ".join(each.name for each in inputs), ", ".join(arrays) or "none"
            raise _error(f"{file!r} does not have the names of the inputs", expected=expected, found=found)
        array = named[input.name.strip("/")]
        rows, counts[input.name] = _divided(array, input)
        parts[input.name] = _Part(array, rows, input)
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} for {name}" for name, count in counts.items())
        raise _error(f"{file!r} holds different numbers of samples", found=found)
    return _Stack(parts, next(iter(counts.values()), 1))


def _divided(array: _Array, input: NodeArg) -> tuple[int | None, int]:
    """How many rows of an array are a sample of an input, None for all, and how many samples there are."""
    shape, wanted = array.shape, list(input.shape)
    if wanted and not isinstance(wanted[0], int):
        wanted[0] = 1
    if fits(shape, wanted) or (wanted[:1] == [1] and fits(shape, wanted[1:])):
        return None, 1
    stacked = fits(shape[1:], wanted)
    rows = 1 if stacked else wanted[0] if wanted and fits(shape[1:], wanted[1:]) else None
    if not isinstance(rows, int) or not rows or 0 in shape or shape[0] % rows:
        expected = f"[{', '.join('?' if extent is None else str(extent) for extent in wanted)}], or a stack of such"
        raise _error(f"{array} does not fit input {input.name!r}", expected=expected, found=list(shape))
    return rows, shape[0] // rows


def fits(shape: tuple[int, ...], wanted: Sequence[int | str | None]) -> bool:
    """Whether an array of a shape is one sample of an input, whatever the dimensions are that the model leaves open."""
    return len(shape) == len(wanted) and all(
        not isinstance(there, int) or extent == there for extent, there in zip(shape, wanted, strict=True)
    )


def _error(message: str, *, expected: object = None, found: object = None, hint: str | None = None) -> InputError:
    return InputError(message, stage=STAGE, expected=expected, found=found, hint=hint)
