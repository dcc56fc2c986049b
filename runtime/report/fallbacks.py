"""Why ops run on the CPU: equal reasons together, as one line each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .placement import PlacedOp
from .table import Column, Table

LINES = 5
"""How many lines of a summary are about fallbacks, at most."""


@dataclass
class _Group:
    """Ops that break one rule, what was found in each, and their multiply-accumulates."""

    ops: list[str] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    macs: int = 0


def fallback_table(ops: Sequence[PlacedOp]) -> Table:
    """One row for each reason why ops run on the CPU, that of most work first."""
    groups: dict[str, _Group] = {}
    for op in ops:
        if op.on == "device":
            continue
        group = groups.setdefault(op.rule, _Group())
        group.ops.append(f"{op.op} {op.name}")
        # Figures that are not of a tensor, such as times, differ from op to op.
        group.found.add(op.found if op.tensor else "")
        group.macs += op.macs
    table = Table([Column("why", "why"), Column("count", "ops", right=True), Column("ops", "which", show=shortened)])
    for rule, group in sorted(groups.items(), key=lambda entry: (-entry[1].macs, -len(entry[1].ops))):
        found = next(iter(group.found)) if len(group.found) == 1 else ""
        table.add(why=f"{rule}; found {found}" if found else rule, count=len(group.ops), ops=group.ops)
    return table


def fallback_lines(ops: Sequence[PlacedOp]) -> list[str]:
    """What a summary says: each reason with its ops, without those that every network has, in at most ``LINES``."""
    rows = fallback_table([op for op in ops if not op.routine]).records()
    shown = rows if len(rows) <= LINES else rows[: LINES - 1]
    lines = [f"{shortened(row['ops'])}: {row['why']}" for row in shown]
    if len(shown) < len(rows):
        lines.append(f"{len(rows) - len(shown)} more reasons, which `tilewright inspect` lists")
    return lines


def shortened(ops: Sequence[str]) -> str:
    """The first of many ops, and how many more there are."""
    return ", ".join(ops[:3]) + (f" and {len(ops) - 3} more" if len(ops) > 3 else "")
