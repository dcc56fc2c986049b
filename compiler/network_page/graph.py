"""A network as a picture, from top to bottom: ranks by the longest path, orders that cross few edges, and coordinates.

The method is that of Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures",
1981: edges over several ranks get a place in each of them, layers of a rank are ordered by the mean of their
neighbours, and then moved as near to these as their order allows, in least squares, the longest path straight down.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from ...runtime.report.table import on_one_line, shortened, show_seconds
from .layers import PLACES, Layer

MOST = 300
"""Layers up to which a network is drawn as a graph; a strip of squares shows longer ones."""

_MOST_BENDS = 20_000
"""Places of edges in ranks; networks with more have their edges drawn straight."""

_WIDTH, _HEIGHT, _GAP, _DOWN, _BEND, _MARGIN = 172, 34, 16, 22, 10, 8
"""Pixels: of a layer, between layers of a rank, between ranks, of an edge that passes, around the picture."""

_LETTERS = 21
"""Characters that a layer has room for."""

_ROUNDS, _STIFF = 4, 1e3
"""How often ranks are ordered, down and up; and the weight of what continues the longest path."""


class Drawing(NamedTuple):
    """Where things lie: the middle of each layer, the points of each edge, and the size of the whole, in pixels."""

    middles: list[tuple[float, float]]
    edges: list[list[tuple[float, float]]]
    width: float
    height: float


def drawing(edges: Sequence[tuple[int, int]], count: int) -> Drawing:
    """Coordinates of a graph. ``edges``: from a layer to a later one, by their numbers."""
    rank = [0] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        rank[target] = max(rank[target], rank[source] + 1)
    has_bends = sum(rank[target] - rank[source] - 1 for source, target in edges) <= _MOST_BENDS
    ranks: list[list[int]] = [[] for _ in range(max(rank, default=-1) + 1)]
    for number, where in enumerate(rank):
        ranks[where].append(number)
    before: list[list[int]] = [[] for _ in range(count)]
    paths: list[list[int]] = []
    for source, target in edges:
        path = [source]
        for where in range(rank[source] + 1, rank[target]) if has_bends else ():
            ranks[where].append(len(before))
            before.append([path[-1]])
            path.append(len(before) - 1)
        before[target].append(path[-1])
        paths.append([*path, target])
    after: list[list[int]] = [[] for _ in before]
    for target, sources in enumerate(before):
        for source in sources:
            after[source].append(target)
    x = _across(ranks, before, after, [_WIDTH if number < count else _BEND for number in range(len(before))])
    level = {number: where for where, row in enumerate(ranks) for number in row}
    left = min((x[number] for number in range(len(x))), default=0.0) - _WIDTH / 2 - _MARGIN

    def place(number: int) -> tuple[float, float]:
        return x[number] - left, _MARGIN + _HEIGHT / 2 + level[number] * (_HEIGHT + _DOWN)

    return Drawing(
        [place(number) for number in range(count)],
        [[place(number) for number in path] for path in paths],
        max(x, default=0.0) - left + _WIDTH / 2 + _MARGIN,
        len(ranks) * (_HEIGHT + _DOWN) - _DOWN + 2 * _MARGIN,
    )


def _across(
    ranks: list[list[int]], before: list[list[int]], after: list[list[int]], widths: Sequence[float]
) -> list[float]:
    """The middle of each place; puts ``ranks`` in order."""
    x = [0.0] * len(widths)
    for row in ranks:
        _put(row, [(0.0, 1.0)] * len(row), widths, x)
    for _ in range(_ROUNDS):
        for rows, near in ((ranks, before), (ranks[::-1], after)):
            for row in rows:
                wanted = {number: _mean([x[each] for each in near[number]], x[number]) for number in row}
                row.sort(key=lambda number: wanted[number])
                _put(row, [(wanted[number], 1.0) for number in row], widths, x)
    heirs = _heirs(ranks, before, after)
    for row in ranks:
        # What continues the longest path stays below what it continues, and others make room.
        spots = [
            (x[heirs[each]], _STIFF) if each in heirs else (_mean([x[near] for near in before[each]], x[each]), 1.0)
            for each in row
        ]
        _put(row, spots, widths, x)
    return x


def _heirs(ranks: list[list[int]], before: list[list[int]], after: list[list[int]]) -> dict[int, int]:
    """Which place continues which, by number: of those after it the one with most to come, which has one such."""
    depth = [0] * len(before)
    for row in reversed(ranks):
        for number in row:
            depth[number] = max((depth[each] + 1 for each in after[number]), default=0)
    found: dict[int, int] = {}
    for row in ranks:
        for number in row:
            # Edges that only pass have no operands of their own: a layer goes first.
            heir = max(after[number], key=lambda each: (depth[each], -each), default=None)
            if heir is not None:
                found.setdefault(heir, number)
    return found


def _mean(numbers: Sequence[float], otherwise: float) -> float:
    return sum(numbers) / len(numbers) if numbers else otherwise


def _put(row: Sequence[int], wanted: Sequence[tuple[float, float]], widths: Sequence[float], x: list[float]) -> None:
    """Give the places of a rank the coordinates that are nearest to those wanted, by their weights, and keep their
    order and distance: the isotonic regression of what is wanted beyond the place in a row without gaps, by pooling."""
    pools: list[tuple[float, float, int]] = []
    offset, offsets = 0.0, []
    for number, (own, weight) in zip(row, wanted, strict=True):
        offsets.append(offset + widths[number] / 2)
        offset += widths[number] + _GAP
        pools.append((own - offsets[-1], weight, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (first, n, count), (second, m, size) = pools[-2:]
            pools[-2:] = [((first * n + second * m) / (n + m), n + m, count + size)]
    starts = [start for start, _, size in pools for _ in range(size)]
    for number, own, start in zip(row, offsets, starts, strict=True):
        x[number] = own + start


def edges_of(layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Which layer reads which, by their numbers; what no earlier layer computes is left out."""
    numbers: dict[str, int] = {}
    found: dict[tuple[int, int], None] = {}
    for number, layer in enumerate(layers):
        found.update({(numbers[name], number): None for name in layer.operands if name in numbers})
        numbers[layer.name] = number
    return [*found]


def picture(layers: Sequence[Layer], shares: Mapping[str, Sequence[float]]) -> str:
    """The markup of a network: a graph, or of a long one a strip of squares in order of execution.
    ``shares``: for each overlay, by the letter that its style variable has, how much of it each layer has, 0 to 1."""
    styles = [";".join(f"--{key}:{own[number]:.2f}" for key, own in shares.items()) for number in range(len(layers))]
    if len(layers) > MOST:
        squares = (
            f'<i class="{_class(each)}" data-layer="{number}" style="{style}" title="{_title(each)}"></i>'
            for number, (each, style) in enumerate(zip(layers, styles, strict=True))
        )
        return f'<div class="strip">{"".join(squares)}</div>\n'
    found = drawing(edges_of(layers), len(layers))
    lines = "".join(_curve(points) for points in found.edges)
    boxes = "".join(
        _box(number, each, middle, style)
        for number, (each, middle, style) in enumerate(zip(layers, found.middles, styles, strict=True))
    )
    width, height = round(found.width), round(found.height)
    return (
        f'<div class="graph"><svg role="img" aria-label="The network, layer by layer" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}">\n<path class="edges" d="{lines}"/>\n{boxes}</svg></div>\n'
    )


def _class(layer: Layer) -> str:
    return f"n p{PLACES.index(layer.place)}"


def _title(layer: Layer) -> str:
    return escape(on_one_line(f"{layer.name}: {layer.op}, {layer.place}{', ' + layer.why if layer.why else ''}"))


def _curve(points: Sequence[tuple[float, float]]) -> str:
    """From the lower border of the first to the upper one of the last."""
    half = _HEIGHT / 2
    (x, y), *rest = points
    at, drawn = y + half, [f"M{x:.0f} {y + half:.0f}"]
    for number, (own, middle) in enumerate(rest):
        top = middle - half
        between = (at + top) / 2
        drawn.append(f"C{x:.0f} {between:.0f} {own:.0f} {between:.0f} {own:.0f} {top:.0f}")
        if number < len(rest) - 1:
            drawn.append(f"V{middle + half:.0f}")
        x, at = own, middle + half
    return "".join(drawn)


def _box(number: int, layer: Layer, middle: tuple[float, float], style: str) -> str:
    x, y = round(middle[0] - _WIDTH / 2), round(middle[1] - _HEIGHT / 2)
    shape = "×".join(map(str, layer.output[1:] or layer.output))
    seconds = layer.seconds if layer.seconds is not None else layer.cpu_seconds
    shown = show_seconds(seconds) if seconds is not None else ""
    texts = (layer.name, _LETTERS), (f"{layer.op} {shape}", _LETTERS - len(shown))
    name, op = (escape(shortened(on_one_line(text), width)) for text, width in texts)
    time = f'<text class="time" x="{_WIDTH - 8}" y="28">{shown}</text>' if shown else ""
    return (
        f'<g class="{_class(layer)}" data-layer="{number}" style="{style}" transform="translate({x} {y})">'
        f'<title>{_title(layer)}</title><rect width="{_WIDTH}" height="{_HEIGHT}" rx="5"/>'
        f'<text x="8" y="14">{name}</text><text class="op" x="8" y="28">{op}</text>{time}</g>\n'
    )
