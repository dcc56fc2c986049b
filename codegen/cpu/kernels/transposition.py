"""Transposes of elements of up to eight bytes whose innermost dimension changes: by squares in registers, or, where
one of few elements becomes or was the innermost, by picking them out of neighbours or laying them between each other;
and such a dimension backwards.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from ....ir.core import Op
from ....ir.layout import row_major
from ....ir.ops.movement import Slice, Transpose
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import F32, Register, Type, partial_mask, zero
from ..nest import Access, Nest
from ..spec import KernelSpec
from ..tensors import bits, is_movement, is_plain
from .interleaving import Interleaving, Part
from .layout import ELEMENTS, transpose_square
from .vector_nest import Expression, VectorNest

_LINE = 16
"""Elements of a cache line, of which all are moved at once."""

_LEAST = 4
"""Elements along both innermost dimensions from which on squares are worth their masks."""

_SHARED = 1024
"""Positions, of which pictures have a multiple, that are taken apart where few elements lie at each."""


class Transposition(KernelSpec):
    """The dimensions of x in another order; both row-major.
    ``extents``: of the result.
    ``strides``: of x, in elements, along the dimensions of the result; not 1 along the last.
    ``element``: of one to eight bytes."""

    extents: tuple[int, ...]
    strides: tuple[int, ...]
    element: Type = F32

    @property
    def turned(self) -> int:
        """The dimension along which x is contiguous."""
        return self.strides.index(1)

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))
        extents, turned, last, size = self.extents, self.turned, len(self.extents) - 1, self.element.bytes
        outer = [d for d in range(last) if d != turned]
        blocks, steps = -(-extents[turned] // _LINE), row_major(extents)

        def unit(index: Register) -> None:
            block, index = b.remainder(index, blocks), b.divide(index, blocks)
            x = b.at(arguments["x"], b.multiply(block, size * _LINE))
            y = b.at(arguments["y"], b.multiply(block, size * _LINE * steps[turned]))
            for d in reversed(outer):
                position, index = b.remainder(index, extents[d]), b.divide(index, extents[d])
                x = b.at(x, b.multiply(position, size * self.strides[d]))
                y = b.at(y, b.multiply(position, size * steps[d]))
            b.of_part(block, extents[turned], _LINE, lambda present: self._lines(b, x, y, present))

        return self.each_unit(b, unit, units=blocks * math.prod(extents[d] for d in outer))

    def _lines(self, b: FunctionBuilder, x: Register, y: Register, present: int) -> None:
        """Move so many neighbours of x, for all positions along the last dimension."""
        is_picked, length = present < _LEAST and present == self.strides[-1], self.extents[-1]
        lanes = b.target.vector_bits // 8 // self.element.bytes if is_picked else self._lanes(b.target)
        moved = partial(self._picked if is_picked else self._squares, b, x, y, present)
        b.in_steps(length, lanes, moved)

    def _picked(self, b: FunctionBuilder, x: Register, y: Register, present: int, first: Register, count: int) -> None:
        """Of positions that lie one after the other in x, so many elements each, the first, the second and so on."""
        step, size = row_major(self.extents)[self.turned], self.element.bytes
        lanes = b.target.vector_bits // 8 // size
        x, y, elements = b.at(x, b.multiply(first, size * present)), b.at(y, b.multiply(first, size)), lanes * present
        all = b.load_masked(self.element.of(elements), x, partial_mask(elements, count * present))
        for index in range(present):
            picked = b.shuffle(all, all, range(index, elements, present))
            b.store_masked(picked, b.at(y, size * index * step), partial_mask(lanes, count))

    def _lanes(self, target: TargetDescription) -> int:
        """Elements along a square: no more than hold all of a short dimension."""
        least = min(self.extents[-1], self.extents[self.turned])
        return min(_LINE, target.vector_bits // 8 // self.element.bytes, 1 << (least - 1).bit_length())

    def _squares(self, b: FunctionBuilder, x: Register, y: Register, present: int, first: Register, count: int) -> None:
        lanes, step, size = self._lanes(b.target), row_major(self.extents)[self.turned], self.element.bytes
        vector = self.element.of(lanes)
        x, y = b.at(x, b.multiply(first, size * self.strides[-1])), b.at(y, b.multiply(first, size))
        for begin in range(0, present, lanes):
            rows = [zero(vector)] * lanes
            for index in range(count):
                address = b.at(x, size * (index * self.strides[-1] + begin))
                rows[index] = b.load_masked(vector, address, partial_mask(lanes, present - begin))
            for index, row in enumerate(transpose_square(b, rows)[: present - begin]):
                b.store_masked(row, b.at(y, size * (begin + index) * step), partial_mask(lanes, count))


@lowers(Transpose, needs=(is_plain, is_movement))
def transpose(op: Op[Transpose], target: TargetDescription) -> Kernel | None:
    """Where neighbours of the result are none of x."""
    x, y = op.inputs[0].type, op.result.type
    strides = row_major(x.shape)
    accesses = Access(tuple(strides[d] for d in op.operator.perm)), Access(row_major(y.shape))
    nest = Nest(y.shape, accesses).collapsed()
    extents, strides = nest.extents, nest.accesses[0].strides
    element = ELEMENTS.get(x.dtype.bytes)
    if element is None or strides[-1] == 1 or 1 not in strides:
        return None
    spec = Transposition(extents, strides, element)
    length, places = extents[spec.turned], extents[-1]
    if length < _LEAST:
        if strides[-1] != length:
            return None
        if places % _SHARED == 0:
            # Several parts, which threads share.
            part = places // _LINE
            spec = Transposition((*extents[:-1], _LINE, part), (*strides[:-1], part * length, length), element)
        return spec.kernel(target)
    if places >= _LEAST:
        return spec.kernel(target)
    if spec.turned != len(extents) - 2 or strides[-1] != length or len(extents) > 3:
        return None
    parts = math.gcd(length, _LINE)
    columns = Part(places, 0, places * length // parts, length // parts)
    depth = Part(1, 0, parts, parts)
    return Interleaving(math.prod(extents[:-2]), 1, (depth, Part(), columns), element).kernel(target)


class Backwards(Expression):
    """Each group of so many neighbours from its last element to its first; vectors hold whole groups."""

    MASKS: ClassVar[bool] = True

    count: int

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        (value,), last = values, self.count - 1
        order = [lane - lane % self.count + last - lane % self.count for lane in range(value.type.lanes)]
        return b.shuffle(value, value, order)


@lowers(Slice, needs=(is_plain, is_movement))
def backwards(op: Op[Slice], target: TargetDescription) -> Kernel | None:
    """The innermost dimension alone, of few elements, as the two of a pair that change places."""
    shape, dtype = op.inputs[0].type.shape, bits(op.result.type.dtype)
    is_alone = op.operator.extent == shape and op.operator.step == (*[1] * (len(shape) - 1), -1)
    if not op.result.type.elements or not is_alone or target.lanes % shape[-1]:
        return None
    nest = Nest((math.prod(shape),), (Access((1,)), Access((1,))))
    return VectorNest(nest, (dtype, dtype), Backwards(shape[-1])).kernel(target)
