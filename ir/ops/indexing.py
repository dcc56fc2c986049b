"""Operators that pick or put elements by computed indices.

Indices are i32 or i64; negative ones count from the end. An index out of range is an error when the network runs.
"""

import numpy as np

from tilewright.errors import InputError, IRError

from ..core import Value
from ..op import Operator, QuantizationRule, operator
from ..types import DType, TensorType
from .movement import check_axis
from .shape import moved, truncate

REDUCTIONS = ("none", "add", "mul", "min", "max")
"""How an element that is put somewhere meets what is there: replace it, or combine with it."""


def check_indices(indices: TensorType) -> None:
    """Raise IRError unless the dtype is that of indices."""
    if indices.dtype not in (DType.I32, DType.I64):
        raise IRError("indices must be i32 or i64", found=indices)


def from_front(indices: np.ndarray, extent: int) -> np.ndarray:
    """Indices into a dimension, as i64 counted from the front. Raises InputError: one is out of range."""
    wide = indices.astype(np.int64)
    wrong = (wide < -extent) | (wide >= extent)
    if wrong.any():
        raise InputError(
            "an index is out of range", expected=f"{-extent} to {extent - 1}", found=int(wide[wrong].reshape(-1)[0])
        )
    return np.where(wide < 0, wide + extent, wide)


def combine(y: np.ndarray, positions: tuple, updates: np.ndarray, reduction: str) -> None:
    """Put ``updates`` at ``positions`` of ``y``; duplicates all count, or, for ``none``, the last one does."""
    if reduction == "none":
        y[positions] = updates
    else:
        functions = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}
        functions[reduction].at(y, positions, updates)


@operator("gather")
class Gather(Operator[tuple[Value, Value]]):
    """Pick slices of x along ``axis``.

    Operands: x, of any dtype; indices, of any shape. Result: the shape of x with the extent of ``axis`` replaced by
    the shape of indices."""

    QUANTIZATION = QuantizationRule.PRESERVE

    axis: int = 0

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        check_axis(self.axis, x)
        check_indices(indices)
        return moved(x, (*x.shape[: self.axis], *indices.shape, *x.shape[self.axis + 1 :]))

    def reference(self, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.take(x, from_front(indices, x.shape[self.axis]), self.axis)


@operator("gather_elements")
class GatherElements(Operator[tuple[Value, Value]]):
    """Pick one element for each index: along ``axis`` by the index, along all others by its own position.

    Operands: x; indices, of the rank of x and no larger than it apart from ``axis``. Result: the shape of indices."""

    QUANTIZATION = QuantizationRule.PRESERVE

    axis: int = 0

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        check_axis(self.axis, x)
        check_indices(indices)
        check_inside(indices, x, self.axis)
        return moved(x, indices.shape)

    def reference(self, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return x[element_positions(x, indices, self.axis)]


def check_inside(indices: TensorType, x: TensorType, axis: int) -> None:
    """Raise IRError unless positions of indices are positions of x, apart from ``axis``."""
    fits = indices.rank == x.rank and all(
        d == axis or i <= e for d, (i, e) in enumerate(zip(indices.shape, x.shape, strict=True))
    )
    if not fits:
        raise IRError("indices reach beyond x", expected=list(x.shape), found=list(indices.shape))


def element_positions(x: np.ndarray, indices: np.ndarray, axis: int) -> tuple[np.ndarray, ...]:
    """For each position of ``indices``, where in ``x`` it points: its own position with ``axis`` replaced.

    The arrays broadcast to the shape of ``indices``, which has elements."""
    found: list[np.ndarray] = list(np.indices(indices.shape, sparse=True))
    found[axis] = from_front(indices, x.shape[axis])
    return tuple(found)


@operator("gather_nd")
class GatherND(Operator[tuple[Value, Value]]):
    """Pick slices of x by index tuples.

    Operands: x; indices [*batch, ..., n]. Result [*batch, ..., *x.shape[batch_dims + n:]]: the last dimension of
    indices holds coordinates of x after the batch dimensions, which both operands share."""

    QUANTIZATION = QuantizationRule.PRESERVE

    batch_dims: int = 0

    def infer(self, x: TensorType, indices: TensorType) -> TensorType:
        check_indices(indices)
        batch = self.batch_dims
        if not 0 <= batch < min(x.rank, indices.rank) or x.shape[:batch] != indices.shape[:batch]:
            raise IRError("the operands do not share the batch dimensions", expected=batch, found=f"{x}, {indices}")
        count = indices.shape[-1]
        if not 1 <= count <= x.rank - batch:
            raise IRError("wrong number of coordinates", expected=f"1 to {x.rank - batch}", found=count)
        return moved(x, (*indices.shape[:-1], *x.shape[batch + count :]))

    def reference(self, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        batch = self.batch_dims
        leading = [np.arange(e).reshape(-1, *[1] * (indices.ndim - 2 - d)) for d, e in enumerate(indices.shape[:batch])]
        coordinates = [from_front(indices[..., i], x.shape[batch + i]) for i in range(indices.shape[-1])]
        return x[(*leading, *coordinates)]


@operator("scatter_elements")
class ScatterElements(Operator[tuple[Value, Value, Value]]):
    """A copy of x with single elements replaced, the reverse of ``gather_elements``.

    Operands: x; indices; updates, of the shape of indices and the dtype of x. Result: like x. Of several updates to
    one element without a reduction, the last in row-major order stays.
    ``reduction``: ``none`` | ``add`` | ``mul`` | ``min`` | ``max``."""

    axis: int = 0
    reduction: str = "none"

    def infer(self, x: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        check_axis(self.axis, x)
        check_indices(indices)
        check_inside(indices, x, self.axis)
        check_updates(self.reduction, x, updates, indices.shape)
        return x

    def reference(self, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        y = x.copy()
        if not indices.size:
            return y
        combine(y, element_positions(x, indices, self.axis), updates, self.reduction)
        return y


def check_updates(reduction: str, x: TensorType, updates: TensorType, shape: tuple[int, ...]) -> None:
    """Raise IRError unless updates have this shape and the dtype of x, and the reduction exists."""
    if reduction not in REDUCTIONS:
        raise IRError("unknown reduction", expected=", ".join(REDUCTIONS), found=reduction)
    if updates.shape != shape or updates.dtype is not x.dtype:
        raise IRError("the updates do not fit", expected=TensorType(shape, x.dtype), found=updates)


@operator("scatter_nd")
class ScatterND(Operator[tuple[Value, Value, Value]]):
    """A copy of x with slices replaced, the reverse of ``gather_nd`` without batch dimensions.

    Operands: x; indices [..., n]; updates [..., *x.shape[n:]]. Result: like x."""

    reduction: str = "none"

    def infer(self, x: TensorType, indices: TensorType, updates: TensorType) -> TensorType:
        check_indices(indices)
        count = indices.shape[-1] if indices.rank else 0
        if not 1 <= count <= x.rank:
            raise IRError("wrong number of coordinates", expected=f"1 to {x.rank}", found=count)
        check_updates(self.reduction, x, updates, (*indices.shape[:-1], *x.shape[count:]))
        return x

    def reference(self, x: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        y = x.copy()
        positions = tuple(from_front(indices[..., i], x.shape[i]) for i in range(indices.shape[-1]))
        combine(y, positions, updates, self.reduction)
        return y


@operator("one_hot")
class OneHot(Operator[tuple[Value, Value]]):
    """A new dimension ``axis`` of extent ``depth`` that holds ``on`` at the index and ``off`` elsewhere.

    Operands: indices, of any numeric dtype (fractions are dropped); values [off, on], whose dtype is that of the
    result. An index outside -depth to depth - 1 leaves ``off`` everywhere."""

    depth: int
    axis: int

    def infer(self, indices: TensorType, values: TensorType) -> TensorType:
        if values.shape != (2,):
            raise IRError("values are off and on", expected=[2], found=list(values.shape))
        if not 0 <= self.axis <= indices.rank or self.depth < 1:
            raise IRError(
                "axis or depth is out of range",
                expected=f"axis 0 to {indices.rank}, depth from 1",
                found=f"axis {self.axis}, depth {self.depth}",
            )
        shape = (*indices.shape[: self.axis], self.depth, *indices.shape[self.axis :])
        return TensorType(shape, values.dtype)

    def reference(self, indices: np.ndarray, values: np.ndarray) -> np.ndarray:
        whole = truncate(indices, DType.I64)
        inside = (whole >= -self.depth) & (whole < self.depth)
        wanted = np.where(inside, whole % self.depth, -1)
        line = np.arange(self.depth).reshape(-1, *[1] * (indices.ndim - self.axis))
        return np.where(np.expand_dims(wanted, self.axis) == line, values[1], values[0])


Indexing = Gather | GatherElements | GatherND | ScatterElements | ScatterND


def indexed_extents(operator: Indexing, x: TensorType, indices: TensorType) -> tuple[int, ...]:
    """What the indices count along: one extent, or one for each coordinate, the last dimension of the indices."""
    if isinstance(operator, (GatherND, ScatterND)):
        first = operator.batch_dims if isinstance(operator, GatherND) else 0
        return x.shape[first : first + indices.shape[-1]]
    return x.shape[operator.axis : operator.axis + 1]
