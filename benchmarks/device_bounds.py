"""What no schedule can be faster than: for each resource of a machine, the least cycles that a network takes of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tilewright.ir.annotations import MACS
from tilewright.ir.core import Constant, Op, Value, is_op
from tilewright.ir.feature_map import (
    MOVEMENT,
    Window,
    is_block_by_block,
    is_product,
    map_shape,
    sum_products,
    window_of,
)
from tilewright.ir.ops.attention import Attention
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.movement import Concat
from tilewright.ir.ops.pooling import GlobalPool, MaxPool, Pool
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.ops.skip_normalization import SkipLayerNorm
from tilewright.passes.device.boxes import blocks_together
from tilewright.passes.device.channel_blocks import channels_made, nonzero_blocks, of_all_inputs, zero_of_weights
from tilewright.runtime.isa.vector import REQUANTIZE_BLOCK_BYTES
from tilewright.runtime.machines.cost import dense_steps, depthwise_steps, handover, output_groups
from tilewright.runtime.machines.machine import CHANNEL_BLOCK, Machine
from tilewright.runtime.machines.vector_unit import NORMALIZE_PASSES, WEIGH_PASSES, idle_elements, vector_steps
from tilewright.runtime.simulator.timeline import Event

_INSTRUCTION_BYTES = 8
"""That an instruction takes in DRAM at least: which of its words are others than before, and one of these."""


class Floors(NamedTuple):
    """Least cycles, each as if nothing else took time.

    Attributes:
        array: steps of the arrays with all lanes busy that there is work for, shared out evenly, between what comes
            before the first and after the last of them at least. Groups of channels share lanes as far as these can
            (`steps_of_parts`).
        dram: every weight, parameter, input and output moved once, and an instruction for each unit that an op needs,
            at full bandwidth; or what is loaded of these, between its first instruction and what is done with the last.
        vector: steps of the vector units, as those of the arrays.
        weights: the arrays' steps, where weights come from DRAM in the order of the layers and no further ahead than
            the weight scratchpads of all clusters together hold. Nothing else uses the DRAM.
    """

    array: float
    dram: float
    vector: float
    weights: float

    @property
    def highest(self) -> tuple[str, float]:
        """The resource that forbids most, and its cycles; of equal ones the simpler."""
        names = {"array": "MAC steps", "dram": "DRAM bytes", "vector": "vector steps", "weights": "weights in time"}
        found = max(self._fields, key=lambda name: (getattr(self, name), name == "array"))
        return names[found], getattr(self, found)


def floors(ops: Iterable[Op], machine: Machine, clusters: int, traffic: int, *, ends: bool = True) -> Floors:
    """The floors of a device function.

    Args:
        ops: of the function, in order.
        traffic: bytes of weights, inputs and outputs.
        ends: whether the time counts in which these ops begin and end; else only steps, weights and maps do.
    """
    every = [*ops]
    array = [array_steps(op, machine) / clusters for op in every]
    vector = [_vector(op, machine) / clusters for op in every]
    bandwidth = machine.dram_bytes_per_cycle
    start = _least_load(machine) if ends else 0.0
    room, time = machine.weight_bytes * clusters, start
    ahead = min(room, start * bandwidth)
    for op, steps in zip(every, array, strict=True):
        needed = weight_bytes(op)
        lasting = max(steps, (needed - ahead) / bandwidth)
        ahead = min(room, ahead + lasting * bandwidth - needed)
        time += lasting
    if not ends:
        return Floors(sum(array), traffic / bandwidth, sum(vector), time)
    heads, (tails, shares, behind) = cycles_ahead(every, machine), _tails(every, machine)
    before = [head + (_multiplied(machine) if op.macs else 0) for op, head in zip(every, heads, strict=True)]
    after = [tail - (_multiplied(machine) if op.macs else 0) for op, tail in zip(every, tails, strict=True)]
    blocks = (map_shape(op.result.type).blocks // blocks_together(op.result.type) for op in every if is_op(op, Conv))
    traffic += sum(blocks) * REQUANTIZE_BLOCK_BYTES
    loads = traffic - sum(op.result.type.elements for op in every if op.result.is_returned)
    loaded = start + max(loads - machine.dram_burst_bytes, 0) / bandwidth
    # What comes last is read before the last result is stored, if all that comes is.
    if all(reads_all(op) for op in every if any(is_loaded_map(value) for value in op.inputs)):
        loaded += 1 + max(min(after, default=0.0), 0.0)
    traffic += sum(_INSTRUCTION_BYTES * (1 + (op.macs > 0)) for op in every if _takes_time(op))
    last = min((tail for op, tail in zip(every, tails, strict=True) if op.macs), default=0.0)
    parts = [steps * share for steps, share in zip(array, shares, strict=True)]
    rests = [steps - part for steps, part in zip(array, parts, strict=True)]
    return Floors(
        _between([*rests, *parts], [*heads, *heads], [*tails, *behind]),
        max(traffic / bandwidth + machine.timing.dram_latency, loaded),
        _between(vector, before, after),
        time + last,
    )


def _least_load(machine: Machine) -> float:
    """Cycles until the first byte that a program loads is there for a unit: its instruction is fetched before."""
    timing, bandwidth = machine.timing, machine.dram_bytes_per_cycle
    # An instruction is fetched, and then loads.
    burst = timing.dram_row_activation + machine.dram_burst_bytes / bandwidth + timing.dram_latency
    return 2 * burst + timing.transfer_setup + handover(machine)


def is_loaded_map(value: Value) -> bool:
    """Whether a value is a map that a device function is called with."""
    return value.producer is None and not isinstance(value, Constant)


def _multiplied(machine: Machine) -> int:
    """Cycles from the start of a step of an array until its sums are taken up."""
    return 1 + machine.timing.mac_drain + handover(machine)


def _takes_time(op: Op) -> bool:
    """Whether an op is more than a place of other maps, or than what may be done to the sums of the one ahead of it."""
    if isinstance(op.operator, (*MOVEMENT, Reshape)):
        return False
    follows = any(value.producer is not None and is_op(value.producer, Conv) for value in op.inputs)
    return op.macs > 0 or not follows or window_of(op).taps > 1


def _passed(op: Op, machine: Machine) -> float:
    """Cycles from the first step of an op until what reads it can take its first, at least."""
    if not _takes_time(op):
        return 0.0
    through = 1 + machine.timing.vector_drain + handover(machine)
    return through + (_multiplied(machine) if op.macs else 0)


def cycles_ahead(ops: Sequence[Op], machine: Machine) -> list[float]:
    """Cycles before the first step of each op: some of every operand has to be there."""
    made: dict[Value, float] = {}
    found: list[float] = []
    least = _least_load(machine)
    for op in ops:
        # Of maps that lie in one another the first one may be read before the others are made.
        choose = min if is_op(op, Concat) else max
        # What is added to sums is not needed before there are some.
        reads = op.inputs[:1] if is_op(op, Conv) else op.inputs
        found.append(choose((made.get(value, least) for value in reads), default=least))
        made[op.result] = found[-1] + _passed(op, machine)
    return found


def _tails(ops: Sequence[Op], machine: Machine) -> tuple[list[float], list[float], list[float]]:
    """Cycles behind the last step of each op: what that makes is read, or leaves.

    Where no user reads all of a map, the last step may make what nobody reads. What is read of such a map takes at
    least the second of its steps, with all lanes busy, and has the third behind its last one.
    """
    stored = machine.dram_burst_bytes / machine.dram_bytes_per_cycle + machine.timing.dram_latency
    lanes = 2 * max(machine.pixel_lanes, machine.vector_lanes // CHANNEL_BLOCK)
    starts: dict[Op, float] = {}
    found: list[tuple[float, float, float]] = []
    for op in reversed(ops):
        users = [user for user in op.result.users if user in starts]
        is_read = op.result.is_returned or any(map(reads_all, users))
        least = min([starts[user] for user in users] + [stored] * op.result.is_returned, default=0.0)
        starts[op] = least * is_read + _passed(op, machine)
        images, height, width, _ = map_shape(op.result.type)
        read = 0 if is_read else images * max(map(pixels_read, users), default=0)
        share = read / (-(-images * height * width // lanes) * lanes)
        found.append((max(starts[op] - 1, 0.0), share, max(least + _passed(op, machine) - 1, 0.0)))
    tails, shares, behind = ([each[index] for each in reversed(found)] for index in range(3))
    return tails, shares, behind


def reads_all(op: Op) -> bool:
    """Whether an op reads every element of its operands."""
    _, height, width, _ = map_shape(op.inputs[0].type)
    return pixels_read(op) == height * width


def pixels_read(op: Op) -> int:
    """How many pixels of an image of its first operand an op reads, of all channels, at least."""
    if isinstance(op.operator, MOVEMENT):
        return 0
    window = window_of(op)
    source, target = map_shape(op.inputs[0].type), map_shape(op.result.type)
    if window == Window():
        return source.height * source.width
    ends = zip((source.height, source.width), (target.height, target.width), *window, strict=True)
    return math.prod(
        len(
            {first * stride + tap * dilation - begin for first in range(results) for tap in range(taps)}
            & {*range(extent)}
        )
        for extent, results, taps, stride, dilation, begin in ends
    )


def _between(work: Sequence[float], heads: Sequence[float], tails: Sequence[float]) -> float:
    """Cycles of units that share out work evenly, each piece of which has something before and behind it.

    Of all that has so much before it and so much behind it, none is done earlier, nor as late (J. Carlier, The
    one-machine sequencing problem, 1982).
    """
    table = np.array([heads, tails, work], np.float64).T
    table = table[table[:, 2] > 0]
    table = table[np.argsort(-table[:, 0], kind="stable")]
    found = 0.0
    for tail in np.unique(table[:, 1]):
        own = table[table[:, 1] >= tail]
        found = max(found, float((own[:, 0] + np.cumsum(own[:, 2])).max()) + float(tail))
    return found


def array_steps(op: Op, machine: Machine) -> float:
    """Steps of one array for a whole convolution, every lane busy that there is work for; 0 for other ops."""
    if is_op(op, Attention):
        by, heads = op.operator, math.prod(op.operator.batch)
        scores = dense_steps(machine, by.rows, by.keys, 1, by.width)
        sums = dense_steps(machine, by.rows, by.depth, 1, by.keys) if by.v_view else 0
        return float(heads * (scores + sums))
    if not is_op(op, Conv):
        return 0.0
    target = map_shape(op.result.type)
    pixels = target.images * target.height * target.width
    if is_block_by_block(op):
        return float(depthwise_steps(machine, pixels, target.channels, sum_products(op)))
    if op.operator.group == 1 and not MACS.is_at(op):
        return float(dense_steps(machine, pixels, target.channels, 1, sum_products(op)))
    # Several groups may share the lanes: all of them have work at best.
    products = -(-weight_bytes(op) // (machine.input_lanes * machine.output_lanes))
    found = float(-(-pixels // machine.pixel_lanes) * products)
    if window_of(op).taps > 1 or machine.input_lanes < CHANNEL_BLOCK:
        return found
    return max(found, pixels / machine.pixel_lanes * max(steps_of_parts(machine, *each) for each in _parts(op)))


def _parts(op: Op[Conv]) -> Iterator[tuple[list[int], int]]:
    """How many outputs each part of a convolution of single pixels has, of parts that have no input in common, and how
    many inputs an output has at least: weights that are zero need none. First of all outputs, then of ever fewer, which
    have more inputs: no outputs take fewer steps than some of them."""
    weights, zero = op.operands.w, zero_of_weights(op)
    assert isinstance(weights, Constant), "weights on the device are known"
    # Copies of an output need not be computed.
    used = np.unique(of_all_inputs(weights.array, op.operator.group, zero), axis=0) != zero
    used = used.reshape(len(used), -1)
    before, parts = np.empty(0), np.arange(len(used))
    while not np.array_equal(before, parts):
        before = parts
        of_inputs = np.where(used, parts[:, None], len(used)).min(0)
        parts = np.minimum(parts, np.where(used, of_inputs, len(used)).min(1))
    inputs = used.sum(1)
    for least in np.unique(inputs).tolist():
        yield np.unique(parts[inputs >= least], return_counts=True)[1].tolist(), least


def steps_of_parts(machine: Machine, outputs: Sequence[int], inputs: int) -> float:
    """Steps of one array for a group of pixels, where outputs of different parts have no input in common.

    A step brings ``input_lanes`` channels of each pixel to one group of outputs, of which those of CONV all see the
    same, and those of DWC no more altogether. So a group with outputs of k parts takes f(k) = ceil(k * inputs /
    input_lanes) steps or more. There are W groups or more for all outputs; what fills half of the lanes counts half,
    where it has twice as many pixels. Each part is in as many groups as its own outputs need, K in all. Of w(k) groups
    with k parts each, sum w(k) >= W and sum k w(k) >= K, and their steps, sum w(k) f(k), are no fewer than a W + b K
    for any a, b >= 0 with a + b k <= f(k) for all k (weak duality of linear programs).

    Args:
        outputs: of each part.
        inputs: that each output has at least.
    """
    lanes = machine.output_lanes
    _, shared = output_groups(machine, lanes // 2)
    piece = lanes // 2 if shared else lanes
    groups = -(-sum(outputs) // piece) * piece / lanes
    pairs = sum(-(-each // piece) for each in outputs) * piece / lanes
    count = np.arange(1, min(len(outputs), lanes) + 1)
    steps = -(-count * inputs // machine.input_lanes)
    found = 0.0
    for more in (0.0, *(steps[1:] - steps[0]) / (count[1:] - 1)):
        if (alone := (steps - more * count).min()) >= 0:
            found = max(found, alone * groups + more * pairs)
    return float(found)


def _vector(op: Op, machine: Machine) -> float:
    """Steps of one vector unit for all elements of the result."""
    if isinstance(op.operator, MOVEMENT):
        return 0.0
    taps = 1 if is_op(op, Conv) else window_of(op).taps
    taps = NORMALIZE_PASSES if is_op(op, SkipLayerNorm) else taps
    if is_op(op, Attention):
        scores = math.prod(op.operator.batch) * op.operator.rows * op.operator.keys
        weighed = vector_steps(machine, scores, WEIGH_PASSES) if op.operator.v_view else 0
        return float(weighed + vector_steps(machine, op.result.type.elements))
    shape = map_shape(op.result.type)
    idle = idle_elements(-channels_made(op) % CHANNEL_BLOCK) if is_product(op) or is_op(op, Pool, GlobalPool) else 0
    elements = shape.padded_elements - shape.images * shape.height * shape.width * idle
    # Lanes that a pixel leaves may take other taps of it where the order of these does not matter.
    each = (elements * taps, 1) if is_op(op, MaxPool, GlobalPool) else (elements, taps)
    return float(vector_steps(machine, *each))


def weight_bytes(op: Op) -> int:
    """Elements of the weights of a convolution, a byte each, that are not zero for want of a group, nor in blocks of
    channels that are left out as all of them are zero."""
    if not is_op(op, Conv):
        return 0
    counted = op.macs // (op.result.type.elements // op.inputs[1].type.shape[0])
    weights = op.operands.w
    if op.operator.group > 1 or not MACS.is_at(op) or not isinstance(weights, Constant):
        return counted
    used = nonzero_blocks(op, weights.array)
    # Of the last blocks there may be fewer channels.
    outputs, inputs = (
        np.clip(extent - size * np.arange(count), 0, size)
        for extent, size, count in zip(
            weights.array.shape[:2], (CHANNEL_BLOCK // 4, CHANNEL_BLOCK), used.shape, strict=True
        )
    )
    return min(counted, int(outputs @ used @ inputs) * math.prod(weights.array.shape[2:]))


def is_convolution(op: Op) -> bool:
    """A convolution that makes a map; what a matrix product makes, which has the same operator, has one pixel."""
    return is_op(op, Conv) and max(map_shape(op.result.type)[1:3]) > 1


def convolution_cycles(events: Collection[Event], layers: Collection[str]) -> float:
    """The time of a program without that in which only instructions of layers other than these are under way.

    Time in which both are under way, or none, counts in full: whatever overlaps, this share of the peak is no better
    than what the arrays do in that time.
    """
    ends = sorted({time for event in events for time in (event.start, event.end)})
    place = {time: index for index, time in enumerate(ends)}
    change = [[0, 0] for _ in ends]
    for event in events:
        if event.layer is None:
            continue
        other = event.layer not in layers
        change[place[event.start]][other] += 1
        change[place[event.end]][other] -= 1
    left_out, own, others = 0.0, 0, 0
    for index, (first, second) in enumerate(change[:-1]):
        own, others = own + first, others + second
        if others and not own:
            left_out += ends[index + 1] - ends[index]
    return max(ends, default=0.0) - left_out
