"""What no schedule can be faster than: for each resource of a machine, the least cycles that a network takes of it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from typing import NamedTuple

from tilewright.ir.annotations import MACS
from tilewright.ir.core import Op, is_op
from tilewright.ir.feature_map import is_block_by_block, is_product, map_shape, sum_products, window_of
from tilewright.ir.ops.attention import Attention
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.skip_normalization import SkipLayerNorm
from tilewright.passes.device.tiling.tile_search import MOVEMENT
from tilewright.runtime.machines.cost import dense_steps, depthwise_steps
from tilewright.runtime.machines.machine import CHANNEL_BLOCK, Machine
from tilewright.runtime.machines.vector_unit import NORMALIZE_PASSES, WEIGH_PASSES, idle_elements, vector_steps
from tilewright.runtime.simulator.timeline import Event


class Floors(NamedTuple):
    """Least cycles, each as if nothing else took time.

    Attributes:
        array: steps of the arrays with all lanes busy that there is work for, shared out evenly.
        dram: every weight, input and output moved once, at full bandwidth.
        vector: steps of the vector units, shared out evenly.
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


def floors(ops: Iterable[Op], machine: Machine, clusters: int, traffic: int) -> Floors:
    """The floors of a device function.

    Args:
        ops: of the function, in order.
        traffic: bytes of weights, inputs and outputs.
    """
    every = [*ops]
    array = [array_steps(op, machine) / clusters for op in every]
    vector = sum(_vector(op, machine) for op in every) / clusters
    bandwidth = machine.dram_bytes_per_cycle
    room, ahead, time = machine.weight_bytes * clusters, 0.0, 0.0
    for op, steps in zip(every, array, strict=True):
        needed = weight_bytes(op)
        lasting = max(steps, (needed - ahead) / bandwidth)
        ahead = min(room, ahead + lasting * bandwidth - needed)
        time += lasting
    return Floors(sum(array), traffic / bandwidth, vector, time)


def array_steps(op: Op, machine: Machine) -> float:
    """Steps of one array for a whole convolution, every lane busy that there is work for; 0 for other ops."""
    if is_op(op, Attention):
        by, heads = op.operator, math.prod(op.operator.batch)
        scores = dense_steps(machine, by.rows, by.keys, 1, by.width)
        return float(heads * (scores + dense_steps(machine, by.rows, by.depth, 1, by.keys)))
    if not is_op(op, Conv):
        return 0.0
    target = map_shape(op.result.type)
    pixels = target.images * target.height * target.width
    if is_block_by_block(op):
        return float(depthwise_steps(machine, pixels, target.channels, sum_products(op)))
    if op.operator.group == 1 and not MACS.is_at(op):
        return float(dense_steps(machine, pixels, target.channels, 1, sum_products(op)))
    # Several groups may share the lanes: all of them have work at best.
    products = -(-op.macs // (pixels * machine.input_lanes * machine.output_lanes))
    return float(-(-pixels // machine.pixel_lanes) * products)


def _vector(op: Op, machine: Machine) -> float:
    """Steps of one vector unit for all elements of the result."""
    if isinstance(op.operator, MOVEMENT):
        return 0.0
    taps = 1 if is_op(op, Conv) else window_of(op).taps
    taps = NORMALIZE_PASSES if is_op(op, SkipLayerNorm) else taps
    if is_op(op, Attention):
        scores = math.prod(op.operator.batch) * op.operator.rows * op.operator.keys
        return float(vector_steps(machine, scores, WEIGH_PASSES) + vector_steps(machine, op.result.type.elements))
    shape = map_shape(op.result.type)
    idle = idle_elements(-shape.channels % CHANNEL_BLOCK) if is_product(op) else 0
    elements = shape.padded_elements - shape.images * shape.height * shape.width * idle
    return float(vector_steps(machine, elements, taps))


def weight_bytes(op: Op) -> int:
    """Elements of the weights of a convolution that are not zero for want of a group, a byte each."""
    return op.macs // (op.result.type.elements // op.inputs[1].type.shape[0]) if is_op(op, Conv) else 0


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
