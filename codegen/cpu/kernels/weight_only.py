"""Products with weights that are kept as integers."""

from __future__ import annotations

import math

from ....ir.core import Op
from ....ir.layout import HALVES
from ....ir.ops.weight_only import WeightOnlyMatMul
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from .activation import what_follows
from .products.weight_only_product import WeightOnlyProduct, WeightOnlyRows

FEW_ROWS = 4
"""Up to so many rows integers become numbers in registers."""


@lowers(WeightOnlyMatMul)
def weight_only_product(op: Op[WeightOnlyMatMul], target: TargetDescription) -> Kernel | None:
    """Of weights that lie in panels; ``None`` for others."""
    operands = op.operands
    x, w = operands.x.type, operands.w.type
    if w.layout not in ("i4o16", HALVES) or not w.elements:
        return None
    rows, (inner, columns) = math.prod(x.shape[:-1]), w.shape
    block, bits = op.operator.block, 4 if w.layout == HALVES else 8
    follows = {**what_follows(op), "bits": bits, "block": block, "has_zero": operands.zero is not None}
    in_word = 32 // bits
    if rows <= FEW_ROWS and block % in_word == 0:
        return WeightOnlyRows(rows=rows, columns=columns, inner=inner, **follows).kernel(target)
    if block % in_word and block != inner:
        return None
    return WeightOnlyProduct(rows, columns, inner, **follows).kernel(target)
