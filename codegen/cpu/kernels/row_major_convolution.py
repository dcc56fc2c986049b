"""Convolution in row-major order: any number of dimensions, any groups; for what the blocked layouts do not cover.

Neighbouring output pixels of the last dimension stand side by side in a vector, some output channels that read the same
input in further ones. Taps outside of the image are masked out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I32, Register, Registers, constant, vector_constant, zero
from .activation import ProductSpec
from .window import Axis, Reach
from .window_walk import over

Tap = Callable[[Register, Registers, Registers], Sequence[Register]]
"""From the column of a tap, input and weights, and sums to the next sums."""


@dataclass(frozen=True)
class RowMajorConvolution(ProductSpec):
    """Convolution, then bias, residual and activation.

    Arguments: x [N, C, *image], w [O, C/groups, *kernel], bias [O], residual and result [N, O, *output], all row-major
    and single precision. The result may lie where the residual lies.

    Attributes:
        batch, channels, outputs: N, C and O.
        axes: geometry of each spatial dimension.
        groups: independent convolutions.
    """

    batch: int
    channels: int
    outputs: int
    axes: tuple[Axis, ...]
    groups: int = 1

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class _Walker:
    """The one function of the kernel; a work item is some output channels of an image."""

    def __init__(self, spec: RowMajorConvolution, target: TargetDescription) -> None:
        self.spec = spec
        self.b, self.arguments = spec.entry(target, writes=("residual", "y"))
        self.vector = F32.of(target.lanes)
        per_group = spec.outputs // spec.groups
        self.together = max(n for n in range(1, 5) if per_group % n == 0)
        self.input_pixels = math.prod(axis.input for axis in spec.axes)
        self.output_pixels = math.prod(axis.output for axis in spec.axes)
        self.taps = math.prod(axis.kernel for axis in spec.axes)
        self.inputs = spec.channels // spec.groups

    def generate(self) -> Kernel:
        spec, b = self.spec, self.b
        tiles = spec.outputs // self.together
        tiles_per_group = tiles // spec.groups

        def unit(index: Register) -> None:
            image, tile = b.divide(index, tiles), b.remainder(index, tiles)
            channel = b.multiply(tile, self.together)
            source = b.add(b.multiply(image, spec.channels), b.multiply(b.divide(tile, tiles_per_group), self.inputs))
            x = b.at(self.arguments["x"], b.multiply(source, 4 * self.input_pixels))
            w = b.at(self.arguments["w"], b.multiply(channel, 4 * self.inputs * self.taps))
            result = b.add(b.multiply(image, spec.outputs), channel)
            self._positions(x, w, channel, b.multiply(result, 4 * self.output_pixels), ())

        return spec.each_unit(b, unit, units=spec.batch * tiles)

    def _positions(
        self, x: Register, w: Register, channel: Register, result: Register, taps: tuple[Reach, ...]
    ) -> None:
        """Loop over the output positions of all dimensions but the last, which is cut into vectors.

        ``taps`` holds first valid tap and number of them for the dimensions so far; x is moved to the first.
        """
        spec, b = self.spec, self.b
        depth = len(taps)
        axis = spec.axes[depth]
        if depth == len(spec.axes) - 1:

            def vectors(pixel: Register) -> None:
                self._vector(x, w, channel, result, taps, pixel)

            b.each(0, axis.output, vectors, step=self.vector.lanes)
            return
        inner_input = 4 * math.prod(a.input for a in spec.axes[depth + 1 :])
        inner_output = 4 * math.prod(a.output for a in spec.axes[depth + 1 :])
        inner_kernel = 4 * math.prod(a.kernel for a in spec.axes[depth + 1 :])

        def position(index: Register) -> None:
            first, count = axis.valid_taps(b, index)
            self._positions(
                b.at(x, b.multiply(axis.coordinate(b, index, first), inner_input)),
                b.at(w, b.multiply(first, inner_kernel)),
                channel,
                b.add(result, b.multiply(index, inner_output)),
                (*taps, (first, count)),
            )

        b.each(0, axis.output, position)

    def _vector(
        self,
        x: Register,
        w: Register,
        channel: Register,
        result: Register,
        taps: Sequence[Reach],
        pixel: Register,
    ) -> None:
        """Neighbouring pixels of the last dimension, for all channels of the work item."""
        spec, b, axis = self.spec, self.b, self.spec.axes[-1]
        lanes = I32.of(self.vector.lanes)
        pixels = b.binary("add", self._splat(pixel), vector_constant(lanes, [str(i) for i in range(lanes.lanes)]))
        inside = b.compare("slt", pixels, constant(lanes, axis.output))
        output = b.add(result, b.multiply(pixel, 4))
        step = 4 * self.output_pixels
        sums: list[Register] = []
        for q in range(self.together):
            total = zero(self.vector)
            if spec.has_bias:
                bias = b.load(F32, b.at(self.arguments["bias"], b.multiply(channel, 4), 4 * q))
                total = b.splat(bias, self.vector.lanes)
            if spec.has_residual:
                residual = b.load_masked(self.vector, b.at(self.arguments["residual"], output, q * step), inside)
                total = b.binary("fadd", total, residual)
            sums.append(total)
        start = axis.coordinate(b, pixel)
        x = b.at(x, b.multiply(start, 4))
        # Padded extents fit 32 bits, and so do positions; lanes beyond the last pixel are masked, wherever they lie.
        step_lanes = [str(min(lane, axis.output - 1) * axis.stride) for lane in range(lanes.lanes)]
        sources = b.binary("add", self._splat(start), vector_constant(lanes, step_lanes))

        def tap(column: Register, pointers: Registers, sums: Registers) -> list[Register]:
            x, w = pointers
            offset = b.multiply(column, axis.dilation)
            columns = b.binary("add", sources, self._splat(offset))
            # Unsigned, so that columns before the image count as far beyond its end.
            valid = b.binary("and", inside, b.compare("ult", columns, constant(lanes, axis.input)))
            address = b.at(x, b.multiply(offset, 4))
            if axis.stride == 1:
                values = b.load_masked(self.vector, address, valid)
            elif axis.stride == 2:
                values = self._every_second(address, b.add(start, offset))
            else:
                values = b.load_strided(self.vector, address, 4 * axis.stride, valid)
            result = []
            for q, total in enumerate(sums):
                weight = b.load(F32, b.at(w, b.multiply(column, 4), 4 * q * self.inputs * self.taps))
                result.append(b.fma(b.splat(weight, self.vector.lanes), values, total))
            return result

        for q, total in enumerate(self._over_channels(x, w, taps, tap, tuple(sums))):
            value = spec.activation.apply(b, total)
            b.store_masked(value, b.at(self.arguments["y"], output, q * step), inside)

    def _every_second(self, address: Register, column: Register) -> Register:
        """Elements 2 columns apart, the first at ``column``, zero outside of the image.

        They are parts of two vectors side by side: reading them one by one takes several times as long.
        """
        b, lanes, limit = self.b, I32.of(self.vector.lanes), self.spec.axes[-1].input
        halves = []
        for first in (0, lanes.lanes):
            numbers = vector_constant(lanes, [str(first + lane) for lane in range(lanes.lanes)])
            columns = b.binary("add", self._splat(column), numbers)
            inside = b.compare("ult", columns, constant(lanes, limit))
            halves.append(b.load_masked(self.vector, b.at(address, 4 * first), inside))
        return b.shuffle(halves[0], halves[1], range(0, 2 * lanes.lanes, 2))

    def _splat(self, value: Register) -> Register:
        return self.b.splat(
            self.b.convert("trunc", value, I32) if value.constant is None else constant(I32, value.constant),
            self.vector.lanes,
        )

    def _over_channels(self, x: Register, w: Register, taps: Sequence[Reach], tap: Tap, sums: Registers) -> Registers:
        """Run ``tap`` for each input channel and each valid tap."""

        def channel(pointers: Registers, sums: Registers) -> Registers:
            return self._over_taps(pointers, taps, 0, tap, sums)

        return over(self.b, self.inputs, (4 * self.input_pixels, 4 * self.taps), (x, w), sums, channel)

    def _over_taps(
        self, pointers: Registers, taps: Sequence[Reach], depth: int, tap: Tap, sums: Registers
    ) -> Registers:
        axes = self.spec.axes
        if depth == len(axes) - 1:
            return self.b.loop(0, axes[-1].kernel, lambda column, sums: tap(column, pointers, sums), sums)
        x_step = 4 * axes[depth].dilation * math.prod(a.input for a in axes[depth + 1 :])
        w_step = 4 * math.prod(a.kernel for a in axes[depth + 1 :])

        def row(pointers: Registers, sums: Registers) -> Registers:
            return self._over_taps(pointers, taps, depth + 1, tap, sums)

        return over(self.b, taps[depth][1], (x_step, w_step), pointers, sums, row)
