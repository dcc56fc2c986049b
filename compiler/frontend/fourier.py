"""Discrete Fourier transforms as matrix products; numbers that have an imaginary part are pairs in the last dimension.

A transform of moderate length is one product with a constant matrix, which costs less than the passes over memory of a
fast algorithm. A longer one is split by Cooley and Tukey's identity, n = a * b, into transforms of length a, factors,
and transforms of length b; where n has no small factor, Bluestein's identity makes it a convolution, and that three
transforms of a length that has.
"""

import math
from dataclasses import dataclass

import numpy as np

from ...ir.core import Value
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Pad
from .builder import ModuleBuilder, SourceNode
from .movement import reversed_along, slice_of, transpose
from .shape import reshape

DIRECT = 256
"""Up to this length a transform is one matrix product; up to four times that where the length has no factor."""

FACTOR = 64
"""The largest factor that a longer transform is split by."""


def _factor(length: int) -> int:
    """The largest one that both parts of a split are at least as long as."""
    return max(f for f in range(1, min(FACTOR, math.isqrt(length)) + 1) if length % f == 0)


def _is_direct(length: int) -> bool:
    return length <= DIRECT or (length <= 4 * DIRECT and _factor(length) == 1)


def matrix(length: int, rows: int, columns: int, inverse: bool) -> np.ndarray:
    """exp(-+ 2 pi i j k / length) as [rows j, 2, columns k, 2]: from parts to parts of pairs."""
    angles = np.outer(np.arange(rows), np.arange(columns)) % length * (2 * np.pi / length)
    real, imaginary = np.cos(angles), np.sin(angles) if inverse else -np.sin(angles)
    return np.stack([np.stack([real, imaginary], -1), np.stack([-imaginary, real], -1)], 1)


@dataclass(frozen=True)
class Transforms:
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
        if _is_direct(length):
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
        emit, straight = self.importer.emit_one, np.stack([real, imaginary], -1)
        if x.type.shape[-1] == 1:
            return emit(Mul(), x, self._constant(x, straight))
        crossed = np.stack([-imaginary, imaginary], -1)
        first = emit(Mul(), x, self._constant(x, straight[..., [0, 0]]))
        exchanged = reversed_along(self.importer, x, x.type.rank - 1)
        return emit(Add(), first, emit(Mul(), exchanged, self._constant(x, crossed)))

    def _split(self, x: Value, outputs: int, sign: int) -> Value:
        """The transform without a scale, by smaller ones."""
        *batch, length, parts = x.type.shape
        if _is_direct(length):
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
        return self._first(y, outputs)

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

    def _first(self, x: Value, count: int) -> Value:
        shape = (*x.type.shape[:-2], count, x.type.shape[-1])
        return slice_of(self.importer, x, [0] * x.type.rank, shape, [1] * x.type.rank)
