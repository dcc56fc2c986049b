"""Give every value of a device function an address in the device's DRAM."""

from collections import Counter
from typing import Literal

from ....ir.annotations import DRAM, INPUTS, RECEIVES, REGION_BYTES, SENDS, MapAddress
from ....ir.core import Function, Module, Op, Value
from ....ir.feature_map import VIEWS, is_packed, is_view, map_shape
from ....ir.ops.movement import Concat
from ....runtime.machines.machine import CHANNEL_BLOCK
from ...base import Pass, Record
from ...memory.plan import Parts, aligned, plan_memory, roots_of
from ..cascades.segment import cascade_of
from ..fused_pairs import fused_user
from ..outline_device import device_functions
from .check_device_memory import DEVICE_SOUND


class PlanDeviceMemory(Pass):
    """Annotates device functions with ``scratch_bytes``, ``input_bytes`` and ``output_bytes`` and their ops with
    ``dram=[region, offset, bytes from pixel to pixel, whether the channel padding is written]`` of the result;
    ``inputs`` of the function says the same of its parameters.

    Maps lie as pixels with their channels, padded to 16. A concatenation along channels costs nothing: its operands
    are written into its buffer. A reshape that does not move bytes is another name for its operand. A convolution that
    is fused with the op that reads it writes the result of that. What the ops of a cascade touch is live from the first
    of them to the last. What another card sends, or takes, lies in scratch
    memory, behind what else is made here, and stays there."""

    ensures = (DEVICE_SOUND,)

    def apply(self, module: Module, record: Record) -> bool:
        functions = device_functions(module)
        for function in functions:
            addresses, sizes = plan(function)
            for region, size in sizes.items():
                REGION_BYTES[region].set(function, size)
            for op in function.ops:
                DRAM.set(op, addresses[op.result])
            INPUTS.set(function, tuple(addresses[value] for value in function.parameters))
        return bool(functions)


def _writes_padding(value: Value) -> bool:
    """Whether the channels that fill the last block of 16 are written with the others, so that they may be read too.

    What is made of parts that begin inside a block is stored without them, and a device reads no byte that it did not
    write."""
    op = value.producer
    if op is None or map_shape(value.type).channels % CHANNEL_BLOCK == 0:
        return True
    return not isinstance(op.operator, Concat)


def _parameter_pixel(value: Value) -> int:
    """Bytes from pixel to pixel of a parameter."""
    shape = map_shape(value.type)
    return shape.channels if is_packed(value) else shape.padded_channels


def _joined_in_place(op: Op) -> set[Value]:
    """The operands of a concatenation along channels that can be written into its buffer."""
    if not isinstance(op.operator, Concat) or op.operator.axis != 1 or op.result.type.rank < 3:
        return set()
    found: set[Value] = set()
    for value, count in Counter(op.inputs).items():
        producer = value.producer
        own = producer is not None and not isinstance(producer.operator, (Concat, *VIEWS))
        if own and not value.is_returned and count == 1 and not _is_joined_elsewhere(value, op):
            found.add(value)
    return found


def _is_joined_elsewhere(value: Value, op: Op) -> bool:
    first = next((user for user, _ in value.uses if isinstance(user, Op) and isinstance(user.operator, Concat)), None)
    return first is not None and first is not op


def plan(function: Function) -> tuple[dict[Value, MapAddress], dict[str, int]]:
    """The address of every value of a device function, and the sizes of its regions in bytes."""
    addresses: dict[Value, MapAddress] = {}
    sizes = {"input": 0, "output": 0}

    def append(value: Value, region: Literal["scratch", "input", "output"], pads: bool, pixel: int) -> None:
        shape = map_shape(value.type)
        addresses[value] = MapAddress(region, sizes[region], pixel, pads)
        sizes[region] += aligned(shape.images * shape.height * shape.width * pixel)

    received = {function.parameters[end.position] for end in RECEIVES.get(function) or ()}
    for value in function.parameters:
        if value not in received:
            append(value, "input", not is_packed(value), _parameter_pixel(value))
    sent = {end.position for end in SENDS.get(function) or ()}
    for value in dict.fromkeys(value for at, value in enumerate(function.results) if at not in sent):
        if value not in addresses:
            append(value, "output", _writes_padding(value), map_shape(value.type).padded_channels)
    parts = parts_of(function)
    offsets, sizes["scratch"] = plan_memory(
        function, parts, lambda value: map_shape(value.type).padded_elements, cascade_of
    )
    for value, offset in offsets.items():
        addresses[value] = MapAddress("scratch", offset, map_shape(value.type).padded_channels, _writes_padding(value))
    for value in function.results:
        if value not in addresses:
            append(value, "scratch", _writes_padding(value), map_shape(value.type).padded_channels)
    for value in function.parameters:
        if value in received:
            # Channels cross without the padding of their pixels.
            pads = map_shape(value.type).channels % CHANNEL_BLOCK == 0
            append(value, "scratch", pads, _parameter_pixel(value))
    for value, (root, channel) in roots_of(parts).items():
        whole, _ = parts[value]
        base = addresses[root]
        # What is the whole of its owner has the padding of the channels for itself as well.
        fills = map_shape(value.type).channels == map_shape(whole.type).channels
        addresses[value] = MapAddress(base.region, base.offset + channel, base.pixel, base.padded and fills)
    return addresses, sizes


def parts_of(function: Function) -> Parts:
    """Values that live inside another one, and from which channel of its pixels on: operands of concatenations that are
    written into the result in the first place, reshapes, which are other names of their operands, and results of
    convolutions in place of which that of the op fused with them is written."""
    parts: Parts = {}
    for op in function.ops:
        if is_view(op) and not op.result.is_returned:
            parts[op.result] = (op.inputs[0], 0)
        inside = _joined_in_place(op)
        channel = 0
        for value in op.inputs if inside else ():
            if value in inside:
                parts[value] = (op.result, channel)
            channel += map_shape(value.type).channels
    for op in function.ops:
        user = fused_user(op)
        if user is not None:
            parts[op.result] = parts.get(user.result, (user.result, 0))
    return parts
