"""Samples: small applications of an operator that every executor must agree on, and the arrays they are made of.

The samples of a family stand in ``tests/operators``, under its name. A class without samples of its own has those of
its base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tilewright.ir.op import Operator
from tilewright.ir.ops.elementwise import UNSIGNED
from tilewright.ir.types import DType, Quantization, TensorType

T = TypeVar("T")
Shape = Sequence[int]


@dataclass(frozen=True)
class Sample:
    """One application of an operator.

    Attributes:
        operator: with its attributes.
        inputs: one array for each operand, ``None`` for an absent one.
        constants: indices of the operands that are constants in the graph (weights, axes tables).
        types: operand types where they carry quantisation; by default those of the arrays.
        result_types: given where they cannot be inferred (quantised results).
    """

    operator: Operator
    inputs: tuple[np.ndarray | None, ...]
    constants: frozenset[int] = frozenset()
    types: tuple[TensorType | None, ...] | None = None
    result_types: tuple[TensorType, ...] | None = None

    def operand_types(self) -> tuple[TensorType | None, ...]:
        if self.types is not None:
            return self.types
        return tuple(TensorType.of(array) if array is not None else None for array in self.inputs)


Maker = Callable[[Any, np.random.Generator], Iterator[Sample]]
"""Yields samples that cover the attributes of a class of operators, small enough to run in milliseconds."""

MAKERS: dict[type[Operator], Maker] = {}

MakerFunction = TypeVar("MakerFunction", bound=Maker)


def samples_of(cls: type[Operator]) -> Callable[[MakerFunction], MakerFunction]:
    """Register the maker of the samples of ``cls`` and of the classes that derive from it without one of their own."""

    def register(function: MakerFunction) -> MakerFunction:
        MAKERS[cls] = function
        return function

    return register


def nearest(table: Mapping[type[Operator], T], cls: type[Operator]) -> T:
    """The entry of a class, or of the nearest of its bases that has one."""
    for base in cls.__mro__:
        if base in table:
            return table[base]
    raise LookupError(f"{cls.__name__} has no samples: tests/operators/{cls.family}.py is the place for them")


def random_array(rng: np.random.Generator, dtype: DType, shape: Shape, low: float = -4, high: float = 4) -> np.ndarray:
    """Numbers between ``low`` and ``high``; those below zero only where the type has them."""
    shape = tuple(shape)
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if dtype.is_float:
        return np.asarray(rng.uniform(low, high, shape)).astype(dtype.numpy)
    return rng.integers(max(int(low), 0) if dtype in UNSIGNED else int(low), int(high) + 1, shape).astype(dtype.numpy)


def stored_array(rng: np.random.Generator, dtype: DType, shape: Shape) -> np.ndarray:
    """Integers over the whole range of ``dtype``."""
    limits = np.iinfo(dtype.numpy)
    return rng.integers(limits.min, limits.max + 1, tuple(shape)).astype(dtype.numpy)


def weight_array(rng: np.random.Generator, dtype: DType, shape: Shape) -> np.ndarray:
    """Weights small enough that no processor saturates the sum of two products with 8-bit activations.

    x86 processors without VNNI do so in onnxruntime's kernels, which then would not be an oracle.
    """
    low, high = (-64, 64) if dtype is DType.I8 else (0, 64)
    return rng.integers(low, high + 1, tuple(shape)).astype(dtype.numpy)


def quantized_type(dtype: DType, shape: Shape, scale: float, zero_point: int = 0) -> TensorType:
    """An 8-bit type; the scale is rounded to float32, as models store it."""
    return TensorType(tuple(shape), dtype, Quantization.per_tensor(float(np.float32(scale)), zero_point))


def channel_type(
    rng: np.random.Generator, dtype: DType, shape: Shape, axis: int, zero_points: Sequence[int] | None = None
) -> TensorType:
    """A type of weights with a random scale for each channel."""
    scales = rng.uniform(0.002, 0.02, shape[axis]).astype(np.float32)
    return TensorType(tuple(shape), dtype, Quantization.per_channel(scales, axis, zero_points))


def moved_sample(rng: np.random.Generator, operator: Operator, *shapes: Shape) -> Sample:
    """An operator that treats stored integers like any others, on 8-bit tensors of equal parameters."""
    types = tuple(quantized_type(DType.I8, shape, 0.07, -9) for shape in shapes)
    arrays = tuple(stored_array(rng, DType.I8, shape) for shape in shapes)
    return Sample(operator, arrays, types=types, result_types=operator.result_types(types))
