"""DFT, STFT and MelWeightMatrix of ONNX. Their windows are functions, which other operators are made of.

Fourier transforms are matrix products; numbers that have an imaginary part are pairs in the last dimension. A transform
of moderate length is one product with a constant matrix, which costs less than the passes over memory of a fast
algorithm. A longer one is split by Cooley and Tukey's identity, n = a * b, into transforms of length a, factors, and
transforms of length b; where n has no small factor, Bluestein's identity makes it a convolution, and that three
transforms of a length that has.
"""

import math

import numpy as np

from tilewright.immutable import Immutable

from .....ir.core import Constant, Value
from .....ir.ops.elementwise import Mul
from .....ir.ops.indexing import Gather
from .....ir.ops.matmul import MatMul
from .....ir.ops.movement import Pad
from .....ir.types import DType
from ...builder import ModuleBuilder, SourceNode
from ...expression import Expression
from ...movement import cut, join, padded, reversed_along, transpose
from ...shape import cast, reshape
from ..importer import Importer, Node, imports
from ..tensors import element_type

DIRECT = 256
"""Up to this length a transform of real numbers is one matrix product, and up to a quarter of it one of pairs, whose
table is four times as large as that of half a spectrum; up to four times that where the length has no factor."""

FACTOR = 64
"""The largest factor that a longer transform is split by."""


def _factor(length: int) -> int:
    """The largest one that both parts of a split are at least as long as."""
    return max(f for f in range(1, min(FACTOR, math.isqrt(length)) + 1) if length % f == 0)


def _is_direct(length: int, parts: int) -> bool:
    return length * parts * parts <= DIRECT or (length <= 4 * DIRECT and _factor(length) == 1)


def matrix(length: int, rows: int, columns: int, inverse: bool) -> np.ndarray:
    """exp(-+ 2 pi i j k / length) as [rows j, 2, columns k, 2]: from parts to parts of pairs."""
    angles = np.outer(np.arange(rows), np.arange(columns)) % length * (2 * np.pi / length)
    real, imaginary = np.cos(angles), np.sin(angles) if inverse else -np.sin(angles)
    return np.stack([np.stack([real, imaginary], -1), np.stack([-imaginary, real], -1)], 1)


class Transforms(Immutable):
    """Emits the transforms of a node, whose tables count as constants that it describes."""

    node: SourceNode
    importer: ModuleBuilder

    def fourier(self, x: Value, outputs: int, *, inverse: bool = False, window: np.ndarray | None = None) -> Value:
        """The transform of x along its last dimension but one.

        Args:
            x: f32 or f64 [..., n, 2], or [..., n, 1] of real numbers.
            outputs: how many results are wanted, the first ones of n.
            inverse: with positive exponents, and over n.
            window: [n], by which x is multiplied first.

        Returns:
            [..., outputs, 2].
        """
        length, parts = x.type.shape[-2:]
        scale = 1 / length if inverse else 1.0
        weights = scale * (np.ones(length) if window is None else window.astype(np.float64))
        if _is_direct(length, parts):
            return self.product(x, matrix(length, length, outputs, inverse)[:, :parts] * weights[:, None, None, None])
        if window is not None or inverse:
            x = self.importer.emit_one(Mul(), x, self._constant(x, weights[:, None]))
        return self._split(x, outputs, 1 if inverse else -1)

    def product(self, x: Value, table: np.ndarray) -> Value:
        """x [..., rows, parts] times a table [rows, parts, columns, parts of the result]."""
        rows, parts, columns, results = table.shape
        batch = x.type.shape[:-2]
        flat = reshape(self.importer, x, (math.prod(batch), rows * parts))
        y = self.importer.emit_one(MatMul(), flat, self._constant(x, table.reshape(rows * parts, columns * results)))
        return reshape(self.importer, y, (*batch, columns, results))

    def _constant(self, like: Value, array: np.ndarray) -> Value:
        dtype = like.type.dtype
        return self.importer.described(
            self.node, array.shape, dtype, lambda: np.ascontiguousarray(array, dtype.numpy), "_fourier"
        )

    def _times(self, x: Value, numbers: np.ndarray) -> Value:
        """Pairs times complex numbers, which broadcast to them; real numbers become pairs."""
        real, imaginary = np.real(numbers), np.imag(numbers)
        pairs, straight = Expression(self.importer, x), np.stack([real, imaginary], -1)
        if x.type.shape[-1] == 1:
            return (pairs * self._constant(x, straight)).value
        exchanged = Expression(self.importer, reversed_along(self.importer, x, x.type.rank - 1))
        first = pairs * self._constant(x, straight[..., [0, 0]])
        return (first + exchanged * self._constant(x, np.stack([-imaginary, imaginary], -1))).value

    def _split(self, x: Value, outputs: int, sign: int) -> Value:
        """The transform without a scale, by smaller ones."""
        *batch, length, parts = x.type.shape
        if _is_direct(length, parts):
            return self.product(x, matrix(length, length, outputs, sign > 0)[:, :parts])
        factor = _factor(length)
        if factor == 1:
            return self._convolved(x, outputs, sign)
        rest, lead = length // factor, tuple(range(len(batch)))
        row, column, pair = (len(batch) + d for d in range(3))
        # Element rest * j + i of x, and element k + factor * l of the result.
        y = reshape(self.importer, x, (*batch, factor, rest, parts))
        y = transpose(self.importer, y, (*lead, column, row, pair))
        y = self.product(y, matrix(factor, factor, factor, sign > 0)[:, :parts])
        y = self._times(y, np.exp(sign * 2j * np.pi / length * np.outer(np.arange(rest), np.arange(factor))))
        wanted = -(-outputs // factor)
        y = self._split(transpose(self.importer, y, (*lead, column, row, pair)), wanted, sign)
        y = transpose(self.importer, y, (*lead, column, row, pair))
        y = reshape(self.importer, y, (*batch, factor * wanted, 2))
        return cut(self.importer, y, len(batch), 0, outputs)

    def _convolved(self, x: Value, outputs: int, sign: int) -> Value:
        """Bluestein's identity: j * k is (j^2 + k^2 - (j - k)^2) / 2."""
        length = x.type.shape[-2]
        padded = 1 << (length + outputs - 2).bit_length()
        # Whole turns go while the squares are integers.
        chirp = np.exp(sign * 1j * np.pi / length * (np.arange(length) ** 2 % (2 * length)))
        kernel = np.zeros(padded, np.complex128)
        kernel[:outputs] = chirp[:outputs].conj()
        kernel[padded - length + 1 :] = chirp[:0:-1].conj()
        pads = (*[0] * (2 * x.type.rank - 2), padded - length, 0)
        y = self._split(self.importer.emit_one(Pad(pads), self._times(x, chirp)), padded, -1)
        y = self._split(self._times(y, np.fft.fft(kernel) / padded), outputs, 1)
        return self._times(y, chirp[:outputs])


LONGEST = 2**20
"""Elements of a transform."""

_HALF = "half of a spectrum says all of it for real numbers only, at the end that is no spectrum"


@imports("DFT")
def import_dft(node: Node, importer: Importer) -> Value:
    x, rank = node.input(0), node.input(0).type.rank
    if rank < 2 or x.type.shape[-1] not in (1, 2):
        raise node.model_error("the input needs real numbers or pairs in its last dimension", found=x.type)
    given = node.int("axis", 1 if node.opset < 20 else -2)
    if node.optional(2) is not None:
        given = node.scalar(2, "the axis")
    axis = node.from_front(given, rank)
    if axis == rank - 1:
        raise node.model_error("the axis is that of the pairs", expected=f"0 to {rank - 2}", found=given)
    inverse, onesided = node.bool("inverse", 0), node.bool("onesided", 0)
    is_real_result = inverse and onesided
    if onesided and (x.type.shape[-1] == 2) != is_real_result:
        raise node.model_error(_HALF, found=x.type)
    extent = x.type.shape[axis]
    length = 2 * (extent - 1) if is_real_result else extent
    if node.optional(1) is not None:
        length = node.scalar(1, "the length of the transform")
    _check_length(node, length)
    wanted = length // 2 + 1 if is_real_result else length
    perm = (*(d for d in range(rank - 1) if d != axis), axis, rank - 1)
    dtype = x.type.dtype
    x = cast(importer, x, DType.F32) if dtype is DType.F16 else x
    x = transpose(importer, x, perm)
    x = padded(node, importer, x, [0] * rank, [*[0] * (rank - 2), wanted - extent, 0], "constant", None)
    if is_real_result:
        y = _real_inverse(node, importer, x, length)
    else:
        y = Transforms(node, importer).fourier(x, length // 2 + 1 if onesided else length, inverse=inverse)
    return transpose(importer, cast(importer, y, dtype), tuple(perm.index(d) for d in range(rank)))


def _check_length(node: Node, length: int) -> None:
    if not 1 <= length <= LONGEST:
        raise node.model_error("the length of the transform is out of range", expected=f"1 to {LONGEST}", found=length)


def _real_inverse(node: Node, importer: Importer, x: Value, length: int) -> Value:
    """Real numbers [..., length, 1] of the first half of their spectrum, and one more."""
    transforms, half, last = Transforms(node, importer), x.type.shape[-2], x.type.rank - 2
    mirrored = length - half
    if length <= 2 * DIRECT:
        counts = np.array([1 + (1 <= k <= mirrored) for k in range(half)]) / length
        return transforms.product(x, matrix(length, half, length, True)[..., :1] * counts[:, None, None, None])
    rest = Expression(importer, cut(importer, x, last, mirrored, mirrored, -1)) * np.array([1, -1])
    y = transforms.fourier(join(importer, [x, rest.value], last), length, inverse=True)
    return cut(importer, y, last + 1, 0, 1)


@imports("STFT")
def import_stft(node: Node, importer: Importer) -> Value:
    signal, window = node.input(0), node.optional(2)
    if signal.type.rank == 2:  # The operator's text knows no such signal, but onnxruntime and exporters do.
        signal = reshape(importer, signal, (*signal.type.shape, 1))
    if signal.type.rank != 3 or signal.type.shape[2] not in (1, 2):
        raise node.model_error("the signal must be [batch, length] or [batch, length, 1 or 2]", found=signal.type)
    step, samples = node.scalar(1, "the step from frame to frame"), signal.type.shape[1]
    length = window.type.elements if window is not None else samples
    if node.optional(3) is not None:
        length = node.scalar(3, "the length of a frame")
    _check_length(node, length)
    if step < 1 or length > samples or (window is not None and window.type.shape != (length,)):
        found = f"step {step}, frames of {length}, {window.type if window is not None else 'no window'}, {signal.type}"
        raise node.model_error("step, frames and window do not fit the signal", found=found)
    onesided = node.bool("onesided", 1)
    if onesided and signal.type.shape[2] == 2:
        raise node.model_error(_HALF, found=signal.type)
    dtype, frames = signal.type.dtype, (samples - length) // step + 1
    x = cast(importer, signal, DType.F32) if dtype is DType.F16 else signal

    def places() -> np.ndarray:
        return (np.arange(frames)[:, None] * step + np.arange(length)).astype(np.int32)

    x = importer.emit_one(Gather(1), x, importer.described(node, (frames, length), DType.I32, places, "_frames"))
    weights = window.array if isinstance(window, Constant) else None
    if window is not None and weights is None:
        column = reshape(importer, cast(importer, window, x.type.dtype), (length, 1))
        x = importer.emit_one(Mul(), x, column)
    y = Transforms(node, importer).fourier(x, length // 2 + 1 if onesided else length, window=weights)
    return cast(importer, y, dtype)


@imports("MelWeightMatrix")
def import_mel_weight_matrix(node: Node, importer: Importer) -> Value:
    bands, length, rate = (node.scalar(i, what) for i, what in enumerate(("the bands", "the length", "the rate")))
    lower, upper = (node.number(i, what) for i, what in ((3, "the lower edge"), (4, "the upper edge")))
    dtype = element_type(node.int("output_datatype", 1), node.name)
    if min(bands, length, rate) < 1 or not 0 <= lower < upper < np.inf or bands * length > 2**24:
        found = f"{bands} bands, length {length}, rate {rate}, {lower} to {upper} Hz"
        expected = "positive integers, an upper edge above the lower one, and at most 2^24 bands times length"
        raise node.model_error("there is no such matrix", expected=expected, found=found)

    def make() -> np.ndarray:
        # Edges of the triangles, at equal distances on the mel scale, as whole bins of the spectrum.
        first, last = (2595 * np.log10(1 + edge / 700) for edge in (lower, upper))
        mels = np.linspace(first, last, bands + 2, endpoint=False)
        edges = np.floor((length + 1) * 700 * (10 ** (mels / 2595) - 1) / rate)[:, None]
        low, centre, high, bins = edges[:-2], edges[1:-1], edges[2:], np.arange(length // 2 + 1)
        rising = np.where(centre > low, (bins - low) / np.maximum(centre - low, 1), bins == centre)
        falling = (high - bins) / np.maximum(high - centre, 1)
        return np.where(bins <= centre, rising * (bins >= low), np.maximum(falling, 0)).T.astype(dtype.numpy)

    return importer.described(node, (length // 2 + 1, bands), dtype, make)
