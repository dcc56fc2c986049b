"""Which op runs where, and why not on the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from ..artifact.json_dataclasses import OneOf
from .maps import PlacedMap
from .table import Column, Table
from .units import MACS


@dataclass(frozen=True)
class PlacedOp:
    """Where an op of engine ``device`` runs, as the artifact records it.

    Attributes:
        name: of its result.
        nodes: source nodes.
        on: ``device`` or ``cpu``.
        why: the reason as users read it; ``rule``, ``tensor`` and ``found`` are its parts.
        macs: multiply-accumulates.
        routine: whether every network has such ops on the CPU, so that a summary need not tell.
    """

    name: str
    op: str
    nodes: tuple[str, ...]
    on: Annotated[str, OneOf(("device", "cpu"))]
    why: str
    rule: str
    tensor: str
    found: str
    macs: int
    routine: bool


def placement_table(ops: Sequence[PlacedOp], maps: Sequence[PlacedMap] = ()) -> Table:
    """Each op, its place and the reason, and where its result lies on the device."""
    places = {each.name: each.text for each in maps}
    columns = [
        Column("name", "op"),
        Column("op", "operator"),
        Column("on", "runs on"),
        MACS,
        Column("why", "why"),
    ]
    shown = [column.key for column in columns]
    columns += [Column("map", "its result")] if maps else []
    rows: list[Mapping[str, Any]] = [
        {**{key: getattr(op, key) for key in shown}, **({"map": places.get(op.name, "")} if maps else {})} for op in ops
    ]
    return Table(columns, rows)


def macs_of(ops: Iterable[PlacedOp]) -> int:
    """Multiply-accumulates of all ops."""
    return sum(op.macs for op in ops)


def device_share(ops: Sequence[PlacedOp]) -> float:
    """Share of the multiply-accumulates that the device does, 0 to 1; 1 if there are none at all."""
    total = macs_of(ops)
    return macs_of(op for op in ops if op.on == "device") / total if total else 1.0
