"""The document of modelled performance, from the rows that `device_performance.py` finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from several_cards import batch_lines, cut_lines

from tilewright.runtime.report.table import Column, Table

Row = Mapping[str, Any]

TARGETS: dict[tuple[str, str], dict[str, float]] = {
    ("ResNet-50", "S256"): {"convolutions": 0.95, "whole": 0.93},
    ("GoogLeNet", "S256"): {"convolutions": 0.91, "whole": 0.88},
    ("AlexNet", "S256"): {"convolutions": 0.94},
    ("ResNet-50", "M4096"): {"whole": 0.85, "traffic": 1.3},
    ("GoogLeNet", "M4096"): {"whole": 0.80},
    ("MobileNetV2", "M4096"): {"whole": 0.55, "traffic": 1.5},
}
"""Shares of the machine, at least; and DRAM bytes over those that must move, at most."""

SPEEDUP = 3.4
"""Four clusters over one with bandwidth scaled, ResNet-50."""

TEXT = """## Modelled time

Made by `TILEWRIGHT_DATA=FOLDER python benchmarks/device_performance.py --write docs/device_performance.md`. Batch 1,
int8, every cost of the cycle model switched on; **modelled, never measured**. ResNet-50, GoogLeNet (`inception_v1`),
AlexNet, SqueezeNet, ShuffleNet, DenseNet-121, Inception V2, ZFNet and VGG-19 are the light networks of the onnx package
with random weights, the others files of the test data. Only what the device runs is in the table: normalisation across
channels (GoogLeNet, AlexNet) and softmax are the host's, so GoogLeNet and AlexNet are three device programs each, one
after the other.

{shares}
- **whole**: multiplications of the network's ops, padding not counted, over cycles times the multipliers of all
  clusters of the machine.
- **convolutions**: the same of convolutions whose result has more than one pixel, over the time of the programs without
  that in which *only* instructions of other layers (pooling, sums, matrix products) are under way. Time in which both
  are under way, and time in which nothing is, counts in full, so no overlap can flatter it.
- **at most**: the share with every cycle gone that the floor below does not forbid.
- **DRAM**: bytes moved, whole bursts and instructions included; **over needed**: divided by weights, inputs and outputs
  of the device programs, each moved once.

## What bounds it

{bounds}
- **array**, **vector**, **DRAM**: the share of the cycles in which each is busy, averaged over the clusters used;
  conflicts, row openings and turnarounds included, set-up and drain not.
- **floor**: cycles that no schedule goes below, the largest of four: *MAC steps* with all lanes busy that there is work
  for (raster lanes, no lanes for padding of outputs, kernels packed without gaps), shared out evenly; *DRAM bytes*:
  each byte that is needed moved once at full bandwidth, parameters and one instruction of each unit with them; *vector
  steps*, shared out evenly; *weights in time*: the MAC steps where weights come in the order of the layers, no further
  ahead than the weight scratchpads of all clusters hold together. Before the first and after the last of these steps
  come those cycles that fetching, loading, draining, handing over and storing take at least.
- **above it**: cycles over the floor, less one. Targets are to be met, or this is to be at most 3 %.
"""


def document(rows: Sequence[Row], cards: Sequence[Row] = ()) -> str:
    """The whole section.

    Args:
        cards: rows of several cards.
    """
    tables = {"shares": _shares(rows), "bounds": _bounds(rows)}
    text = TEXT.format(**{name: table.markdown() for name, table in tables.items()})
    lists = {
        "Clusters": _clusters(rows),
        "Throughput": _throughput(rows, cards),
        "Cards": [*batch_lines(cards), *cut_lines(cards)],
        "Missed": [line for row in rows for line in _missed(row)],
    }
    for title, lines in lists.items():
        if lines:
            text += f"\n## {title}\n\n" + "".join(f"- {line}\n" for line in lines)
    return text


def _throughput(rows: Sequence[Row], cards: Sequence[Row]) -> list[str]:
    """Images a second of one card, in batches and one by one, beside what its multipliers allow."""
    lines: list[str] = []
    for row in filter(_is_main, rows):
        batches = [
            (each["images"] * row["clock_hertz"] / each["cycles"], each["images"])
            for each in cards
            if (each["network"], each["machine"], each["cards"]) == (row["network"], row["machine"], 1)
            and each["images"] > 1
        ]
        if batches:
            one, roof = row["clock_hertz"] / row["cycles"], row["clock_hertz"] * row["peak"] / row["macs"]
            shown = ", ".join(f"{images} at once {rate:,.0f}" for rate, images in batches)
            lines.append(
                f"{row['network']} on {row['machine']}, images a second: one at a time {one:,.0f}, {shown}; "
                f"all multipliers in every cycle {roof:,.0f}"
            )
    return lines


def _is_main(row: Row) -> bool:
    return row["slower"] == 1 and (row["machine"] == "S256" or row["clusters"] > 1)


def _targets(row: Row) -> dict[str, float]:
    return TARGETS.get((row["network"], row["machine"]), {}) if _is_main(row) else {}


def figures(row: Row) -> dict[str, float]:
    """The figures that have targets, by the names in `TARGETS`."""
    return {
        "convolutions": row["convolution_macs"] / (row["convolution_cycles"] * row["peak"]),
        "whole": row["macs"] / (row["cycles"] * row["peak"]),
        "traffic": row["dram_bytes"] / row["needed_bytes"],
    }


def _is_met(row: Row, name: str) -> bool:
    target, figure = _targets(row)[name], figures(row)[name]
    return figure <= target if name == "traffic" else figure >= target


def _verdict(row: Row, name: str) -> str:
    target = _targets(row).get(name)
    if target is None:
        return ""
    shown = f"≤ {target:.1f}" if name == "traffic" else f"≥ {target:.0%}"
    return f"{shown} {'met' if _is_met(row, name) else 'missed'}"


def _shares(rows: Sequence[Row]) -> Table:
    columns = (
        Column("network", "network"),
        Column("machine", "machine"),
        Column("cycles", "k cycles", lambda n: f"{n / 1000:,.1f}", right=True),
        Column("milliseconds", "ms", lambda n: f"{n:.2f}", right=True),
        Column("convolutions", "convolutions", lambda n: f"{n:.1%}", right=True),
        Column("convolutions_most", "at most", lambda n: f"{n:.1%}", right=True),
        Column("convolutions_target", "target"),
        Column("whole", "whole", lambda n: f"{n:.1%}", right=True),
        Column("whole_most", "at most", lambda n: f"{n:.1%}", right=True),
        Column("whole_target", "target"),
        Column("dram_bytes", "DRAM (MB)", lambda n: f"{n / 1e6:.1f}", right=True),
        Column("traffic", "over needed", lambda n: f"{n:.2f}", right=True),
        Column("traffic_target", "target"),
    )
    table = Table(columns)
    for row in filter(_is_main, rows):
        table.add(
            **{column.key: row[column.key] for column in columns[:3]},
            milliseconds=1e3 * row["cycles"] / row["clock_hertz"],
            dram_bytes=row["dram_bytes"],
            **figures(row),
            convolutions_most=row["convolution_macs"] / (max(1, row["convolution_floor"]) * row["peak"]),
            whole_most=row["macs"] / (row["floor"] * row["peak"]),
            **{f"{name}_target": _verdict(row, name) for name in figures(row)},
        )
    return table


def _bounds(rows: Sequence[Row]) -> Table:
    columns = (
        Column("network", "network"),
        Column("machine", "machine"),
        Column("cycles", "k cycles", lambda n: f"{n / 1000:,.1f}", right=True),
        Column("array", "array", lambda n: f"{n:.0%}", right=True),
        Column("vector", "vector", lambda n: f"{n:.0%}", right=True),
        Column("dram", "DRAM", lambda n: f"{n:.0%}", right=True),
        Column("floor", "floor (k cycles)", lambda n: f"{n / 1000:,.1f}", right=True),
        Column("floor_of", "floor of"),
        Column("above", "above it", lambda n: f"{n:.1%}", right=True),
        Column("plan", "planned for less"),
    )
    table = Table(columns)
    for row in filter(_is_main, rows):
        table.add(
            **{name: row[name] for name in ("network", "machine", "cycles", "floor", "floor_of", "plan")},
            **{unit: row[unit] / row["cycles"] for unit in ("array", "vector", "dram")},
            above=row["cycles"] / row["floor"] - 1,
        )
    return table


def _clusters(rows: Sequence[Row]) -> list[str]:
    """What four clusters are worth."""
    lines: list[str] = []
    cycles = {(row["network"], row["machine"], row["clusters"], row["slower"]): row["cycles"] for row in rows}
    for (network, machine, clusters, slower), one in cycles.items():
        all_of_them = [key for key in cycles if key[:2] == (network, machine) and key[2] > 1 and key[3] == 1]
        if clusters > 1 or machine == "S256" or not all_of_them:
            continue
        more = all_of_them[0]
        speedup = one / cycles[more]
        how = f"scaled (1/{slower} of it for the one)" if slower > 1 else "fixed"
        verdict = f", target ≥ {SPEEDUP}: {'met' if speedup >= SPEEDUP else 'missed'}" if slower > 1 else ""
        lines.append(
            f"{network} on {machine}, {more[2]} clusters over one, bandwidth {how}: **{speedup:.2f}x** "
            f"({one / 1000:,.1f} to {cycles[more] / 1000:,.1f} k cycles){verdict}"
        )
    return lines


def _missed(row: Row) -> list[str]:
    """What is missed, with what forbids it."""
    lines: list[str] = []
    found = figures(row)
    for name in _targets(row):
        if _is_met(row, name):
            continue
        if name == "traffic":
            lines.append(f"{row['network']} on {row['machine']}, DRAM bytes over needed: {found[name]:.2f}")
            continue
        prefix = "convolution_" if name == "convolutions" else ""
        floor, cycles, what = (row[f"{prefix}{name}"] for name in ("floor", "cycles", "floor_of"))
        most = row[f"{prefix}macs"] / floor / row["peak"]
        lines.append(
            f"{row['network']} on {row['machine']}, {name}: {found[name]:.1%}. The floor is {floor / 1000:,.1f} k "
            f"cycles of {what}, {most:.1%} at most; the {cycles / 1000:,.1f} k cycles are "
            f"{cycles / floor - 1:.1%} above it."
        )
    return lines
