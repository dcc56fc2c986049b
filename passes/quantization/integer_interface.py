"""Networks that take and give 8-bit integers, as devices without floating point do."""

import math

from tilewright.errors import PassError

from ...ir.core import Function, Module, Op, Value
from ...ir.ops.movement import Transpose
from ...ir.ops.quantization import Dequantize
from ...ir.ops.quantization import Quantize as QuantizeOperator
from ...ir.ops.shape import Reshape
from ...ir.types import DType, Quantization, TensorType
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..pattern import Driver
from . import integer_rules, sink_dequantize_rules
from .check_accumulator_overflow import SETTLED
from .parameters import SMALLEST_SCALE, Range

IMAGE_CHANNELS = (1, 3, 4)
"""Of the images that devices take."""


class IntegerInterface(Pass):
    """Makes the input of a network int8 [1, C, H, W] and its outputs int8 of four dimensions, all with zero point 0.

    The input becomes real by ``dequantize``, and outputs become integers by ``quantize``. Where the network computes
    with the same integers next to that, nothing is left of either; other integers become these by ``requantize``, which
    is the same as the way through real numbers.

    Comes after the network itself was quantised, or before it stays in floating point."""

    requires = (PLAIN, UNPLANNED)

    input_scale: float
    output_scales: tuple[float, ...]

    def apply(self, module: Module, record: Record) -> bool:
        main = module.main
        if len(main.parameters) != 1 or len(main.results) != len(self.output_scales):
            raise PassError(
                "the scales are not those of this network",
                expected=f"one for each of {len(main.parameters)} inputs and {len(main.results)} outputs",
                found=f"one and {len(self.output_scales)}",
            )
        self._take_integers(main, main.parameters[0])
        names = main.result_names
        main.set_results([self._given(main, index, value) for index, value in enumerate(main.results)], names)
        Driver((*sink_dequantize_rules.RULES, *integer_rules.RULES, *SETTLED)).run(module, record)
        module.drop_unused_constants()
        return True

    def _take_integers(self, main: Function, parameter: Value) -> None:
        shape = parameter.type.shape
        parameter.type = _integers(planes_of(shape), self.input_scale)
        real = first = main.insert_after(Op(Dequantize(), [parameter], names=[parameter.name]), None)
        if planes_of(shape) != shape:
            real = main.insert_after(Op(Transpose((0, 2, 3, 1)), [real.result], names=[parameter.name]), real)
        parameter.replace_all_uses(real.result, but=[first])

    def _given(self, main: Function, index: int, value: Value) -> Value:
        shape = node_shape(value.type.shape)
        loc = value.producer.loc if value.producer is not None else ()
        if shape != value.type.shape:
            value = main.append(Reshape(shape), [value], names=[value.name], loc=loc).result
        type = _integers(shape, self.output_scales[index])
        return main.append(QuantizeOperator(), [value], [type], names=[value.name], loc=loc).result


def _integers(shape: tuple[int, ...], scale: float) -> TensorType:
    return TensorType(shape, DType.I8, Quantization.per_tensor(scale))


def planes_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape [1, C, H, W] of an image, which may be given as [1, H, W, C]."""
    if shape[1] in IMAGE_CHANNELS or shape[3] not in IMAGE_CHANNELS:
        return shape
    return (shape[0], shape[3], shape[1], shape[2])


def node_shape(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The shape [1, C, H, W] for an output: [N, C] is [N, C, 1, 1], [N, C, L] is [N, C, 1, L]; of more than four
    dimensions, all but the last two become channels, and so does a first one that is not 1."""
    extents = shape[1:] if shape[:1] == (1,) else shape
    if len(extents) < 2:
        return (1, math.prod(extents), 1, 1)
    if len(extents) == 2:
        return (1, extents[0], 1, extents[1])
    return (1, math.prod(extents[:-2]), extents[-2], extents[-1])


def symmetric_scale(range: Range) -> float:
    """The smallest scale with which int8 with the zero point 0 covers a range; 1 for a range of no width."""
    scale = max(range[1] / 127, -range[0] / 128, 0.0)
    return scale if SMALLEST_SCALE < scale < math.inf else 1.0


def covered(scale: float) -> Range:
    """The range of int8 with the zero point 0 and this scale; quantising by it gives the same again."""
    return (-128 * scale, 127 * scale)
