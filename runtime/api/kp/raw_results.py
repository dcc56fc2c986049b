"""The bytes of a raw result, as the firmware of each product sends it: a stamp, the facts of each node, their integers.

All numbers are little-endian and of four bytes:

- stamp: magic number, size of all of it, number of the job, status, inference number, number of the crop box, whether
  it is the last one;
- KL520: the count of nodes, and for each its height, channels, width, radix (signed) and scale (binary32); then their
  integers, one node after the other, in the order rows, channels, columns;
- KL720: the size of all integers, the count of nodes, and a table of forty of them with where its integers start, their
  size, … (see `NODE_720` of `records`); then the integers, in the order channels, rows, columns.

Integers are int8; each line of columns is filled up to 16 bytes.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...containers import records
from ...containers.records import (
    COUNT_520,
    HEAD_720,
    NODE_520,
    NODE_720,
    STAMP,
    ContainedTensor,
    line_bytes,
    node_bytes,
)
from .enums import ApiReturnCode, ChannelOrdering, FixedPointDType, ModelTensorDataLayout, ProductId
from .exceptions import Refusal, instance
from .members import argument, enumeration, integer
from .values.results import GenericRawResult, InferenceFixedNodeOutput, InferenceFloatNodeOutput

INFERENCE = 0x11FF22AA
"""The magic number of results."""

IMAGE_JOB, DATA_JOB = 10, 17
"""The jobs: inference of images, and of data that is no image any more."""

KL720S = (ProductId.KP_DEVICE_KL720, ProductId.KP_DEVICE_KL720_LEGACY)


class Stamp(NamedTuple):
    """What a result says of itself."""

    job: int
    inference_number: int
    crop_number: int
    is_last_crop: bool


def raw_size(product: ProductId, nodes: Sequence[ContainedTensor]) -> int:
    """The bytes of a result with these nodes."""
    return records.raw_size(nodes, is_720=product in KL720S)


def pack(product: ProductId, stamp: Stamp, nodes: Sequence[ContainedTensor], values: Sequence[np.ndarray]) -> bytes:
    """A result as its device sends it.
    ``values``: int8[channel, height, width] of each node.
    Returns `raw_size(product, nodes)` of them."""
    raw = bytearray(raw_size(product, nodes))
    job, inference_number, crop_number, last = stamp
    STAMP.pack_into(raw, 0, INFERENCE, len(raw), job, 0, inference_number, crop_number, last)
    start = STAMP.size
    is_720 = product in KL720S
    data = np.frombuffer(raw, np.int8)[records.head_bytes(len(nodes), is_720=is_720) :]
    if is_720:
        HEAD_720.pack_into(raw, start, len(data), len(nodes))
        start += HEAD_720.size
    else:
        COUNT_520.pack_into(raw, start, len(nodes))
        start += COUNT_520.size
    offset = 0
    for index, (node, array) in enumerate(zip(nodes, values, strict=True)):
        size = node_bytes(node)
        (_, channel, height, width), radix, scale = node.shape, node.radix, node.scale
        if is_720:
            layout = ModelTensorDataLayout.KP_MODEL_TENSOR_DATA_LAYOUT_16W1C8B
            place = (offset, size, index, 0, layout, 0, 0, 0, height, width, channel, index, radix, scale)
            NODE_720.pack_into(raw, start + index * NODE_720.size, *place)
        else:
            NODE_520.pack_into(raw, start + index * NODE_520.size, height, channel, width, radix, scale)
        _in_order(product, node, data[offset : offset + size])[...] = array
        offset += size
    return bytes(raw)


def unpack(product: ProductId, raw: bytes, index: int) -> tuple[ContainedTensor, np.ndarray]:
    """A node of a result.
    ``index``: which one, from 0.
    Returns its facts, and int8[channel, height, width]: a view of the result.
    Raises Refusal: `KP_ERROR_RECEIVE_INCORRECT_HEADER_STAMP_30`, this is no result; `KP_ERROR_INVALID_PARAM_12`, it
    has no such node; `KP_ERROR_RECEIVE_SIZE_MISMATCH_31`, it is too short for what it says."""
    is_720 = product in KL720S
    if len(raw) < records.head_bytes(0, is_720=is_720) or STAMP.unpack_from(raw)[0] != INFERENCE:
        code = ApiReturnCode.KP_ERROR_RECEIVE_INCORRECT_HEADER_STAMP_30
        raise Refusal(code, "this is no result of an inference", found=f"{len(raw)} bytes")
    (count,) = COUNT_520.unpack_from(raw, STAMP.size + (4 if is_720 else 0))
    if not 0 <= index < count:
        raise Refusal(
            ApiReturnCode.KP_ERROR_INVALID_PARAM_12,
            "the result has no such node",
            expected=f"0 to {count - 1}" if count else "none: it has no nodes",
            found=index,
        )
    head = records.head_bytes(count, is_720=is_720)
    if len(raw) < head:
        raise _too_short(raw)
    node, offset = _720_node(raw, index) if is_720 else _520_node(raw, index)
    size, start = node_bytes(node), head + offset
    if start + size > len(raw):
        raise _too_short(raw)
    return node, _in_order(product, node, np.frombuffer(raw, np.int8)[start : start + size])


def _520_node(raw: bytes, index: int) -> tuple[ContainedTensor, int]:
    first = STAMP.size + COUNT_520.size
    facts: list[ContainedTensor] = []
    for each in range(index + 1):
        height, channel, width, radix, scale = NODE_520.unpack_from(raw, first + each * NODE_520.size)
        facts.append(ContainedTensor("", (1, channel, height, width), radix, scale))
    return facts[-1], sum(map(node_bytes, facts[:-1]))


def _720_node(raw: bytes, index: int) -> tuple[ContainedTensor, int]:
    found = NODE_720.unpack_from(raw, STAMP.size + HEAD_720.size + index * NODE_720.size)
    height, width, channel = found[8:11]
    return ContainedTensor("", (1, channel, height, width), *found[12:]), found[0]


def _too_short(raw: bytes) -> Refusal:
    code = ApiReturnCode.KP_ERROR_RECEIVE_SIZE_MISMATCH_31
    return Refusal(code, "the result is shorter than what it says of itself", found=f"{len(raw)} bytes")


def _in_order(product: ProductId, node: ContainedTensor, data: np.ndarray) -> np.ndarray:
    """The integers of a node, as a view of shape [channel, height, width]."""
    _, channel, height, width = node.shape
    if product in KL720S:
        return data.reshape(channel, height, line_bytes(width))[..., :width]
    return data.reshape(height, channel, line_bytes(width))[..., :width].transpose(1, 0, 2)


def factor(node: ContainedTensor) -> float:
    """What the integers of a node are multiplied by to give its values; not finite where the node says nonsense."""
    try:
        return 1 / math.ldexp(node.scale, node.radix)
    except (OverflowError, ZeroDivisionError):
        return math.nan


_AXES = {
    ChannelOrdering.KP_CHANNEL_ORDERING_HCW: (1, 0, 2),
    ChannelOrdering.KP_CHANNEL_ORDERING_CHW: (0, 1, 2),
    ChannelOrdering.KP_CHANNEL_ORDERING_HWC: (1, 2, 0),
}


def fixed_node(index: object, result: object, ordering: object) -> InferenceFixedNodeOutput:
    """A node as integers."""
    node, integers, common = _node(index, result, ordering)
    dtype = FixedPointDType.KP_FIXED_POINT_DTYPE_INT8
    return InferenceFixedNodeOutput(
        **common, radix=node.radix, scale=node.scale, factor=factor(node), data=integers, dtype=dtype
    )


def float_node(index: object, result: object, ordering: object) -> InferenceFloatNodeOutput:
    """A node as float32: each integer times the factor in binary64, rounded once."""
    node, integers, common = _node(index, result, ordering)
    with np.errstate(over="ignore", invalid="ignore"):
        values = (np.arange(-128, 128) * factor(node)).astype(np.float32)
    # The index of a negative integer is that of the byte: no table needs more than 256 entries.
    return InferenceFloatNodeOutput(**common, data=np.roll(values, -128)[integers.view(np.uint8)])


def _node(index: object, result: object, ordering: object) -> tuple[ContainedTensor, np.ndarray, dict[str, Any]]:
    """A node, int8[number of them] in the order asked for, in memory of their own, and further fields."""
    received = instance("generic_raw_result", result, GenericRawResult)
    product = argument("product_id", received.header.product_id, enumeration(ProductId))
    order = argument("channels_ordering", ordering, enumeration(ChannelOrdering))
    number = argument("node_idx", index, integer(high=2**31 - 1))
    if order is ChannelOrdering.KP_CHANNEL_ORDERING_DEFAULT:
        is_720 = product in KL720S
        order = ChannelOrdering.KP_CHANNEL_ORDERING_CHW if is_720 else ChannelOrdering.KP_CHANNEL_ORDERING_HCW
    node, integers = unpack(product, received.raw_result.data, number)
    channel, height, width = integers.shape
    extents = {"width": width, "height": height, "channel": channel, "num_data": integers.size}
    arranged = np.array(integers.transpose(_AXES[order]), order="C").reshape(-1)
    return node, arranged, {**extents, "channels_ordering": order}
