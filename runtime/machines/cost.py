"""What an instruction costs on a machine, alone and part by part: the one formula of tile search, placement and engine.

The functions take whole numbers or NumPy arrays of candidates, and give the same for both. Constants come from the
machine description, which says where each comes from. Waiting for other instructions is no part of a cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..isa.attention import MoveWeights, RequantizeMean, Weigh
from ..isa.encoding import Instruction
from ..isa.matrix import Convolve, ConvolveDepthwise
from ..isa.normalization import Normalize
from ..isa.transfer import DramTransfer, LoadLines, Move, Receive, Send, Store
from ..isa.vector import (
    Elementwise,
    MapInstruction,
    Pool,
    PoolKind,
    Requantize,
    RequantizeSum,
    RequantizeWide,
    ResizeLinear,
)
from .banks import Trace, Waits, dense_conflicts, depthwise_conflicts, window_steps
from .machine import ACCUMULATOR_UNIT, CHANNEL_BLOCK, LINE_BYTES, MAPS_UNIT, Machine

Count = int | NDArray[np.int64]
"""A number, or one for each candidate."""


@dataclass(frozen=True)
class Cost:
    """What one instruction costs, alone. All but bytes, row openings and multiplications are cycles.

    Attributes:
        setup: decoding, addresses, descriptors; done while the instruction before it works or this one waits.
        steps: work of the unit with all lanes busy that there is work for.
        divisions: of averages.
        bank_conflicts: the array waits for lines of the map, as :mod:`tilewright.runtime.machines.banks` says.
        port_stalls: a unit waits for a port that is narrower than what it takes or makes in a step.
        dram_bytes: to or from DRAM, whole bursts counted.
        row_openings: runs that begin in another row of the DRAM than the run before.
        writes: whether the DRAM is written.
        link_bytes: to another card.
        latency: after the last step or byte until the instruction is complete: depth of the pipeline, or of the DRAM.
        macs: multiply-accumulates, those of padded channels included.
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


def cost(item: Instruction, machine: Machine) -> Cost:
    """The cost of an instruction on a machine."""
    if isinstance(item, (DramTransfer, LoadLines)):
        return _transfer(item, machine)
    if isinstance(item, (Convolve, ConvolveDepthwise)):
        return _matrix(item, machine)
    if isinstance(item, Move):
        # Both clusters give it the port of their maps that the array does not use, a line in a cycle.
        return Cost(machine.timing.transfer_setup, steps=int(ceil_divide(item.moved_bytes, LINE_BYTES)))
    if isinstance(item, MoveWeights):
        return Cost(machine.timing.transfer_setup, steps=int(weight_move_steps(item.padded_pixels, item.blocks)))
    if isinstance(item, MapInstruction):
        return _vector(item, machine)
    return Cost(machine.timing.barrier)


def in_turn(setup: Any, work: Any) -> Any:
    """Cycles from one instruction of a unit to the next, which is set up while the first works."""
    return np.maximum(setup, work)


def follows_closely(item: Instruction) -> bool:
    """Whether a unit takes an instruction up before the one ahead of it is complete, as soon as that leaves its first
    stage: what it reads, the unit does not write, or it reads it at the end where that has been written."""
    return not isinstance(item, MapInstruction) or _reads_no_map(item)


def _reads_no_map(item: MapInstruction) -> bool:
    return _requantizes(item) and not _is_sum(item)


def _requantizes(item: MapInstruction) -> TypeGuard[Requantize | RequantizeWide]:
    return isinstance(item, (Requantize, RequantizeWide))


def _is_sum(item: MapInstruction) -> bool:
    return isinstance(item, (RequantizeSum, RequantizeMean)) or (isinstance(item, RequantizeWide) and bool(item.sum))


def ceil_divide(dividend: Count, divisor: Count) -> Count:
    """The quotient, rounded up."""
    return -(-dividend // divisor)


def weight_move_steps(pixels: Count, blocks: Count) -> Count:
    """Cycles in which pixels become weights: a line of a pixel in each, or a line of weights."""
    return np.maximum(pixels * ceil_divide(blocks * CHANNEL_BLOCK, LINE_BYTES), CHANNEL_BLOCK)


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

    Args:
        products: that a sum is made of: taps times the channels of a group.
    """
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

    Args:
        steps: of the whole instruction.
    """
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
        for lanes, some, groups in passes(machine, blocks, item.unused)
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


# The vector unit

INTERPOLATED = 4
"""Elements that an interpolated one is made of."""


def vector_steps(machine: Machine, elements: Count, taps: int = 1) -> Count:
    """Steps of the vector unit: every group of lanes, every element that one of the result is made of."""
    return ceil_divide(elements, machine.vector_lanes) * taps


def idle_elements(unused: int) -> int:
    """Elements of a pixel that requantisation takes no lanes for: where a block has no more than half of its channels,
    half of its lanes take another pixel."""
    return CHANNEL_BLOCK // 2 if 2 * unused >= CHANNEL_BLOCK else 0


def vector_stalls(
    machine: Machine, elements: Count, streams: int, reads_accumulators: bool = False, idle: Count = 0
) -> Count:
    """Cycles in which the vector unit waits for a port.

    Each bank of the maps has a port of 64 bytes a cycle for the array and one for all others, and each of the
    accumulators one for the vector unit.

    Args:
        streams: maps that are read or written, as many bytes of each as there are elements.
        idle: elements that pass the ports but take no lane.
    """
    needed = ceil_divide(streams * elements, machine.maps_banks * LINE_BYTES)
    if reads_accumulators:
        sums = elements * (ACCUMULATOR_UNIT // CHANNEL_BLOCK)
        needed = np.maximum(needed, ceil_divide(sums, machine.accumulator_banks * LINE_BYTES))
    return np.maximum(needed - vector_steps(machine, elements - idle), 0)


def vector_drain(machine: Machine, *, is_sum: bool = False) -> int:
    """Cycles until the last element is through; a sum with accumulators passes what requantises and what adds."""
    return machine.timing.vector_drain * (2 if is_sum else 1)


WEIGH_PASSES = 2
"""Of SFM over the scores of a pixel: one for the largest, one for the weights."""

NORMALIZE_PASSES = 2
"""Of NRM over a pixel: one for the sums of numbers and of their squares, one for the results."""

NORMALIZE_DIVISIONS = 3
"""Of NRM for a pixel: the mean, the root and 1 over it."""


def _vector(item: MapInstruction, machine: Machine) -> Cost:
    elements = item.height * item.width * item.blocks * CHANNEL_BLOCK
    taps = item.kernel_height * item.kernel_width if isinstance(item, Pool) else 1
    taps = {ResizeLinear: INTERPOLATED, Weigh: WEIGH_PASSES, Normalize: NORMALIZE_PASSES}.get(type(item), taps)
    idle = idle_elements(item.unused) * item.height * item.width if _requantizes(item) else 0
    groups = vector_steps(machine, elements)
    is_average = isinstance(item, Pool) and item.kind == PoolKind.AVERAGE
    # Of those that a pixel has one of the lanes compute as many at once as there are.
    quotients = {RequantizeMean: 1, Normalize: NORMALIZE_DIVISIONS}.get(type(item), 0)
    pixels = int(vector_steps(machine, item.height * item.width)) * quotients
    divisions = 2 * groups if is_average else pixels
    both = isinstance(item, Elementwise) or (isinstance(item, Normalize) and bool(item.sum))
    streams = 3 if both else 1 if _reads_no_map(item) else 2
    streams <<= isinstance(item, RequantizeWide)
    reads_sums = _requantizes(item) or isinstance(item, Weigh)
    return Cost(
        setup=machine.timing.vector_setup,
        steps=int(vector_steps(machine, elements - idle, taps)),
        divisions=int(divisions * machine.timing.divide),
        latency=vector_drain(machine, is_sum=_is_sum(item) or isinstance(item, (Weigh, Normalize))),
        port_stalls=int(vector_stalls(machine, elements, streams, reads_sums, idle) * taps),
    )


# DRAM


@dataclass(frozen=True)
class Runs:
    """Runs of bytes in DRAM, ``count_z`` planes of ``count_y`` of them; all of them bytes, or one for each candidate.

    Attributes:
        offset: of the first.
    """

    run: Count
    count_y: Count = 1
    count_z: Count = 1
    stride_y: Count = 0
    stride_z: Count = 0
    offset: Count = 0

    @cached_property
    def joined(self) -> Runs:
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
    of bursts of a run is then (n - 1 + ceil((lead + run) / g)) / n for n = burst / g.
    """
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
    return Cost(
        setup=machine.timing.transfer_setup,
        dram_bytes=int(dram_bytes(machine, runs)),
        row_openings=int(row_openings(machine, runs)),
        writes=isinstance(item, (Store, Receive)),
        link_bytes=item.dram_bytes if isinstance(item, Send) else 0,
        latency=machine.timing.dram_latency,
    )
