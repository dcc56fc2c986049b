"""Reductions along dimensions: sums, extremes and their positions."""

import math
from typing import ClassVar

import numpy as np

from tilewright.errors import IRError

from ..op import Operator, QuantizationRule, UnaryOperands, declared, operator
from ..types import DType, TensorType
from .elementwise import NUMBERS, check_dtype
from .movement import check_axis
from .shape import moved, truncate


class Reduce(Operator[UnaryOperands]):
    """Base of the reductions along ``axes``.

    Operands: x. Result: same dtype; the dimensions ``axes`` have extent 1 (``keepdims``) or are gone. Integers are
    taken in 64 bits, and wrap in the end: a mean or norm that fits is right whatever its sum is. References of floats
    add up in float64 and round once. Where what is added or multiplied leaves the
    range of the dtype on the way, the order decides between a number, infinity and NaN, and each engine has its own.
    ``axes``: counted from the front, ascending; none leaves every element a group of its own."""

    axes: tuple[int, ...]
    keepdims: bool = True

    def infer(self, x: TensorType) -> TensorType:
        if list(self.axes) != sorted(set(self.axes)):
            raise IRError("axes must ascend", found=list(self.axes))
        for axis in self.axes:
            check_axis(axis, x)
        if x.dtype is DType.BOOL and self.QUANTIZATION is not QuantizationRule.PRESERVE:
            raise IRError("truth values cannot be added up", found=x)
        if self.keepdims:
            return moved(x, tuple(1 if d in self.axes else e for d, e in enumerate(x.shape)))
        return moved(x, tuple(e for d, e in enumerate(x.shape) if d not in self.axes))

    def reference(self, x: np.ndarray) -> np.ndarray:
        wide = {"f": np.float64, "i": np.int64, "u": np.uint64}.get(x.dtype.kind, x.dtype)
        found = np.asarray(type(self).FUNCTION(self, x.astype(wide)))
        is_cut = found.dtype.kind == "f" and x.dtype.kind != "f"
        return truncate(found, DType.of(x.dtype)) if is_cut else found.astype(x.dtype)

    def sum(self, x: np.ndarray) -> np.ndarray:
        return np.sum(x, self.axes, dtype=x.dtype, keepdims=self.keepdims)

    def mean(self, x: np.ndarray) -> np.ndarray:
        count = math.prod(x.shape[axis] for axis in self.axes)
        total = self.sum(x)
        if x.dtype.kind == "f":
            return total / count
        quotient = total // max(count, 1)
        return quotient + ((total < 0) & (quotient * count != total)).astype(total.dtype)

    def product(self, x: np.ndarray) -> np.ndarray:
        return np.prod(x, self.axes, dtype=x.dtype, keepdims=self.keepdims)

    def logarithm_of_exponentials(self, x: np.ndarray) -> np.ndarray:
        largest = np.max(x.astype(np.float64), self.axes, keepdims=True, initial=-np.inf)
        shift = np.where(np.isfinite(largest), largest, 0)
        total = np.log(np.sum(np.exp(x - shift), self.axes, keepdims=True)) + shift
        return total if self.keepdims else np.squeeze(total, self.axes)


_EXPONENTIALS = "Natural logarithm of the sum of exponentials along ``axes``, without overflow."

ReduceSum = declared(Reduce, "reduce_sum", "Sum along ``axes``; 0 of nothing.", Reduce.sum)
ReduceMean = declared(
    Reduce, "reduce_mean", "Mean along ``axes``; of integers, with the fraction dropped.", Reduce.mean
)
ReduceProd = declared(Reduce, "reduce_prod", "Product along ``axes``; 1 of nothing.", Reduce.product)
ReduceL1 = declared(Reduce, "reduce_l1", "Sum of absolute values along ``axes``.", lambda self, x: self.sum(np.abs(x)))
ReduceL2 = declared(
    Reduce, "reduce_l2", "Square root of the sum of squares along ``axes``.", lambda self, x: np.sqrt(self.sum(x * x))
)
ReduceSumSquare = declared(
    Reduce, "reduce_sum_square", "Sum of squares along ``axes``.", lambda self, x: self.sum(x * x)
)
ReduceLogSum = declared(
    Reduce, "reduce_log_sum", "Natural logarithm of the sum along ``axes``.", lambda self, x: np.log(self.sum(x))
)
ReduceLogSumExp = declared(Reduce, "reduce_log_sum_exp", _EXPONENTIALS, Reduce.logarithm_of_exponentials)


class ReduceExtreme(Reduce):
    """Base of maximum and minimum, which compare stored integers as well as any numbers."""

    QUANTIZATION = QuantizationRule.PRESERVE
    FUNCTION: ClassVar[np.ufunc]

    def reference(self, x: np.ndarray) -> np.ndarray:
        smallest, largest = _limits(x.dtype)
        initial = smallest if self.FUNCTION is np.maximum else largest
        return np.asarray(self.FUNCTION.reduce(x, self.axes, keepdims=self.keepdims, initial=initial)).astype(x.dtype)


ReduceMax = declared(
    ReduceExtreme,
    "reduce_max",
    "Largest element along ``axes``; of nothing, the smallest value of the dtype.",
    np.maximum,
)
ReduceMin = declared(
    ReduceExtreme,
    "reduce_min",
    "Smallest element along ``axes``; of nothing, the largest value of the dtype.",
    np.minimum,
)


def _limits(dtype: np.dtype) -> tuple[int | float, int | float]:
    if dtype.kind == "f":
        return -math.inf, math.inf
    return (False, True) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


class ArgExtreme(Operator[UnaryOperands]):
    """Base of the positions of extremes.

    Operands: x. Result: i64 indices along ``axis``, which has extent 1 (``keepdims``) or is gone.
    ``axis``: counted from the front.
    ``select_last_index``: of equal elements, take the last instead of the first."""

    QUANTIZATION = QuantizationRule.PRESERVE

    axis: int
    keepdims: bool = True
    select_last_index: bool = False

    def infer(self, x: TensorType) -> TensorType:
        check_axis(self.axis, x)
        if x.shape[self.axis] == 0:
            raise IRError("an empty dimension has no extreme", found=list(x.shape))
        kept = (1,) if self.keepdims else ()
        return TensorType((*x.shape[: self.axis], *kept, *x.shape[self.axis + 1 :]), DType.I64)

    def reference(self, x: np.ndarray) -> np.ndarray:
        first = type(self).FUNCTION
        if not self.select_last_index:
            return first(x, self.axis, keepdims=self.keepdims)
        return x.shape[self.axis] - 1 - first(np.flip(x, self.axis), self.axis, keepdims=self.keepdims)


ArgMax = declared(ArgExtreme, "arg_max", "Index of the largest element along ``axis``.", np.argmax)
ArgMin = declared(ArgExtreme, "arg_min", "Index of the smallest element along ``axis``.", np.argmin)


@operator("top_k")
class TopK(Operator[UnaryOperands]):
    """The k largest or smallest elements along ``axis``, best first, and their i64 indices.

    Of equal elements the one with the lower index comes first."""

    QUANTIZATION = QuantizationRule.PRESERVE

    axis: int
    k: int
    largest: bool = True

    def infer(self, x: TensorType) -> tuple[TensorType, TensorType]:
        check_axis(self.axis, x)
        if not 0 <= self.k <= x.shape[self.axis]:
            raise IRError("k is out of range", expected=f"0 to {x.shape[self.axis]}", found=self.k)
        shape = (*x.shape[: self.axis], self.k, *x.shape[self.axis + 1 :])
        return moved(x, shape), TensorType(shape, DType.I64)

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.largest:
            backwards = np.flip(np.argsort(np.flip(x, self.axis), self.axis, kind="stable"), self.axis)
            order = x.shape[self.axis] - 1 - backwards
        else:
            order = np.argsort(x, self.axis, kind="stable")
        indices = np.take(order, range(self.k), self.axis)
        return np.take_along_axis(x, indices, self.axis), indices


class Cumulative(Operator[UnaryOperands]):
    """Base of what elements up to each have in common, along ``axis``; result like x. Integers wrap around, and half
    floats are computed with in single precision.
    ``exclusive``: an element does not count into its own result.
    ``reverse``: run from the end."""

    FUNCTION: ClassVar[np.ufunc]

    axis: int
    exclusive: bool = False
    reverse: bool = False

    def infer(self, x: TensorType) -> TensorType:
        check_axis(self.axis, x)
        check_dtype(x, NUMBERS)
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        y = np.flip(x, self.axis) if self.reverse else x
        results = self.FUNCTION.accumulate(y, self.axis, dtype=np.float32 if x.dtype == np.float16 else x.dtype)
        if self.exclusive:
            results = np.roll(results, 1, self.axis)
            results[(slice(None),) * self.axis + (slice(0, 1),)] = self.FUNCTION.identity
        return np.flip(results, self.axis) if self.reverse else results


CumSum = declared(Cumulative, "cum_sum", "Running sums along ``axis``", np.add)
CumProd = declared(Cumulative, "cum_prod", "Running products along ``axis``", np.multiply)
