"""Compute in single precision what a network computes in half precision."""

import numpy as np

from tilewright.errors import TilewrightError

from ...ir.calls import callees, host_functions
from ...ir.core import Constant, Function, Module, Op, Value, is_op, types_of
from ...ir.op import QuantizationRule
from ...ir.ops.pooling import Pool
from ...ir.ops.reduction import ArgExtreme, ReduceExtreme, TopK
from ...ir.ops.resize import Resize
from ...ir.ops.shape import Cast
from ...ir.types import DType
from ..base import PLAIN, UNPLANNED, Pass, Record

_MOVES = (QuantizationRule.PRESERVE, QuantizationRule.UNIFY)


class WidenHalf(Pass):
    """Lets ops on float16 compute in float32, from where values are stored as float16 to where they are again.

    Between such ops nothing is rounded to half precision and nothing overflows, as in onnxruntime on a CPU. Inputs,
    outputs, what bodies of loops and branches take and return, and conversions that the network asks for stay float16,
    and so do inputs and constants that are moved before anything is computed of them, but not into pools, to points
    between elements, or where the best of them are sought. Other constants become float32."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    def apply(self, module: Module, record: Record) -> bool:
        for function in host_functions(module):
            _Widening(module, function, record).run()
        module.drop_unused_constants()
        return record.counts.total() > 0


class _Widening:
    """The rewriting of a function, op by op.
    ``halves``: operands that were float16 before it began, by op; of the function itself its results."""

    def __init__(self, module: Module, function: Function, record: Record) -> None:
        self._module = module
        self._function = function
        self._record = record
        self._converted: dict[tuple[Value, DType], Value] = {}
        readers = [(op, op.operands) for op in function.ops]
        self.halves = {
            reader: [i for i, value in enumerate(operands) if value is not None and value.type.dtype is DType.F16]
            for reader, operands in (*readers, (function, function.results))
        }

    def run(self) -> None:
        for op in [*self._function.ops]:
            halves = self.halves[op]
            if halves and is_op(op, Cast):
                if self._stands_at_a_border(op):
                    continue
                self._read(op, halves, DType.F32)
                self._record.counts[op.name] += 1
                if op.result.type.dtype is DType.F32:
                    op.replace_with(op.inputs[0])
            elif halves and self._widens(op, halves):
                self._read(op, halves, DType.F32)
                for value in op.results:
                    if value.type.dtype is DType.F16:
                        value.type = value.type.with_dtype(DType.F32)
                self._record.counts[op.name] += 1
            else:
                self._read(op, halves, DType.F16)
        self._read(self._function, self.halves[self._function], DType.F16)

    def _stands_at_a_border(self, op: Op) -> bool:
        """Whether an op is the conversion to single precision that reads what is stored, and that others may read."""
        read = op.inputs[0]
        is_stored = read.type.dtype is DType.F16 and not isinstance(read, Constant)
        if op.result.type.dtype is not DType.F32 or not is_stored:
            return False
        return self._converted.setdefault((read, DType.F32), op.result) is op.result

    def _widens(self, op: Op, halves: list[int]) -> bool:
        """Whether the op has the same meaning on single precision, and does not only move what is stored."""
        operator, types = op.operator, types_of(op.operands)
        single = [
            type.with_dtype(DType.F32) if index in halves and type is not None else type
            for index, type in enumerate(types)
        ]
        is_stored = all(type != types[index] for index, type in enumerate(single) if index in halves)
        moves = operator.QUANTIZATION in _MOVES and not isinstance(operator, Pool | ReduceExtreme | ArgExtreme | TopK)
        moves = moves and not (isinstance(operator, Resize) and operator.mode != "nearest")
        if callees(op) or operator.GIVEN_RESULTS or (is_stored and moves):
            return False
        try:
            found = operator.result_types(single)
        except TilewrightError:
            return False
        results = [value.type for value in op.results]
        return list(found) == [t.with_dtype(DType.F32) if t.dtype is DType.F16 else t for t in results]

    def _read(self, reader: Op | Function, indices: list[int], dtype: DType) -> None:
        """Let these operands be of an element type, converted where they are not."""
        before = reader if isinstance(reader, Op) else None
        operands = reader.results if isinstance(reader, Function) else reader.operands
        for index in indices:
            value = operands[index]
            if value is not None and value.type.dtype is not dtype:
                reader.set_operand(index, self._as(value, dtype, before))

    def _as(self, value: Value, dtype: DType, before: Op | None) -> Value:
        key = (value, dtype)
        if key not in self._converted and isinstance(value, Constant):
            self._converted[key] = self._module.add_constant(value.name, value.array.astype(np.float32))
        elif key not in self._converted:
            loc = value.producer.loc if value.producer is not None else ()
            op = Op(Cast(dtype), [value], names=[value.name], loc=loc)
            self._converted[key] = self._function.insert(op, before).result
        return self._converted[key]
