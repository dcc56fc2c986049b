"""The candidates for the tile of an op: what each needs of the scratchpads, and what it costs."""

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.immutable import Immutable

from ....ir.annotations import Split, Stationary
from ....runtime.machines.machine import Machine
from .tile_price import Counts, Price


class Candidates(NamedTuple):
    """Tiles, as arrays that broadcast against each other: output rows and columns, blocks of output and of input
    channels."""

    rows: Counts
    columns: Counts
    blocks: Counts
    chunk: Counts


class Tile(Immutable):
    """A piece of the result that is computed at once.

    Attributes:
        rows, columns: output pixels.
        output_blocks, input_blocks: blocks of 16 channels of result and operand.
        stationary: ``weights`` | ``inputs``, see :class:`tilewright.passes.device.tile_device.TileDevice`.
        split: what several clusters share out of the result; None where one does all.
    """

    rows: int
    columns: int
    output_blocks: int
    input_blocks: int
    stationary: Stationary = "inputs"
    split: Split | None = None


class Misfit(Immutable):
    """Why no tile fits: the scratchpad that the smallest one overflows, and by how much (bytes)."""

    memory: str
    needed: int
    available: int


class Found(Immutable):
    """The candidates for an op: how large they are, and what each needs of the scratchpads, in bytes.
    ``within``: which of them the fields of instructions can say."""

    tiles: Candidates
    needs: Mapping[str, Counts]
    within: NDArray[np.bool_]

    def overflow(self, machine: Machine) -> Misfit:
        """What the smallest of them overflows, as none fits."""
        smallest = {memory: (int(need.min()), available(machine, memory)) for memory, need in self.needs.items()}
        memory = max(smallest, key=lambda name: smallest[name][0] / smallest[name][1])
        return Misfit(memory, *smallest[memory])

    def fitting(self, machine: Machine) -> NDArray[np.bool_]:
        """Which of them the scratchpads hold."""
        return reduce(np.logical_and, (self.holds(machine, memory, 1) for memory in self.needs))

    def holds(self, machine: Machine, memory: str, times: int = 2) -> NDArray[np.bool_]:
        """Of which candidates a scratchpad holds so many."""
        return times * self.needs[memory] <= available(machine, memory)


def available(machine: Machine, memory: str) -> int:
    """Bytes of a scratchpad: ``maps``, ``weight``, ``accumulator`` or ``parameter``."""
    return getattr(machine, f"{memory}_bytes")


class Priced(Immutable):
    """The candidates for a share of an op, and what they cost by what is stationary."""

    found: Found
    prices: Mapping[Stationary, Price]
    split: Split | None


class Costs(Immutable):
    """What candidates cost that scratchpads other than that of the maps hold: of all shares and of all that may be
    stationary, one behind the other.

    Attributes:
        needs: bytes of the maps scratchpad.
        rows, blocks: of each tile.
        two, one: cycles where the maps scratchpad holds two tiles, and where it holds one.
        sources: of how many of them each share and what is stationary is, and sizes by number of the candidate.
    """

    needs: Counts
    rows: Counts
    blocks: Counts
    two: NDArray[np.float64]
    one: NDArray[np.float64]
    sources: list[tuple[int, Counts, Stationary, Split | None]]

    @classmethod
    def of(cls, priced: Sequence[Priced], machine: Machine, taken: float) -> "Costs":
        """Of candidates on a machine; ``taken`` as of `TileSearch.cheapest`."""
        needs: list[Counts] = []
        two: list[NDArray[np.float64]] = []
        one: list[NDArray[np.float64]] = []
        sources: list[tuple[int, Counts, Stationary, Split | None]] = []
        for each in priced:
            found = each.found
            others = [memory for memory in found.needs if memory != "maps"]
            fits = {memory: found.holds(machine, memory) for memory in others if memory != "parameter"}
            possible = reduce(np.logical_and, (found.holds(machine, memory, 1) for memory in others), found.within)
            need, possible, *sizes = np.broadcast_arrays(found.needs["maps"], possible, *found.tiles)
            tiles = np.stack([size[possible] for size in sizes])
            for order, price in each.prices.items():
                totals = price.totals(fits.get("weight", True), fits.get("accumulator", True), taken)
                needs.append(need[possible])
                two.append(np.broadcast_to(totals[0], need.shape)[possible])
                one.append(np.broadcast_to(totals[1], need.shape)[possible])
                sources.append((tiles.shape[1], tiles, order, each.split))
        rows, blocks = (np.concatenate([tiles[index] for _, tiles, *_ in sources]) for index in (0, 2))
        return cls(np.concatenate(needs), rows, blocks, np.concatenate(two), np.concatenate(one), sources)

    def tile(self, index: int) -> Tile:
        """The candidate with that number."""
        for count, tiles, order, split in self.sources:
            if index < count:
                rows, columns, blocks, chunk = tiles[:, index].tolist()
                return Tile(rows, columns, blocks, chunk, order, split)
            index -= count
        raise IndexError(index)
