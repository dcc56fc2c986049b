"""A comparison of values as a page of HTML: the loss by layer as a picture, and the table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...report import page as html
from ...report.table import show_number
from .tables import LIMIT, conclusion, decibels, left_out, value_table

if TYPE_CHECKING:
    from .measures import Result

_MOST = 100.0
"""dB that the longest bar stands for: nearly equal floats would make all others short."""


def body(result: Result, between: str = "") -> str:
    """What was found, in sentences and in a table, worst first, and HTML between the two."""
    lines = [*conclusion(result), *left_out(result, every=True)]
    return html.paragraphs(lines) + between + html.table(value_table(result.worst_first))


def page(result: Result) -> str:
    """The whole page; the picture is in the order of execution."""
    bars = [html.Bar(row.name, _length(row.sqnr), decibels(row.sqnr)) for row in result.rows]
    heading = f"{result.network} compared with {result.reference}"
    samples = show_number(result.samples, "sample")
    what = f"SQNR in dB of each value, in order of execution, on {samples}; the line is at {LIMIT:g} dB"
    return html.page(
        heading,
        heading,
        body(result, html.paragraphs([what]) + html.picture("SQNR by value", bars, LIMIT)),
    )


def _length(sqnr: float) -> float:
    return 0.0 if math.isnan(sqnr) else min(max(sqnr, 0.0), _MOST)
