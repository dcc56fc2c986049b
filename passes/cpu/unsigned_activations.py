"""Make signed activations unsigned, or the reverse: dot products of bytes multiply unsigned by signed ones."""

from __future__ import annotations

import numpy as np

from ...ir.calls import host_functions
from ...ir.core import Constant, Function, Module, Op, Value, is_op
from ...ir.ops.call import Call
from ...ir.ops.control_flow import ControlFlow
from ...ir.ops.convolution import Conv
from ...ir.ops.matmul import MatMul
from ...ir.ops.quantization import StorageCast
from ...ir.types import DType, Quantization, TensorType
from ..base import UNPLANNED, Pass, Record

_WEIGHTS = 1


class UnsignedActivations(Pass):
    """Moves stored integers and zero points of ``i8`` activations by 128 and calls them ``u8``.

    Kernels would do so with every vector that they load. What an activation stands for stays what it is, and so does
    every rounding, as 128 is even. A function is left alone where others see its stored integers: callers, functions
    that it calls, the device.

    Attributes:
        signed: the other way, from ``u8`` to ``i8``.
    """

    requires = (UNPLANNED,)

    signed: bool = False

    def apply(self, module: Module, record: Record) -> bool:
        given, wanted = (DType.U8, DType.I8) if self.signed else (DType.I8, DType.U8)
        for function in host_functions(module):
            if not _shows_integers(function, given):
                _move(module, function, record, given, wanted)
        module.drop_unused_constants()
        return bool(record.counts)


def _shows_integers(function: Function, dtype: DType) -> bool:
    """Whether others see stored integers, or an activation has scales by channel, which no kernel reads in blocks."""
    if any(is_op(op, Call, ControlFlow, StorageCast) for op in function.ops):
        return True
    results = [value for op in function.ops for value in op.results if _holds(value, dtype)]
    outside = any(_holds(value, dtype) for value in (*function.parameters, *function.results))
    return outside or any(value.type.quant is not None and value.type.quant.axis is not None for value in results)


def _holds(value: Value, dtype: DType) -> bool:
    return value.type.quant is not None and value.type.dtype is dtype


def _move(module: Module, function: Function, record: Record, given: DType, wanted: DType) -> None:
    by = int(np.iinfo(wanted.numpy).min) - int(np.iinfo(given.numpy).min)
    for op in function.ops:
        for index, value in enumerate(op.operands):
            if isinstance(value, Constant) and _holds(value, given) and not _is_weights(op, index):
                moved = (value.array.astype(np.int16) + by).astype(wanted.numpy)
                op.set_operand(index, module.add_constant(value.name, moved, _moved(value.type, wanted, by)))
        for value in op.results:
            if _holds(value, given):
                value.type = _moved(value.type, wanted, by)
                record.counts[op.name] += 1


def _is_weights(op: Op, index: int) -> bool:
    return index == _WEIGHTS and isinstance(op.operator, Conv | MatMul)


def _moved(type: TensorType, dtype: DType, by: int) -> TensorType:
    assert type.quant is not None
    zeros = [zero + by for zero in type.quant.zero_point]
    quant = Quantization(type.quant.scale, tuple(zeros), type.quant.axis)
    return TensorType(type.shape, dtype, quant, type.layout)
