"""Pooling on the device."""

from __future__ import annotations

from ...ir import arithmetic
from ...ir.core import Op
from ...ir.feature_map import map_shape, window_of
from ...ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ...ir.quantized import parameters
from ...runtime import isa
from .emit import Emitter, chip_offset, chip_zero, lowers
from .maps import tiles_of
from .window import read_through


@lowers(MaxPool, AveragePool, GlobalAveragePool, GlobalMaxPool)
def lower_pooling(op: Op[MaxPool | AveragePool | GlobalAveragePool | GlobalMaxPool], emitter: Emitter) -> None:
    """A window slides over a tile of the map that holds all it reads."""
    window, shape = window_of(op), map_shape(op.inputs[0].type)
    fields = _fields(op, window.taps, emitter)
    for box in tiles_of(op):
        read, geometry = read_through(window, shape, box)
        emitter.compute(op, [read], box, isa.Pool, **geometry, **read.pitches("source_"), **fields)


def _fields(
    op: Op[MaxPool | AveragePool | GlobalAveragePool | GlobalMaxPool], taps: int, emitter: Emitter
) -> dict[str, int]:
    """Kind and parameters."""
    operator, x, y = op.operator, op.inputs[0], op.result
    if isinstance(operator, MaxPool | GlobalMaxPool):
        return {"kind": int(isa.PoolKind.MAXIMUM)}
    (scale_x, _), (scale_y, zero_y) = parameters(x.type), parameters(y.type)
    zeros = {"zero_a": chip_zero(x), "zero_output": zero_y, "offset": chip_offset(y.type)}
    if isinstance(operator, GlobalAveragePool):
        factor = arithmetic.global_average_multiplier(scale_x, scale_y, taps)
        record = isa.pack_record(**zeros, multiplier=float(factor))
        return {"kind": int(isa.PoolKind.SUM), "parameters": emitter.load_parameters(record)}
    record = isa.pack_record(**zeros, scale_a=float(scale_x), scale_output=float(scale_y))
    return {
        "kind": int(isa.PoolKind.AVERAGE),
        "parameters": emitter.load_parameters(record),
        "include_pad": int(operator.count_include_pad),
    }
