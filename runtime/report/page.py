"""Pages of HTML that need nothing else: a picture of bars, and tables that sort."""

from collections.abc import Sequence
from html import escape

from tilewright.immutable import Immutable

from .table import Table, on_one_line, shortened

_BAR, _GAP, _WIDTH, _NUMBERS = 18, 8, 420, 60
"""Pixels: height of a bar, between bars, widths of the longest bar and of the number behind it."""

_LETTERS, _LETTER = 34, 8
"""Characters of a name that there is room for beside its bar at most, and the pixels of one."""

_STYLE = """
:root { color-scheme: light dark; --text: #1f2328; --back: #ffffff; --line: #8c959f; --good: #1a7f37; --bad: #bc4c00; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6edf3; --back: #0d1117; --line: #768390; --good: #3fb950; --bad: #f0883e; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); margin: 2em; }
svg { max-width: 100%; min-width: 30em; height: auto; }
svg text { fill: var(--text); font: 13px system-ui, sans-serif; }
.good { fill: var(--good); } .bad { fill: var(--bad); } svg line { stroke: var(--line); stroke-dasharray: 4 3; }
.wide { overflow-x: auto; } h1, p, td { overflow-wrap: anywhere; }
table { border-collapse: collapse; margin: 1.5em 0; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2em 0.8em; text-align: left; }
.right { text-align: right; white-space: nowrap; } td:not(.right) { max-width: 40em; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid; }
[aria-sort] button { text-decoration: underline; }
@media print { .wide { overflow: visible; } * { print-color-adjust: exact; } }
"""

_SORT = """
for (const button of document.querySelectorAll("th button")) button.onclick = () => {
  const head = button.parentNode, column = head.cellIndex, body = head.closest("table").tBodies[0];
  const down = head.ariaSort ? head.ariaSort == "ascending" : head.className == "right";
  for (const each of head.parentNode.cells) each.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const rows = [...body.rows].map(row => [row.cells[column], row]);
  const compare = (a, b) => "v" in a.dataset && "v" in b.dataset ? a.dataset.v - b.dataset.v
    : a.textContent.localeCompare(b.textContent, undefined, {numeric: true});
  rows.sort(([a], [b]) => (a.textContent == "") - (b.textContent == "") || (down ? compare(b, a) : compare(a, b)));
  body.append(...rows.map(([, row]) => row));
};
"""
"""Sorts a table by the column whose heading is chosen: numbers from the largest first, empty cells always last."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Nothing is loaded from anywhere, whatever names of a model may say."""


class Bar(Immutable):
    """A bar of a picture."""

    name: str
    value: float
    shown: str


def page(title: str, heading: str, *parts: str, style: str = "", script: str = "") -> str:
    """The whole page.
    ``parts``: of the body, as HTML.
    ``style``, ``script``: further ones."""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1"><meta http-equiv="Content-Security-Policy" '
        f'content="{_POLICY}"><title>{escape(on_one_line(title))}</title><style>{_STYLE}{style}</style></head>\n'
        f"<body>\n<h1>{escape(on_one_line(heading))}</h1>\n{''.join(parts)}<script>{_SORT}{script}</script></body>\n</html>\n"
    )


def paragraphs(lines: Sequence[str]) -> str:
    """Sentences, a paragraph each."""
    return "".join(f"<p>{escape(on_one_line(line))}</p>\n" for line in lines)


def picture(label: str, bars: Sequence[Bar], line: float) -> str:
    """A bar for each value, good ones from ``line`` on, which is drawn as well.
    ``label``: what the picture shows, for those who do not see it.
    ``bars``: of values of at least 0."""
    unit = _WIDTH / max(line, *(bar.value for bar in bars))
    names = min(max(len(bar.name) for bar in bars), _LETTERS) * _LETTER + 2 * _GAP
    height, width = len(bars) * (_BAR + _GAP) + _GAP, names + _WIDTH + _NUMBERS
    drawn = f'<line x1="{names + line * unit:.1f}" y1="0" x2="{names + line * unit:.1f}" y2="{height}"/>\n'
    for number, bar in enumerate(bars):
        top, length = _GAP + number * (_BAR + _GAP), bar.value * unit
        middle, kind = top + _BAR - 4, "good" if bar.value >= line else "bad"
        name = on_one_line(bar.name)
        short = escape(shortened(name, _LETTERS, is_name=True))
        drawn += (
            f'<text x="{names - 8}" y="{middle}" text-anchor="end">{short}</text>'
            f'<rect class="{kind}" x="{names}" y="{top}" width="{length:.1f}" height="{_BAR}">'
            f"<title>{escape(name)}</title></rect>"
            f'<text x="{names + length + 6:.1f}" y="{middle}">{escape(bar.shown)}</text>\n'
        )
    return (
        f'<div class="wide"><svg role="img" aria-label="{escape(label)}" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n{drawn}</svg></div>\n'
    )


def table(found: Table, *, numbered: bool = False) -> str:
    """A table, which scrolls where the window is too narrow for it, and sorts by the column whose heading is chosen.
    ``numbered``: whether rows say which layer they are of, from 0."""
    kinds = [" class=right" if each.right else "" for each in found.columns]
    heads = (
        f'<th{kind}><button type="button">{escape(each.title)}</button></th>'
        for each, kind in zip(found.columns, kinds, strict=True)
    )
    rows = ""
    for number, (record, cells) in enumerate(zip(found.records(), found.cells(), strict=True)):
        values = ("" if not isinstance(each, int | float) else f' data-v="{each}"' for each in record.values())
        spelled = (
            f"<td{kind}{value}>{escape(cell)}</td>" for kind, value, cell in zip(kinds, values, cells, strict=True)
        )
        rows += f"<tr{f' data-layer={number}' if numbered else ''}>{''.join(spelled)}</tr>\n"
    return f'<div class="wide"><table>\n<thead><tr>{"".join(heads)}</tr></thead>\n<tbody>{rows}</tbody></table></div>\n'
