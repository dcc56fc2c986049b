"""Const and Copy of IR of versions 2 to 7, and what makes constants of constants: Fill and Range."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from .....ir.types import DType
from ...shape import progression
from ..importer import IrImporter, IrNode, legacy


@legacy("Const")
def import_constant(node: IrNode, importer: IrImporter) -> Value:
    return importer.array(node, "custom", node.output_shape())


@legacy("Copy", "Identity", "Dropout")
def import_copy(node: IrNode, importer: IrImporter) -> Value:
    return node.input(0)


@legacy("Fill")
def import_fill(node: IrNode, importer: IrImporter) -> Value:
    shape, value = node.integers(0, "the shape"), node.constant(1, "the value").reshape(-1)
    if value.size != 1:
        raise node.model_error("one value fills a tensor", found=value.size)
    return importer.described(node, shape, DType.of(value.dtype), lambda: np.full(shape, value[0]))


@legacy("Range")
def import_range(node: IrNode, importer: IrImporter) -> Value:
    start, limit, delta = (node.constant(i, w).reshape(-1)[0] for i, w in enumerate(("start", "limit", "delta")))
    return progression(node, importer, start, limit, delta, DType.of(start.dtype))
