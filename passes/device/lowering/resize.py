"""Resampling to the nearest neighbour or by interpolation, rows and columns advancing in equal steps."""

from __future__ import annotations

from tilewright.errors import PassError

from ....ir.core import Op
from ....ir.ops.resize import Resize
from ....ir.tile.compute import Resize as ResizeTile
from ....ir.tile.compute import ResizeLinear
from ....ir.tile.places import Part
from ..resampling import Axis, resize_axes
from .program import TileProgram


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
