"""Why ops run on the CPU: equal reasons together, as one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...passes.placement.device_support import CONVERSION
from ...passes.placement.partition import FREE
from ..table import Column, Table
from .placement import ADDED

LINES = 5
"""How many lines of a summary are about fallbacks, at most."""


@dataclass
class _Group:
    """Ops that break one rule, what was found in each, and their multiply-accumulates."""

    ops: list[str] = field(default_factory=list)
    found: set[str] = field(default_factory=set)
    macs: int = 0


def fallback_table(records: Sequence[Mapping[str, object]]) -> Table:
    """One row for each reason, that of most work first.

    Args:
        records: as :func:`tilewright.compiler.report.placement.placement` makes them.
    """
    groups: dict[str, _Group] = {}
    for record in records:
        if record["on"] == "device":
            continue
        group = groups.setdefault(str(record.get("rule", record["why"])), _Group())
        group.ops.append(f"{record['op']} {record['name']}")
        # Figures that are not of a tensor, such as times, differ from op to op.
        group.found.add(str(record["found"]) if record.get("tensor") else "")
        macs = record.get("macs")
        group.macs += macs if isinstance(macs, int) else 0
    table = Table([Column("why", "why"), Column("count", "ops", right=True), Column("ops", "which", show=shortened)])
    for rule, group in sorted(groups.items(), key=lambda entry: (-entry[1].macs, -len(entry[1].ops))):
        found = next(iter(group.found)) if len(group.found) == 1 else ""
        table.add(why=f"{rule}; found {found}" if found else rule, count=len(group.ops), ops=group.ops)
    return table


def fallback_lines(records: Sequence[Mapping[str, object]]) -> list[str]:
    """What a summary says: each reason with its ops, without those that every network has, in at most ``LINES``."""
    rows = [row for row in fallback_table(records).records() if row["why"] not in (CONVERSION, FREE, ADDED)]
    shown = rows if len(rows) <= LINES else rows[: LINES - 1]
    lines = [f"{shortened(row['ops'])}: {row['why']}" for row in shown]
    if len(shown) < len(rows):
        lines.append(f"{len(rows) - len(shown)} more reasons, which `tilewright inspect` lists")
    return lines


def shortened(ops: Sequence[str]) -> str:
    """The first of many ops, and how many more there are."""
    return ", ".join(ops[:3]) + (f" and {len(ops) - 3} more" if len(ops) > 3 else "")
