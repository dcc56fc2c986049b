"""One page of HTML that needs nothing else: a picture of the ratios by network, and the tables."""

from __future__ import annotations

from html import escape

from ...runtime.report.table import Table
from .comparison import Comparison
from .tables import description, start_table, time_table

_BAR, _GAP, _NAMES, _WIDTH, _NUMBERS = 18, 8, 260, 420, 60
"""Pixels: height of a bar, between bars, widths of names, of the longest bar and of the number behind it."""

_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --back: #ffffff; --line: #8c959f; --fast: #1a7f37; --slow: #bc4c00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --back: #0d1117; --line: #768390; --fast: #3fb950; --slow: #f0883e; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); margin: 2em; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
.fast { fill: var(--fast); } .slow { fill: var(--slow); } svg line { stroke: var(--line); stroke-dasharray: 4 3; }
table { border-collapse: collapse; margin: 1.5em 0; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2em 0.8em; text-align: left; }
.right { text-align: right; }
"""


def page(found: Comparison) -> str:
    """The whole page."""
    means = [f"Geometric mean with threads={n}: {mean:.2f}" for n, mean in found.geometric_means.items()]
    lines = "".join(f"<p>{escape(line)}</p>\n" for line in (*description(found), *means))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>Tilewright beside its peers</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n<h1>Time of the fastest peer over that of Tilewright</h1>\n"
        f"{_picture(found)}{lines}{_table(time_table(found))}{_table(start_table(found))}</body>\n</html>\n"
    )


def _picture(found: Comparison) -> str:
    """A bar for each network and number of threads, and a line where both are equally fast."""
    bars = [(f"{each.network}, threads={each.threads}", each.ratio) for each in found.networks if each.ratio]
    if not bars:
        return "<p>No peer was measured.</p>\n"
    unit = _WIDTH / max(1.0, *(ratio for _, ratio in bars))
    height, width = len(bars) * (_BAR + _GAP) + _GAP, _NAMES + _WIDTH + _NUMBERS
    drawn = f'<line x1="{_NAMES + unit:.1f}" y1="0" x2="{_NAMES + unit:.1f}" y2="{height}"/>\n'
    for number, (name, ratio) in enumerate(bars):
        top, length = _GAP + number * (_BAR + _GAP), ratio * unit
        middle, kind = top + _BAR - 4, "fast" if ratio >= 1 else "slow"
        drawn += (
            f'<text x="{_NAMES - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{_NAMES}" y="{top}" width="{length:.1f}" height="{_BAR}"/>'
            f'<text x="{_NAMES + length + 6:.1f}" y="{middle}">{ratio:.2f}</text>\n'
        )
    return (
        f'<svg role="img" aria-label="Ratios by network" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n{drawn}</svg>\n'
    )


def _table(table: Table) -> str:
    def row(tag: str, cells: list[str]) -> str:
        pairs = zip(table.columns, cells, strict=True)
        spelled = (f"<{tag}{' class=right' if each.right else ''}>{escape(cell)}</{tag}>" for each, cell in pairs)
        return f"<tr>{''.join(spelled)}</tr>\n"

    rows = [row("th", [each.title for each in table.columns]), *(row("td", cells) for cells in table.cells())]
    return f"<table>\n{''.join(rows)}</table>\n"
