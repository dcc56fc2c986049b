"""What networks of tokens are written of, node by node."""

from __future__ import annotations

import numpy as np
from onnx_networks import OnnxNetwork


def shape(net: OnnxNetwork, *extents: int) -> str:
    return net.number(np.array(extents, np.int64))


def rows(net: OnnxNetwork, x: str, inputs: int, outputs: int) -> str:
    """A product of [1, rows, inputs] with weights."""
    return net.op("MatMul", x, net.some(inputs, outputs))


def heads(net: OnnxNetwork, x: str, count: int, depth: int) -> str:
    """[1, heads, rows, depth]."""
    apart = net.op("Reshape", x, shape(net, 1, -1, count, depth))
    return net.op("Transpose", apart, perm=[0, 2, 1, 3])


def joined(net: OnnxNetwork, x: str, whole: int) -> str:
    beside = net.op("Transpose", x, perm=[0, 2, 1, 3])
    return net.op("Reshape", beside, shape(net, 1, -1, whole))


def attend(net: OnnxNetwork, q: str, k: str, v: str) -> str:
    """[1, heads, rows, depth] of queries, keys and values of such heads."""
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    scores = net.op("Mul", scores, net.number(np.array(0.25, np.float32)))
    return net.op("MatMul", net.op("Softmax", scores, axis=-1), v)


def layer(net: OnnxNetwork, x: str, width: int) -> str:
    """A layer of attention and what it reads: two heads of 16 channels."""
    normal = net.op("LayerNormalization", x, net.some(width), net.some(width), axis=-1)
    q, k, v = (heads(net, rows(net, normal, width, 32), 2, 16) for _ in range(3))
    return net.op("Add", x, rows(net, joined(net, attend(net, q, k, v), 32), 32, width))
