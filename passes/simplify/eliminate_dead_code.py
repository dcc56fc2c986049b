"""Erase what nothing reads: ops, functions that nobody calls, constants."""

from ...ir.calls import callees
from ...ir.core import Module
from ..base import NO_DEAD_OPS, Pass, Record, erase_dead


class EliminateDeadCode(Pass):
    """No operator has an effect besides its results, so an op whose results nobody reads may go."""

    ensures = (NO_DEAD_OPS,)

    def apply(self, module: Module, record: Record) -> bool:
        record.counts["function"] = _drop_functions(module)
        record.counts["op"] = sum(erase_dead(op) for function in module.functions.values() for op in [*function.ops])
        record.counts["constant"] = module.drop_unused_constants()
        return record.counts.total() > 0


def _drop_functions(module: Module) -> int:
    live = ["main"]
    for name in live:
        called = [callee for op in module.functions[name].ops for callee in callees(op)]
        live += [callee for callee in dict.fromkeys(called) if callee not in live]
    dead = [name for name in module.functions if name not in live]
    for name in dead:
        function = module.functions.pop(name)
        function.set_results([])
        for op in reversed([*function.ops]):
            op.erase()
    return len(dead)
