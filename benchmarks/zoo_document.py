"""The page and the picture that `zoo.py` makes of its rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

from accuracy import BROUGHT, CALIBRATED, FLOATING
from integer_speed import geometric_mean

from tilewright.compiler.benchmark.contenders import OURS
from tilewright.runtime.report import page as html
from tilewright.runtime.report.table import Column, Table, show_count, significant

Row = Mapping[str, Any]
Rows = Mapping[str, Row]

TEXT = """# Zoo

The networks that tests and benchmarks use, each as it comes out with the default options: what it gets right, how
long it takes beside other programs, and what is modelled of it on the sample machines. Made by

<!-- not run: it measures for an hour, and tests measure nothing -->
```sh
TILEWRIGHT_DATA=FOLDER python benchmarks/zoo.py
```

on {made}, {processor}, with {versions}. The networks are files that others have
trained (`TILEWRIGHT_DATA`); {random} of the onnx package have random weights, which say nothing of accuracy. With
`--reports FOLDER` the same command writes the report of each network on each machine, one page of HTML each; with
`--networks TEXT` it remakes what is said of some, and keeps the rest, which stands in [zoo.json](zoo.json).

{headline}

![Time of the faster peer over that of Tilewright, by network](zoo.svg)

## Accuracy

As [models.md](models.md) has it, which tells on which data and what else was compared. Networks in floating point are
quantised here, calibrated on {calibrated} samples and judged on others; those named `qdq` bring their integers, and
stand beside onnxruntime on the same samples. *int8* and *device* are the engine `device`, whose integers are those of
`software` to the last bit.

{accuracy}

Networks without labels are set beside themselves in floating point, on samples that they were not calibrated on:
decibels of the output that differs most, and how often the best class is the same. Of random weights that says how
integers round, and nothing of a task.

{likeness}

## On the CPU

Milliseconds of processor time on one thread, medians of {rounds} in which all take turns in one process. In int8
everyone runs the same file in QDQ form: the one that is brought, or what `tilewright export --quantized qdq` writes.
*Ratio* is the faster peer over ours; who refuses the file, or crashes on it, has no time. † marks who
computes something else than rounding explains: processors without VNNI multiply bytes by an instruction that saturates,
and peers let it. Rows in fp32 alone were measured with `--float`, which takes a fraction of the time.

{times}

## On the sample machines

**Modelled, never measured**: there is no silicon. Images a second one after the other, and energy above idle, with
the constants of the [machine files](machine_file.md); what the host does is in neither. Energies of rows that were not
made anew since are without the scratchpads and with multiplications of an ASIC, a tenth of what the files of today say
([decision 0174](decisions/0174-time-and-energy-of-what-is-shared.md)). `tilewright power` tells the same of any
artifact, `tilewright report` draws it.

{machines}

## What runs on the host

Of the operators of the network in int8 on {machine}, which compiles as by default. Reasons are those that `tilewright
inspect` gives; converting inputs and outputs, which every network needs, has none.

{host}
"""

STYLE = """
svg { --text: #1f2328; --line: #8c959f; --good: #1a7f37; --bad: #bc4c00; background: #ffffff; }
@media (prefers-color-scheme: dark) {
  svg { --text: #e6edf3; --line: #768390; --good: #3fb950; --bad: #f0883e; background: #0d1117; }
}
text { fill: var(--text); font: 13px system-ui, sans-serif; } line { stroke: var(--line); stroke-dasharray: 4 3; }
.good { fill: var(--good); } .bad { fill: var(--bad); }
"""

DOCS = Path(__file__).parents[1] / "docs"
MODELS = DOCS / "models.md"
ROWS = DOCS / "zoo.json"
ACCURATE = tuple(case.name for case in (*FLOATING, *BROUGHT))
ANSWERS = ("fp32 top-1 (%)", "int8 top-1 (%)", "onnxruntime top-1 (%)", "device top-1 (%)")
"""Titles of the columns of its tables that tell accuracies."""

ORDER = ("fp32", "int8")


def ratio(row: Row) -> dict[str, float]:
    """The time of the faster peer over ours, by precision; not where there is no peer."""
    return {
        precision: min(peers) / found["times"][OURS]
        for precision, found in row["cpu"].items()
        if (peers := [each for name, each in found["times"].items() if name != OURS])
    }


def headline(rows: Rows) -> str:
    """The one figure: geometric means by precision, with what they are of."""
    found = {name: [ratios[name] for row in rows.values() if name in (ratios := ratio(row))] for name in ORDER}
    parts = [
        f"**{geometric_mean(each):.2f}** times as long in {name} ({len(each)} networks, least {min(each):.2f})"
        for name, each in found.items()
        if each
    ]
    return (
        f"On one thread, the faster of onnxruntime and OpenVINO takes {' and '.join(parts)} as Tilewright, as a "
        "geometric mean; right of the line below, Tilewright is faster."
    )


def document(rows: Rows, random: tuple[str, ...]) -> str:
    """The whole page.

    Args:
        random: names of networks with random weights.
    """
    modelled = {name: row for name, row in rows.items() if row["machines"]}
    first = next(iter(next(iter(modelled.values()))["machines"]))
    measured = [row for row in rows.values() if row["cpu"]]
    versions = dict.fromkeys(f"{name} {number}" for row in measured for name, number in row["versions"].items())
    text = TEXT.format(
        made=_all([*(row["made"] for row in measured), *(row["modelled"] for row in modelled.values())]),
        processor=_all(row["processor"] for row in measured),
        versions=", ".join(versions),
        random=", ".join(f"`{name}`" for name in random if name in rows),
        headline=headline(rows),
        calibrated=CALIBRATED,
        accuracy=_accuracy().markdown(),
        likeness=_likeness(rows, random).markdown(),
        rounds=_all(f"{row['rounds']} rounds" for row in measured),
        times=_times(rows).markdown(),
        machines=_machines(modelled).markdown(),
        machine=first.upper(),
        host="\n".join(_host(modelled, first)),
    )
    return "\n\n".join(map(_wrapped, re.split(r"\n{2,}", text.strip()))) + "\n"


def _all(found: Iterable[str]) -> str:
    *before, last = sorted({*found})
    return " and ".join(filter(None, [", ".join(before), last]))


def _wrapped(paragraph: str) -> str:
    return paragraph if re.match(r"[|#`!<-]", paragraph) else fill(paragraph, 120, break_on_hyphens=False)


def _decimals(value: float) -> str:
    return f"{value:.2f}"


def _accuracy() -> Table:
    """What `accuracy.py` has found, from its document."""
    lines = MODELS.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    titles, found = [], dict[str, dict[str, str]]()
    for row in cells:
        titles = row if row[0] == "network" else titles
        named = dict(zip(titles, row, strict=True))
        if row[0] in ACCURATE:
            # Answers of other tables are of other samples.
            found.setdefault(row[0], {}).update(named if "samples" in named else {})
    columns = [Column("network", "network"), Column("samples", "samples", right=True)]
    columns += [Column(title, title, right=True) for title in ANSWERS]
    shown = ("network", "samples", *ANSWERS)
    rows = [{title: row[title] for title in shown if title in row} for row in found.values()]
    return Table(columns, [row for row in rows if any(row.get(title) for title in ANSWERS)])


def _likeness(rows: Rows, random: tuple[str, ...]) -> Table:
    table = Table(
        [
            Column("network", "network"),
            Column("weights", "weights"),
            Column("samples", "samples", right=True),
            Column("decibels", "int8 beside fp32 (dB)", lambda number: f"{number:.1f}", right=True),
            Column("same", "same best class", lambda share: f"{share:.0%}", right=True),
        ]
    )
    for name, row in rows.items():
        if found := row.get("likeness"):
            table.add(network=name, weights="random" if name in random else "trained", **found)
    return table


def _times(rows: Rows) -> Table:
    names = dict.fromkeys(name for row in rows.values() for found in row["cpu"].values() for name in found["times"])
    columns = [Column("network", "network"), Column("precision", "precision")]
    columns += [Column(name, f"{name} (ms)", right=True) for name in names]
    table = Table([*columns, Column("ratio", "ratio", _decimals, right=True)])
    for name, row in rows.items():
        for precision, found in row["cpu"].items():
            marks = {each: " †" if each in found["apart"] else "" for each in names}
            shown = {each: f"{significant(time)}{marks[each]}" for each, time in found["times"].items()}
            table.add(network=name, precision=precision, **shown, ratio=ratio(row).get(precision))
    return table


def _machines(rows: Rows) -> Table:
    names = next(iter(rows.values()))["machines"]
    columns = [Column("network", "network"), Column("macs", "MACs", show_count, right=True)]
    for name in names:
        columns.append(Column(f"{name}_rate", f"{name.upper()} (images/s)", lambda rate: f"{rate:,.0f}", right=True))
        columns.append(Column(f"{name}_joules", f"{name.upper()} (mJ/image)", significant, right=True))
    table = Table([*columns, Column("share", "MACs on it", lambda share: f"{share:.1%}", right=True)])
    for name, row in rows.items():
        cells: dict[str, float] = {}
        for machine, each in row["machines"].items():
            if "seconds" in each:
                cells |= {f"{machine}_rate": 1 / each["seconds"], f"{machine}_joules": 1e3 * each["joules"]}
        share = min(each["share"] for each in row["machines"].values())
        table.add(network=name, macs=row["macs"], **cells, share=share)
    return table


def _host(rows: Rows, machine: str) -> Iterator[str]:
    for name, row in rows.items():
        found = row["machines"][machine]
        why = "; ".join(f"{reason} ({count})" for reason, count in found["why"].items())
        kinds = ", ".join(found["host"]) or "nothing"
        yield f"- **{name}**: {found['host_ops']} of {found['ops']} ops: {kinds}{'. Why: ' + why if why else ''}."


def picture(rows: Rows) -> str:
    """Ratios by network, as SVG that needs nothing else and follows the viewer's light or dark colours."""
    bars = [
        html.Bar(f"{name}, {precision}", value, f"{value:.2f}")
        for name, row in rows.items()
        for precision, value in ratio(row).items()
    ]
    drawn = html.picture("Time of the faster peer over that of Tilewright, on one thread", bars, 1.0)
    svg = drawn[drawn.index("<svg ") : drawn.index("</div>")]
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1).replace(
        ">\n", f">\n<style>{STYLE}</style>\n", 1
    )
