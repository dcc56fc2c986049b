"""Channels spread over positions: rows of the result are made of several rows of x, element by element in turn, or of
one whose elements are repeated.
"""

import math
from typing import NamedTuple

import numpy as np

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK
from ....ir.ops.movement import DepthToSpace, Interleave
from ....ir.ops.resize import Resize
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import Register, Type, partial_mask
from ..spec import KernelSpec
from ..tensors import is_movement, is_plain, layouts
from .layout import ELEMENTS

_MOST_SHUFFLED = 8
"""Rows of x that are shuffled in registers; the number of shuffles grows with the square of it."""

_LEAST_COPIED = 64
"""Bytes of a row that is repeated as a whole, such as the channels of a pixel, from which on it is worth its masks."""


class Part(NamedTuple):
    """One dimension of the result: phases, where it begins in the whole, its extent, and that of x."""

    stride: int = 1
    begin: int = 0
    extent: int = 1
    given: int = 1


class Interleaving(KernelSpec):
    """Phases as channels to positions; see :class:`tilewright.ir.ops.movement.Interleave`.

    Attributes:
        images, channels: of the result, these in blocks where an element is one.
        parts: depth, rows and columns.
        element: of one lane, or 16 channels.
        is_phase_first: whether a channel of x is (phase, channel), not (channel, phase).
        is_repeated: x has one phase, which all are.
    """

    images: int
    channels: int
    parts: tuple[Part, Part, Part]
    element: Type
    is_phase_first: bool = True
    is_repeated: bool = False

    @property
    def channel_bytes(self) -> int:
        """Of x."""
        return self.element.bytes * math.prod(part.given for part in self.parts)

    @property
    def apart(self) -> int:
        """Bytes between phases along a row."""
        if self.is_repeated:
            return 0
        return self.channel_bytes * (self.channels if self.is_phase_first else 1)

    def generate(self, target: TargetDescription) -> Kernel:
        b, arguments = self.entry(target, writes=("y",))
        depth, rows, columns = self.parts
        phases = 1 if self.is_repeated else math.prod(part.stride for part in self.parts)
        row_bytes = self.element.bytes * columns.given
        step = self.channel_bytes * (1 if self.is_phase_first else phases)

        def place(part: Part, index: Register, phase: int, position: int) -> Register:
            """Where a position of the result begins in x, with bytes of phases and positions."""
            index = b.add(index, part.begin)
            phase_bytes = b.multiply(b.remainder(index, part.stride), phase * columns.stride * self.apart)
            return b.add(phase_bytes, b.multiply(b.divide(index, part.stride), position))

        def unit(index: Register) -> None:
            plane, front = b.divide(index, depth.extent), b.remainder(index, depth.extent)
            image = b.multiply(b.divide(plane, self.channels), phases * self.channels * self.channel_bytes)
            channel = b.multiply(b.remainder(plane, self.channels), step)
            x = b.at(arguments["x"], image, channel, place(depth, front, rows.stride, rows.given * row_bytes))
            y = b.at(arguments["y"], b.multiply(index, rows.extent * columns.extent * self.element.bytes))

            def row(number: Register) -> None:
                result = b.at(y, b.multiply(number, columns.extent * self.element.bytes))
                self._row(b, b.at(x, place(rows, number, 1, row_bytes)), result)

            b.each(0, rows.extent, row)

        return self.each_unit(b, unit, units=self.images * self.channels * depth.extent)

    def _row(self, b: FunctionBuilder, x: Register, y: Register) -> None:
        columns, size = self.parts[-1], self.element.bytes
        # Elements that are vectors, and those of many phases, move one by one.
        is_shuffled = self.element.lanes == 1 and columns.stride <= _MOST_SHUFFLED
        lanes = b.target.vector_bits // 8 // size if is_shuffled else 1
        block = lanes * columns.stride
        whole, rest = divmod(columns.extent, block)

        def neighbours(index: Register, present: int) -> None:
            """So many of the result, of at most ``lanes`` neighbours of each phase."""
            source, result = b.at(x, b.multiply(index, lanes * size)), b.at(y, b.multiply(index, block * size))
            end = columns.begin + present

            def moved(phase: Register) -> None:
                value = b.load(self.element, b.at(source, b.multiply(phase, self.apart)))
                b.store(value, b.at(result, b.multiply(b.subtract(phase, columns.begin), size)))

            if not is_shuffled:
                b.each(columns.begin, min(end, columns.stride), moved)
                # The next element of each phase before the first.
                source = b.at(source, size - columns.stride * self.apart)
                b.each(columns.stride, end, moved)
                return
            values: list[Register] = []
            for number, first in enumerate(range(columns.begin, min(end, columns.begin + columns.stride))):
                mask = partial_mask(lanes, -(-(present - number) // columns.stride))
                address = b.at(source, first % columns.stride * self.apart + first // columns.stride * size)
                values.append(b.load_masked(self.element.of(lanes), address, mask))
            for begin in range(0, present, lanes):
                value = values[0]
                places = [divmod(begin + lane, columns.stride) for lane in range(lanes)]
                for number, other in enumerate(values[1:], 1):
                    kept = [place if number == 1 else lane for lane, (place, _) in enumerate(places)]
                    order = [lanes + p if phase == number else kept[lane] for lane, (p, phase) in enumerate(places)]
                    value = b.shuffle(value, other, order)
                b.store_masked(value, b.at(result, begin * size), partial_mask(lanes, present - begin))

        b.each(0, whole, lambda index: neighbours(index, block))
        if rest:
            neighbours(b.integer(whole), rest)


@lowers(Interleave, DepthToSpace, needs=(is_movement,))
def interleave(op: Op[Interleave | DepthToSpace], target: TargetDescription) -> Kernel | None:
    """Row-major, or in blocks of channels where each phase has whole ones; up to three dimensions."""
    operator, (batch, channels, *shape) = op.operator, op.result.type.shape
    is_blocked = layouts(op) == ("c16", "c16") and isinstance(operator, Interleave)
    if len(shape) > 3 or (channels % CHANNEL_BLOCK if is_blocked else not is_plain(op)):
        return None
    if isinstance(operator, Interleave):
        strides, begin, is_first = operator.strides, operator.begin, True
    else:
        strides, begin, is_first = (operator.blocksize,) * 2, (0, 0), operator.mode == "DCR"
    parts = [Part(), Part(), *map(Part, strides, begin, shape, op.inputs[0].type.shape[2:])][-3:]
    element = ELEMENTS[op.result.type.dtype.bytes]
    if is_blocked:
        element, channels = element.of(CHANNEL_BLOCK), channels // CHANNEL_BLOCK
    return Interleaving(batch, channels, (parts[0], parts[1], parts[2]), element, is_first).kernel(target)


@lowers(Resize, needs=(is_plain, is_movement))
def repeat(op: Op[Resize], target: TargetDescription) -> Kernel | None:
    """To the nearest element, where each is there as often as the others, along up to three dimensions."""
    operator, shape = op.operator, op.inputs[0].type.shape
    element = ELEMENTS.get(op.result.type.dtype.bytes)
    if operator.mode != "nearest" or operator.coordinates == "tf_crop_and_resize" or element is None:
        return None
    kept = [d for d, (new, old) in enumerate(zip(operator.extents, shape, strict=True)) if (new, old) != (1, 1)]
    outer, inner = kept[:-3], kept[-3:]
    if not all(operator.is_identity(d, shape[d]) for d in outer):
        return None
    parts: list[Part] = []
    for d in inner:
        part = Part(max(1, operator.extents[d] // max(1, shape[d])), 0, operator.extents[d], shape[d])
        indices = operator.taps(d, part.given)[0][:, 0]
        if len(indices) != part.stride * part.given or (indices != np.arange(part.extent) // part.stride).any():
            return None
        parts.append(part)
    # The first are shared by threads.
    depth, rows, columns = *parts[:-1], *[Part()] * (3 - len(parts)), *parts[-1:]
    if columns.stride > _MOST_SHUFFLED or (columns.stride == 1 and columns.extent * element.bytes < _LEAST_COPIED):
        return None
    spec = Interleaving(1, math.prod(shape[d] for d in outer), (depth, rows, columns), element, is_repeated=True)
    return spec.kernel(target)
