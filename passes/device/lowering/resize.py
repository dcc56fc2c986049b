"""Resampling to the nearest neighbour, rows and columns advancing in equal steps."""

from __future__ import annotations

import numpy as np

from tilewright.errors import PassError

from ....ir.core import Op
from ....ir.ops.resize import Resize
from ....ir.resampling import nearest_indices, nearest_steps
from ....ir.tile.compute import Resize as ResizeTile
from ....ir.tile.places import Part
from ....runtime.machine import RESIZE_LIMIT
from ..boxes import Span
from .program import TileProgram, lowers


@lowers(Resize)
def lower_resize(op: Op[Resize], program: TileProgram) -> None:
    """Every tile reads the rows and columns that it repeats."""
    rows, columns = nearest_indices(op)
    source, target = program.map(op.inputs[0]), program.map(op.result)
    for box in program.tiles(op):
        read_rows, (row_step, row_origin) = _read(op, rows, box.rows)
        read_columns, (column_step, column_origin) = _read(op, columns, box.columns)
        output = box.rows[1], box.columns[1]
        resize = ResizeTile(output, (row_step, column_step), (row_origin, column_origin))
        read = program.load(source, Part(box.image, read_rows, read_columns, box.channels))
        program.store(target, box, resize, read)


def _read(op: Op[Resize], indices: np.ndarray, outputs: Span) -> tuple[Span, tuple[int, int]]:
    """The rows (or columns) that some of the result repeat, and step and origin inside them."""
    first, count = outputs
    part = indices[first : first + count]
    found = nearest_steps(part, RESIZE_LIMIT)
    if found is None:
        raise PassError(
            "the device does not resample like that",
            op=op.name,
            node=op.node,
            expected="indices that advance in equal steps",
            found=part.tolist()[:8],
        )
    return (int(part[0]), int(part[-1] - part[0]) + 1), found
