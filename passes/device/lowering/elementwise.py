"""Functions of one map, by a table, and arithmetic of two maps."""

import numpy as np

from tilewright.errors import PassError

from ....ir import arithmetic
from ....ir.core import Op, Value, is_op
from ....ir.feature_map import MapShape, computed_map, map_shape
from ....ir.op import Operator
from ....ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ....ir.ops.unary import Unary
from ....ir.quantized import is_wide, limits, parameters
from ....ir.tile.compute import CombinationKind, Combine, LookUp
from ....ir.tile.places import Part
from ....ir.tile.requantization import HIGHEST, LOWEST
from ....ir.tile.transfer import LoadTable
from .chip_map import ChipMap
from .on_chip import as_on_chip, chip_offset, chip_zero, on_chip
from .program import TileProgram

_KINDS: dict[type[Operator], CombinationKind] = {
    Add: "add",
    Sub: "add",
    Mul: "multiply",
    Max: "maximum",
    Min: "minimum",
}


def table_of(op: Op) -> np.ndarray:
    """The function of a unary quantised op as int8 [256], by what the device holds of its operand from -128 up; of 16
    bits as knots.

    The entries are what the reference computes for every stored integer, so they cannot differ from it."""
    x = op.inputs[0].type
    if is_op(op, Unary) and is_wide(x):
        return op.operator.knots(x, op.result.type)
    low, high = limits(x)
    stored = np.arange(low, high + 1).astype(x.dtype.numpy)
    (results,) = op.evaluate([stored])
    return as_on_chip(results)


def lower_table(op: Op, program: TileProgram) -> None:
    """The entry for each element."""
    source, target = program.maps(op, op.inputs[0])
    table = program.add(LoadTable(program.everywhere), program.constant("table", table_of(op)))
    for box in program.tiles(op, computed_map(op)):
        program.store(target, box, LookUp(), program.load(source, box), table)


def _record(op: Op) -> dict[str, float]:
    a, b = op.inputs
    y = op.result.type
    (scale_a, _), (scale_b, _), (scale_y, zero_y) = (parameters(t) for t in (a.type, b.type, y))
    zeros = {"zero_a": chip_zero(a), "zero_b": chip_zero(b), "zero_output": zero_y, "offset": chip_offset(y)}
    if isinstance(op.operator, Mul):
        return {**zeros, "multiplier": float(arithmetic.multiplier(scale_a, np.asarray(scale_b), scale_y))}
    if isinstance(op.operator, (Max, Min)):
        # Equal parameters all over: stored integers are compared as they are.
        return {**zeros, "multiplier_a": 1, "multiplier_b": 1, "shift": 0}
    first, second, shift = arithmetic.add_multipliers(scale_a, scale_b, scale_y)
    second = -second if isinstance(op.operator, Sub) else second
    return {**zeros, "multiplier_a": first, "multiplier_b": second, "shift": shift}


def _combine(op: Op) -> Combine:
    if is_wide(op.result.type):
        return Combine("wide_multiply", LOWEST, HIGHEST)
    low, high = (on_chip(op.result.type, bound) for bound in limits(op.result.type))
    return Combine(_KINDS[type(op.operator)], low, high)


def lower_elementwise(op: Op, program: TileProgram) -> None:
    """Two maps; images, rows and columns of each are possibly one that is repeated."""
    combine, shape = _combine(op), computed_map(op)
    *sources, target = program.maps(op, *op.inputs)
    record = program.load_record(**_record(op))
    for box in program.tiles(op, shape):
        operands = [program.load(place, _read(op, program.shape(place), shape, box)) for place in sources]
        program.store(target, box, combine, *operands, record)


class FusedElementwise:
    """An op of two maps that is computed with each tile of the convolution that makes one of them.
    ``shape``: of the result, as the convolution sees it."""

    def __init__(self, op: Op, convolution: Op, shape: MapShape, program: TileProgram) -> None:
        self._op, self._program = op, program
        self._is_first = op.inputs[0] is convolution.result
        self._value = op.inputs[1 if self._is_first else 0]
        self._combine = _combine(op)
        self._is_alike = self._value.type.shape == op.result.type.shape
        with program.within(op):
            place = program.map(self._value)
            self._other = program.reshaped(place, shape) if self._is_alike else place
            self._record = program.load_record(**_record(op))

    def finish(self, target: Value | ChipMap, box: Part, make: Operator, *operands: Value) -> None:
        """Make a tile of the convolution's result, and write over it what is made of it and of the other operand."""
        program = self._program
        # Over the other operand, which is still to be read, the sum alone is written.
        other = self._other
        is_over = isinstance(other, ChipMap) and isinstance(target, ChipMap) and other.storage is target.storage
        kept = program.held(target, box) if isinstance(target, ChipMap) and not is_over else None
        own = program.make(kept, make, *operands)
        with program.within(self._op):
            shapes = map_shape(self._value.type), map_shape(self._op.result.type)
            read = program.load(other, box if self._is_alike else _read(self._op, *shapes, box))
            pair = (own, read) if self._is_first else (read, own)
            into = [] if isinstance(target, ChipMap) else [own]
            program.store(target, box, self._combine, *pair, self._record, *into)


def _read(op: Op, shape: MapShape, target: MapShape, box: Part) -> Part:
    """What a box of the result reads of an operand of this shape."""
    if shape.channels != target.channels or shape.images not in (1, target.images):
        raise PassError(
            "the device does not broadcast this operand",
            op=op.name,
            node=op.node,
            expected=f"{target.channels} channels, and 1 or {target.images} images",
            found=f"{shape.channels} channels and {shape.images} images",
        )
    rows = box.rows if shape.height == target.height else (0, 1)
    columns = box.columns if shape.width == target.width else (0, 1)
    return Part(box.image if shape.images > 1 else 0, rows, columns, box.channels)
