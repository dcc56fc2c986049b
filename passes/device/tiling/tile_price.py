"""What a tile costs: the functions of :mod:`tilewright.runtime.machines.cost` over all tiles of an op.

The price is in cycles. The array, the vector unit, the two load queues, the stores and the DRAM work at the same time,
so an op takes as long as the busiest of them, and before and after that what only the first or the last tile does: the
next op begins with loads of what this one stores. Where a scratchpad does not hold two tiles, those who share it take
turns. Every scratchpad that is larger can only lower the price of a candidate, and allow more of them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.immutable import Immutable

from ....ir.annotations import Split
from ....ir.core import Op, Value, is_op
from ....ir.feature_map import MapShape, Window, read_map, window_of
from ....ir.ops.resize import Resize
from ....runtime.isa.encoding import INSTRUCTION_BYTES
from ....runtime.machines.banks import Count, ceil_divide
from ....runtime.machines.cost import Runs, dram_bytes, dram_cycles, handover, in_turn, row_openings
from ....runtime.machines.machine import CHANNEL_BLOCK, LINE_BYTES, Machine
from ..boxes import image_pieces, outer_dimension, rows_of_clusters
from ..resampling import resize_axes

Counts = NDArray[np.int64]
Cycles = float | NDArray[Any]

PRICED_INSTRUCTION_BYTES = INSTRUCTION_BYTES
"""Of an instruction in DRAM, in prices: as on chip, although 23 to 37 are fetched (decision 0216). With 28 tiles are
smaller, and on M4096 KWS takes 2.0 % fewer modelled cycles, but YuNet 1.9 % more."""

DRAM_TAKEN = 0.25
"""What a cycle of the DRAM costs where the op itself does not wait for it: weights of the ops behind it could have been
loaded. Of 0, 1/16, 1/8 and 1/4 this is the one with which ResNet-50 on M4096 stays near what it must move."""

LARGE_PIECE = 1 / 8
"""Of the scratchpad with weights, what a piece may take that finds room beside those of the ops ahead. With 0, MCUNet
on M4096 takes 5 % more modelled cycles; with 1/16, SqueezeNet 1.7 %."""


@dataclass
class Work:
    """What one unit does for an op: cycles of all its instructions, their number, cycles of one until it is complete,
    those of them that the unit does not wait for if it goes on, and cycles of the port of maps that all but the array
    share."""

    cycles: Cycles = 0.0
    count: Count = 0
    once: Cycles = 0.0
    drain: int = 0
    port: Cycles = 0.0

    def add(
        self, count: Count, cycles: Cycles, *, whole: bool | NDArray[np.bool_] = True, drain: int = 0, port: Cycles = 0
    ) -> None:
        """So many instructions of so many cycles each; ``whole``: of whole tiles, not of those at an edge."""
        self.cycles = self.cycles + count * cycles
        self.port = self.port + count * port
        self.count = self.count + count
        if whole is not False:
            once = cycles + drain
            self.once, self.drain = once if whole is True else np.where(whole, once, self.once), drain

    def __add__(self, other: "Work") -> "Work":
        """Both, of which the instructions of this one are the first."""
        cycles, count, port = self.cycles + other.cycles, self.count + other.count, self.port + other.port
        return Work(cycles, count, self.once, self.drain, port)


class Share(Immutable):
    """The largest part that a cluster has of the work of an op.

    Attributes:
        clusters: that share it out.
        kept: the maps that stay on chip.
        images: where the clusters share out images, how many there are, and how many a cluster works on.
        packed: whether the pixels of the map that a convolution reads lie without padding.
    """

    clusters: int = 1
    split: Split | None = None
    kept: frozenset[Value] = frozenset()
    images: tuple[int, int] = (1, 1)
    packed: bool = False

    def moves(self, value: Value) -> bool:
        """Whether tiles of a map are loaded or stored."""
        return value not in self.kept

    def pixels(self, target: MapShape) -> tuple[int, int, int]:
        """Images, rows and columns of a result."""
        extents = [*target[:3]]
        if self.split == "rows":
            extents[:2] = rows_of_clusters(target, self.clusters)
        elif self.split == "images":
            extents[outer_dimension(target)] = image_pieces(target, self.images)[0][1]
        return extents[0], extents[1], extents[2]

    def blocks(self, blocks: int, together: int = 1) -> int:
        """Of so many blocks of output channels, of which so many are not cut apart."""
        return -(-blocks // (self.clusters * together)) * together if self.split == "channels" else blocks


class Price:
    """The work of every unit for an op, filled piece by piece.
    ``wait``: cycles before the first tile in which a unit idles that the op before does not use."""

    def __init__(self, machine: Machine, share: Share) -> None:
        # Not the share itself: prices outlive the function whose maps that names.
        self.machine, self.clusters, self.split = machine, share.clusters, share.split
        self.array, self.vector = Work(), Work()
        self.loads, self.weights, self.stores = Work(), Work(), Work()
        self.wait: Cycles = 0.0

    def transfer(self, work: Work, count: Count, runs: Runs, *, whole: bool = True) -> None:
        """So many transfers of these runs: cycles of the DRAM, and of the port of maps, whose tiles have no gaps."""
        moved, openings, port = dram_bytes(self.machine, runs), row_openings(self.machine, runs), 0
        if work is not self.weights:
            port = ceil_divide(runs.run * runs.count_y * runs.count_z, self.machine.maps_banks * LINE_BYTES)
        work.add(count, dram_cycles(self.machine, moved, openings), whole=whole, port=port)

    def totals(
        self, weights_fit: NDArray[np.bool_] | bool, accumulators_fit: NDArray[np.bool_] | bool, taken: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Cycles of the op, and with ``taken`` what a cycle of the DRAM costs others: where the maps scratchpad holds
        what two tiles need, so that one is loaded while the other is in use, and where it does not.
        ``weights_fit``, ``accumulators_fit``: whether these scratchpads hold what two tiles need."""
        machine, timing = self.machine, self.machine.timing
        loads, weights, stores = (
            in_turn(work.count * timing.transfer_setup, work.cycles) for work in (self.loads, self.weights, self.stores)
        )
        every = (self.array, self.vector, self.loads, self.weights, self.stores)
        instructions = sum(work.count for work in every) * PRICED_INSTRUCTION_BYTES / machine.dram_bytes_per_cycle
        # What all clusters load or store at a time is one turn.
        turns = 2 * np.minimum(self.stores.count, self.loads.count + self.weights.count) * timing.dram_turnaround
        # All clusters have one DRAM. Rows and images have the same weights, which are loaded once for all.
        copies = 1 if self.split in ("rows", "images") else self.clusters
        shared = self.weights.cycles * copies
        # While the op before computes, the DRAM fills the half of the scratchpads with weights that this one leaves:
        # of all clusters, if each has weights of its own.
        ahead = copies * (machine.weight_bytes // 2) / machine.dram_bytes_per_cycle
        dram = (self.loads.cycles + self.stores.cycles + instructions) * self.clusters + turns + shared
        array, vector = self.array.cycles, self.vector.cycles
        # Each unit waits for what the one before it made.
        seen = handover(machine)
        in_turns = array + vector + self.vector.count * 2 * seen
        port = self.vector.port + self.loads.port + self.stores.port
        compute = np.maximum(np.where(accumulators_fit, np.maximum(array, vector), in_turns), port)
        # What fills the scratchpad alone is loaded neither while the op computes nor while the one before it does.
        compute = np.maximum(np.where(weights_fit, compute, compute + np.maximum(weights, shared)), weights)
        first, last = (work.once + timing.dram_latency + seen for work in (self.loads, self.stores))
        # While the first tile is computed the DRAM has others to load, of all clusters two each, and while the last one
        # is, others to store.
        meanwhile = [
            np.minimum(work.cycles * self.clusters, 2 * self.clusters * work.once) - work.once
            for work in (self.loads, self.stores)
        ]
        idle = np.maximum(self.array.once + self.vector.once - np.minimum(*meanwhile), 0)
        # What goes on while the busiest works does so, but for what comes before or after it.
        transfers = np.maximum(np.maximum(loads, stores), dram - np.minimum(ahead, shared))
        together = np.maximum(
            compute + first + self.array.drain + seen + self.vector.once + last,
            transfers + idle + 2 * (timing.dram_latency + seen),
        )
        apart = np.maximum(compute + loads + stores + self.vector.once + self.stores.count * 2 * seen, together)
        # What the first tile multiplies by is loaded in one piece, for which there has to be room in one piece.
        piece = self.weights.once - LARGE_PIECE * machine.weight_bytes / machine.dram_bytes_per_cycle
        others = self.wait + (dram + np.maximum(piece, 0) * copies) * taken
        return together + others, apart + others


def parts(extent: int, size: Counts) -> Iterator[tuple[Counts, Counts, bool]]:
    """Pieces of a size that cut an extent: how many and how large, and whether they are whole; then the rest, if any
    size leaves one."""
    yield extent // size, size, True
    rest = extent % size
    if rest.any():
        yield np.minimum(rest, 1), np.maximum(rest, 1), False


def channel_slices(extent: int, size: Counts, unused: int) -> Iterator[tuple[Any, Counts, int, bool]]:
    """Pieces of a size that cut blocks of channels, how many channels of the last block there are not, and whether
    pieces are whole; one with such channels is none."""
    if not unused:
        yield from ((count, blocks, 0, whole) for count, blocks, whole in parts(extent, size))
    else:
        before = ceil_divide(extent, size) - 1
        yield before, size, 0, True
        yield np.ones_like(size), extent - before * size, unused, False


def box(shape: MapShape, rows: Count, columns: Count, blocks: Count, *, packed: bool = False, step: int = 1) -> Runs:
    """The runs of a box of a feature map in DRAM, whose pixels lie one after the other with all channels padded.
    ``packed``: pixels have their own channels only, and are read row by row.
    ``step``: every so many rows and columns alone are taken."""
    pixel = shape.channels if packed else shape.padded_channels
    is_whole = np.asarray((packed | (blocks * CHANNEL_BLOCK >= pixel)) & (step == 1))
    run = np.where(is_whole, columns * pixel, blocks * CHANNEL_BLOCK)
    pixel = step * pixel
    return Runs(run, np.where(is_whole, 1, columns), rows, np.where(is_whole, 0, pixel), shape.width * pixel)


def rows_read(window: Window, axis: int, outputs: Counts, extent: int) -> Counts:
    """Input rows (axis 0) or columns (axis 1) that so many outputs read, at most."""
    reach = (outputs - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1
    return np.minimum(reach, extent)


def sources(op: Op, share: Share) -> list[tuple[MapShape, Callable[[int, Counts], Counts]]]:
    """The maps that an op on the vector unit loads, and how many rows (axis 0) or columns (axis 1) so many outputs
    read of each."""
    window = window_of(op)
    axes = [(axis, axis.steps) for axis in resize_axes(op)] if is_op(op, Resize) else []

    def reading(source: MapShape) -> Callable[[int, Counts], Counts]:
        def read(axis: int, outputs: Counts) -> Counts:
            if not axes:
                return rows_read(window, axis, outputs, source[1 + axis])
            resized, steps = axes[axis]
            return resized.most_read(steps[0], outputs) if steps is not None else outputs * 0 + resized.extent

        return read

    values = [value for value in op.inputs if value.type.quant is not None and share.moves(value)]
    return [(shape, reading(shape)) for shape in (read_map(op, value) for value in values)]
