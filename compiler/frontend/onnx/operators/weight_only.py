"""How ONNX spells products with integers that stand for numbers: by those numbers."""

from __future__ import annotations

import numpy as np
import onnx.helper

from .....ir.core import Op
from .....ir.ops.weight_only import WeightOnlyMatMul
from ..exporter import Exporter, exports
from .activation import export_activation


@exports(WeightOnlyMatMul)
def export_weight_only(op: Op[WeightOnlyMatMul], exporter: Exporter) -> None:
    operator, (x, w, scale, zero, b, residual) = op.operator, op.operands
    blocks = exporter.integers(np.arange(w.type.shape[0]) // operator.block, "blocks")
    real = exporter.node("Cast", [w], to=onnx.helper.np_dtype_to_tensor_dtype(np.dtype(np.float32)))
    for op_type, numbers in (("Sub", zero), ("Mul", scale)):
        if numbers is not None:
            real = exporter.node(op_type, [real, exporter.node("Gather", [numbers, blocks], axis=0)])
    y = exporter.node("MatMul", [x, real])
    for addend in (b, residual):
        y = exporter.node("Add", [y, addend]) if addend is not None else y
    exporter.define(op, export_activation(exporter, y, operator.act, operator.act_args, op.result.type.dtype))
