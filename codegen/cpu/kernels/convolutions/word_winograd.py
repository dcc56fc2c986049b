"""Winograd's algorithm on quantised tensors, exact: integers of 16 bits, of which pairs are multiplied.

The transforms of inputs at the points 0, 1, -1, 2, ... are integers; those of weights become integers when multiplied
by a number for each point, and so do the last ones, by what is left of a common multiple. Sums are taken modulo 2^32,
where division by the odd part of the multiple is a multiplication: what is left is to shift the power of two away, and
that is exact as long as the convolution without its bias takes so many bits less than 32.
"""

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np

from tilewright.blocks import cached_property

from .....ir.core import Op
from .....ir.layout import CHANNEL_BLOCK, QUAD, WINDOW, Winograd
from .....ir.ops.convolution import Conv
from .....ir.types import DType
from ...kernel import Kernel
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import add_word_pairs
from ...llvm.quantized_math import signed_byte
from ...llvm.target import TargetDescription
from ...llvm.types import I8, I16, I32, Register, Registers, Type, constant
from ..output_channels import VECTOR_BYTES, QuantizedOutput, channels_of, without_zero_points
from ..window import Axis, rows_and_columns, walked
from ..window_walk import Values
from .winograd import MOST_INPUTS, WinogradSpec, windows_of


class WholeWinograd(Winograd):
    """An algorithm whose transforms are integers.
    ``multiples``: for 0, each point with its opposite, and infinity: by what its products are multiplied in the last
    transform.
    ``divisor``: by what results are larger along one axis."""

    multiples: tuple[int, ...]
    divisor: int

    @cached_property
    def _by_row(self) -> np.ndarray:
        zero, *points, infinity = self.multiples
        return np.array([zero, *(each for each in points for _ in range(2)), infinity])

    @cached_property
    def weights(self) -> np.ndarray:
        return np.rint(super().weights * self.divisor / self._by_row[:, None])

    @cached_property
    def outputs(self) -> np.ndarray:
        return super().outputs * self._by_row


ALGORITHMS = {"f2": WholeWinograd((1.0,), (1, 1, 1), 2), "f4": WholeWinograd((1.0, 2.0), (1, 2, 1, 4), 24)}


class WordWinograd(QuantizedOutput, WinogradSpec):
    """Convolution of stride 1, bias, activation and requantisation.

    Weights are read as ``w``, 16-bit integers: the data of :func:`word_winograd`.
    ``algorithm``: one of `ALGORITHMS`.
    ``is_signed``: bytes of x are."""

    STEP: ClassVar[int] = 2
    OWN_WEIGHTS: ClassVar[bool] = True

    algorithm: str
    is_signed: bool = False

    @property
    def transforms(self) -> WholeWinograd:
        return ALGORITHMS[self.algorithm]

    @property
    def fill(self) -> int:
        return signed_byte(self.constants.fill)

    @property
    def inputs(self) -> Type:
        return I16.of(CHANNEL_BLOCK)

    @property
    def sums(self) -> Type:
        return I32.of(CHANNEL_BLOCK)

    def load(self, f: FunctionBuilder, address: Register) -> Register:
        return f.convert("sext" if self.is_signed else "zext", f.load(I8.of(CHANNEL_BLOCK), address), self.inputs)

    def multiply(self, f: FunctionBuilder, x: Register, w: Register, total: Register) -> Register:
        return add_word_pairs(f, total, x, w)

    def of_block(self, b: FunctionBuilder, values: Values, q: int) -> Values:
        return {"start": values[f"start{q}"], "factors": b.at(values["factors"], q * VECTOR_BYTES)}

    def write(self, f: FunctionBuilder, call: Values, offset: Register, values: Registers, active: int) -> None:
        odd, shift = _odd_and_shift(_divisor(self.transforms, (self.rows, self.columns)))
        if odd != 1:
            inverse = constant(self.sums, pow(odd, -1, 1 << 32))
            values = tuple(f.binary("mul", value, inverse) for value in values)
        values = tuple(f.binary("ashr", value, constant(self.sums, shift)) for value in values)
        totals = tuple(f.binary("add", value, call["start"]) for value in values)
        self.requantize(f, call, 0, totals, (), lambda name: f.at(call[name], offset))


def _divisor(algorithm: WholeWinograd, axes: tuple[Axis, Axis]) -> int:
    """By what results are larger."""
    return math.prod(algorithm.divisor for axis in axes if axis.kernel > 1)


def _odd_and_shift(number: int) -> tuple[int, int]:
    shift = (number & -number).bit_length() - 1
    return number >> shift, shift


_CACHE_BYTES, _BYTES_PER_CYCLE = 1 << 19, 5
"""Of weights, that many stay close, and the others come from further away while products are computed."""

_MOST_BYTES = 12 << 20
"""Of transformed weights, some eight times those of the model, where each of several blocks of tiles reads all of them.
Of 10.6 MB windows of 6 x 6 take half of the time of pairs; of 13 MB those of 81 x 81 take 0.92 of it, of 20 MB those of
99 x 99 1.65 times as long.
"""

_LEAST_GAIN = 0.9
"""What it may take at most of the time of direct convolution, which needs less room for weights."""


def word_winograd(op: Op[Conv], target: TargetDescription) -> Kernel | None:
    """The kernel of a convolution of constant weights over blocks of channels; ``None`` where that is not exact, or
    direct convolution by pairs of weights is as fast."""
    conv, x, w = op.operator, op.operands.x.type, op.operands.w.type
    axes = rows_and_columns(walked(conv.windows(x.shape, w.shape)))
    if axes is None or conv.group != 1 or {*conv.strides, *conv.dilations} != {1}:
        return None
    (batch, channels), (rows, columns) = x.shape[:2], axes
    if rows.kernel == columns.kernel == 1:
        return None
    outputs, inputs = (-(-count // CHANNEL_BLOCK) for count in w.shape[:2])
    windows, taps = math.prod(windows_of(rows, columns)), rows.kernel * columns.kernel

    def cost(algorithm: WholeWinograd | None) -> float:
        """Cycles, about, with registers of 256 bits."""
        blocks = outputs * inputs
        if algorithm is None:
            pixels, weights = batch * rows.output * columns.output, blocks * CHANNEL_BLOCK**2 * taps
            products = pixels * (blocks * CHANNEL_BLOCK // QUAD * taps * 2.1 + outputs * 25)
        else:
            moved = [axis.output for axis in axes if axis.kernel > 1]
            tiles = batch * math.prod(-(-count // algorithm.tile) for count in moved)
            tiles *= rows.output * columns.output // math.prod(moved)
            extent = algorithm.extent ** len(moved)
            weights = 2 * windows * blocks * CHANNEL_BLOCK**2 * extent
            products = tiles * extent * (10 * windows * (blocks + inputs) + 15 * outputs)
            transformed = tiles * extent * windows * inputs * CHANNEL_BLOCK * I16.bytes
            if weights > _MOST_BYTES and transformed > MOST_INPUTS * target.cache_bytes[1]:
                return math.inf
        return products + max(0, weights - _CACHE_BYTES) / _BYTES_PER_CYCLE

    weights, is_signed = without_zero_points(op), x.dtype is DType.I8
    weights = weights.reshape(*weights.shape[:2], rows.kernel, columns.kernel)
    # Bytes without a sign have sums of positive weights at one end and of negative ones at the other.
    by_sign = [np.maximum(sign * weights, 0).sum((1, 2, 3)) for sign in (1, -1)]
    largest = 128 * np.add(*by_sign).max() if is_signed else 255 * np.max(by_sign)
    found = [name for name, each in ALGORITHMS.items() if largest < 1 << 31 - _odd_and_shift(_divisor(each, axes))[1]]
    name = min(found, key=lambda name: cost(ALGORITHMS[name]), default=None)
    if name is None or cost(ALGORITHMS[name]) > _LEAST_GAIN * cost(None):
        return None
    algorithm = ALGORITHMS[name]
    constants = replace(channels_of(op, None).without_zeros, missing=())
    image = batch, channels, rows, columns
    known = {"constants": constants, "has_bias": op.operands.b is not None}
    spec = WordWinograd(*image, w.shape[0], name, is_signed, **known)
    return spec.kernel(target).reading(_packed(algorithm, weights))


def _packed(algorithm: WholeWinograd, weights: np.ndarray) -> bytes:
    """Transformed weights, words [O/16, n, n', windows * C/2, 16, 2], channels filled up to whole blocks."""
    sizes = CHANNEL_BLOCK, CHANNEL_BLOCK, *(WINDOW if extent > 1 else 1 for extent in weights.shape[2:])
    weights = np.pad(weights, [(0, -count % size) for count, size in zip(weights.shape, sizes, strict=True)])
    outputs, inputs, *kernel = weights.shape
    windows = weights.reshape(outputs, inputs, -1, sizes[2], kernel[1] // sizes[3], sizes[3])
    weights = windows.transpose(0, 2, 4, 1, 3, 5).reshape(outputs, -1, *sizes[2:])
    # The results are words, which single precision has exactly, whatever the order of a matrix product's sums.
    found = weights.astype(np.float32)
    for size in sizes[2:]:
        factors = algorithm.weights if size > 1 else np.ones((1, 1))
        found = np.tensordot(found, factors.astype(np.float32), (2, 1))
    outputs, inputs, *extents = found.shape
    found = found.astype("<i2").reshape(outputs // CHANNEL_BLOCK, CHANNEL_BLOCK, inputs // 2, 2, *extents)
    return found.transpose(0, 4, 5, 2, 1, 3).tobytes()
