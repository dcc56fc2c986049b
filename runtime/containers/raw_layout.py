"""Where the parts of a raw result lie, as `tilewright.runtime.api.kp.raw_results` explains: what tells its size."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from .records import ContainedTensor

STAMP = struct.Struct("<7I")
COUNT_520, NODE_520 = struct.Struct("<I"), struct.Struct("<3Iif")
HEAD_720 = struct.Struct("<Ii")
NODE_720 = struct.Struct("<12Iif")
"""Start of the integers, their bytes, number of the node, group, layout, first row, column and channel, rows, columns,
channels, number of the output, radix, scale."""
_NODES_720 = 40
_LINE = 16


def line_bytes(width: int) -> int:
    """The bytes of a line of so many columns."""
    return -(-width // _LINE) * _LINE


def node_bytes(node: ContainedTensor) -> int:
    """The bytes of the integers of a node."""
    _, channel, height, width = node.shape
    return channel * height * line_bytes(width)


def head_bytes(count: int, *, is_720: bool) -> int:
    """The bytes before the integers of so many nodes."""
    if is_720:
        return STAMP.size + HEAD_720.size + max(count, _NODES_720) * NODE_720.size
    return STAMP.size + COUNT_520.size + count * NODE_520.size


def raw_size(nodes: Sequence[ContainedTensor], *, is_720: bool) -> int:
    """The bytes of a result with these nodes."""
    return head_bytes(len(nodes), is_720=is_720) + sum(map(node_bytes, nodes))
