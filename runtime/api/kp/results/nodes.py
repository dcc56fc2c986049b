"""The nodes of a raw result, as integers or as real numbers."""

from __future__ import annotations

import numpy as np

from ..arguments import integer, member, wrong
from ..enums import ChannelOrdering, FixedPointDType, ProductId
from ..values.nodes import InferenceFixedNodeOutput, InferenceFloatNodeOutput
from ..values.results import GenericRawResult
from .layout import KL720S, NodeFacts, factor, unpack

_AXES = {
    ChannelOrdering.KP_CHANNEL_ORDERING_HCW: (1, 0, 2),
    ChannelOrdering.KP_CHANNEL_ORDERING_CHW: (0, 1, 2),
    ChannelOrdering.KP_CHANNEL_ORDERING_HWC: (1, 2, 0),
}


def fixed_node(index: object, result: object, ordering: object) -> InferenceFixedNodeOutput:
    """A node as integers.

    Raises:
        Refusal: `KP_ERROR_INVALID_PARAM_12`, an argument is wrong or there is no such node; otherwise as `unpack`.
    """
    node, integers, order = _node(index, result, ordering)
    return InferenceFixedNodeOutput(
        width=node.width,
        height=node.height,
        channel=node.channel,
        radix=node.radix,
        scale=node.scale,
        factor=factor(node),
        num_data=integers.size,
        data=integers.reshape(-1),
        channels_ordering=order,
        dtype=FixedPointDType.KP_FIXED_POINT_DTYPE_INT8,
    )


def float_node(index: object, result: object, ordering: object) -> InferenceFloatNodeOutput:
    """A node as float32: each integer times the factor in binary64, rounded once.

    Raises:
        Refusal: as `fixed_node`.
    """
    node, integers, order = _node(index, result, ordering)
    with np.errstate(over="ignore", invalid="ignore"):
        values = (np.arange(-128, 128) * factor(node)).astype(np.float32)
    return InferenceFloatNodeOutput(
        width=node.width,
        height=node.height,
        channel=node.channel,
        num_data=integers.size,
        # The index of a negative integer is that of the byte: no table needs more than 256 entries.
        data=np.roll(values, -128)[integers.reshape(-1).view(np.uint8)],
        channels_ordering=order,
    )


def _node(index: object, result: object, ordering: object) -> tuple[NodeFacts, np.ndarray, ChannelOrdering]:
    """The facts of a node and its integers in the order asked for, in memory of their own."""
    if not isinstance(result, GenericRawResult):
        raise wrong("generic_raw_result", "a result of a receiving function", type(result).__name__)
    try:
        product = ProductId(result.header.product_id)
    except ValueError:
        raise wrong("generic_raw_result", "the result of a device", hex(result.header.product_id)) from None
    order = member("channels_ordering", ordering, ChannelOrdering)
    number = integer("node_idx", index)
    if order is ChannelOrdering.KP_CHANNEL_ORDERING_DEFAULT:
        is_720 = product in KL720S
        order = ChannelOrdering.KP_CHANNEL_ORDERING_CHW if is_720 else ChannelOrdering.KP_CHANNEL_ORDERING_HCW
    node, integers = unpack(product, result.raw_result.data, number)
    return node, np.array(integers.transpose(_AXES[order]), order="C"), order
