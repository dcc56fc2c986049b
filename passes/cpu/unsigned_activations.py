"""Make signed activations unsigned, as dot products of bytes take them, or the reverse, as those of words do."""

from collections.abc import Collection, Sequence
from itertools import product

import numpy as np

from ...ir.calls import host_functions
from ...ir.core import Constant, Function, Module, Op, Value, is_op
from ...ir.ops.call import Call
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.pooling import AveragePool
from ...ir.ops.quantization import Dequantize, Quantize, Requantize, StorageCast
from ...ir.types import DType, Quantization, TensorType
from ..base import UNPLANNED, Pass, Record

_WEIGHTS = 1


class UnsignedActivations(Pass):
    """Moves stored integers and zero points of ``i8`` activations by 128 and calls them ``u8``; ``u16`` ones become
    ``i16``.

    Kernels would do so with every vector that they load. What an activation stands for stays what it is, and so does
    every rounding, as 128 and 32768 are even; products and means of windows, which add the zero point before they round
    (:func:`tilewright.ir.arithmetic.multiply`), keep their type between conversions. A function is left alone where
    others see its stored integers: callers, functions that it calls, the device.
    ``signed``: bytes the other way, from ``u8`` to ``i8``.
    ``exact``: False moves products and means as well, and no words: files for other tools, which round in their own way
    and take words of either kind."""

    requires = (UNPLANNED,)

    signed: bool = False
    exact: bool = True

    def apply(self, module: Module, record: Record) -> bool:
        moves = [(DType.U8, DType.I8) if self.signed else (DType.I8, DType.U8)]
        moves += [(DType.U16, DType.I16)] if self.exact else []
        for function, (given, wanted) in product(host_functions(module), moves):
            if not _shows_integers(function, given):
                # These add a zero point before they round.
                adding = [op for op in function.ops if is_op(op, AveragePool, Mul) and _holds(op.result, given)]
                kept = {op: [i for i, x in enumerate(op.inputs) if _holds(x, given)] for op in adding if self.exact}
                kept |= dict.fromkeys(_ends(function, given, wanted), ())
                _move(module, function, record, given, wanted, {*kept, *_for_these_alone(function, kept)})
                for op, read in kept.items():
                    _convert(function, op, read, wanted, kept)
        module.drop_unused_constants()
        return bool(record.counts)


def _shows_integers(function: Function, dtype: DType) -> bool:
    """Whether others see stored bytes, or an activation has scales by channel, which no kernel reads in blocks."""
    if any(is_op(op, Call, StorageCast) for op in function.ops):
        return True
    results = [value for op in function.ops for value in op.results if _holds(value, dtype)]
    outside = any(_holds(value, dtype) for value in (*function.parameters, *function.results))
    is_shown = outside and dtype is not DType.U16
    return is_shown or any(value.type.quant is not None and value.type.quant.axis is not None for value in results)


def _ends(function: Function, given: DType, wanted: DType) -> list[Op]:
    """Conversions that make what is returned, and further ones of parameters, for what computes with these."""
    for value in function.parameters:
        readers = [user for user in value.users if not is_op(user, Dequantize, Requantize)]
        if _holds(value, given) and readers:
            type = _moved(value.type, wanted, _offset(given, wanted))
            moved = function.insert_after(Op(Requantize(), [value], [type], names=[value.name]), None).result
            for user, index in [*value.uses]:
                if user in readers:
                    user.set_operand(index, moved)
    ends: list[Op] = []
    for index, value in enumerate(function.results):
        op = value.producer
        if _holds(value, given) and op is not None:
            if not is_op(op, Quantize, Requantize):
                op = function.insert(Op(Requantize(), [value], [value.type], names=[value.name]))
                function.set_operand(index, op.result)
            ends.append(op)
    return ends


def _holds(value: Value, dtype: DType) -> bool:
    return value.type.quant is not None and value.type.dtype is dtype


def _for_these_alone(function: Function, kept: Collection[Op]) -> list[Op]:
    """Conversions that only such ops read."""
    ops = (op for op in function.ops if is_op(op, Requantize))
    return [op for op in ops if op.result.users and all(user in kept for user in op.result.users)]


def _move(
    module: Module, function: Function, record: Record, given: DType, wanted: DType, kept: Collection[Op]
) -> None:
    by = _offset(given, wanted)
    for op in function.ops:
        if op in kept:
            continue
        for index, value in enumerate(op.operands):
            is_weights = index == _WEIGHTS and isinstance(op.operator, Conv | MatMul)
            if isinstance(value, Constant) and _holds(value, given) and not is_weights:
                moved = (value.array.astype(np.int32) + by).astype(wanted.numpy)
                op.set_operand(index, module.add_constant(value.name, moved, _moved(value.type, wanted, by)))
        for value in op.results:
            if _holds(value, given):
                value.type = _moved(value.type, wanted, by)
                record.counts[op.name] += 1


def _convert(function: Function, op: Op, read: Sequence[int], wanted: DType, kept: Collection[Op]) -> None:
    """Give an op that keeps its type operands of it, and its other readers the result as they have the rest."""
    given = op.result.type.dtype
    for index in read:
        x = op.inputs[index]
        if x.type.dtype is not given:
            type = _moved(x.type, given, _offset(wanted, given))
            before = function.insert(Op(Requantize(), [x], [type], names=[x.name], loc=op.loc), op)
            op.set_operand(index, before.result)
    readers = [user for user in op.result.users if user not in kept and not is_op(user, Requantize)]
    if readers:
        type = _moved(op.result.type, wanted, _offset(given, wanted))
        after = function.insert_after(Op(Requantize(), [op.result], [type], names=[op.result.name], loc=op.loc), op)
        for user, index in [*op.result.uses]:
            if user in readers:
                user.set_operand(index, after.result)


def _offset(given: DType, wanted: DType) -> int:
    return int(np.iinfo(wanted.numpy).min) - int(np.iinfo(given.numpy).min)


def _moved(type: TensorType, dtype: DType, by: int) -> TensorType:
    assert type.quant is not None
    zeros = [zero + by for zero in type.quant.zero_point]
    quant = Quantization(type.quant.scale, tuple(zeros), type.quant.axis)
    return TensorType(type.shape, dtype, quant, type.layout)
