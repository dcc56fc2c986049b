"""What was measured as tables, for the terminal and for a page of HTML with a picture of the ratios."""

from ...runtime.report import page as html
from ...runtime.report.table import Column, Table, show_bytes, significant
from .comparison import Comparison


def _milliseconds(seconds: float) -> str:
    return significant(seconds * 1e3)


def description(found: Comparison) -> list[str]:
    """What was measured on and with, in lines."""
    versions = ", ".join(f"{name} {number}" for name, number in found.versions.items())
    return [
        f"{found.processor}, {found.processors} of its processors; {versions}",
        f"Medians of {found.rounds} runs that take turns, by the clock; quartiles in brackets.",
    ]


def time_table(found: Comparison) -> Table:
    """A row for each network and number of threads."""
    contenders = dict.fromkeys(name for each in found.networks for name in each.times)
    times = [Column(name, f"{name} (ms)", right=True) for name in contenders]
    table = Table(
        [
            Column("network", "network"),
            Column("threads", "threads", right=True),
            *times,
            Column("ratio", "best peer / ours", show=lambda ratio: f"{ratio:.2f}", right=True),
        ]
    )
    for each in found.networks:
        spelled = {
            name: f"{_milliseconds(t.median)} [{_milliseconds(t.first_quartile)}, {_milliseconds(t.third_quartile)}]"
            for name, t in each.times.items()
        }
        table.add(network=each.network, threads=each.threads, **spelled, ratio=each.ratio)
    return table


def start_table(found: Comparison) -> Table:
    """A row for each network and contender: what a fresh process takes, and what each computes with."""
    table = Table(
        [
            Column("network", "network"),
            Column("contender", "fresh process of"),
            Column("seconds", "to first result (ms)", show=_milliseconds, right=True),
            Column("processor", "processor time (ms)", show=_milliseconds, right=True),
            Column("imported", "of it import (ms)", show=_milliseconds, right=True),
            Column("peak_bytes", "peak memory", show=show_bytes, right=True),
            Column("computes_with", "computes with", spare=True),
        ]
    )
    for each in found.networks:
        for name, start in each.starts.items():
            table.add(network=each.network, contender=name, **vars(start), computes_with=each.computes_with[name])
    return table


def page(found: Comparison) -> str:
    """The whole page."""
    means = [f"Geometric mean with threads={n}: {mean:.2f}" for n, mean in found.geometric_means.items()]
    bars = [
        html.Bar(f"{each.network}, threads={each.threads}", each.ratio, f"{each.ratio:.2f}")
        for each in found.networks
        if each.ratio
    ]
    return html.page(
        "Tilewright beside its peers",
        "Time of the fastest peer over that of Tilewright",
        html.picture("Ratios by network", bars, 1.0) if bars else html.paragraphs(["No peer was measured."]),
        html.paragraphs([*description(found), *means]),
        html.table(time_table(found)),
        html.table(start_table(found)),
    )
