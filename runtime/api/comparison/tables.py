"""What a comparison of values found, in words and tables for people, on a page of HTML and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from ...report import page as html
from ...report.table import Column, Table, on_lines, show_number, significant

if TYPE_CHECKING:
    from .measures import Result, Row

LIMIT = 30.0
"""dB below which a value is worth a look: its error is 3 % of it."""

_STRANGE, _ALIKE = 0.5, 0.9
"""Cosines of values that are hardly the same tensor, and of outputs that are."""

_SHOWN = 20
"""Rows of the table unless all are asked for: the worst values."""


def decibels(value: float) -> str:
    """An SQNR as people read it."""
    return "equal" if value == math.inf else "NaN" if math.isnan(value) else f"{value:.1f}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.0005 or not share else "<0.1%"


def value_table(rows: Sequence[Row]) -> Table:
    """A row for each value; outputs are marked by a star."""
    table = Table(
        [
            Column("value", "value"),
            Column("sqnr", "SQNR (dB)", decibels, right=True),
            Column("rmse", "RMSE", _number, right=True),
            Column("max", "max", _number, right=True),
            Column("cosine", "cosine", lambda value: f"{value:.5f}", right=True),
            Column("saturated", "saturated", _percent, right=True, spare=True),
            Column("top1", "top-1", lambda share: f"{share:.1%}", right=True, spare=True),
            Column("op", "computed by", spare=True),
        ]
    )
    for row in rows:
        table.add(value=f"{row.name} *" if row.is_output else row.name, op=row.network.op, **_figures(row))
    return table


def _figures(row: Row) -> dict[str, Any]:
    metrics = {"rmse": row.metric("rmse"), "max": row.metric("max_abs"), "cosine": row.metric("cosine")}
    return {"sqnr": row.sqnr, **metrics, "saturated": row.saturated, "top1": row.top1}


def _number(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return significant(value) if not value or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def conclusion(result: Result) -> list[str]:
    """Where the error comes from, in sentences."""
    lines = [_first_loss(result)]
    strange = [row.name for row in result.rows if row.metric("cosine") < _STRANGE and not row.is_output]
    if strange and any(row.metric("cosine") > _ALIKE for row in result.rows if row.is_output):
        lines.append(
            f"Of {', '.join(strange[:3])}{' and others' if len(strange) > 3 else ''} the two have little in common but "
            "the name, while outputs agree: tools that write models call tensors by such names anew."
        )
    return lines


def _first_loss(result: Result) -> str:
    first = next((row for row in result.rows if not row.sqnr >= LIMIT), None)
    if first is None:
        worst = result.worst_first[0]
        if worst.sqnr == math.inf:
            return "All values are equal."
        return f"No value is below {LIMIT:g} dB; the worst is {worst.name}, {_spoken(worst.sqnr)}."
    by_name = {row.name: row for row in result.rows}
    placed = ((name, _spoken(by_name[name].sqnr)) for name in first.inputs[:3])
    inputs = [f"{'at ' * spoken.endswith('dB')}{spoken} ({name})" for name, spoken in placed]
    still = f"; its input{'s were' if len(inputs) > 1 else ' was'} still {' and '.join(inputs)}" if inputs else ""
    made = first.network.computed_by or first.reference.computed_by
    of = f", of {made}" if made else ""
    return f"The first value below {LIMIT:g} dB is {first.name}{of}: {_spoken(first.sqnr)}{still}."


def _spoken(sqnr: float) -> str:
    return "equal" if sqnr == math.inf else "not finite" if math.isnan(sqnr) else f"{sqnr:.1f} dB"


def text(result: Result, *, every: bool) -> str:
    """The whole result for people. ``every``: show all values, and the names of those that only one has."""
    rows = result.worst_first
    shown = rows if every else [row for row in rows if row.is_output or row in rows[:_SHOWN]]
    lines = [on_lines(f"{result.network} compared with {result.reference} on {show_number(result.samples, 'sample')}")]
    lines += ["\n", value_table(shown).text(), "\n"]
    if len(shown) < len(rows):
        lines.append(on_lines(f"The worst of {len(rows)} values; --all shows the others. Outputs have a star."))
    lines += [on_lines(line) for line in conclusion(result)]
    lines += [on_lines(line) for line in left_out(result, every=every)]
    return "".join(lines)


def left_out(result: Result, *, every: bool) -> list[str]:
    """How many values one of both has alone, or both have in other shapes, and with ``every`` which."""
    found = []
    for label, names in ((result.reference, result.only_reference), (result.network, result.only_network)):
        if names:
            listed = f": {', '.join(names)}" if every else ", such as fused ones; --all lists them"
            found.append(f"{show_number(len(names), 'value')} of {label} alone{listed}.")
    for label in result.closed:
        found.append(f"{label} shows nothing but its outputs: compile it with --keep all to look inside.")
    if result.other_shapes:
        shown = [f"{name} of {shapes}" for name, shapes in result.other_shapes.items()]
        listed = "; ".join(shown if every else shown[:3])
        found.append(f"{show_number(len(result.other_shapes), 'value')} of other shapes: {listed}.")
    return found


class ComparedValue(TypedDict):
    """A value that both have, over all samples.

    Attributes:
        output: whether it is an output of the network.
        op, nodes: what computes it in the second network, and the nodes of the model that it came from.
        inputs: the nearest such values that it is computed of.
        sqnr: in decibels.
        max: how far two elements lie apart at most.
        saturated: the share of elements at an end of the integers; nothing without integers.
        top1: the share of rows of scores whose largest is at the same place; nothing but of scores.
    """

    name: str
    output: bool
    op: str
    nodes: Sequence[str]
    inputs: Sequence[str]
    sqnr: float
    rmse: float
    max: float
    cosine: float
    saturated: float | None
    top1: float | None


class ComparedValues(TypedDict):
    """Two networks, value by value.

    Attributes:
        samples: how many there were.
        conclusion: in sentences, where the error comes from.
        values: the worst first.
        only_reference, only_network: the values that one has alone.
        other_shapes: of those that both have in different shapes, by name.
    """

    reference: str
    network: str
    samples: int
    conclusion: list[str]
    values: list[ComparedValue]
    only_reference: Sequence[str]
    only_network: Sequence[str]
    other_shapes: dict[str, str]


def compared_values(result: Result) -> ComparedValues:
    """The whole result for programs."""
    values = [
        ComparedValue(
            name=row.name,
            output=row.is_output,
            op=row.network.op,
            nodes=row.network.nodes,
            inputs=row.inputs,
            **_figures(row),
        )
        for row in result.worst_first
    ]
    return {
        "reference": result.reference,
        "network": result.network,
        "samples": result.samples,
        "conclusion": conclusion(result),
        "values": values,
        "only_reference": result.only_reference,
        "only_network": result.only_network,
        "other_shapes": result.other_shapes,
    }


_MOST = 100.0
"""dB that the longest bar stands for: nearly equal floats would make all others short."""


def body(result: Result, between: str = "") -> str:
    """What was found, in sentences and in a table, worst first, and HTML between the two."""
    lines = [*conclusion(result), *left_out(result, every=True)]
    return html.paragraphs(lines) + between + html.table(value_table(result.worst_first))


def page(result: Result) -> str:
    """The whole page; the picture is in the order of execution."""
    lengths = (0.0 if math.isnan(row.sqnr) else min(max(row.sqnr, 0.0), _MOST) for row in result.rows)
    bars = [html.Bar(row.name, length, decibels(row.sqnr)) for row, length in zip(result.rows, lengths, strict=True)]
    heading = f"{result.network} compared with {result.reference}"
    samples = show_number(result.samples, "sample")
    what = f"SQNR in dB of each value, in order of execution, on {samples}; the line is at {LIMIT:g} dB"
    return html.page(
        heading, heading, body(result, html.paragraphs([what]) + html.picture("SQNR by value", bars, LIMIT))
    )
