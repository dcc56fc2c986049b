"""Gather, OneHot and ScatterUpdate of IR of versions 2 to 7, whose indices may be of any precision."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from .....ir.ops.indexing import Gather, OneHot, ScatterElements
from .....ir.types import DType
from ...shape import cast
from ..importer import IrImporter, IrNode, legacy
from ..opset.indexing import scattered
from .truth import stated


def _indices(importer: IrImporter, x: Value) -> Value:
    return x if x.type.dtype in (DType.I32, DType.I64) else cast(importer, x, DType.I32)


@legacy("Gather")
def import_gather(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    operator = Gather(node.from_front(node.int("axis", 0), x.type.rank))
    return importer.emit_one(operator, x, _indices(importer, node.input(1)))


@legacy("OneHot")
def import_one_hot(node: IrNode, importer: IrImporter) -> Value:
    """A new dimension of ``depth`` that holds ``on_value`` at the index, ``off_value`` elsewhere."""
    x = node.input(0)
    axis = node.from_front(node.int("axis", -1), x.type.rank + 1)
    values = np.array([node.float("off_value", 0.0), node.float("on_value", 1.0)], np.float32)
    result = importer.emit_one(OneHot(node.int("depth"), axis), x, importer.constant(values, "off_and_on"))
    return stated(node, importer, result)


@legacy("ScatterUpdate")
def import_scatter_update(node: IrNode, importer: IrImporter) -> Value:
    """A copy of x with elements along ``axis`` replaced: one for each index, or whole slices."""
    x, indices, updates = node.input(0), _indices(importer, node.input(1)), node.input(2)
    axis = node.from_front(node.int("axis", 0), x.type.rank)
    if updates.type.shape == indices.type.shape and indices.type.rank == x.type.rank:
        return importer.emit_one(ScatterElements(axis), x, indices, updates)
    return scattered(importer, x, indices, updates, axis)
