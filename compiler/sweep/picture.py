"""The picture of a sweep, as SVG that needs nothing else and follows the viewer's light or dark colours.

One panel has the times along the field with most values, a line for each combination of the others. For each cost that
differs between machines, multipliers and memory on chip, another has the times along it, and the machines that no other
one beats in both. Times begin at 0, or where they differ much, are on a logarithmic scale.
"""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import groupby, product
from typing import NamedTuple

from ...runtime.report.table import on_one_line, shortened, show_bytes, show_count, show_seconds
from ..report.scale import Scale

Show = Callable[[float], str]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM, _LINE = 660, 320, 76, 44, 34, 52, 20
"""Pixels of a panel and its margins, and of a line of the legend."""

_TITLE = 70
"""Characters of the title that there is room for."""

_COLOURS, _DASHES = 6, ("", "7 4", "2 3", "9 3 2 3")

_STYLE = """
svg { color-scheme: light dark; --text: #1f2328; --back: #ffffff; --line: #d0d7de;
  --c0: #0969da; --c1: #bc4c00; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #7d6608; }
@media (prefers-color-scheme: dark) {
  svg { --text: #e6edf3; --back: #0d1117; --line: #30363d;
    --c0: #58a6ff; --c1: #f0883e; --c2: #3fb950; --c3: #bc8cff; --c4: #f778ba; --c5: #e3c84b; }
}
.back { fill: var(--back); } text { fill: var(--text); font: 12px system-ui, sans-serif; }
.title { font-size: 14px; font-weight: 600; } .grid { stroke: var(--line); }
path { fill: none; stroke-width: 1.8; } .front { stroke: var(--text); stroke-opacity: 0.45; }
circle { stroke-width: 1.8; fill: var(--back); }
"""


class Point(NamedTuple):
    """A machine: the values of the fields that are set, and what is drawn; whether it does as much as any other."""

    values: tuple[float, ...]
    seconds: float
    multipliers: float
    scratchpad_bytes: float
    is_whole: bool


def front(costs: Iterable[tuple[float, ...]]) -> set[tuple[float, ...]]:
    """Those that no other one is below or equal to in everything."""
    different = {*costs}
    return {
        cost
        for cost in different
        if not any(other != cost and all(map(float.__le__, map(float, other), map(float, cost))) for other in different)
    }


class _Drawing:
    """The picture of a sweep over fields; see `picture`."""

    def __init__(self, names: Sequence[str], shown: Sequence[Show], points: Sequence[Point]) -> None:
        self._names, self._shown, self._points = names, shown, points
        fields = range(len(names))
        self._values = [sorted({point.values[field] for point in points}) for field in fields]
        by_count = sorted(fields, key=lambda field: -len(self._values[field]))
        self._along, self._coloured, self._dashed = by_count[0], by_count[1:2], by_count[2:]
        self._y = Scale([point.seconds for point in points], _HEIGHT - _BOTTOM, _TOP)

    def _combinations(self, fields: Sequence[int]) -> list[tuple[float, ...]]:
        return [*product(*(self._values[field] for field in fields))]

    def _style(self, point: Point) -> tuple[int, int]:
        """The numbers of its colour and of its dashes."""
        groups = ((self._coloured, _COLOURS), (self._dashed, len(_DASHES)))
        colour, dash = (
            self._combinations(fields).index(tuple(point.values[field] for field in fields)) % count
            for fields, count in groups
        )
        return colour, dash

    def _spelled(self, fields: Iterable[int], values: Sequence[float]) -> str:
        return ", ".join(
            f"{self._names[field]} {self._shown[field](value)}" for field, value in zip(fields, values, strict=True)
        )

    def legend(self) -> list[str]:
        """A piece of markup for each colour, then for each kind of dashes, two of which stand on a line."""
        parts: list[str] = []
        for fields, count in ((self._coloured, _COLOURS), (self._dashed, len(_DASHES))):
            for number, values in enumerate(self._combinations(fields) if fields else []):
                style = (number % count, 0) if fields is self._coloured else (None, number % count)
                words = escape(self._spelled(fields, values))
                parts.append(f'{_path([(0, -4), (30, -4)], *style)}<text x="38">{words}</text>')
            parts += [""] * (len(parts) % 2)
        return parts

    def along_field(self) -> str:
        """Times along the field with most values."""
        ticks = self._values[self._along]
        gap = (_WIDTH - _LEFT - _RIGHT) / len(ticks)
        places = {value: _LEFT + gap * (number + 0.5) for number, value in enumerate(ticks)}
        show = self._shown[self._along]
        drawn = self._frame(self._names[self._along], [(places[each], show(each)) for each in ticks])

        def series(point: Point) -> tuple[float, ...]:
            return tuple(value for field, value in enumerate(point.values) if field != self._along)

        for _, group in groupby(sorted(self._points, key=series), series):
            own = sorted(group, key=lambda point: point.values[self._along])
            at = [(places[point.values[self._along]], self._y(point.seconds)) for point in own]
            drawn += _path(at, *self._style(own[0]))
            drawn += "".join(self._dot(point, *place) for point, place in zip(own, at, strict=True))
        return drawn

    def along_cost(self, name: str, show: Show, unit: float, cost: Callable[[Point], float]) -> str:
        """Times along a cost, and the steps of the machines that none beats in both."""
        scale = Scale([cost(point) for point in self._points], _LEFT, _WIDTH - _RIGHT, unit)
        drawn = self._frame(name, [(scale(each), show(each)) for each in scale.ticks])
        best = sorted(front((cost(point), point.seconds) for point in self._points if point.is_whole))
        steps: list[tuple[float, float]] = []
        for where, seconds in best:
            steps += [(scale(where), steps[-1][1])] if steps else []
            steps.append((scale(where), self._y(seconds)))
        drawn += _path([*steps, (_WIDTH - _RIGHT, steps[-1][1])], None, 1)
        for point in self._points:
            is_best = point.is_whole and (cost(point), point.seconds) in best
            drawn += self._dot(point, scale(cost(point)), self._y(point.seconds), filled=is_best)
        return drawn

    def _frame(self, title: str, ticks: Sequence[tuple[float, str]]) -> str:
        """The grid and the axes of a panel."""
        drawn = f'<text class="title" x="{_LEFT}" y="18">Time by {escape(title)}</text>\n'
        for each in self._y.ticks:
            y, text = self._y(each), show_seconds(each) if each else "0"
            drawn += f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"/>'
            drawn += f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{text}</text>\n'
        for x, text in ticks:
            drawn += f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">{escape(text)}</text>'
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        return f'{drawn}<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(title)}</text>\n'

    def _dot(self, point: Point, x: float, y: float, *, filled: bool = False) -> str:
        colour = f"var(--c{self._style(point)[0]})"
        fill = f";fill:{colour}" if filled else ""
        rest = "" if point.is_whole else ", the rest on the host"
        words = f"{self._spelled(range(len(self._names)), point.values)}: {show_seconds(point.seconds)}{rest}"
        style = f"stroke:{colour}{fill}"
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="{style}"><title>{escape(words)}</title></circle>\n'


def _path(points: Sequence[tuple[float, float]], colour: int | None, dash: int) -> str:
    """A line, in the colour of text where it is of none or of all."""
    drawn = " ".join(f"{'L' if number else 'M'}{x:.1f} {y:.1f}" for number, (x, y) in enumerate(points))
    dashes = f' stroke-dasharray="{_DASHES[dash]}"' if _DASHES[dash] else ""
    if colour is None:
        return f'<path class="front" d="{drawn}"{dashes}/>\n'
    return f'<path style="stroke:var(--c{colour})" d="{drawn}"{dashes}/>\n'


def picture(title: str, names: Sequence[str], shown: Sequence[Show], points: Sequence[Point]) -> str:
    """The SVG of a sweep over fields.
    ``shown``: how the values of each field are spelled.
    ``points``: one at least."""
    title = on_one_line(title)
    drawing = _Drawing(names, shown, points)
    size_unit = 2**20 if max(point.scratchpad_bytes for point in points) > 2**20 else 2**10
    costs: list[tuple[str, Show, float, Callable[[Point], float]]] = [
        ("multipliers", lambda count: show_count(round(count)), 1, lambda point: point.multipliers),
        ("memory on chip", lambda size: show_bytes(round(size)), size_unit, lambda point: point.scratchpad_bytes),
    ]
    panels = [drawing.along_field()]
    panels += [drawing.along_cost(*each) for each in costs if len({each[-1](point) for point in points}) > 1]
    legend = drawing.legend()
    top = 50 + _LINE * (-(-len(legend) // 2) + bool(legend))
    height = top + len(panels) * _HEIGHT
    parts = [
        f'<g transform="translate({_LEFT + number % 2 * 270} {66 + number // 2 * _LINE})">{line}</g>\n'
        for number, line in enumerate(legend)
    ]
    parts += [
        f'<g transform="translate(0 {top + number * _HEIGHT})">\n{each}</g>\n' for number, each in enumerate(panels)
    ]
    note = "Modelled, not measured on silicon"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(title)}" width="{_WIDTH}" '
        f'height="{height}" viewBox="0 0 {_WIDTH} {height}">\n<style>{_STYLE}</style>\n'
        f'<rect class="back" width="{_WIDTH}" height="{height}"/>\n'
        f'<text class="title" x="{_LEFT}" y="22">{escape(shortened(title, _TITLE))}</text>\n'
        f'<text x="{_LEFT}" y="40">{note}</text>\n{"".join(parts)}</svg>\n'
    )
