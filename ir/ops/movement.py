"""Operators that move whole elements: order, position and number change, values do not."""

import math

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..op import Operator, QuantizationRule, UnaryOperands, operator
from ..quantized import only_operand, stored
from ..types import Arrays, ResultTypes, TensorType, Types
from .shape import moved


def check_axis(axis: int, x: TensorType) -> None:
    """Raise IRError unless x has a dimension ``axis``, counted from the front."""
    if not 0 <= axis < x.rank:
        raise IRError("the axis is out of range", expected=f"0 to {x.rank - 1}", found=axis)


@operator("transpose")
class Transpose(Operator[UnaryOperands]):
    """Reorder the dimensions. Operands: x, of any dtype. Result: dimension d is dimension ``perm[d]`` of x."""

    QUANTIZATION = QuantizationRule.PRESERVE

    perm: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if sorted(self.perm) != list(range(x.rank)):
            raise IRError("perm is no permutation of the dimensions", expected=f"rank {x.rank}", found=list(self.perm))
        return moved(x, tuple(x.shape[d] for d in self.perm))

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.transpose(x, self.perm)


@operator("concat")
class Concat(Operator[tuple[Value, ...]]):
    """Join tensors along ``axis``.

    Operands: one or more of equal dtype and, other dimensions than ``axis`` apart, equal shape."""

    QUANTIZATION = QuantizationRule.UNIFY

    axis: int

    def infer(self, *parts: TensorType) -> TensorType:
        if not parts:
            raise IRError("there is nothing to join")
        first = parts[0]
        check_axis(self.axis, first)
        for part in parts:
            fits = part.rank == first.rank and all(
                d == self.axis or e == f for d, (e, f) in enumerate(zip(part.shape, first.shape, strict=True))
            )
            if not fits or part.dtype is not first.dtype:
                raise IRError(f"the operands do not join along axis {self.axis}", expected=first, found=part)
        shape = list(first.shape)
        shape[self.axis] = sum(part.shape[self.axis] for part in parts)
        return moved(first, tuple(shape))

    def reference(self, *parts: np.ndarray) -> np.ndarray:
        return np.concatenate(parts, self.axis)


@operator("split")
class Split(Operator[UnaryOperands]):
    """Cut x along ``axis`` into parts of the given sizes, which add up to its extent; one result for each."""

    QUANTIZATION = QuantizationRule.PRESERVE

    axis: int
    sizes: tuple[int, ...]

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        check_axis(self.axis, x)
        if not self.sizes or min(self.sizes) < 0 or sum(self.sizes) != x.shape[self.axis]:
            raise IRError("the sizes do not add up", expected=x.shape[self.axis], found=list(self.sizes))
        return tuple(moved(x, (*x.shape[: self.axis], size, *x.shape[self.axis + 1 :])) for size in self.sizes)

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(np.split(x, np.cumsum(self.sizes)[:-1], self.axis))


@operator("slice")
class Slice(Operator[UnaryOperands]):
    """Take a regular part: element i of the result along dimension d is element begin[d] + i * step[d] of x.
    ``begin``: for each dimension, the index of the first element that is taken; 0 where none is.
    ``extent``: for each dimension, how many are taken; the shape of the result.
    ``step``: for each dimension, the distance between them; may be negative, never 0."""

    QUANTIZATION = QuantizationRule.PRESERVE

    begin: tuple[int, ...]
    extent: tuple[int, ...]
    step: tuple[int, ...]

    @classmethod
    def along(cls, axis: int, begin: int, extent: int, shape: tuple[int, ...]) -> "Slice":
        """Take so many neighbours along one dimension of a tensor of such a shape, and all along the others."""
        begins = tuple(begin if d == axis else 0 for d in range(len(shape)))
        return cls(begins, (*shape[:axis], extent, *shape[axis + 1 :]), (1,) * len(shape))

    def infer(self, x: TensorType) -> TensorType:
        if not len(self.begin) == len(self.extent) == len(self.step) == x.rank:
            raise IRError(
                "begin, extent and step need one element a dimension",
                expected=x.rank,
                found=f"{len(self.begin)}, {len(self.extent)} and {len(self.step)}",
            )
        for d, (begin, extent, step) in enumerate(zip(self.begin, self.extent, self.step, strict=True)):
            last = begin + (extent - 1) * step
            if step == 0 or extent < 0 or (extent and not (0 <= begin < x.shape[d] and 0 <= last < x.shape[d])):
                raise IRError(
                    f"the slice leaves dimension {d}",
                    expected=f"indices 0 to {x.shape[d] - 1}",
                    found=f"begin {begin}, extent {extent}, step {step}",
                )
        return moved(x, self.extent)

    def reference(self, x: np.ndarray) -> np.ndarray:
        for d, (begin, extent, step) in enumerate(zip(self.begin, self.extent, self.step, strict=True)):
            x = np.take(x, begin + np.arange(extent) * step, axis=d)
        return x


@operator("tile")
class Tile(Operator[UnaryOperands]):
    """Lay ``repeats[d]`` copies of x side by side along each dimension d."""

    QUANTIZATION = QuantizationRule.PRESERVE

    repeats: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if len(self.repeats) != x.rank or min(self.repeats, default=0) < 0:
            raise IRError("repeats needs one number from 0 a dimension", expected=x.rank, found=list(self.repeats))
        return moved(x, tuple(e * r for e, r in zip(x.shape, self.repeats, strict=True)))

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.tile(x, self.repeats)


@operator("pad")
class Pad(Operator[UnaryOperands]):
    """Surround x with further elements.

    Attributes:
        pads: how many before each dimension, then how many after each; none negative.
        mode: ``constant`` | ``edge`` (repeats the outermost element) | ``reflect`` (mirrors at it, without repeating
            it, so fewer than the extent) | ``wrap`` (continues at the other end).
        value: what ``constant`` fills in; a real number, which quantised tensors hold in their own parameters.
    """

    QUANTIZATION = QuantizationRule.PRESERVE

    pads: tuple[int, ...]
    mode: str = "constant"
    value: float = 0.0

    def infer(self, x: TensorType) -> TensorType:
        if self.mode not in ("constant", "edge", "reflect", "wrap"):
            raise IRError("unknown mode", expected="constant, edge, reflect or wrap", found=self.mode)
        if len(self.pads) != 2 * x.rank or min(self.pads, default=0) < 0:
            raise IRError("pads needs two numbers from 0 a dimension", expected=2 * x.rank, found=list(self.pads))
        for d, (before, after) in enumerate(self._pairs()):
            if self.mode == "reflect" and max(before, after) > max(0, x.shape[d] - 1):
                raise IRError("reflected pads are too large", expected=f"less than {x.shape[d]}", found=(before, after))
            if self.mode != "constant" and before + after > 0 and x.shape[d] == 0:
                raise IRError(f"dimension {d} is empty, there is nothing to pad with", found=list(x.shape))
        return moved(x, tuple(e + sum(pair) for e, pair in zip(x.shape, self._pairs(), strict=True)))

    def _pairs(self) -> list[tuple[int, int]]:
        rank = len(self.pads) // 2
        return list(zip(self.pads[:rank], self.pads[rank:], strict=True))

    def reference(self, x: np.ndarray) -> np.ndarray:
        if self.mode == "constant":
            return np.pad(x, self._pairs(), constant_values=np.asarray(self.value).astype(x.dtype))
        return np.pad(x, self._pairs(), mode=self.mode)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, type = only_operand(arrays, operand_types)
        return Pad(self.pads, self.mode, float(stored(self.value, type))).reference(x)


@operator("depth_to_space")
class DepthToSpace(Operator[UnaryOperands]):
    """Spread channels over blocks of pixels: [N, C, H, W] to [N, C / b², H * b, W * b].
    ``blocksize``: b.
    ``mode``: ``DCR``: a channel is (row in block, column in block, result channel); ``CRD``: (result channel, row,
    column)."""

    QUANTIZATION = QuantizationRule.PRESERVE

    blocksize: int
    mode: str = "DCR"

    def infer(self, x: TensorType) -> TensorType:
        b = self.blocksize
        if self.mode not in ("DCR", "CRD"):
            raise IRError("unknown mode", expected="DCR or CRD", found=self.mode)
        if x.rank != 4 or b < 1 or x.shape[1] % (b * b):
            raise IRError("x needs four dimensions and a multiple of b² channels", expected=f"b={b}", found=x)
        n, c, h, w = x.shape
        return moved(x, (n, c // (b * b), h * b, w * b))

    def reference(self, x: np.ndarray) -> np.ndarray:
        b = self.blocksize
        n, c, h, w = x.shape
        if self.mode == "DCR":
            parts = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            parts = x.reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
        return parts.reshape(n, c // (b * b), h * b, w * b)


@operator("interleave")
class Interleave(Operator[UnaryOperands]):
    """Spread channels over positions, as :class:`DepthToSpace`, along any number of dimensions, and keep a part.

    Operands: x [N, P * C, *extents], where P is the product of ``strides``; a channel is (phase along each dimension,
    result channel). Result: [N, C, *shape]; position i along a dimension is ``(i + begin) // stride`` of phase
    ``(i + begin) % stride``."""

    QUANTIZATION = QuantizationRule.PRESERVE

    strides: tuple[int, ...]
    begin: tuple[int, ...]
    shape: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        if x.rank < 3 or not x.rank - 2 == len(self.strides) == len(self.begin) == len(self.shape):
            raise IRError("strides, begin and shape do not match the spatial dimensions of x", found=x)
        if min(self.strides) < 1 or x.shape[1] % math.prod(self.strides):
            raise IRError(
                "the channels are no multiple of the phases",
                expected=list(self.strides),
                found=f"{x.shape[1]} channels",
            )
        for stride, begin, extent, given in zip(self.strides, self.begin, self.shape, x.shape[2:], strict=True):
            if begin < 0 or extent < 0 or begin + extent > stride * given:
                raise IRError("the part is not in the whole", expected=stride * given, found=(begin, extent))
        return moved(x, (x.shape[0], x.shape[1] // math.prod(self.strides), *self.shape))

    def reference(self, x: np.ndarray) -> np.ndarray:
        count = len(self.strides)
        parts = x.reshape(x.shape[0], *self.strides, -1, *x.shape[2:])
        order = (0, 1 + count, *(axis for d in range(count) for axis in (2 + count + d, 1 + d)))
        whole = (x.shape[0], parts.shape[1 + count], *(s * e for s, e in zip(self.strides, x.shape[2:], strict=True)))
        places = (slice(b, b + e) for b, e in zip(self.begin, self.shape, strict=True))
        return parts.transpose(order).reshape(whole)[(..., *places)]


@operator("space_to_depth")
class SpaceToDepth(Operator[UnaryOperands]):
    """Gather blocks of pixels in channels: [N, C, H, W] to [N, C * b², H / b, W / b], channel = (row, column, c)."""

    QUANTIZATION = QuantizationRule.PRESERVE

    blocksize: int

    def infer(self, x: TensorType) -> TensorType:
        b = self.blocksize
        if x.rank != 4 or b < 1 or x.shape[2] % b or x.shape[3] % b:
            raise IRError("x needs four dimensions, the last two multiples of b", expected=f"b={b}", found=x)
        n, c, h, w = x.shape
        return moved(x, (n, c * b * b, h // b, w // b))

    def reference(self, x: np.ndarray) -> np.ndarray:
        b = self.blocksize
        n, c, h, w = x.shape
        parts = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
        return parts.reshape(n, c * b * b, h // b, w // b)


@operator("trilu")
class Trilu(Operator[UnaryOperands]):
    """Keep one triangle of the matrices in the last two dimensions, zero the other.
    ``upper``: keep the elements with column >= row + k; otherwise those with column <= row + k.
    ``k``: which diagonal bounds the triangle."""

    upper: bool
    k: int = 0

    def infer(self, x: TensorType) -> TensorType:
        if x.rank < 2:
            raise IRError("x needs two dimensions", found=list(x.shape))
        return x

    def diagonal(self, x: TensorType | np.ndarray) -> int:
        """``k``, no farther than one beyond the corners of x."""
        rows, columns = x.shape[-2:]
        return min(max(self.k, -rows - 1), columns + 1)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return np.triu(x, self.diagonal(x)) if self.upper else np.tril(x, self.diagonal(x))


@operator("reorder")
class Reorder(Operator[UnaryOperands]):
    """The same tensor in another layout, as the types of operand and result say.

    Operands: x, of any dtype. Result: shape, dtype and quantisation of x, in any layout of
    :mod:`tilewright.ir.layout`; in the layout of x it is a copy."""

    QUANTIZATION = QuantizationRule.PRESERVE

    def infer(self, x: TensorType) -> TensorType:
        return x

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x
