"""One table of results, shown to people as text or Markdown and to programs as JSON.

The rows are the same in all three: a column's ``show`` only changes how a value is spelled for people.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from shutil import get_terminal_size
from typing import Any

from .console import printable

WHOLE = 10_000
"""Width, in characters, of tables that are piped: they must not be folded to one of which the reader knows nothing."""


def json_text(found: object) -> str:
    """A result, of dataclasses or of what JSON can hold, as the command line prints it."""
    plain = asdict(found) if is_dataclass(found) and not isinstance(found, type) else found
    return json.dumps(plain, indent=2) + "\n"


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        key: the name of the value in a row, and in JSON.
        title: the heading for people, with the unit where there is one, such as ``time (ms)``.
        show: how a value is spelled for people; a missing value (``None``) is left blank and not passed to it.
        right: whether to align to the right, as numbers are.
    """

    key: str
    title: str
    show: Callable[[Any], str] = str
    right: bool = False


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
        """Appends a row.

        Raises:
            KeyError: a value belongs to no column.
        """
        self._check(values)
        self.rows.append(values)

    def records(self) -> list[dict[str, Any]]:
        """The rows as dictionaries with every column's key in order, ``None`` where a row has no value."""
        return [{column.key: row.get(column.key) for column in self.columns} for row in self.rows]

    def markdown(self) -> str:
        """The table in GitHub's Markdown, with its title as a line above."""
        lines = [f"**{_escape_markdown(self.title)}**", ""] if self.title else []
        lines.append(_markdown_row(column.title for column in self.columns))
        lines.append("|" + "|".join("--:" if column.right else ":--" for column in self.columns) + "|")
        lines.extend(_markdown_row(cells) for cells in self._cells())
        return "\n".join(lines) + "\n"

    def text(self) -> str:
        """The table as plain text, fitted to the terminal if stdout is one; otherwise no line is folded."""
        # Here and not above: JSON and Markdown, which scripts ask for, need not wait for rich to load.
        from rich import box
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(title=self.title and Text(self.title), box=box.SIMPLE_HEAD, title_justify="left")
        for column in self.columns:
            table.add_column(Text(column.title), justify="right" if column.right else "left", overflow="fold")
        for cells in self._cells():
            table.add_row(*(Text(cell) for cell in cells))
        stream = io.StringIO()
        Console(file=stream, width=get_terminal_size().columns if sys.stdout.isatty() else WHOLE).print(table)
        return stream.getvalue()

    def _cells(self) -> list[list[str]]:
        shown = []
        for row in self.rows:
            values = [(column, row.get(column.key)) for column in self.columns]
            shown.append(["" if value is None else printable(column.show(value)) for column, value in values])
        return shown

    def _check(self, row: Mapping[str, Any]) -> None:
        unknown = sorted(row.keys() - self._keys)
        if unknown:
            raise KeyError(f"no column for {', '.join(unknown)}; there are {', '.join(c.key for c in self.columns)}")


def _escape_markdown(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_escape_markdown(cell) for cell in cells) + " |"
