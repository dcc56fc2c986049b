"""Pooling, over windows and over whole maps; and resampling, rows and columns advancing in equal steps."""

from tilewright.errors import PassError

from ....ir import arithmetic
from ....ir.core import Op, Value
from ....ir.feature_map import map_shape, window_of
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ....ir.ops.resize import Resize
from ....ir.quantized import is_wide, parameters
from ....ir.tile.compute import Pool, PoolingKind, ResizeLinear
from ....ir.tile.compute import Resize as ResizeTile
from ....ir.tile.places import Part
from ..boxes import read_through
from ..resampling import Axis, resize_axes
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


def _record(op: Op[AnyPool], taps: int, program: TileProgram) -> tuple[PoolingKind, Value | None]:
    """What is done with the elements of a window, and the numbers for that."""
    operator, x, y = op.operator, op.inputs[0], op.result
    if isinstance(operator, (MaxPool, GlobalMaxPool)):
        return "wide_maximum" if is_wide(x.type) else "maximum", None
    (scale_x, _), (scale_y, zero_y) = parameters(x.type), parameters(y.type)
    zeros = {"zero_a": chip_zero(x), "zero_output": zero_y, "offset": chip_offset(y.type)}
    if isinstance(operator, GlobalAveragePool):
        factor = arithmetic.global_average_multiplier(scale_x, scale_y, taps)
        return "sum", program.load_record(**zeros, multiplier=float(factor))
    return "average", program.load_record(**zeros, scale_a=float(scale_x), scale_output=float(scale_y))


def lower_resize(op: Op[Resize], program: TileProgram) -> None:
    """Every tile reads the rows and columns that it repeats, or lies between."""
    rows, columns = resize_axes(op)
    source, target = program.map(op.inputs[0]), program.map(op.result)
    operator = ResizeLinear if rows.interpolates else ResizeTile
    for box in program.tiles(op):
        down, across = rows.part(*box.rows), columns.part(*box.columns)
        (row_step, row_origin), (column_step, column_origin) = _steps(op, down), _steps(op, across)
        output = box.rows[1], box.columns[1]
        resize = operator(output, (row_step, column_step), (row_origin, column_origin))
        read = program.load(source, Part(box.image, down.reads, across.reads, box.channels))
        program.store(target, box, resize, read)


def _steps(op: Op[Resize], axis: Axis) -> tuple[int, int]:
    found = axis.steps
    if found is None:
        raise PassError(
            "the device does not resample like that",
            op=op.name,
            node=op.node,
            expected="rows and columns that advance in equal steps",
            found=axis.positions.tolist()[:8],
        )
    return found
