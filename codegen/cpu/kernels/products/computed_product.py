"""Products of 8-bit matrices that are both computed, by dot products of four bytes.

A strip of columns of the right factor at a time is put into the order of a known one in the work memory, followed by
sums of its columns and their zero points: see :mod:`.byte_product`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from .....ir.layout import CHANNEL_BLOCK, QUAD
from .....ir.types import DType
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import (
    ACCUMULATOR,
    BYTES,
    QUADS_OF_ROWS,
    dot,
    flipped,
    has_byte_product,
    joined,
    multiplies_signed,
)
from ...llvm.quantized_math import single, widened
from ...llvm.target import TargetDescription
from ...llvm.types import F32, I8, I32, PTR, Register, Registers, constant, partial_mask, vector_constant, zero
from ..channel_tiles import WorkItem
from .byte_product import QuadProduct, less_zero_points
from .matrix_product import MatrixShape, MatrixTile, TileArguments, positions
from .word_product import WordProduct

_VECTOR = ACCUMULATOR.bytes


@dataclass(frozen=True)
class ComputedProduct(QuadProduct):
    """Products of matrices of a batch, where a processor has a dot product of bytes.

    Arguments: those of :class:`.WordProduct`.

    Attributes:
        product: the same, of matrices, of which those on the left have one zero point.
        signed: whether factors on the left are signed as they are multiplied.
    """

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "sums", "zeros", "left_zero")
    WRITTEN: ClassVar[tuple[str, ...]] = ("y", "scratch")

    product: WordProduct
    signed: bool

    @staticmethod
    def of(product: WordProduct, target: TargetDescription) -> "ComputedProduct | None":
        """The same product of matrices; ``None`` where words are multiplied."""
        form = product.requantization
        if not has_byte_product(target) or product.left.zeros > 1 or (form is not None and len(form.factors) > 1):
            return None
        signed = multiplies_signed(target, product.left.dtype is DType.I8)
        return ComputedProduct(product.rows, product.columns, product.inner, product, signed)

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.product.names

    @property
    def flips(self) -> tuple[bool, bool]:
        return (self.product.left.dtype is DType.I8) != self.signed, self.product.right.dtype is DType.U8

    @property
    def is_signed(self) -> bool:
        return self.signed

    @property
    def _moved(self) -> tuple[int, int]:
        """What is added to integers as they are stored where they are multiplied, of either factor."""
        return 128 * ((self.product.left.dtype is DType.I8) - self.signed), -128 * self.flips[1]

    @property
    def has_zeros(self) -> bool:
        return self.product.right.zero is not None or self.product.right.known + self._moved[1] != 0

    @property
    def has_sums(self) -> bool:
        """Whether the zero point on the left is multiplied with the sums of columns."""
        return self.product.left.zero is not None or self.product.left.known + self._moved[0] != 0

    def shape(self, target: TargetDescription) -> MatrixShape:
        shape = super().shape(target)
        scratch = shape.cut.vectors * (self.vector_bytes + 2 * _VECTOR)
        return replace(shape, cut=replace(shape.cut, batch=math.prod(self.product.batch)), scratch=scratch)

    def strip(self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, columns: int) -> TileArguments:
        pointers, column = self.bind(b), b.multiply(item.block, CHANNEL_BLOCK)
        product = self.product
        left, right = positions(b, item.image, product.batch, product.left_strides, product.right_strides)
        w = pointers["scratch"]
        sums = b.at(w, shape.cut.vectors * self.vector_bytes)
        zeros = b.at(sums, shape.cut.vectors * _VECTOR)
        source = b.at(pointers["right"], b.add(b.multiply(right, self.inner * self.columns), column))
        for vector in range(-(-columns // CHANNEL_BLOCK)):
            mask = partial_mask(CHANNEL_BLOCK, columns - vector * CHANNEL_BLOCK)
            target = b.at(w, vector * self.vector_bytes)
            total = self._pack(b, b.at(source, vector * CHANNEL_BLOCK), target, mask)
            less = self._right_zeros(b, b.add(column, vector * CHANNEL_BLOCK), mask)
            of_inner = b.binary("mul", less, constant(less.type, self.inner))
            b.store(b.binary("sub", total, of_inner), b.at(sums, vector * _VECTOR))
            b.store(less, b.at(zeros, vector * _VECTOR))
        x = b.at(pointers["left"], b.multiply(left, self.rows * self.inner))
        place = b.add(b.multiply(item.image, self.rows * self.columns), column)
        y = b.at(pointers["y"], b.multiply(place, product.result_bytes))

        def arguments(row: Register) -> Sequence[Register]:
            result = b.at(y, b.multiply(row, product.result_bytes * self.columns))
            return b.at(x, b.multiply(row, self.inner)), w, result, sums, zeros, pointers.get("left_zero", zero(PTR))

        return arguments

    def _pack(self, b: FunctionBuilder, source: Register, target: Register, mask: Register | None) -> Register:
        """Put 16 columns into order; their sums, of integers as they are multiplied."""
        steps, rest = divmod(self.inner, QUAD)

        def quad(step: Register, sums: Registers, count: int = QUAD) -> list[Register]:
            first = b.at(source, b.multiply(step, QUAD * self.columns))
            # What is missing of the last four is one of them again, and multiplied with 0.
            rows = [b.at(first, min(row, count - 1) * self.columns) for row in range(QUAD)]
            bytes = joined(b, [b.load_masked(I8.of(CHANNEL_BLOCK), row, mask) for row in rows])
            bytes = b.shuffle(bytes, bytes, QUADS_OF_ROWS)
            b.store(bytes, b.at(target, b.multiply(step, BYTES.bytes)))
            bytes = flipped(b, bytes) if self.flips[1] else bytes
            ones = vector_constant(BYTES, [str(int(byte % QUAD < count)) for byte in range(BYTES.lanes)])
            return [dot(b, sums[0], ones, bytes, is_signed=self.signed)]

        sums = b.loop(0, steps, quad, [zero(ACCUMULATOR)])
        return quad(b.integer(steps), sums, rest)[0] if rest else sums[0]

    def _right_zeros(self, b: FunctionBuilder, column: Register, mask: Register | None) -> Register:
        """Zero points of 16 columns as they are multiplied."""
        factor, moved = self.product.right, self._moved[1]
        if factor.zero is None:
            return constant(ACCUMULATOR, factor.known + moved)
        address = self.bind(b)["right_zero"]
        if factor.zeros > 1:
            stored = widened(b, b.load_masked(I8.of(CHANNEL_BLOCK), b.at(address, column), mask), factor.zero)
        else:
            stored = b.splat(widened(b, b.load(I8, address), factor.zero), CHANNEL_BLOCK)
        return b.binary("add", stored, constant(ACCUMULATOR, moved))

    def start(self, tile: MatrixTile) -> list[Register]:
        return [zero(ACCUMULATOR)] * (tile.rows * (tile.vectors + self.has_zeros))

    def end(self, tile: MatrixTile, totals: Registers) -> None:
        b, width, form = tile.b, tile.vectors + self.has_zeros, self.product.requantization
        _, _, y, sums, zeros, left_zero = b.arguments
        less = constant(I32, self.product.left.known + self._moved[0])
        if self.product.left.zero is not None:
            stored = widened(b, b.load(I8, left_zero), self.product.left.zero)
            less = b.binary("add", stored, constant(I32, self._moved[0]))
        for row in range(tile.rows):
            for vector in range(tile.vectors):
                terms = [(sums, b.splat(less, CHANNEL_BLOCK))] if self.has_sums else []
                terms += [(zeros, totals[row * width + tile.vectors])] if self.has_zeros else []
                total = less_zero_points(b, totals[row * width + vector], terms, vector)
                if form is not None:
                    total = b.binary("add", total, constant(total.type, form.biases[0]))
                    real = b.binary("fmul", single(b, total), constant(F32.of(CHANNEL_BLOCK), form.factors[0]))
                    total = form.result.store_form(b, real)
                offset = self.product.result_bytes * (row * self.columns + vector * CHANNEL_BLOCK)
                b.store_masked(total, b.at(y, offset), tile.mask(vector))
