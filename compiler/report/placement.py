"""Which op runs where, and why not on the device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...ir.annotations import ON, WHY, Reason
from ...ir.core import Module
from ...ir.ops.call import Call
from ...runtime.artifact.artifact import Artifact
from ..table import Column, Table
from .units import MACS

ADDED = "added for the kernels of the CPU"
"""Why ops are on the CPU that no pass had to place: they came with the layouts of kernels."""

Records = Sequence[Mapping[str, object]]


def placement(module: Module) -> list[dict[str, object]]:
    """One record for each op of a partitioned module, in order of execution, as JSON values.

    Keys: ``name`` (of the result), ``op``, ``nodes`` (source nodes), ``on`` (``device`` or ``cpu``), ``why``, its
    parts ``rule``, ``tensor`` and ``found``, ``macs``.
    """
    found: list[dict[str, object]] = []
    for op in module.main.ops:
        if isinstance(op.operator, Call):
            inner = module.functions[op.operator.callee].ops
        else:
            inner = [op]
        for each in inner:
            why = WHY.get(each) or ADDED
            reason = Reason(why, "", "") if isinstance(why, str) else why
            types = [value.type if value is not None else None for value in each.operands]
            found.append(
                {
                    "name": each.results[0].name,
                    "op": each.name,
                    "nodes": list(each.loc),
                    "on": ON.get(each) or "cpu",
                    "why": reason.text(each.name),
                    **reason._asdict(),
                    "macs": each.operator.macs(types, [value.type for value in each.results]),
                }
            )
    return found


def placement_of(artifact: Artifact) -> Records:
    """What :func:`placement` recorded when the artifact was made; empty if it has no device engine."""
    found = artifact.manifest.details.get("placement")
    return [record for record in found if isinstance(record, dict)] if isinstance(found, list) else []


def placement_table(records: Records) -> Table:
    """The records as a table: each op, its place and the reason."""
    columns = [
        Column("name", "op"),
        Column("op", "operator"),
        Column("on", "runs on"),
        MACS,
        Column("why", "why"),
    ]
    return Table(columns, [{column.key: record.get(column.key) for column in columns} for record in records])


def macs_of(records: Records) -> int:
    """Multiply-accumulates of all records."""
    return sum(count for record in records if isinstance(count := record.get("macs"), int))


def device_share(records: Records) -> float:
    """Share of the multiply-accumulates that the device does, 0 to 1; 1 if there are none at all."""
    total = macs_of(records)
    return macs_of([record for record in records if record.get("on") == "device"]) / total if total else 1.0
