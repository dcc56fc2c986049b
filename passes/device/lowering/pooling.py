"""Pooling, over windows and over whole maps."""

from __future__ import annotations

from typing import Literal

from ....ir import arithmetic
from ....ir.core import Op, Value
from ....ir.feature_map import map_shape, window_of
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ....ir.quantized import parameters
from ....ir.tile.compute import Pool
from ..boxes import read_through
from .on_chip import chip_offset, chip_zero
from .program import TileProgram

AnyPool = MaxPool | AveragePool | GlobalAveragePool | GlobalMaxPool


def lower_pooling(op: Op[AnyPool], program: TileProgram) -> None:
    """A window slides over a tile of the map that holds all it reads."""
    window, shape = window_of(op), map_shape(op.inputs[0].type)
    source, target = program.map(op.inputs[0]), program.map(op.result)
    include_pad = isinstance(op.operator, AveragePool) and op.operator.count_include_pad
    kind, record = _record(op, window.taps, program)
    for box in program.tiles(op):
        read, origin = read_through(window, shape, box)
        output = box.rows[1], box.columns[1]
        pool = Pool(kind, output, window.kernel, window.stride, origin, include_pad)
        program.store(target, box, pool, program.load(source, read), record)


def _record(
    op: Op[AnyPool], taps: int, program: TileProgram
) -> tuple[Literal["maximum", "average", "sum"], Value | None]:
    """What is done with the elements of a window, and the numbers for that."""
    operator, x, y = op.operator, op.inputs[0], op.result
    if isinstance(operator, (MaxPool, GlobalMaxPool)):
        return "maximum", None
    (scale_x, _), (scale_y, zero_y) = parameters(x.type), parameters(y.type)
    zeros = {"zero_a": chip_zero(x), "zero_output": zero_y, "offset": chip_offset(y.type)}
    if isinstance(operator, GlobalAveragePool):
        factor = arithmetic.global_average_multiplier(scale_x, scale_y, taps)
        return "sum", program.load_record(**zeros, multiplier=float(factor))
    return "average", program.load_record(**zeros, scale_a=float(scale_x), scale_output=float(scale_y))
