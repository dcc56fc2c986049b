"""Pictures over time and over arithmetic intensity, as SVG in the colours of the page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

from ...runtime.report.table import on_one_line, shortened, show_bytes, show_seconds
from ..report.scale import Scale

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 130, 36, 10, 40
"""Pixels of all pictures: their width, and the margins around what is drawn."""

_ROW, _BETWEEN, _THIN = 15, 4, 0.6
"""Pixels of a track, between tracks of different processes, and below which a slice joins the one before it."""

_PLOT, _LETTERS = 240, 20
"""Pixels of the height of other pictures, and characters beside them."""

_TURN = 137.5
"""Degrees of hue from layer to layer: neighbours differ, and no two are the same."""

Show = Callable[[float], str]
Track = tuple[str, str, Sequence[Mapping[str, object]]]


class Point(NamedTuple):
    """A layer under a roof: its number, multiply-accumulates a byte and a second, its class, what is said of it."""

    layer: int
    intensity: float
    rate: float
    kind: str
    title: str


class Series(NamedTuple):
    """A curve: its name, and its height in each of equal parts of the time."""

    name: str
    heights: np.ndarray


class Block(NamedTuple):
    """A piece of memory: the steps in which it is taken, both included, its offset and size, and what is said of it."""

    layer: int | None
    first: int
    last: int
    offset: int
    bytes: int
    title: str


def colour(layer: int) -> str:
    """The colour of a layer in every picture."""
    return f"hsl({layer * _TURN % 360:.0f} 55% 55%)"


def _svg(label: str, height: float, drawn: str) -> str:
    size = f'width="{_WIDTH}" height="{height:.0f}" viewBox="0 0 {_WIDTH} {height:.0f}"'
    return f'<div class="wide chart"><svg role="img" aria-label="{escape(label)}" {size}>\n{drawn}</svg></div>\n'


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(on_one_line(text))}</text>'


def _frame(x: Scale, y: Scale, show_x: Show, show_y: Show, below: str, *, height: float = _PLOT) -> str:
    """The grid; of many numbers on a scale every one that there is room for."""
    drawn = ""
    for each in _some(y.ticks, 8):
        drawn += f'<line class="grid" x1="{_LEFT}" y1="{y(each):.1f}" x2="{_WIDTH - _RIGHT}" y2="{y(each):.1f}"/>'
        drawn += _text(_LEFT - 8, y(each) + 4, show_y(each), "end")
    for each in _some(x.ticks, 9):
        drawn += _text(x(each), height + _TOP + 16, show_x(each))
    return f"{drawn}{_text((_LEFT + _WIDTH) / 2, height + _TOP + 33, below)}\n"


def _some(ticks: Sequence[float], most: int) -> Sequence[float]:
    """At most so many numbers of a scale, powers of ten if they are enough."""
    powers = [each for each in ticks if f"{each:e}".startswith("1.000")]
    chosen = powers if len(ticks) > most and len(powers) > 2 else ticks
    return chosen[:: -(-len(chosen) // most)]


def roofline(label: str, points: Sequence[Point], peak: float, bandwidth: float) -> str:
    """Rates of layers by arithmetic intensity, below what bandwidth and multipliers allow.
    ``peak``: multiply-accumulates a second.
    ``bandwidth``: bytes a second."""
    ridge = peak / bandwidth
    across = [each.intensity for each in points]
    lowest = min(peak / 20, *(each.rate for each in points))
    x = Scale([min(*across, ridge / 4), max(*across, ridge * 4)], _LEFT, _WIDTH - _RIGHT)
    y = Scale([lowest, peak], _TOP + _PLOT, _TOP)
    low, high = x.ticks[0], x.ticks[-1]
    start = max(low, y.ticks[0] / bandwidth)
    at = [(start, start * bandwidth), (ridge, peak), (high, peak)]
    roof = " ".join(f"{x(each):.1f},{y(value):.1f}" for each, value in at)
    drawn = _frame(x, y, lambda n: f"{n:g}", lambda n: f"{n / 1e9:g} GMAC/s", "multiply-accumulates per byte")
    drawn += f'<polyline class="roof" points="{roof}"/>\n'
    for each in points:
        drawn += (
            f'<circle class="{each.kind}" data-layer="{each.layer}" cx="{x(each.intensity):.1f}" '
            f'cy="{y(each.rate):.1f}" r="4.5"><title>{escape(on_one_line(each.title))}</title></circle>\n'
        )
    return _svg(label, _PLOT + _TOP + _BOTTOM, drawn)


def timeline(label: str, tracks: Iterable[Track], numbers: Mapping[str, int], seconds: float) -> str:
    """What every track does when, in the colours of the layers; slices too thin to be seen join the one before.
    ``tracks``: the process of each, its name and its slices, as of a trace."""
    x = Scale([0, seconds], _LEFT, _WIDTH - _RIGHT, _unit(seconds))
    drawn, y, process = "", float(_TOP), ""
    for own, name, slices in tracks:
        y += _BETWEEN if own != process else 0
        process = own
        drawn += _text(_LEFT - 6, y + 12, shortened(name, _LETTERS), "end")
        drawn += "".join(_slices(slices, numbers, x, y)) + "\n"
        y += _ROW
    grid = ""
    for each in _some(x.ticks, 9):
        grid += f'<line class="grid" x1="{x(each):.1f}" y1="{_TOP}" x2="{x(each):.1f}" y2="{y:.0f}"/>'
        grid += _text(x(each), y + 16, show_seconds(each) if each else "0")
    return _svg(label, y + 24, grid + drawn)


def _unit(seconds: float) -> float:
    return next((unit for unit in (1.0, 1e-3) if seconds >= unit), 1e-6)


def _byte_unit(size: float) -> int:
    return next((unit for unit in (2**20, 2**10) if size > 2 * unit), 1)


def _slices(slices: Sequence[Mapping[str, object]], numbers: Mapping[str, int], x: Scale, y: float) -> Iterable[str]:
    spans: list[list[float]] = []
    layers: list[str] = []
    for each in slices:
        details, begin = each.get("args"), float(str(each["ts"])) / 1e6
        layer = str((details.get("layer") if isinstance(details, Mapping) else None) or each["name"])
        first, last = x(begin), x(begin + float(str(each["dur"])) / 1e6)
        thin = spans and first - spans[-1][1] < _THIN
        if thin and (layers[-1] == layer or min(last - first, spans[-1][1] - spans[-1][0]) < _THIN):
            spans[-1][1] = max(last, spans[-1][1])
        elif last > first:
            spans.append([first, last])
            layers.append(layer)
    for (first, last), layer in zip(spans, layers, strict=True):
        number = numbers.get(layer)
        known = "" if number is None else f' data-layer="{number}" fill="{colour(number)}"'
        yield (
            f'<rect{known} x="{first:.1f}" y="{y:.0f}" width="{max(last - first, _THIN):.1f}" height="{_ROW - 2}">'
            f"<title>{escape(on_one_line(layer))}</title></rect>"
        )


def curves(label: str, series: Sequence[Series], seconds: float, show: Show) -> str:
    """Steps over time, each in a colour of its own, with their names below; the scale reaches 1 at least."""
    highest = max(1.0, *(float(each.heights.max()) for each in series))
    x = Scale([0, seconds], _LEFT, _WIDTH - _RIGHT, _unit(seconds))
    y = Scale([0, highest], _TOP + _PLOT, _TOP, _byte_unit(highest))
    drawn = _frame(x, y, lambda time: show_seconds(time) if time else "0", show, "")
    for number, each in enumerate(series):
        at = np.linspace(0, seconds, len(each.heights) + 1)
        line = "".join(
            f"H{x(begin):.1f}V{y(height):.1f}"
            for begin, height in zip(at[:-1].tolist(), each.heights.tolist(), strict=True)
        )
        drawn += f'<path class="c{number}" d="M{_LEFT} {y(0):.1f}{line}H{x(seconds):.1f}"/>\n'
        left = _LEFT + 190 * number
        drawn += f'<path class="c{number}" d="M{left} {_PLOT + _TOP + 36}h22"/>'
        drawn += _text(left + 28, _PLOT + _TOP + 40, each.name, "start")
    return _svg(label, _PLOT + _TOP + _BOTTOM + 8, drawn)


def arena(label: str, blocks: Sequence[Block], steps: int) -> str:
    """Which bytes of a work memory are taken in which step."""
    highest = max(each.offset + each.bytes for each in blocks)
    x = Scale([0, steps], _LEFT, _WIDTH - _RIGHT)
    y = Scale([0, highest], _TOP + _PLOT, _TOP, _byte_unit(highest))
    drawn = _frame(x, y, lambda step: f"{step:g}", lambda size: show_bytes(round(size)), "step")
    for each in blocks:
        low, high = x(each.first), x(each.last + 1)
        top, bottom = y(each.offset + each.bytes), y(each.offset)
        known = "" if each.layer is None else f' data-layer="{each.layer}" fill="{colour(each.layer)}"'
        drawn += (
            f'<rect class="block"{known} x="{low:.1f}" y="{top:.1f}" width="{high - low:.1f}" '
            f'height="{bottom - top:.1f}"><title>{escape(on_one_line(each.title))}</title></rect>\n'
        )
    return _svg(label, _PLOT + _TOP + _BOTTOM, drawn)
