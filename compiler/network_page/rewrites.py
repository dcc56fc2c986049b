"""What passes made of a network, side by side on one page of HTML: before, after, and which rule did it."""

import json
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape
from itertools import islice

from tilewright.immutable import Immutable

from ...ir.core import Module
from ...ir.text.printer import print_module
from ...passes.base import Pass, Record
from ...passes.instruments import Instrument
from ...runtime.report import page as html
from ...runtime.report.table import on_one_line, show_number

_LONGEST = 20_000
"""Lines of a module up to which it is compared."""

_SHOWN = 1_000
"""Rows of a comparison that are shown."""

_CONTEXT = 1
"""Lines around a change that are shown too."""

_RESULT = re.compile(r'\s*%("(?:[^"\\]|\\.)*"|[^\s,=]+)')

_STYLE = """
body { max-width: 1600px; margin: 1.5em auto; padding: 0 1em; }
h2 { margin: 1.2em 0 0.3em; } summary { cursor: pointer; padding: 0.2em 0; } summary b { margin-right: 0.6em; }
:root { --new: #dafbe1; --old: #ffebe9; --rule: #0969da; }
@media (prefers-color-scheme: dark) { :root { --new: #12301d; --old: #3d1517; --rule: #58a6ff; } }
table { table-layout: fixed; width: 100%; min-width: 40em; margin: 0.3em 0 1em; }
td { font: 12px/1.4 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; vertical-align: top; }
td.old { background: var(--old); } td.new { background: var(--new); } i { color: var(--rule); display: block; }
"""


class Step(Immutable):
    """A module as text, without its constants, and what the pass did that made it; None before a pipeline's first."""

    lines: tuple[str, ...]
    record: Record | None


class History(Instrument):
    """Keeps what each pass that modified a module made of it.
    ``pipelines``: by order of execution, the name of each and its steps."""

    def __init__(self) -> None:
        self.pipelines: list[tuple[str, list[Step]]] = []

    def start(self, pipeline: str, module: Module) -> None:
        self.pipelines.append((pipeline, [Step(_lines(module), None)]))

    def after(self, current: Pass, module: Module, record: Record) -> None:
        if record.modified:
            self.pipelines[-1][1].append(Step(_lines(module), record))


def _lines(module: Module) -> tuple[str, ...]:
    return tuple(line for line in print_module(module).split("\n") if not line.startswith("  const "))


def rewrites_page(name: str, history: History) -> str:
    """The whole page: each pass that changed something, closed until it is chosen."""
    parts: list[str] = []
    for pipeline, (first, *steps) in history.pipelines:
        parts.append(f"<h2>{escape(pipeline)}</h2>\n")
        before = first
        for step in steps:
            parts.append(_change(before, step))
            before = step
        if not steps:
            parts.append(html.paragraphs(["No pass changed anything."]))
    return html.page(f"{name}: passes", f"What passes made of {name}", *parts, style=_STYLE)


def _change(before: Step, after: Step) -> str:
    record = after.record
    assert record is not None
    counts = ", ".join(f"{rule} {count}" for rule, count in sorted(record.counts.items()))
    said = f"<b>{escape(record.name)}</b>{escape(counts or 'changed')}"
    declined = html.paragraphs([f"Declined at {where}: {why}" for where, why in record.declined.items()])
    if max(len(before.lines), len(after.lines)) > _LONGEST:
        shown = html.paragraphs([f"{show_number(len(after.lines), 'line')}, too many to compare."])
    else:
        rows = [*islice(_rows(before.lines, after.lines, record), _SHOWN + 1)]
        more = html.paragraphs([f"Only the first {_SHOWN:,} lines are shown."] if len(rows) > _SHOWN else [])
        heads = "<tr><th>before</th><th>after</th></tr>"
        shown = f'<div class="wide"><table><thead>{heads}</thead><tbody>{"".join(rows[:_SHOWN])}</tbody></table></div>'
        shown += more
    return f"<details><summary>{said}</summary>{declined}{shown}</details>\n"


def _rows(before: tuple[str, ...], after: tuple[str, ...], record: Record) -> Iterator[str]:
    for group in SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(_CONTEXT):
        for kind, first, last, start, end in group:
            classes = ("", "") if kind == "equal" else (" class=old", " class=new")
            for old, new in _pairs(before[first:last], after[start:end]):
                rule = record.applied.get(_result(new)) if new is not None and kind != "equal" else None
                by = f"<i>{escape(rule)}</i>" if rule else ""
                yield f"<tr>{_cell(old, classes[0])}{_cell(new, classes[1], by)}</tr>\n"
        yield "<tr><td>…</td><td>…</td></tr>\n"


def _pairs(before: Sequence[str], after: Sequence[str]) -> Iterator[tuple[str | None, str | None]]:
    """Lines beside each other: those that make values of the same name, as far as they come in the same order."""
    places = {_result(line): place for place, line in enumerate(before) if _result(line)}
    done = 0
    for line in after:
        place = places.get(_result(line), -1)
        if place >= done:
            yield from ((old, None) for old in before[done:place])
            yield before[place], line
            done = place + 1
        else:
            yield None, line
    yield from ((old, None) for old in before[done:])


def _cell(line: str | None, kind: str, more: str = "") -> str:
    return "<td></td>" if line is None else f"<td{kind}>{more}{escape(on_one_line(line.strip()))}</td>"


def _result(line: str) -> str:
    """The name of the first result of an op's line; empty for other lines."""
    found = _RESULT.match(line)
    if found is None:
        return ""
    return json.loads(found[1]) if found[1].startswith('"') else found[1]
