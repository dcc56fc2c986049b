"""How the accelerator's work was planned: how much of the machine takes it, and which of the plans was fastest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from ..artifact.json_dataclasses import Bounds
from ..machines.machine import CARD_LIMIT, CLUSTER_LIMIT
from .units import show_clusters, show_number

_SHOWN = 3
"""Different plans that a summary tells of."""


@dataclass(frozen=True)
class Schedule:
    """The schedule of a device program, as the artifact records it.

    Attributes:
        name: of the program.
        clusters: of a card that it uses.
        cards: that compute the images of a batch with it, or run it together.
        images_per_cluster: how many images each cluster works on at once; 0 where all clusters work on each image.
        kept_share: of the maps scratchpad of a cluster, what maps may take that stay there from op to op, 0 to 1.
        reduced: fields of the machine that it was made for less of, and how much.
        effort: with which plans were compared.
        cascades: runs of operators that are computed in turn, stripe of rows by stripe of rows.
    """

    name: str
    clusters: Annotated[int, Bounds(1, CLUSTER_LIMIT)]
    cards: Annotated[int, Bounds(1, CARD_LIMIT)]
    images_per_cluster: Annotated[int, Bounds(0)]
    kept_share: Annotated[float, Bounds(0, 1, whole=False)]
    reduced: Mapping[str, Annotated[int, Bounds(0)]]
    effort: str
    cascades: Annotated[int, Bounds(0)] = 0

    @property
    def text(self) -> str:
        """In words, without the name."""
        images = (
            f", {show_number(self.images_per_cluster, 'image')} on each cluster at once"
            if self.images_per_cluster
            else ""
        )
        less = ", ".join(f"{name} {value:,}" for name, value in self.reduced.items())
        machine = f"as if it had {less}" if less else "for the whole machine"
        in_turn = f", {show_number(self.cascades, 'cascade')} of operators" if self.cascades else ""
        return (
            f"{show_clusters(self.clusters, self.cards)}{images}; planned {machine} (effort {self.effort}), "
            f"up to {self.kept_share:.0%} of the maps scratchpad for maps that stay there{in_turn}"
        )


def schedule_lines(schedules: Sequence[Schedule]) -> list[str]:
    """What was planned, as lines for people: equal plans of several programs together, the most frequent ones."""
    counts = Counter(each.text for each in schedules).most_common()
    if len(counts) < 2:
        return [text for text, _ in counts]
    lines = [f"{show_number(count, 'program')} on {text}" for text, count in counts[:_SHOWN]]
    rest = sum(count for _, count in counts[_SHOWN:])
    return [*lines, f"{show_number(rest, 'program')} by other plans"] if rest else lines
