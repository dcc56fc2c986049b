"""Results as people and programs read them: one table as text, Markdown and JSON, and numbers with their units.

The rows are the same in all three: a column's ``show`` only changes how a value is spelled for people.
"""

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from itertools import accumulate
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any
from unicodedata import category, east_asian_width

from tilewright.errors import printable
from tilewright.immutable import Immutable

MARGIN, GAP = "  ", "  "
"""What stands left of a table, and between its columns."""

_COMPACT = 100_000
"""Characters from which JSON stands on one line, which takes a tenth of the time to write."""

_NUMBERS = re.compile(r"\[\n\s+([-+.\deE,\s]+?)\s+\]")
"""A list of numbers, a line for each; texts hold no line breaks of their own."""

Records = list[dict[str, Any]]
"""The rows of a table: objects of what JSON can hold."""

NARROWEST, READABLE, WIDEST = 8, 16, 60
"""Widths in characters: no column is made narrower than the first; before any is made narrower than the second, columns
that can be spared are left out; and away from a terminal cells that are longer than the last stick out."""


def on_one_line(text: str) -> str:
    """As `printable`, with line breaks escaped too, which names may hold to feign other lines."""
    return printable(text).replace("\n", r"\n")


def json_text(found: object) -> str:
    """A result as JSON: dataclasses and named tuples are objects; infinities and NaN, which JSON lacks, are texts."""
    plain = _plain(found)
    text = json.dumps(plain)
    if len(text) < _COMPACT:
        text = _NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", json.dumps(plain, indent=2))
    return f"{text}\n"


def _plain(found: Any) -> object:
    if is_dataclass(found):
        found = {each.name: getattr(found, each.name) for each in fields(found)}
    elif hasattr(found, "_asdict"):
        found = found._asdict()
    if isinstance(found, Mapping):
        return {name: _plain(value) for name, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_plain(value) for value in found]
    return str(found) if isinstance(found, float) and not math.isfinite(found) else found


def terminal_width() -> int | None:
    """The columns of the terminal that stdout is; None where it is none."""
    return get_terminal_size().columns if sys.stdout.isatty() else None


def on_lines(text: str, indent: int = 0) -> str:
    """A sentence on one line; on a terminal on lines that fit it, all but the first with an indent."""
    line, width = on_one_line(text), terminal_width()
    if width is None or len(line) <= width:
        return f"{line}\n"
    rest = " " * min(indent, width // 3)
    folded = wrap(line, max(width, 40), subsequent_indent=rest, break_long_words=False, break_on_hyphens=False)
    return "".join(f"{each}\n" for each in folded)


def show_bytes(count: int) -> str:
    """Bytes with a binary unit: ``512 B``, ``1.5 KiB``, ``97.5 MiB``."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def show_count(count: int) -> str:
    """A count with a decimal unit: ``950``, ``1.3 k``, ``300.8 M``, ``4.09 G``."""
    for factor, unit, digits in ((1e9, "G", 2), (1e6, "M", 1), (1e3, "k", 1)):
        if count >= factor:
            return f"{count / factor:.{digits}f} {unit}"
    return str(count)


def significant(value: float, digits: int = 3) -> str:
    """A number with so many digits that mean something, or all before the point: ``0.0200``, ``12.3``, ``2275``."""
    decimals = digits - 1 - math.floor(math.log10(abs(value))) if value else 0
    return f"{value:.{min(max(decimals, 0), 12)}f}"


def show_seconds(seconds: float) -> str:
    """A time with its unit: ``20.0 µs``, ``1.23 ms``, ``2.50 s``."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{significant(seconds * factor)} {unit}"
    return f"{significant(seconds * 1e6)} µs"


def show_kernel(place: str) -> str:
    """The name of a kernel without the digest that tells it from others of its kind."""
    return re.sub(r"_[0-9a-f]{16}$", "", place)


def show_number(count: int, noun: str) -> str:
    """A number of things: ``1 op``, ``2 ops``, ``1,024 ops``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def show_clusters(clusters: int, cards: int) -> str:
    """What computes: ``one cluster``, ``4 clusters``, ``4 clusters of each of 2 cards``."""
    found = "one cluster" if clusters == 1 else f"{clusters} clusters"
    return f"{found} of each of {cards} cards" if cards > 1 else found


class Column(Immutable):
    """One column.

    Attributes:
        key: the name of the value in a row, and in JSON.
        title: the heading for people, with the unit where there is one, such as ``time (ms)``.
        show: how a value is spelled for people; a missing value (``None``) is left blank and not passed to it.
        right: whether to align to the right, as numbers are.
        spare: whether the text leaves it out where it is empty, or the terminal too narrow; of several, the last first.
    """

    key: str
    title: str
    show: Callable[[Any], str] = str
    right: bool = False
    spare: bool = False


@dataclass
class Table:
    """Rows under columns; a row maps column keys to values that JSON can hold, and may leave some out."""

    columns: Sequence[Column]
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    title: str | None = None

    def __post_init__(self) -> None:
        self._keys = {column.key for column in self.columns}
        for row in self.rows:
            self._check(row)

    def add(self, **values: Any) -> None:
        """Appends a row. Raises KeyError: a value belongs to no column."""
        self._check(values)
        self.rows.append(values)

    def records(self) -> Records:
        """The rows as dictionaries with every column's key in order, ``None`` where a row has no value."""
        return [{column.key: row.get(column.key) for column in self.columns} for row in self.rows]

    def markdown(self) -> str:
        """The table in GitHub's Markdown, with its title as a line above."""
        lines = [f"**{_escape_markdown(self.title)}**", ""] if self.title else []
        lines.append(_markdown_row(column.title for column in self.columns))
        lines.append("|" + "|".join("--:" if column.right else ":--" for column in self.columns) + "|")
        lines.extend(_markdown_row(cells) for cells in self.cells())
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """The table as plain text, a line for each row.

        Where stdout is a terminal, texts are shortened, and columns that can be spared left out, so that no line is
        longer than it; elsewhere nothing is."""
        cells = [[column.title for column in self.columns], *self.cells()]
        columns = [*zip(self.columns, zip(*cells, strict=True), strict=True)]
        texts = [(each, [*own], max(map(width_of, own))) for each, own in columns if any(own[1:]) or not each.spare]
        if (terminal := terminal_width()) is None:
            texts = [(column, own, min(width, WIDEST)) for column, own, width in texts]
        else:
            texts = [(column, [shortened(each, n) for each in own], n) for column, own, n in _fitted(texts, terminal)]
        padded = ([_padded(each, n, right=column.right) for each in own] for column, own, n in texts)
        heading, *rows = ((MARGIN + GAP.join(row)).rstrip() for row in zip(*padded, strict=True))
        rule = MARGIN + "─" * (_width(texts) - len(MARGIN))
        title = [on_one_line(self.title)] if self.title else []
        return "".join(f"{line}\n" for line in (*title, heading, rule, *rows))

    def cells(self) -> list[list[str]]:
        """The values as people read them, without those of titles."""
        shown = []
        for row in self.rows:
            values = [(column, row.get(column.key)) for column in self.columns]
            shown.append(["" if value is None else on_one_line(column.show(value)) for column, value in values])
        return shown

    def _check(self, row: Mapping[str, Any]) -> None:
        unknown = sorted(row.keys() - self._keys)
        if unknown:
            raise KeyError(f"no column for {', '.join(unknown)}; there are {', '.join(c.key for c in self.columns)}")


_Texts = tuple[Column, list[str], int]
"""A column, its texts with the heading, and its width."""


def _width(columns: Sequence[_Texts]) -> int:
    return len(MARGIN) + len(GAP) * (len(columns) - 1) + sum(width for _, _, width in columns)


def _fitted(columns: list[_Texts], available: int) -> list[_Texts]:
    """The columns that there is room for, with texts made narrower so that no line is longer: names, of which enough
    remains, before words."""
    texts = [not column.right for column, _, _ in columns]
    names = [
        text and not any(" " in each for each in own[1:]) for text, (_, own, _) in zip(texts, columns, strict=True)
    ]
    found = _narrowed(_narrowed(columns, names, READABLE, available), texts, READABLE, available)
    spare = [number for number, (column, _, _) in enumerate(columns) if column.spare]
    if _width(found) > available and spare:
        return _fitted(columns[: spare[-1]] + columns[spare[-1] + 1 :], available)
    return _narrowed(found, texts, NARROWEST, available)


def _narrowed(columns: list[_Texts], chosen: list[bool], least: int, available: int) -> list[_Texts]:
    """The widest of the chosen columns as much narrower as it takes, down to the least width."""
    cap, found = max(width for _, _, width in columns), columns
    while cap > least and _width(found) > available:
        cap -= 1
        pairs = zip(columns, chosen, strict=True)
        found = [(column, own, min(width, cap) if cut else width) for (column, own, width), cut in pairs]
    return found


def shortened(text: str, width: int, *, is_name: bool = False) -> str:
    """A text without its end, or a name, which has no spaces unless said, without its middle, where it is longer than
    the width."""
    if width_of(text) <= width:
        return text
    end = 0 if " " in text and not is_name else (width - 1) // 2
    tail = _beginning(text[::-1], end)[::-1]
    return f"{_beginning(text, width - 1 - end)}…{tail}"


def _beginning(text: str, width: int) -> str:
    """As many of the first characters as the width has room for."""
    return text[: sum(total <= width for total in accumulate(map(width_of, text)))]


def width_of(text: str) -> int:
    """The columns that a terminal gives a text: two for characters of East Asia and pictures, none for accents."""
    if text.isascii():
        return len(text)
    return sum((east_asian_width(c) in "WF") + (category(c) not in ("Mn", "Me")) for c in text)


def _padded(text: str, width: int, *, right: bool) -> str:
    return (text.rjust if right else text.ljust)(width + len(text) - width_of(text))


def _escape_markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_escape_markdown(cell) for cell in cells) + " |"


MACS = Column("macs", "MACs", show=lambda n: show_count(n) if n else "", right=True)
"""The column of tables for multiply-accumulates; blank where there are none."""
