"""Which op runs where and why, written down for the artifact."""

from __future__ import annotations

from ...ir.annotations import ON, WHY, Reason
from ...ir.calls import called_ops
from ...ir.core import Module
from ...ir.ops.call import Call
from ...passes.placement.device_support import CONVERSION
from ...passes.placement.partition import FREE
from ...runtime.report.placement import PlacedOp

ADDED = "added for the kernels of the CPU"
"""Why ops are on the CPU that no pass had to place: they came with the layouts of kernels."""

ROUTINE = frozenset({CONVERSION, FREE, ADDED})
"""Reasons that every network has for ops on the CPU."""


def placement(module: Module) -> list[PlacedOp]:
    """Each op of a partitioned module, in order of execution."""
    found: list[PlacedOp] = []
    for op in module.main.ops:
        shares = op.operator.shares if isinstance(op.operator, Call) else 1
        for each in called_ops(module, op):
            why = WHY.get(each) or ADDED
            reason = Reason(why, "", "") if isinstance(why, str) else why
            found.append(
                PlacedOp(
                    name=each.results[0].name,
                    op=each.name,
                    nodes=tuple(each.loc),
                    on=ON.get(each) or "cpu",
                    why=reason.text(each.name),
                    rule=reason.rule,
                    tensor=reason.tensor,
                    found=reason.found,
                    macs=each.macs * shares,
                    routine=reason.rule in ROUTINE,
                )
            )
    return found
