"""Arithmetic of two maps on the device, and any function of one by a table."""

from __future__ import annotations

import numpy as np

from tilewright.errors import CodegenError

from ...ir import arithmetic
from ...ir.core import Op
from ...ir.feature_map import map_shape
from ...ir.op import Operator
from ...ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ...ir.ops.quantization import Requantize
from ...ir.ops.unary import Unary
from ...ir.quantized import limits, parameters
from ...runtime import isa
from .emit import Emitter, chip_offset, chip_zero, lowers, on_chip
from .maps import Box, tiles_of

_KINDS: dict[type[Operator], isa.ElementwiseKind] = {
    Add: isa.ElementwiseKind.ADD,
    Sub: isa.ElementwiseKind.ADD,
    Mul: isa.ElementwiseKind.MULTIPLY,
    Max: isa.ElementwiseKind.MAXIMUM,
    Min: isa.ElementwiseKind.MINIMUM,
}


def _record(op: Op) -> bytes:
    a, b = op.inputs
    y = op.result.type
    (scale_a, _), (scale_b, _), (scale_y, zero_y) = (parameters(t) for t in (a.type, b.type, y))
    zeros = {"zero_a": chip_zero(a), "zero_b": chip_zero(b), "zero_output": zero_y, "offset": chip_offset(y)}
    if isinstance(op.operator, Mul):
        return isa.pack_record(**zeros, multiplier=float(arithmetic.multiplier(scale_a, np.asarray(scale_b), scale_y)))
    if isinstance(op.operator, (Max, Min)):
        # Equal parameters all over: stored integers are compared as they are.
        return isa.pack_record(**zeros, multiplier_a=1, multiplier_b=1, shift=0)
    first, second, shift = arithmetic.add_multipliers(scale_a, scale_b, scale_y)
    second = -second if isinstance(op.operator, Sub) else second
    return isa.pack_record(**zeros, multiplier_a=first, multiplier_b=second, shift=shift)


@lowers(*_KINDS)
def lower_elementwise(op: Op, emitter: Emitter) -> None:
    """Two maps, the second possibly one pixel an image that is repeated."""
    target = map_shape(op.result.type)
    low, high = (on_chip(op.result.type, bound) for bound in limits(op.result.type))
    fields = {"parameters": emitter.load_parameters(_record(op)), "low": low, "high": high}
    fields["kind"] = int(_KINDS[type(op.operator)])
    for box in tiles_of(op):
        reads: list[Box] = []
        for name, value in zip("ab", op.inputs, strict=True):
            shape = map_shape(value.type)
            if shape.channels != target.channels or shape.images not in (1, target.images):
                raise CodegenError(
                    "the device does not broadcast this operand",
                    op=op.name,
                    node=op.node,
                    expected=f"{target.channels} channels, and 1 or {target.images} images",
                    found=f"{shape.channels} channels and {shape.images} images",
                )
            rows = box.rows if shape.height == target.height else (0, 1)
            columns = box.columns if shape.width == target.width else (0, 1)
            reads.append(Box(box.image if shape.images > 1 else 0, rows, columns, box.channels))
            fields[f"row_pitch_{name}"] = columns[1] * box.blocks if shape.height == target.height else 0
            fields[f"pixel_pitch_{name}"] = box.blocks if shape.width == target.width else 0
        emitter.compute(op, reads, box, isa.Elementwise, **fields)


def table_of(op: Op) -> np.ndarray:
    """The function of a unary quantised op as int8 [256], by what the device holds of its operand from -128 up.

    The entries are what the reference computes for every stored integer, so they cannot differ from it.
    """
    x, y = op.inputs[0].type, op.result.type
    low, high = limits(x)
    stored = np.arange(low, high + 1).astype(x.dtype.numpy)
    (results,) = op.evaluate([stored])
    return (results.astype(np.int32) + chip_offset(y)).astype(np.int8)


@lowers(Unary, Requantize)
def lower_table(op: Op, emitter: Emitter) -> None:
    """Any function of one map."""
    table = emitter.load_parameters(isa.pack_table(table_of(op)))
    for box in tiles_of(op):
        emitter.compute(op, [box], box, isa.LookUp, **box.pitches("source_"), table=table)
