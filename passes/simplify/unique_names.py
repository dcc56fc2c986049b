"""Give every value of a function a name of its own."""

from ...ir.core import Module, Value
from ...ir.op import QuantizationRule
from ...ir.text.names import Names
from ..base import Invariant, Pass, Record


def _converts(value: Value) -> bool:
    return value.producer is not None and value.producer.operator.QUANTIZATION is QuantizationRule.CONVERT


def _first_shared(module: Module) -> Value | None:
    seen: set[str] = set()
    for function in module.functions.values():
        for value in (*function.parameters, *(result for op in function.ops for result in op.results)):
            if value.name in seen:
                return value
            seen.add(value.name)
    return None


UNIQUE_NAMES = Invariant("named: no two values have the same name", _first_shared)


class UniqueNames(Pass):
    """Renames values until no two of the module share a name: ``conv``, ``conv.1``, ``conv.2``, ….

    Several ops may come from one node of the source and carry the name of its tensor. The last of them that computes
    keeps it, before those that only convert between real numbers and integers. Parameters of ``main`` keep theirs,
    which are the names of the inputs."""

    ensures = (UNIQUE_NAMES,)

    def apply(self, module: Module, record: Record) -> bool:
        main = module.main
        names = Names(parameter.name for parameter in main.parameters)
        others = [p for function in module.functions.values() if function is not main for p in function.parameters]
        latest_first = [*[value for op in module.ops for value in op.results][::-1], *others]
        for value in sorted(latest_first, key=_converts):
            name = names.take(value.name)
            record.counts["renamed"] += name != value.name
            value.name = name
        return record.counts["renamed"] > 0
