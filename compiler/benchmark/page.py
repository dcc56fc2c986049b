"""One page of HTML that needs nothing else: a picture of the ratios by network, and the tables."""

from __future__ import annotations

from ...runtime.report import page as html
from .comparison import Comparison
from .tables import description, start_table, time_table


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
