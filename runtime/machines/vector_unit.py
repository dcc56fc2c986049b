"""What the vector unit takes: steps of its lanes, divisions, and cycles of the ports that it reads and writes through.

It takes the elements of a map in the order in which they lie, and gathers lines from the shared port of the maps as
:mod:`tilewright.runtime.machines.banks` says. Of the accumulators it has a port of its own.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..isa.attention import RequantizeMean, Weigh
from ..isa.normalization import Normalize
from ..isa.resize import ResizeLinear
from ..isa.vector import MapInstruction, Pool, PoolKind, Requantize, RequantizeSum, RequantizeWide
from .banks import Count, ceil_divide, port_cycles
from .machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, LINE_BYTES, MAPS_UNIT, Machine

INTERPOLATED = 4
"""Elements that an interpolated one is made of."""

WEIGH_PASSES = 2
"""Of SFM over the scores of a pixel: one for the largest, one for the weights."""

NORMALIZE_PASSES = 2
"""Of NRM over a pixel: one for the sums of numbers and of their squares, one for the results, which it writes."""

AVERAGE_DIVISIONS = 2
"""Of an average for a group of lanes."""

NORMALIZE_DIVISIONS = 3
"""Of NRM for a pixel: the mean, the root and 1 over it."""


class Stream(NamedTuple):
    """A map that is read or written.
    ``run``: bytes of a pixel.
    ``pitch``: bytes from pixel to pixel.
    ``times``: how often it passes."""

    run: Count
    pitch: Count
    times: int = 1


class VectorWork(NamedTuple):
    """What an instruction takes of the vector unit, in cycles: numbers, or one for each candidate.

    Attributes:
        steps, divisions: of the lanes.
        bank_conflicts: that it waits for lines of maps which lie in one bank.
        port_stalls: that it waits for ports, if lines lay in all banks alike.
        port: of the shared port of the maps.
    """

    steps: Any
    divisions: Any
    bank_conflicts: Any
    port_stalls: Any
    port: Any

    @property
    def unit(self) -> Any:
        """Cycles the unit is busy."""
        return self.steps + self.divisions + self.bank_conflicts + self.port_stalls


def vector_steps(machine: Machine, elements: Count, taps: int = 1) -> Count:
    """Steps of the vector unit: every group of lanes, every element that one of the result is made of."""
    return ceil_divide(elements, machine.vector_lanes) * taps


def idle_elements(unused: int) -> int:
    """Elements of a pixel that requantisation and pooling take no lanes for: where a block has no more than half of its
    channels, half of its lanes take another pixel."""
    return CHANNEL_BLOCK // 2 if 2 * unused >= CHANNEL_BLOCK else 0


def vector_drain(machine: Machine, *more: bool) -> int:
    """Cycles until the last element is through: behind what requantises comes what adds to accumulators, and what
    multiplies with a slope; ``more``: whether there are such."""
    return machine.timing.vector_drain * (1 + sum(more))


def vector_work(
    machine: Machine,
    pixels: Count,
    blocks: Count,
    streams: Iterable[Stream],
    *,
    taps: int = 1,
    joins: bool = False,
    sums: int = 0,
    idle: int = 0,
    lane_divisions: int = 0,
    pixel_divisions: int = 0,
) -> VectorWork:
    """What elements of so many blocks of 16 channels of so many pixels take.

    Args:
        streams: maps that are read or written.
        taps: steps for an element.
        joins: whether lanes that the elements of a single pixel leave take other taps, and are combined two and two.
        sums: how often its accumulator is read.
        idle: elements of a pixel that pass the ports but take no lane.
        lane_divisions, pixel_divisions: for a group of lanes, and for a pixel; of those that a pixel has one of the
            lanes compute as many at once as there are.
    """
    elements = pixels * blocks * CHANNEL_BLOCK
    taken = elements - idle * pixels
    groups, halvings = vector_steps(machine, taken), 0
    if joins:
        # The lanes of one pixel are halved until there are no more than elements.
        halvings = np.log2(np.maximum(machine.vector_lanes // taken, 1)).astype(np.int64) * np.equal(pixels, 1)
    steps = np.minimum(groups * taps, groups * ceil_divide(taps, 1 << halvings) + halvings) if joins else groups * taps
    divisions = groups * lane_divisions + vector_steps(machine, pixels) * pixel_divisions
    busy = steps + divisions * machine.timing.divide
    port, least = 0, 0
    for run, pitch, times in streams:
        at_once = 1 << halvings if times > 1 else 1
        port = port + ceil_divide(times, at_once) * port_cycles(machine, pixels * at_once, run, pitch)
        least = least + times * pixels * run
    read = ceil_divide(sums * elements * (ACCUMULATOR_UNIT // CHANNEL_BLOCK), machine.accumulator_banks * LINE_BYTES)
    spread = np.minimum(port, ceil_divide(least, machine.maps_banks * LINE_BYTES))
    stalls = np.maximum(np.maximum(spread, read) - busy, 0)
    conflicts = np.maximum(np.maximum(port, read) - busy, 0) - stalls
    return VectorWork(steps, divisions * machine.timing.divide, conflicts, stalls, port)


def reads_no_map(item: MapInstruction) -> bool:
    """Whether all that an instruction reads are accumulators."""
    return isinstance(item, Requantize) and not _is_sum(item)


def _is_sum(item: MapInstruction) -> bool:
    return isinstance(item, RequantizeMean) or (isinstance(item, RequantizeSum) and item.adds)


def latency_of(item: MapInstruction, machine: Machine) -> int:
    """Cycles from its last step until an instruction is complete."""
    is_sloped = isinstance(item, Requantize) and item.slope != 0
    return vector_drain(machine, is_sloped, _is_sum(item) or isinstance(item, (Weigh, Normalize)))


def work_of(item: MapInstruction, machine: Machine) -> VectorWork:
    """What an instruction takes."""
    taps = _taps(item)
    return vector_work(
        machine,
        item.height * item.width,
        item.blocks,
        _maps(item),
        taps=taps,
        joins=isinstance(item, Pool) and item.kind in (PoolKind.MAXIMUM, PoolKind.SUM),
        sums=WEIGH_PASSES if isinstance(item, Weigh) else int(isinstance(item, Requantize)),
        idle=idle_elements(item.unused) if isinstance(item, (Requantize, Pool)) else 0,
        lane_divisions=AVERAGE_DIVISIONS if isinstance(item, Pool) and item.kind == PoolKind.AVERAGE else 0,
        pixel_divisions=_pixel_divisions(item),
    )


def _pixel_divisions(item: MapInstruction) -> int:
    if isinstance(item, Weigh):
        return item.shares
    return {RequantizeMean: 1, Normalize: NORMALIZE_DIVISIONS}.get(type(item), 0)


def map_bytes(item: MapInstruction) -> int:
    """Bytes of maps that an instruction reads and writes."""
    return sum(int(each.run) * each.times for each in _maps(item)) * item.height * item.width


def _taps(item: MapInstruction) -> int:
    """How many elements, or passes over them, one of the result takes."""
    taps = item.kernel_height * item.kernel_width if isinstance(item, Pool) else 1
    return {ResizeLinear: INTERPOLATED, Weigh: WEIGH_PASSES, Normalize: NORMALIZE_PASSES}.get(type(item), taps)


def _maps(item: MapInstruction) -> list[Stream]:
    """The maps that an instruction reads and writes."""
    return [*_read(item), _stream(item, item.written_blocks, "destination_row_pitch", "destination_pixel_pitch")]


_READ = (
    ("row_pitch_a", "pixel_pitch_a"),
    ("row_pitch_b", "pixel_pitch_b"),
    ("source_row_pitch", "source_pixel_pitch"),
    ("skip_row_pitch", "skip_pixel_pitch"),
)
"""Fields with the distances of maps that are read."""


def _read(item: MapInstruction) -> list[Stream]:
    """The maps that an instruction reads, each element as often as it takes part in one of the result."""
    if reads_no_map(item) or (isinstance(item, Weigh) and not item.masked):
        return []
    pairs = [each for each in _READ if hasattr(item, each[1])]
    if isinstance(item, Normalize) and not item.sum:
        pairs.pop()
    blocks = item.written_blocks if isinstance(item, RequantizeWide) else item.blocks
    blocks <<= isinstance(item, Normalize) and item.wide
    blocks = 1 if isinstance(item, RequantizeMean) else blocks
    step = item.stride_width if isinstance(item, Pool) and item.width > 1 else 1
    times = 1 if isinstance(item, Weigh) else _taps(item)
    return [_stream(item, blocks, *each, step, times) for each in pairs]


def _stream(item: MapInstruction, blocks: int, row: str, pixel: str, step: int = 1, times: int = 1) -> Stream:
    """A map by the names of the fields with its distances; ``step``: columns from pixel to pixel."""
    # Of a single pixel it is the window that lies in a row.
    pitch = getattr(item, pixel) * step if item.width > 1 or item.height == 1 else getattr(item, row)
    return Stream(blocks * CHANNEL_BLOCK, pitch * MAPS_UNIT, times)
