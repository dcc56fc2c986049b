"""What an instruction costs on a machine, alone and part by part: the one formula of tile search, placement and engine.

The functions take whole numbers or NumPy arrays of candidates, and give the same for both. Constants come from the
machine description, which says where each comes from. Waiting for other instructions is no part of a cost.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.blocks import cached_property
from tilewright.immutable import Immutable, reader

from ..isa.attention import MoveWeights
from ..isa.encoding import Instruction, encoded_fields
from ..isa.matrix import Convolve, ConvolveDepthwise
from ..isa.transfer import BoxTransfer, DramTransfer, LoadLines, MapTransfer, Move, Receive, Send, Store
from ..isa.vector import MapInstruction
from .banks import Count, Trace, Waits, ceil_divide, dense_conflicts, depthwise_conflicts, port_cycles, window_steps
from .machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, LINE_BYTES, MAPS_UNIT, Machine
from .vector_unit import latency_of, reads_no_map, work_of


class Cost(Immutable):
    """What one instruction costs, alone. All but bytes, row openings and multiplications are cycles.

    Attributes:
        setup: decoding, addresses, descriptors; done while the instruction before it works or this one waits.
        steps: work of the unit with all lanes busy that there is work for.
        divisions: of averages.
        bank_conflicts: a unit waits for lines of maps in one bank, as :mod:`tilewright.runtime.machines.banks` says.
        port_stalls: a unit waits for a port that is narrower than what it takes or makes in a step.
        dram_bytes: to or from DRAM, whole bursts counted.
        row_openings: runs that begin in a row of the DRAM that is not open; before it is served, as many as if no row
            was.
        writes: whether the DRAM is written.
        link_bytes: to another card.
        latency: after the last step or byte until the instruction is complete: depth of the pipeline, or of the DRAM.
        macs: multiply-accumulates, those of padded channels included.
        port: of the shared port of the maps, of each cluster whose maps are touched; a part of the work or beside it.
    """

    setup: int = 0
    steps: int = 0
    divisions: int = 0
    bank_conflicts: int = 0
    port_stalls: int = 0
    dram_bytes: int = 0
    row_openings: int = 0
    writes: bool = False
    link_bytes: int = 0
    latency: int = 0
    macs: int = 0
    port: int = 0

    @property
    def unit(self) -> int:
        """Cycles the unit is busy once it is set up, without waiting for DRAM."""
        return self.steps + self.divisions + self.bank_conflicts + self.port_stalls

    def dram(self, machine: Machine) -> float:
        """Cycles the DRAM is busy."""
        return float(dram_cycles(machine, self.dram_bytes, self.row_openings))

    def link(self, machine: Machine) -> float:
        """Cycles the link to another card is busy."""
        return link_cycles(machine, self.link_bytes)


_ADDRESSES = frozenset(
    f"{space}{side}"
    for space in ("source", "destination", "weights", "accumulator", "parameters", "table", "skip", "region", "offset")
    for side in ("", "_a", "_b")
)
"""Fields that say where something lies, on which no cost depends but for where in a burst of the DRAM it begins."""


@cache
def _counted(kind: type[Instruction]) -> tuple[Callable[[Instruction], tuple[Any, ...]], list[str], list[str]]:
    """What reads the fields of an instruction that its cost depends on, their names, and those of all others."""
    every = [entry.name for entry in encoded_fields(kind)]
    names = [name for name in every if name not in _ADDRESSES]
    return reader(names), names, [name for name in every if name in _ADDRESSES]


def cost(item: Instruction, machine: Machine) -> Cost:
    """The cost of an instruction on a machine."""
    kind = type(item)
    offset = item.offset % machine.dram_burst_bytes if isinstance(item, DramTransfer) else 0
    return _known(kind, _counted(kind)[0](item), offset, machine)


@lru_cache(1 << 14)
def _known(kind: type[Instruction], values: tuple[Any, ...], offset: int, machine: Machine) -> Cost:
    """Of instructions that differ in where something lies: most of a program are like others."""
    _, names, addresses = _counted(kind)
    fields: dict[str, Any] = {**dict.fromkeys(addresses, 0), **dict(zip(names, values, strict=True))}
    if offset:
        fields["offset"] = offset
    return _cost(kind(**fields), machine)


def _cost(item: Instruction, machine: Machine) -> Cost:
    if isinstance(item, (DramTransfer, LoadLines)):
        return _transfer(item, machine)
    if isinstance(item, (Convolve, ConvolveDepthwise)):
        return _matrix(item, machine)
    if isinstance(item, Move):
        # A line in a cycle, through the ports of both clusters.
        sides = (item.source_stride_y, item.source_stride_z), (item.destination_stride_y, item.destination_stride_z)
        port = max(_box_port(machine, item, item.run, *side) for side in sides)
        return _moved(machine, int(ceil_divide(item.moved_bytes, LINE_BYTES)), port)
    if isinstance(item, MoveWeights):
        port = port_cycles(machine, item.pixels, item.blocks * CHANNEL_BLOCK, item.pixel_pitch * MAPS_UNIT)
        # A line of a pixel in each cycle, or a line of weights.
        steps = max(item.padded_pixels * int(ceil_divide(item.blocks * CHANNEL_BLOCK, LINE_BYTES)), CHANNEL_BLOCK)
        return _moved(machine, steps, int(port))
    if isinstance(item, MapInstruction):
        work = work_of(item, machine)
        steps, divisions, conflicts, stalls, port = map(int, work)
        setup, latency = machine.timing.vector_setup, latency_of(item, machine)
        return Cost(setup, steps, divisions, conflicts, stalls, latency=latency, port=port)
    return Cost(machine.timing.barrier)


def _moved(machine: Machine, steps: int, port: int) -> Cost:
    return Cost(machine.timing.transfer_setup, steps, bank_conflicts=max(port - steps, 0), port=port)


def _box_port(machine: Machine, item: BoxTransfer, run: int, stride_y: int, stride_z: int) -> int:
    """Cycles in which the shared port passes a box; its run and strides are in units of 16 bytes."""
    pitch = stride_y if item.count_y > 1 else stride_z
    return int(port_cycles(machine, item.count_y * item.count_z, run * MAPS_UNIT, pitch * MAPS_UNIT))


def handover(machine: Machine) -> int:
    """Cycles from when an instruction is complete until one of another unit of its card that waits for it starts."""
    return machine.timing.signal + machine.timing.wait


def in_turn(setup: Any, work: Any) -> Any:
    """Cycles from one instruction of a unit to the next, which is set up while the first works."""
    return np.maximum(setup, work)


def follows_closely(item: Instruction) -> bool:
    """Whether a unit takes an instruction up before the one ahead of it is complete, as soon as that leaves its first
    stage: what it reads, the unit does not write, or it reads it at the end where that has been written."""
    return not isinstance(item, MapInstruction) or reads_no_map(item)


# The array


def output_groups(machine: Machine, outputs: Count) -> tuple[Count, Count]:
    """Groups of output channels that lanes are taken for, and 1 if the last ones fill no more than half of them: these
    have twice as many pixels at once, if the maps give as many bytes in a cycle."""
    rest = outputs % machine.output_lanes
    bytes_of_both = 2 * machine.pixel_lanes * machine.input_lanes
    shared = (rest > 0) & (2 * rest <= machine.output_lanes) & (bytes_of_both <= machine.maps_banks * LINE_BYTES)
    return ceil_divide(outputs, machine.output_lanes) - shared, shared * 1


def lane_groups(machine: Machine, pixels: Count, outputs: Count) -> Count:
    """Groups of pixels and of output channels that the lanes are taken for one after the other."""
    whole, shared = output_groups(machine, outputs)
    lanes = machine.pixel_lanes
    return ceil_divide(pixels, lanes) * whole + ceil_divide(pixels, 2 * lanes) * shared


def part_of_block(machine: Machine) -> int:
    """Outputs that take no more of the lanes than their share of a block of 16: the least of 4, 8 and 16."""
    pixels = 2 * machine.pixel_lanes
    block = lane_groups(machine, pixels, CHANNEL_BLOCK)
    parts = (part for part in (4, 8) if lane_groups(machine, pixels, part) * CHANNEL_BLOCK == block * part)
    return next(parts, CHANNEL_BLOCK)


def dense_steps(machine: Machine, pixels: Count, outputs: Count, traces: int, trace_bytes: Count) -> Count:
    """Steps of a convolution: every group of pixels, of output channels, every trace, the trace in input lanes.

    Args:
        pixels: output rows times columns; lanes take pixels in raster order, across the ends of rows.
        outputs: output channels that are computed.
        traces: contiguous pieces of the map that an output pixel is made of: taps.
        trace_bytes: bytes of each.
    """
    return lane_groups(machine, pixels, outputs) * traces * ceil_divide(trace_bytes, machine.input_lanes)


def packed_steps(machine: Machine, pixels: Count, outputs: Count, trace: Trace) -> Count:
    """Steps of a packed convolution, as `dense_steps`: one trace of all kernel rows."""
    return lane_groups(machine, pixels, outputs) * trace.steps(machine.input_lanes)


def depthwise_steps(machine: Machine, pixels: Count, channels: Count, products: int) -> Count:
    """Steps of a depthwise convolution, or one in small groups, in which an output has ``depthwise_taps`` multipliers.
    ``products``: that a sum is made of: taps times the channels of a group."""
    whole, shared = output_groups(machine, channels)
    lanes = machine.pixel_lanes
    alone, both = (window_steps(machine, groups, products) for groups in (whole, shared))
    return ceil_divide(pixels, lanes) * alone + ceil_divide(pixels, 2 * lanes) * both


def passes(machine: Machine, blocks: int, unused: int) -> list[tuple[int, int, int]]:
    """How the array goes through the output channels of an instruction: for so many pixels at once, so many blocks, in
    so many groups of channels."""
    whole, shared = (int(groups) for groups in output_groups(machine, blocks * CHANNEL_BLOCK - unused))
    each = [(machine.pixel_lanes, blocks - shared, whole), (2 * machine.pixel_lanes, shared, shared)]
    return [item for item in each if item[1]]


def bank_waits(rows: Count, columns: Count, waits: Waits, lanes: int) -> Count:
    """Cycles that the array waits for banks in so many output rows and columns, ``lanes`` of them at once: each row
    begins with a group of pixels that has nothing in common with the one before, if it is not done with that."""
    groups = ceil_divide(rows * columns, lanes)
    begun = np.minimum(rows, groups)
    return begun * waits.first + (groups - begun) * waits.after


def accumulator_stalls(
    machine: Machine, pixels: Count, blocks: Count, steps: Count, accumulate: bool | NDArray[np.bool_]
) -> Count:
    """Cycles in which the array waits to write its sums, or with ``accumulate`` to read and to write them.

    Each bank of the accumulators has a port of 64 bytes a cycle for the array and one for the vector unit. A sum is
    written, and read, once an instruction.
    ``steps``: of the whole instruction."""
    moved = pixels * blocks * ACCUMULATOR_UNIT * (1 + accumulate)
    return np.maximum(ceil_divide(moved, machine.accumulator_banks * LINE_BYTES) - steps, 0)


def _matrix(item: Convolve | ConvolveDepthwise, machine: Machine) -> Cost:
    pixels, taps = item.output_height * item.output_width, item.kernel_height * item.kernel_width
    row = item.row_pitch * MAPS_UNIT
    if isinstance(item, Convolve):
        blocks = item.output_blocks
        if item.packed:
            trace = Trace(item.kernel_width * item.channels, item.kernel_height, row * item.dilation_height)
            steps = packed_steps(machine, pixels, item.outputs, trace)
        else:
            trace = Trace(item.read)
            steps = dense_steps(machine, pixels, item.outputs, taps, item.read)
        distances = row * item.stride_height, item.pitch * item.stride_width

        def of_dense(lanes: int, blocks: int, groups: int) -> Waits:
            wait = dense_conflicts(machine, lanes, item.output_width, *distances, trace)
            return Waits.alike(wait * groups * (1 if item.packed else taps))

        waits: Callable[[int, int, int], Waits] = of_dense
    else:
        blocks, column = item.blocks, item.pixel_pitch * MAPS_UNIT
        steps = depthwise_steps(machine, pixels, item.outputs, item.products << item.wide)
        output, tap = (
            (row * item.stride_height, column * item.stride_width),
            (row * item.dilation_height, column * item.dilation_width),
        )
        kernel = item.kernel_height, item.kernel_width

        def of_depthwise(lanes: int, blocks: int, groups: int) -> Waits:
            return depthwise_conflicts(
                machine, lanes, item.output_width, output, tap, kernel, blocks, groups, item.products << item.wide
            )

        waits = of_depthwise
    conflicts = sum(
        int(bank_waits(item.output_height, item.output_width, waits(lanes, some, groups), lanes))
        for lanes, some, groups in passes(machine, blocks, blocks * CHANNEL_BLOCK - item.outputs)
    )
    accumulate = isinstance(item, Convolve) and bool(item.accumulate)
    stalls = accumulator_stalls(machine, pixels, blocks, steps + conflicts, accumulate)
    timing = machine.timing
    return Cost(
        setup=timing.mac_setup,
        steps=int(steps),
        latency=timing.mac_drain,
        bank_conflicts=int(conflicts),
        port_stalls=int(stalls),
        macs=item.macs,
    )


# DRAM


class Runs(Immutable):
    """Runs of bytes in DRAM, ``count_z`` planes of ``count_y`` of them; all bytes, or one for each candidate."""

    run: Count
    count_y: Count = 1
    count_z: Count = 1
    stride_y: Count = 0
    stride_z: Count = 0
    offset: Count = 0

    @cached_property
    def joined(self) -> "Runs":
        """The same bytes with runs that follow each other without a gap as one."""
        follow = (self.count_y == 1) | (self.stride_y == self.run)
        run, count = np.where(follow, self.run * self.count_y, self.run), np.where(follow, 1, self.count_y)
        follow = (count == 1) & ((self.count_z == 1) | (self.stride_z == run))
        run, planes = np.where(follow, run * self.count_z, run), np.where(follow, 1, self.count_z)
        return Runs(run, count, planes, self.stride_y, self.stride_z, self.offset)


def dram_bytes(machine: Machine, runs: Runs) -> Count:
    """Bytes that the DRAM moves for runs: whole bursts, each run its own.

    Runs begin at every multiple of the greatest common divisor g of strides and burst equally often, from the first
    one on: exact for one run, and for as many as it takes to come back to the same place in a burst. The mean number
    of bursts of a run is then (n - 1 + ceil((lead + run) / g)) / n for n = burst / g."""
    runs = runs.joined
    burst = machine.dram_burst_bytes
    grain = np.gcd(
        np.gcd(np.where(runs.count_y > 1, runs.stride_y, 0), np.where(runs.count_z > 1, runs.stride_z, 0)), burst
    )
    places = burst // grain
    bursts = places - 1 + ceil_divide(runs.offset % grain + runs.run, grain)
    return ceil_divide(runs.count_y * runs.count_z * bursts, places) * burst


def row_openings(machine: Machine, runs: Runs) -> Count:
    """Runs that begin in another row of the DRAM than the one before: rows that a run goes on into are opened ahead."""
    runs, row = runs.joined, machine.dram_row_bytes
    plane = (runs.count_y - 1) * runs.stride_y + runs.run
    whole = (runs.count_z - 1) * runs.stride_z + plane
    inside = np.minimum(runs.count_y, ceil_divide(plane, row))
    return np.minimum(runs.count_z * inside, ceil_divide(whole, row))


def dram_cycles(machine: Machine, moved: Count, openings: Count) -> float | NDArray[Any]:
    """Cycles that the DRAM is busy."""
    return moved / machine.dram_bytes_per_cycle + openings * machine.timing.dram_row_activation


def host_link_cycles(machine: Machine, moved: int) -> float:
    """Cycles that a message of so many bytes takes between the host and the DRAM of a card, either way."""
    return machine.host_link_latency + moved * machine.clock_hertz / machine.host_link_bytes_per_second


def link_cycles(machine: Machine, moved: int) -> float:
    """Cycles that the link from one card to another is busy, its latency not counted."""
    return moved / machine.link_bytes_per_cycle


def _transfer(item: DramTransfer | LoadLines, machine: Machine) -> Cost:
    if isinstance(item, LoadLines):
        runs = Runs(item.dram_bytes)
    else:
        strides = item.dram_stride_y, item.dram_stride_z
        runs = Runs(item.run, item.count_y, item.count_z, *strides, item.offset)
    moved, openings, port = int(dram_bytes(machine, runs)), int(row_openings(machine, runs)), 0
    if isinstance(item, MapTransfer):
        port = _box_port(machine, item, -(-item.run // MAPS_UNIT), item.map_stride_y, item.map_stride_z)
    return Cost(
        setup=machine.timing.transfer_setup,
        bank_conflicts=max(port - int(dram_cycles(machine, moved, 0)), 0),
        dram_bytes=moved,
        row_openings=openings,
        writes=isinstance(item, (Store, Receive)),
        link_bytes=item.dram_bytes if isinstance(item, Send) else 0,
        latency=machine.timing.dram_latency,
        port=port,
    )
