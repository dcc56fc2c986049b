"""Which op runs where, and why not on the device: equal reasons together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tilewright.errors import first_of
from tilewright.immutable import Immutable

from .details import PlacedMap, PlacedOp
from .table import MACS, Column, Table

LINES = 5
"""How many lines of a summary are about fallbacks, at most."""


def placement_table(ops: Sequence[PlacedOp], maps: Sequence[PlacedMap] = ()) -> Table:
    """Each op and its place, and where its result lies, with the numbers of the reasons: those of `fallbacks` first,
    then those of `beyond_chip`."""
    numbers = {rule: number for number, rule in enumerate(_groups(ops), 1)}
    beyond = {name: number for number, each in enumerate(beyond_chip(maps), len(numbers) + 1) for name in each.ops}
    places = {each.name: f"{each.place} ({beyond[each.name]})" if each.why else each.place for each in maps}
    columns = [Column("name", "op"), Column("op", "operator"), Column("on", "runs on"), MACS]
    table = Table([*columns, *([Column("map", "result on chip")] if maps else [])])
    for op in ops:
        on = op.on if op.on == "device" else f"{op.on} ({numbers[op.rule]})"
        table.add(name=op.name, op=op.op, on=on, macs=op.macs, **({"map": places.get(op.name, "")} if maps else {}))
    return table


class Fallback(Immutable):
    """A reason why ops run on the CPU, or their results are not on chip: how many, and which."""

    why: str
    count: int
    ops: tuple[str, ...]


def beyond_chip(maps: Sequence[PlacedMap]) -> list[Fallback]:
    """Each reason why results of ops on the device do not stay on chip, that of most results first."""
    groups: dict[str, list[str]] = {}
    for each in maps:
        if each.why:
            groups.setdefault(each.why, []).append(each.name)
    ordered = sorted(groups.items(), key=lambda entry: -len(entry[1]))
    return [Fallback(why, len(names), tuple(names)) for why, names in ordered]


@dataclass
class _Group:
    """Ops that break one rule, what was found in each, and their multiply-accumulates."""

    ops: list[str] = field(default_factory=list)
    found: dict[str, None] = field(default_factory=dict)
    macs: int = 0


def _groups(ops: Sequence[PlacedOp]) -> dict[str, _Group]:
    """By rule, the ops that break it; those of most work first."""
    groups: dict[str, _Group] = {}
    for op in ops:
        if op.on == "device":
            continue
        group = groups.setdefault(op.rule, _Group())
        group.ops.append(f"{op.op} {op.name}")
        # Figures that are not of a tensor, such as times, differ from op to op.
        group.found.update({op.found: None} if op.tensor and op.found else {})
        group.macs += op.macs
    return dict(sorted(groups.items(), key=lambda entry: (-entry[1].macs, -len(entry[1].ops))))


def fallbacks(ops: Sequence[PlacedOp]) -> list[Fallback]:
    """Each reason why ops run on the CPU, that of most work first."""
    found: list[Fallback] = []
    for rule, group in _groups(ops).items():
        value = first_of([*group.found], 2, ", or ")
        found.append(Fallback(f"{rule}; found {value}" if value else rule, len(group.ops), tuple(group.ops)))
    return found


def fallback_lines(ops: Sequence[PlacedOp]) -> list[str]:
    """What a summary says: each reason with its ops, without those that every network has, in at most ``LINES``."""
    rows = fallbacks([op for op in ops if not op.routine])
    shown = rows if len(rows) <= LINES else rows[: LINES - 1]
    lines = [f"{first_of(row.ops)}: {row.why}" for row in shown]
    if len(shown) < len(rows):
        lines.append(f"{len(rows) - len(shown)} more reasons, which `tilewright inspect` lists")
    return lines


def macs_of(ops: Iterable[PlacedOp]) -> int:
    """Multiply-accumulates of all ops."""
    return sum(op.macs for op in ops)


def device_share(ops: Sequence[PlacedOp]) -> float:
    """Share of the multiply-accumulates that the device does, 0 to 1; 1 if there are none at all."""
    total = macs_of(ops)
    return macs_of(op for op in ops if op.on == "device") / total if total else 1.0
