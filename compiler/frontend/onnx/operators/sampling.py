"""GridSample of ONNX."""

from __future__ import annotations

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.sampling import GridSample
from ..exporter import Exporter, exports
from ..importer import Importer, Node, imports

_MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""What modes were called until version 20."""


@imports("GridSample")
def import_grid_sample(node: Node, importer: Importer) -> Value:
    mode = node.string("mode", "linear")
    coordinates = "centres" if node.bool("align_corners", 0) else "edges"
    operator = GridSample(_MODES.get(mode, mode), node.string("padding_mode", "zeros"), coordinates)
    return importer.emit_one(operator, node.input(0), node.input(1))


@exports(GridSample)
def export_grid_sample(op: Op[GridSample], exporter: Exporter) -> None:
    operator, (x, grid) = op.operator, op.operands
    written, dtype = exporter.name(grid), grid.type.dtype.numpy
    if operator.coordinates == "pixels":
        # The pixel p of n is at (2 p + 1) / n - 1 between the edges.
        extents = np.asarray(x.type.shape[:1:-1], np.float64)
        factors, offsets = (exporter.constant(each.astype(dtype)) for each in (2 / extents, 1 / extents - 1))
        written = exporter.node("Add", [exporter.node("Mul", [written, factors]), offsets])
    exporter.write_as(
        op,
        "GridSample",
        [x, written],
        mode=operator.mode,
        padding_mode=operator.padding_mode,
        align_corners=int(operator.coordinates == "centres"),
    )
