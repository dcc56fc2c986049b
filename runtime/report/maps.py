"""Where the maps of the device lie between the ops that make and read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..artifact.json_dataclasses import AtMost, Bounds, OneOf


@dataclass(frozen=True)
class PlacedMap:
    """Where the result of an op of the device lies, as the artifact records it.

    Attributes:
        name: of the result.
        memory: ``chip``, ``ring`` for what is on chip with only those rows that are still needed, ``dram``, or ``none``
            for what goes into another op tile by tile.
        rows: on chip, how many rows each cluster holds, those of all images together; of a ring, its rows.
        inside: name of the map on chip that it lies in; empty where it lies in no other one.
        why: why it is not on chip, in words that follow its name.
    """

    name: str
    memory: Annotated[str, OneOf(("chip", "ring", "dram", "none"))]
    rows: Annotated[tuple[Annotated[int, Bounds(0)], ...], AtMost(1 << 10)]
    inside: str
    why: str

    @property
    def text(self) -> str:
        """As users read it."""
        if self.memory not in ("chip", "ring"):
            place = "DRAM" if self.memory == "dram" else "nowhere"
            return f"{place}: {self.why}"
        held = f"{' + '.join(map(str, self.rows))} {'row' if self.rows == (1,) else 'rows'}"
        where = f"on chip, in a ring of {held}" if self.memory == "ring" else f"on chip, {held}"
        return f"{where}, in %{self.inside}" if self.inside else where
