"""Products of quantised tensors whose result is real numbers: exact sums of integers, then one multiplication."""

import numpy as np

from ...ir.annotations import WHY
from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.integer_products import ConvInteger, MatMulInteger
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Transpose
from ...ir.ops.quantization import StorageCast
from ...ir.ops.shape import Cast
from ...ir.quantized import accumulator_factors
from ...ir.types import DType
from ..base import UNPLANNED, Pass, Record
from ..views import exchanged


class RealResults(Pass):
    """Makes operators of plain integers of ``conv`` and ``matmul`` of quantised tensors with real results, followed by
    the sum with the bias, the conversion to floating point, and the product with the scales of both factors."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        for op in [*module.ops]:
            if is_op(op, Conv, MatMul) and op.inputs[0].type.quant is not None and op.result.type.quant is None:
                _expand(module, op)
                record.counts[op.name] += 1
        module.drop_unused_constants()
        return bool(record.counts)


def _expand(module: Module, op: Op[Conv | MatMul]) -> None:
    function = op.function
    assert function is not None
    name = op.result.name
    # Reports tell why the op is on the CPU of all that it becomes.
    why = {key: value for key, value in op.annotations.items() if key == WHY.key}

    def plain(value: Value) -> Value:
        if isinstance(value, Constant):
            return module.add_constant(value.name, value.array)
        return function.insert(
            Op(StorageCast(), [value], [value.type.with_quant(None)], loc=op.loc, annotations=why), op
        ).result

    def zero(value: Value) -> Value | None:
        quant = value.type.quant
        assert quant is not None
        if not any(quant.zero_point):
            return None
        points = np.asarray(quant.zero_point, value.type.dtype.numpy)
        return module.add_constant(f"{value.name}_zero", points if quant.axis is not None else points.reshape(()))

    def add(
        operator: Conv | ConvInteger | MatMulInteger | Add | Cast | Mul | Transpose, *operands: Value | None
    ) -> Value:
        return function.insert(Op(operator, operands, names=[name], loc=op.loc, annotations=why), op).result

    x, w, b, _ = op.operands
    if is_op(op, Conv):
        conv, spatial = op.operator, x.type.rank - 2
        integer = ConvInteger(conv.strides, conv.pads, conv.dilations, conv.group)
        total = add(integer, plain(x), plain(w), zero(x), zero(w))
    else:
        assert is_op(op, MatMul) and not op.operator.transpose_a
        spatial, left, right = 0, plain(x), plain(w)
        if op.operator.transpose_b and isinstance(right, Constant):
            right = module.add_constant(right.name, np.swapaxes(right.array, -1, -2))
        elif op.operator.transpose_b:
            right = add(Transpose(exchanged(right)), right)
        total = add(MatMulInteger(), left, right, zero(x), zero(w))
    if b is not None:
        bias = b.array.reshape(-1, *[1] * spatial) if isinstance(b, Constant) else None
        assert bias is not None
        total = add(Add(), total, module.add_constant(b.name, bias))
    factors = accumulator_factors(x.type, w.type, op.result.type).reshape(-1, *[1] * spatial)
    real = add(Cast(DType.F32), total)
    op.replace_with(add(Mul(), real, module.add_constant(f"{name}_scale", factors)))
