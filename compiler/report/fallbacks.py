"""Why ops run on the CPU: identical reasons together, as one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..table import Column, Table


def fallback_table(records: Sequence[Mapping[str, object]]) -> Table:
    """One row for each reason, that of most ops first.

    Args:
        records: as :func:`tilewright.compiler.report.placement.placement` makes them.
    """
    groups: dict[str, list[str]] = {}
    for record in records:
        if record["on"] != "device":
            groups.setdefault(shared_reason(record), []).append(f"{record['op']} {record['name']}")
    table = Table([Column("why", "why"), Column("count", "ops"), Column("ops", "which", show=_shortened)])
    for why, ops in sorted(groups.items(), key=lambda group: -len(group[1])):
        table.add(why=why, count=len(ops), ops=ops)
    return table


def shared_reason(record: Mapping[str, object]) -> str:
    """The reason of a record without the op and tensor that it names first, which differ from op to op."""
    why = str(record["why"])
    head, colon, rest = why.partition(": ")
    return rest if colon and head.startswith((f"{record['op']} %", f"{record['op']} @")) else why


def _shortened(ops: Sequence[str]) -> str:
    return ", ".join(ops[:3]) + (f" and {len(ops) - 3} more" if len(ops) > 3 else "")
