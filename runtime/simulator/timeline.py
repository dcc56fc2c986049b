"""A program in modelled time: what the cycle model tells of it."""

from collections.abc import Mapping, Sequence

from tilewright.immutable import Immutable

from ..isa.encoding import Stream
from ..machines.cost import Cost


class Event(Immutable):
    """One instruction in modelled time, in cycles from the start of the program.
    ``start``: when its unit begins to work on it; it is set up by then.
    ``free``: when its unit takes the next one, for which it need not be complete.
    ``end``: when it is complete."""

    stream: Stream
    index: int
    mnemonic: str
    start: float
    free: float
    end: float
    cost: Cost
    layer: str | None


class Timeline(Immutable):
    """A program in modelled time.

    Attributes:
        events: all instructions, in a legal order of execution.
        cycles: when the last one is complete.
        seconds: the same at the clock of the machine.
        dram_bytes: total, that of instructions included.
        mac_bound, dram_bound: least cycles that multiplications and DRAM traffic alone would take.
        instruction_bytes: fetched for each instruction of each stream; 0 where fetches are left out.
        turnarounds: how often the DRAM changes from reading to writing or back.
        clusters: how many of a card's the program uses.
        cards: how many run together.
        link_bytes: from card to card.
        parts: cycles of the DRAMs, of links and of all units that costs add, by the names in `left_out.COSTS`; they
            overlap each other and other work.
    """

    events: list[Event]
    cycles: float
    seconds: float
    macs: int
    dram_bytes: int
    mac_bound: float
    dram_bound: float
    instruction_bytes: Mapping[Stream, Sequence[int]]
    turnarounds: int
    clusters: int
    cards: int
    link_bytes: int
    parts: dict[str, float]

    @property
    def mac_utilization(self) -> float:
        """Share of the peak rate of the clusters that are used."""
        return self.mac_bound / self.cycles if self.cycles else 0.0
