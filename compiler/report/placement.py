"""Which op runs where, and why not on the device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tilewright.errors import ArtifactError

from ...ir.annotations import ON, WHY, Reason
from ...ir.core import Module
from ...ir.ops.call import Call
from ...runtime.artifact.artifact import Artifact
from ...runtime.artifact.json_dataclasses import Source, read
from ..table import Column, Table
from .units import MACS

ADDED = "added for the kernels of the CPU"
"""Why ops are on the CPU that no pass had to place: they came with the layouts of kernels."""


@dataclass(frozen=True)
class PlacedOp:
    """Where an op of engine ``device`` runs, as the artifact records it.

    Attributes:
        name: of its result.
        nodes: source nodes.
        on: ``device`` or ``cpu``.
        why: the reason as users read it; ``rule``, ``tensor`` and ``found`` are its parts.
        macs: multiply-accumulates.
    """

    name: str
    op: str
    nodes: tuple[str, ...]
    on: str
    why: str
    rule: str
    tensor: str
    found: str
    macs: int


def placement(module: Module) -> list[PlacedOp]:
    """Each op of a partitioned module, in order of execution."""
    found: list[PlacedOp] = []
    for op in module.main.ops:
        for each in module.functions[op.operator.callee].ops if isinstance(op.operator, Call) else (op,):
            why = WHY.get(each) or ADDED
            reason = Reason(why, "", "") if isinstance(why, str) else why
            name, place = each.results[0].name, ON.get(each) or "cpu"
            found.append(PlacedOp(name, each.name, tuple(each.loc), place, reason.text(each.name), *reason, each.macs))
    return found


def placement_of(artifact: Artifact) -> list[PlacedOp]:
    """What :func:`placement` found when the artifact was made; empty if it has no device engine.

    Raises:
        ArtifactError: the record is damaged.
    """
    records = artifact.manifest.details.get("placement")
    source = Source(f"placement in {artifact.origin}", ArtifactError)
    return [read(PlacedOp, record, source) for record in records] if isinstance(records, list) else []


def placement_table(ops: Sequence[PlacedOp]) -> Table:
    """Each op, its place and the reason."""
    columns = [
        Column("name", "op"),
        Column("op", "operator"),
        Column("on", "runs on"),
        MACS,
        Column("why", "why"),
    ]
    return Table(columns, [{column.key: getattr(op, column.key) for column in columns} for op in ops])


def macs_of(ops: Iterable[PlacedOp]) -> int:
    """Multiply-accumulates of all ops."""
    return sum(op.macs for op in ops)


def device_share(ops: Sequence[PlacedOp]) -> float:
    """Share of the multiply-accumulates that the device does, 0 to 1; 1 if there are none at all."""
    total = macs_of(ops)
    return macs_of(op for op in ops if op.on == "device") / total if total else 1.0
