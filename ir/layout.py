"""Physical layouts: how a tensor's elements are ordered in memory.

A layout changes addresses, and values only where weights are transformed. Here, and only here, stands what each name
means.

========== ==========================================================================================
``""``     row-major, the logical order
``c16``    activations ``[N, C, *spatial]`` as ``[N, ceil(C/16), *spatial, 16]``; absent channels hold zero, those of
           integers of 8 and 16 bits anything
``n32``    activations of single precision as ``[N, ceil(C/32), *spatial, 32]``, zero-filled, rounded to bfloat16, two
           in a word
``o16i16`` weights ``[O, I, *kernel]`` as ``[ceil(O/16), ceil(I/16), *kernel, 16 (I), 16 (O)]``, zero-filled
``f4o16i16``, ``f2o16i16`` weights ``[O, I, 3, 3]``, transformed for Winograd's F(4 x 4) or F(2 x 2), which makes n x n
           of 3 x 3 (:class:`Winograd`), as ``[ceil(O/16), n, n, ceil(I/16), 16 (I), 16 (O)]``, zero-filled
``o16``    weights ``[O, I, *kernel]`` as ``[ceil(O/16), I, *kernel, 16]``, zero-filled: depthwise (I = 1), first
           layers, matrices
``io16``   matrices ``[I, O]`` as ``o16`` of ``[O, I]``
``o16i4``  weights ``[O, I, *kernel]`` as ``[ceil(O/16), ceil(I/16), *kernel, 4, 16 (O), 4 (I)]``, for dot products of
           four bytes: each 64 bytes hold four inputs of 16 outputs
``i4o16``  matrices ``[I, O]`` as ``o16i4`` of ``[O, I]``
``i8o16``  matrices ``[I, O]`` of 8-bit integers from -8 to 7, two rows in a byte, the upper one in its lower half; such
           bytes as ``i4o16``
``o16k4``  weights ``[O, I, *outer, K]`` as ``[ceil(O/16), I, *outer, ceil(K/4), 16 (O), 4 (K)]``, the same with four
           neighbours of the last kernel dimension instead of four inputs: depthwise (I = 1), first layers
========== ==========================================================================================

The blocked orders are those known from oneDNN as nChw16c, OIhw16i16o, Oihw16o and OIhw4i16o4i. Where layouts of dot
products are filled, they are filled with the middle of the element type, 0 or 128, which counts as zero once unsigned
weights are made signed by flipping their highest bit.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from tilewright.blocks import CHANNEL_BLOCK, cached_property
from tilewright.errors import IRError
from tilewright.immutable import Immutable

from .arithmetic import bfloat16_bits
from .types import DType, TensorType

WINDOW = 3
"""Extent of the windows of Winograd's algorithm."""


class Winograd(Immutable):
    """The transforms of Winograd's minimal filtering, F(m x m, 3 x 3): tiles of a convolution by few multiplications.

    It computes m x m outputs of a 3 x 3 window of stride 1 from n x n inputs, n = m + 2, as

        outputs (weights g weights' * inputs d inputs') outputs'

    with n * n products of elements instead of 9 * m * m, where the transforms of all channels' inputs and weights are
    done once, and the sum over input channels comes before the last transform (Lavin and Gray, "Fast Algorithms for
    Convolutional Neural Networks", 2016; Toom and Cook's evaluation of polynomials at the points 0, p, -p, ...,
    infinity).

    The points of F(4 x 4) are the square roots of 1/2 and 2 and not 1 and 2, which leaves a fifth of the rounding
    error: about 2e-6 of the largest output for 256 channels.
    ``points``: where polynomials are evaluated beside 0 and infinity, each stands for its opposite too."""

    points: tuple[float, ...]

    @property
    def tile(self) -> int:
        """m, outputs along an axis."""
        return self.extent - WINDOW + 1

    @property
    def extent(self) -> int:
        """n, inputs and products along an axis."""
        return 2 * len(self.points) + 2

    @property
    def _finite(self) -> list[float]:
        return [0.0, *(sign * point for point in self.points for sign in (1, -1))]

    @cached_property
    def inputs(self) -> np.ndarray:
        """float64 [n, n]; the rows of opposite points follow each other and differ in the signs of odd columns."""
        finite, rows = self._finite, np.zeros((self.extent, self.extent))
        for index in range(self.extent):
            roots = [point for other, point in enumerate(finite) if other != index]
            # Rounding makes what cancels exactly zero, far below single precision.
            polynomial = np.round(np.poly(roots)[::-1], 12)
            rows[index, : len(polynomial)] = polynomial
        return rows

    @cached_property
    def weights(self) -> np.ndarray:
        """float64 [n, 3]."""
        finite = self._finite
        rows = [
            [point**k / math.prod(point - other for other in finite if other != point) for k in range(WINDOW)]
            for point in finite
        ]
        return np.array([*rows, [0.0] * (WINDOW - 1) + [1.0]])

    @cached_property
    def outputs(self) -> np.ndarray:
        """float64 [m, n]; the columns of opposite points follow each other and differ in the signs of odd rows."""
        return np.array([[*(p**k for p in self._finite), float(k == self.tile - 1)] for k in range(self.tile)])

    def transformed(self, blocks: np.ndarray) -> np.ndarray:
        """Weights in the order of ``o16i16`` transformed, in that of the algorithm's layout.

        They are of the same element type, and the same bytes on every machine."""
        outputs, inputs, *_, inner, outer = blocks.shape
        taps = np.ascontiguousarray(np.moveaxis(blocks, (2, 3), (0, 1)), np.float64)
        found = np.empty((outputs, self.extent, self.extent, inputs, inner, outer), blocks.dtype)
        for i, row in enumerate(self.weights):
            line = _weighted(row, taps)
            for j, column in enumerate(self.weights):
                found[:, i, j] = _weighted(column, line)
        return found


def _weighted(factors: np.ndarray, arrays: np.ndarray) -> np.ndarray:
    """A sum in a fixed order: what libraries make of matrix products depends on the processor."""
    return sum((factor * array for factor, array in zip(factors, arrays, strict=True) if factor), np.zeros(()))


WINOGRAD = {"f2o16i16": Winograd((1.0,)), "f4o16i16": Winograd((math.sqrt(0.5), math.sqrt(2.0)))}
"""By the layout of weights that are transformed for it."""

QUAD = 4
"""Bytes that a dot product sums up."""

STEM_CHANNELS = 4
"""Up to so many input channels a convolution had better read row-major input."""

HALVES = "i8o16"
"""The layout that holds two integers in a byte."""

NARROW = "n32"
"""The layout that holds two numbers in bfloat16 in four bytes."""


def in_whole_blocks(count: int) -> int:
    """So many channels, or pixels that lie like them, with those that fill the last block."""
    return -(-count // CHANNEL_BLOCK) * CHANNEL_BLOCK


_PARTS = {
    "c16": ((1, CHANNEL_BLOCK),),
    "o16i16": ((1, CHANNEL_BLOCK), (0, CHANNEL_BLOCK)),
    **dict.fromkeys(WINOGRAD, ((1, CHANNEL_BLOCK), (0, CHANNEL_BLOCK))),
    "o16": ((0, CHANNEL_BLOCK),),
    "io16": ((1, CHANNEL_BLOCK),),
    "o16i4": ((1, CHANNEL_BLOCK // QUAD), (0, CHANNEL_BLOCK), (1, QUAD)),
    "i4o16": ((0, CHANNEL_BLOCK // QUAD), (1, CHANNEL_BLOCK), (0, QUAD)),
    "o16k4": ((0, CHANNEL_BLOCK), (-1, QUAD)),
    NARROW: ((1, 2 * CHANNEL_BLOCK),),
}
"""By layout, what follows the numbers of blocks: dimensions of which a block holds so many, the innermost last."""

_TRANSPOSED = ("io16", "i4o16")
_DOT_PRODUCTS = ("o16i4", "i4o16", "o16k4")


class _Cut(NamedTuple):
    """A shape cut into blocks.
    ``whole``: the extents, brought up to whole blocks.
    ``extents``: for each dimension the number of blocks, then what a block holds of it, part by part.
    ``order``: in which these lie in memory."""

    whole: tuple[int, ...]
    extents: tuple[int, ...]
    order: tuple[int, ...]


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """Strides in elements of a contiguous tensor."""
    return tuple(math.prod(shape[d + 1 :]) for d in range(len(shape)))


Loop = tuple[int, int]
"""One over elements of a tensor: an extent, and a stride in elements."""


def joined_loops(loops: Iterable[Loop]) -> list[Loop]:
    """As few loops, the outermost first, as visit the same elements in the same order."""
    found: list[Loop] = []
    for extent, stride in loops:
        if extent != 1 and found and found[-1][1] == extent * stride:
            extent *= found.pop()[0]
        if extent != 1:
            found.append((extent, stride))
    return found


def loops_of_dimensions(loops: Iterable[Loop], shape: Sequence[int]) -> list[list[Loop]] | None:
    """Loops, the outermost first, shared out to the dimensions of a shape of as many elements, cut where a dimension
    ends; ``None`` where that is in the middle of a step of one, or where there are no elements."""
    rest, found = joined_loops(loops), list[list[Loop]]()
    if 0 in shape:
        return None
    for extent in reversed(shape):
        found.insert(0, [])
        while extent > 1:
            size, stride = rest.pop()
            inner = math.gcd(size, extent)
            if inner < min(size, extent):
                return None
            if inner < size:
                rest.append((size // inner, stride * inner))
            found[0].insert(0, (inner, stride))
            extent //= inner
    return found


@cache
def _cut(shape: tuple[int, ...], layout: str) -> _Cut:
    if layout not in _PARTS:
        raise IRError("unknown layout", expected=" or ".join(_PARTS), found=layout)
    least = 3 if layout == "o16k4" else 2
    if len(shape) < least:
        raise IRError(f"layout {layout} needs at least {least} dimensions", found=list(shape))
    if layout in _TRANSPOSED and len(shape) != 2:
        raise IRError(f"layout {layout} needs 2 dimensions", found=list(shape))
    order = [*range(len(shape))]
    if layout in _TRANSPOSED:
        order.reverse()
    if layout in WINOGRAD:
        if len(shape) != 4 or shape[2:] != (WINDOW, WINDOW):
            raise IRError(f"layout {layout} needs weights of {WINDOW} x {WINDOW} windows", found=list(shape))
        order, shape = [0, 2, 3, 1], (*shape[:2], *2 * (WINOGRAD[layout].extent,))
    parts = [(dimension % len(shape), size) for dimension, size in _PARTS[layout]]
    whole: list[int] = []
    extents: list[int] = []
    outer: list[int] = []
    inner = [0] * len(parts)
    for dimension, extent in enumerate(shape):
        own = [index for index, part in enumerate(parts) if part[0] == dimension]
        block = math.prod(parts[index][1] for index in own)
        whole.append(-(-extent // block) * block)
        outer.append(len(extents))
        extents.append(whole[-1] // block)
        for index in own:
            inner[index] = len(extents)
            extents.append(parts[index][1])
    return _Cut(tuple(whole), tuple(extents), (*(outer[dimension] for dimension in order), *inner))


def physical_shape(type: TensorType) -> tuple[int, ...]:
    """Shape of the array as it lies in memory. Raises IRError: the layout is unknown or the rank too small for it."""
    if type.layout == "":
        return type.shape
    if type.layout == HALVES:
        if type.rank != 2 or type.dtype is not DType.I8:
            raise IRError(f"layout {HALVES} needs a matrix of i8", found=type)
        return physical_shape(type.with_shape((-(-type.shape[0] // 2), type.shape[1])).with_layout("i4o16"))
    cut = _cut(type.shape, type.layout)
    shape = tuple(cut.extents[index] for index in cut.order)
    if type.layout != NARROW:
        return shape
    if type.dtype is not DType.F32:
        raise IRError(f"layout {NARROW} needs elements of single precision", found=type)
    return (*shape[:-1], shape[-1] // 2)


def bytes_of(type: TensorType) -> int:
    """Bytes that a value of this type takes in memory, padding included."""
    return math.prod(physical_shape(type)) * type.dtype.bytes


def pack(array: np.ndarray, layout: str) -> np.ndarray:
    """The logical ``array`` as a C-contiguous array in physical order."""
    if layout == "":
        return np.ascontiguousarray(array)
    if layout in WINOGRAD:
        return WINOGRAD[layout].transformed(pack(array, "o16i16"))
    if layout == HALVES:
        upper, lower = array[::2], np.pad(array[1::2], ((0, len(array) % 2), (0, 0)))
        return pack(upper & 15 | lower << 4, "i4o16")
    cut = _cut(array.shape, layout)
    if cut.whole != array.shape:
        fill = 128 if layout in _DOT_PRODUCTS and array.dtype == np.uint8 else 0
        widths = [(0, whole - extent) for whole, extent in zip(cut.whole, array.shape, strict=True)]
        array = np.pad(array, widths, constant_values=fill)
    packed = np.ascontiguousarray(array.reshape(cut.extents).transpose(cut.order))
    return bfloat16_bits(packed).view(np.float32) if layout == NARROW else packed


def unpack(array: np.ndarray, type: TensorType) -> np.ndarray:
    """The logical array of ``type`` from its physical form; of activations and of weights that are not transformed."""
    if type.layout == "":
        return array.reshape(type.shape)
    if type.layout == HALVES:
        bytes = type.with_shape((-(-type.shape[0] // 2), type.shape[1])).with_layout("i4o16")
        both = unpack(array, bytes)
        # Shifted to the left and back, halves have their signs.
        return np.stack([both << 4 >> 4, both >> 4], 1).reshape(-1, type.shape[1])[: type.shape[0]]
    cut = _cut(type.shape, type.layout)
    if type.layout == NARROW:
        array = (array.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    parts = array.reshape([cut.extents[index] for index in cut.order]).transpose(np.argsort(cut.order))
    return np.ascontiguousarray(parts.reshape(cut.whole)[tuple(map(slice, type.shape))])


def is_same_order(a: TensorType, b: TensorType) -> bool:
    """Whether both types, of one shape, put every element at the same address, without padding of their own.

    Blocked order is row-major order where there is one position and whole blocks."""
    if a.layout == b.layout:
        return True
    return {a.layout, b.layout} == {"", "c16"} and math.prod(a.shape[2:]) == 1 and a.shape[1] % CHANNEL_BLOCK == 0
