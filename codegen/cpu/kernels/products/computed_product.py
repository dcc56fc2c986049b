"""Products of 8-bit matrices that are both computed, by dot products of four bytes.

A strip of columns of the right factor at a time is put into the order of a known one in the work memory, followed by
sums of its columns and their zero points: see :mod:`.byte_product`. Of a left factor whose rows are no pieces of memory
the rows of a work item follow, quad by quad.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from .....ir.layout import CHANNEL_BLOCK, QUAD, row_major
from .....ir.types import DType
from ...llvm.builder import FunctionBuilder
from ...llvm.byte_dot_product import (
    ACCUMULATOR,
    BYTES,
    QUADS_OF_ROWS,
    adds_pairs,
    dot,
    flipped,
    has_byte_product,
    joined,
    multiplies_signed,
)
from ...llvm.quantized_math import single, widened
from ...llvm.row_vectors import first_lanes
from ...llvm.target import TargetDescription
from ...llvm.types import (
    F32,
    I8,
    I32,
    PTR,
    Register,
    Registers,
    constant,
    mask_constant,
    partial_mask,
    vector_constant,
    zero,
)
from ..channel_tiles import WorkItem
from .byte_product import less_zero_points
from .matrix_product import MatrixShape, MatrixTile, TileArguments, positions
from .quad_product import QuadProduct
from .word_product import WordProduct

_VECTOR = ACCUMULATOR.bytes

View = tuple[int, ...]


class ComputedProduct(QuadProduct):
    """Products of matrices of a batch, where a processor has a dot product of bytes, or widens them as it multiplies.

    Arguments: those of :class:`.WordProduct`.
    ``product``: the same, of matrices, of which those on the left have one zero point.
    ``signed``: whether factors on the left are signed as they are multiplied.
    ``left_view``, ``right_view``, ``y_view``: how the matrices lie: an offset and a stride for each batch dimension,
    for rows and for columns, in elements; those of the result have columns side by side."""

    PARAMETERS: ClassVar[tuple[str, ...]] = ("x", "w", "y", "sums", "zeros", "left_zero")
    WRITTEN: ClassVar[tuple[str, ...]] = ("y", "scratch")

    product: WordProduct
    signed: bool
    left_view: View
    right_view: View
    y_view: View

    @staticmethod
    def of(
        product: WordProduct, target: TargetDescription, views: Sequence[View] | None = None
    ) -> "ComputedProduct | None":
        """The same product of matrices, row-major unless ``views`` say how they lie, as words need them; ``None`` where
        these are multiplied."""
        form = product.requantization
        if not (has_byte_product(target) or (views is not None and adds_pairs(target))):
            return None
        if product.left.zeros > 1 or (form is not None and len(form.factors) > 1):
            return None
        signed = multiplies_signed(target, product.left.dtype is DType.I8)
        rows, columns, inner = product.rows, product.columns, product.inner
        if views is None:
            left = (stride * rows * inner for stride in product.left_strides)
            right = (stride * inner * columns for stride in product.right_strides)
            order = row_major((*product.batch, rows, columns))
            views = ((0, *left, inner, 1), (0, *right, columns, 1), (0, *order))
        return ComputedProduct(rows, columns, inner, product, signed, *views)

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

    @property
    def _has_rows(self) -> bool:
        """Whether rows on the left are pieces of memory."""
        return self.left_view[-1] == 1 or self.inner == 1

    def shape(self, target: TargetDescription) -> MatrixShape:
        shape = super().shape(target)
        scratch = shape.cut.vectors * (self.vector_bytes + 2 * _VECTOR)
        shape = replace(shape, cut=replace(shape.cut, batch=math.prod(self.product.batch)), scratch=scratch)
        if self._has_rows:
            return replace(shape, x_row=self.left_view[-2])
        # A block more, as quads that are a power of two apart would take each other's places in the cache.
        step = QUAD * CHANNEL_BLOCK * (-(-min(shape.cut.row_block, self.rows) // CHANNEL_BLOCK) + 1)
        return replace(shape, x_row=QUAD, x_step=step, scratch=scratch + step * -(-self.inner // QUAD))

    def strip(self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, columns: int) -> TileArguments:
        pointers, column = self.bind(b), b.multiply(item.block, CHANNEL_BLOCK)
        product, views = self.product, (self.left_view, self.right_view, self.y_view)
        moved = positions(b, item.image, product.batch, *(view[1:-2] for view in views))
        left, right, place = (b.add(first, view[0]) for first, view in zip(moved, views, strict=True))
        w = pointers["scratch"]
        sums = b.at(w, shape.cut.vectors * self.vector_bytes)
        zeros = b.at(sums, shape.cut.vectors * _VECTOR)
        of_inner, of_column = self.right_view[-2:]
        source = b.at(pointers["right"], b.add(right, b.multiply(column, of_column)))
        for vector in range(-(-columns // CHANNEL_BLOCK)):
            mask = partial_mask(CHANNEL_BLOCK, columns - vector * CHANNEL_BLOCK)
            first = b.at(source, vector * CHANNEL_BLOCK * of_column)
            total = self._pack(b, first, of_inner, of_column, b.at(w, vector * self.vector_bytes), BYTES.bytes, mask)
            less = self._right_zeros(b, b.add(column, vector * CHANNEL_BLOCK), mask)
            of_zeros = b.binary("mul", less, constant(less.type, self.inner))
            b.store(b.binary("sub", total, of_zeros), b.at(sums, vector * _VECTOR))
            b.store(less, b.at(zeros, vector * _VECTOR))
        x = b.at(pointers["left"], left)
        packed = (
            None if self._has_rows else self._pack_left(b, shape, item, x, b.at(zeros, shape.cut.vectors * _VECTOR))
        )
        y = b.at(pointers["y"], b.multiply(b.add(place, column), product.result_bytes))

        def arguments(row: Register) -> Sequence[Register]:
            result = b.at(y, b.multiply(row, product.result_bytes * self.y_view[-2]))
            factor = b.at(x, b.multiply(row, shape.x_row))
            if packed is not None:
                factor = b.at(packed, b.multiply(b.subtract(row, item.first_row), QUAD))
            return factor, w, result, sums, zeros, pointers.get("left_zero", zero(PTR))

        return arguments

    def _pack_left(
        self, b: FunctionBuilder, shape: MatrixShape, item: WorkItem, x: Register, target: Register
    ) -> Register:
        """Put the rows of a work item into order, quads of them side by side."""
        of_row, of_inner = self.left_view[-2:]

        def some(first: Register) -> None:
            mask = first_lanes(b, b.subtract(item.last_row, first), CHANNEL_BLOCK)
            place = b.at(target, b.multiply(b.subtract(first, item.first_row), QUAD))
            self._pack(b, b.at(x, b.multiply(first, of_row)), of_inner, of_row, place, shape.x_step, mask)

        b.each(item.first_row, item.last_row, some, step=CHANNEL_BLOCK)
        return target

    def _pack(
        self,
        b: FunctionBuilder,
        source: Register,
        of_inner: int,
        of_column: int,
        target: Register,
        target_step: int,
        mask: Register | None,
    ) -> Register:
        """Put 16 columns, whose bytes are so far from each other in either direction, into order; their sums, of
        integers as they are multiplied."""
        steps, rest = divmod(self.inner, QUAD)
        seen = mask_constant(CHANNEL_BLOCK, CHANNEL_BLOCK) if mask is None else mask

        def row(address: Register) -> Register:
            if of_column == 1:
                return b.load_masked(I8.of(CHANNEL_BLOCK), address, mask)
            return b.load_strided(I8.of(CHANNEL_BLOCK), address, of_column, seen)

        def quad(step: Register, sums: Registers, count: int = QUAD) -> list[Register]:
            first = b.at(source, b.multiply(step, QUAD * of_inner))
            if of_inner == 1 and of_column != 1 and count == QUAD:
                bytes = b.convert("bitcast", b.load_strided(ACCUMULATOR, first, of_column, seen), BYTES)
            else:
                # What is missing of the last four is one of them again, and multiplied with 0.
                rows = [row(b.at(first, min(number, count - 1) * of_inner)) for number in range(QUAD)]
                bytes = joined(b, rows)
                bytes = b.shuffle(bytes, bytes, QUADS_OF_ROWS)
            b.store(bytes, b.at(target, b.multiply(step, target_step)))
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
                offset = self.product.result_bytes * (row * self.y_view[-2] + vector * CHANNEL_BLOCK)
                b.store_masked(total, b.at(y, offset), tile.mask(vector))
