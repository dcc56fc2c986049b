"""Pooling operators on activations in blocks of 16 channels."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ....ir.core import Op
from ....ir.layout import BLOCK
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..llvm.types import Register, Registers, constant
from ..registry import lowers
from ..spec import KernelSpec
from ..tensors import is_float, layouts
from .convolution import image_axes
from .window import Axis
from .windowed import VECTOR, VECTOR_BYTES, AveragePooling, MaxPooling


@lowers(MaxPool, AveragePool)
def pool(op: Op, target: TargetDescription) -> Kernel | None:
    """Pooling over windows in layout ``c16``."""
    operator, type, result = op.operator, op.inputs[0].type, op.result.type
    assert isinstance(operator, (MaxPool, AveragePool))
    if not is_float(op) or layouts(op) != ("c16", "c16"):
        return None
    spatial = type.rank - 2
    windows = (operator.kernel, operator.strides, operator.dilations)
    image = type.shape[2:]
    axes = image_axes(image, result.shape[2:], *windows, operator.pads[:spatial])
    if axes is None:
        return None
    batch, channels = type.shape[:2]
    if isinstance(operator, MaxPool):
        return MaxPooling(batch, channels, *axes).kernel(target)
    counted = counted_axes(operator, image, result.shape[2:])
    assert counted is not None
    return AveragePooling(batch, channels, *axes, *counted).kernel(target)


def counted_axes(operator: AveragePool, image: tuple[int, ...], output: tuple[int, ...]) -> tuple[Axis, Axis] | None:
    """Geometry of the windows over what counts as an element: the image, or the image with its padding."""
    spatial = len(image)
    before, after = operator.pads[:spatial], operator.pads[spatial:]
    if operator.count_include_pad:
        image = tuple(sum(extents) for extents in zip(image, before, after, strict=True))
        before = (0,) * spatial
    return image_axes(image, output, operator.kernel, operator.strides, operator.dilations, before)


@dataclass(frozen=True)
class GlobalPooling(KernelSpec):
    """One element from each channel; arguments x and result, layout ``c16``, single precision.

    Attributes:
        images: batch times blocks of channels.
        pixels: in each channel.
        takes_mean: the mean; else the largest element.
    """

    images: int
    pixels: int
    takes_mean: bool

    def generate(self, target: TargetDescription) -> Kernel:
        b = self.entry(target, writes=("y",))
        arguments = self.bind(b)
        chains = min(4, self.pixels)
        start = constant(VECTOR, 0.0 if self.takes_mean else -math.inf)

        def combine(total: Register, value: Register) -> Register:
            return b.binary("fadd", total, value) if self.takes_mean else b.larger(total, value)

        def image(index: Register, _: Registers) -> Registers:
            x = b.at(arguments["x"], b.multiply(index, self.pixels * VECTOR_BYTES))

            def pixels(pixel: Register, totals: Registers) -> list[Register]:
                place = b.at(x, b.multiply(pixel, VECTOR_BYTES))
                return [combine(t, b.load(VECTOR, b.at(place, i * VECTOR_BYTES))) for i, t in enumerate(totals)]

            whole = self.pixels // chains * chains
            totals = list(b.loop(0, whole, pixels, [start] * chains, step=chains))
            for pixel in range(whole, self.pixels):
                totals[0] = combine(totals[0], b.load(VECTOR, b.at(x, pixel * VECTOR_BYTES)))
            total = totals[0]
            for other in totals[1:]:
                total = combine(total, other)
            if self.takes_mean:
                total = b.binary("fdiv", total, constant(VECTOR, self.pixels))
            b.store(total, b.at(arguments["y"], b.multiply(index, VECTOR_BYTES)))
            return ()

        b.loop(arguments["begin"], arguments["end"], image)
        return self.finish(b, units=self.images)


@lowers(GlobalAveragePool, GlobalMaxPool)
def global_pool(op: Op, target: TargetDescription) -> Kernel | None:
    """Pooling over whole images in layout ``c16``."""
    type = op.inputs[0].type
    if not is_float(op) or layouts(op) != ("c16", "c16"):
        return None
    images = type.shape[0] * -(-type.shape[1] // BLOCK)
    takes_mean = isinstance(op.operator, GlobalAveragePool)
    return GlobalPooling(images, math.prod(type.shape[2:]), takes_mean).kernel(target)
