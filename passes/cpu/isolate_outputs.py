"""Give every output of the network a buffer that one op writes."""

from ...ir.annotations import ON
from ...ir.calls import host_functions
from ...ir.core import Function, Module, Op, Value
from ...ir.ops.movement import Reorder
from ..base import OUTPUTS_APART, UNPLANNED, Pass, Record, is_written_plainly


class IsolateOutputs(Pass):
    """Inserts a row-major copy before each output that is an input, a constant, returned twice or blocked.

    Afterwards each output of ``main``, and of each body of a loop or branch, is the result of an op, in row-major
    order, and no two are the same value, so that the op can write into the caller's buffer."""

    requires = (UNPLANNED,)
    ensures = (OUTPUTS_APART,)

    def apply(self, module: Module, record: Record) -> bool:
        for function in host_functions(module):
            _isolate(function, record)
        return bool(record.counts)


def _isolate(function: Function, record: Record) -> None:
    seen: set[Value] = set()
    for index, value in enumerate(function.results):
        if value in seen or not is_written_plainly(value):
            source = value.producer
            copy = Op(
                Reorder(),
                [value],
                [value.type.plain],
                names=[function.result_names[index]],
                loc=source.loc if source else (),
            )
            ON.set(copy, "cpu")
            function.set_operand(index, function.insert(copy).result)
            record.counts["copy"] += 1
        else:
            seen.add(value)
