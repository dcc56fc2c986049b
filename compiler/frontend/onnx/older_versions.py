"""How early operator sets spelled what later ones spell otherwise: nodes of theirs in the spelling that importers read.

Until version 6 operands broadcast only where an attribute said so, and shapes and sizes were attributes. Where one
spelling can be told from the other, as an axis that became an input, importers read both, and nothing stands here.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from ....ir.core import Value
from ..shape import reshape
from .importer import Import, Importer, Node

Respelling = Callable[[Node, Importer], Node]

RESPELLINGS: dict[str, tuple[int, Respelling]] = {}
"""By ONNX operator of the standard domain: the last version of the set that spells it so, and what makes a node of it
one of the version after."""


def reading_older(op_type: str, importer: Import) -> Import:
    """The importer of a standard operator, also for nodes of the versions that spelled it otherwise."""
    if op_type not in RESPELLINGS:
        return importer
    last, respell = RESPELLINGS[op_type]
    return lambda node, state: importer(respell(node, state) if node.opset <= last else node, state)


def _until(last: int, *op_types: str) -> Callable[[Respelling], Respelling]:
    def register(function: Respelling) -> Respelling:
        for op_type in op_types:
            RESPELLINGS[op_type] = last, function
        return function

    return register


def _with(node: Node, **attributes: Any) -> Node:
    return replace(node, attributes=node.attributes | attributes)


def _with_input(node: Node, importer: Importer, index: int, values: np.ndarray, name: str) -> Node:
    inputs: list[Value | None] = [*node.inputs, *([None] * (index + 1 - len(node.inputs)))]
    inputs[index] = importer.constant(values, f"{node.name}_{name}")
    return replace(node, inputs=tuple(inputs))


@_until(6, "Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
def _broadcast(node: Node, importer: Importer) -> Node:
    """The dimensions of y are those of x from ``axis`` on, by default the last ones."""
    x, y = node.input(0), node.input(1)
    if not node.bool("broadcast", 0) or not node.has("axis"):
        return node
    behind = x.type.rank - node.axis(x.type.rank) - y.type.rank
    if behind < 0:
        raise node.model_error("the second operand does not fit behind its axis", found=f"{x.type} and {y.type}")
    return replace(node, inputs=(x, reshape(importer, y, (*y.type.shape, *[1] * behind))))


@_until(6, "PRelu")
def _prelu(node: Node, importer: Importer) -> Node:
    """One slope, or one for each channel."""
    x, slope = node.input(0), node.input(1)
    if slope.type.elements == 1 or slope.type.rank != 1 or x.type.rank < 2:
        return node
    return replace(node, inputs=(x, reshape(importer, slope, (slope.type.elements, *[1] * (x.type.rank - 2)))))


_until(3, "Concat")(lambda node, importer: node if node.has("axis") else _with(node, axis=1))


@_until(4, "Reshape")
def _reshape(node: Node, importer: Importer) -> Node:
    return _with_input(node, importer, 1, np.asarray(node.ints("shape"), np.int64), "shape")


_until(1, "Pad")(lambda node, importer: _with(node, pads=node.attributes.get("paddings")))


@_until(5, "Cast")
def _cast(node: Node, importer: Importer) -> Node:
    name = node.string("to").upper()
    if name not in dict(onnx.TensorProto.DataType.items()):
        raise node.model_error("unknown element type", found=name)
    return _with(node, to=onnx.TensorProto.DataType.Value(name))


@_until(5, "Tile")
def _tile(node: Node, importer: Importer) -> Node:
    """So many times along one axis."""
    rank, axis = node.input(0).type.rank, node.scalar(2, "the axis")
    repeats = np.ones(rank, np.int64)
    repeats[node.from_front(axis, rank)] = node.scalar(1, "the repeats")
    return _with_input(replace(node, inputs=node.inputs[:1]), importer, 1, repeats, "repeats")


@_until(5, "Selu")
def _selu(node: Node, importer: Importer) -> Node:
    return _with(node, alpha=node.float("alpha", 1.6732), gamma=node.float("gamma", 1.0507))


@_until(1, "LpPool", "GlobalLpPool", "LpNormalization")
def _whole_power(node: Node, importer: Importer) -> Node:
    power = node.float("p", 2.0)
    if not math.isfinite(power) or power != int(power):
        raise node.unsupported("only whole powers are supported", found=power)
    return _with(node, p=int(power))


@_until(6, "Upsample")
def _upsample(node: Node, importer: Importer) -> Node:
    if node.has("scales"):
        return node
    return _with(node, scales=[1.0, 1.0, node.float("height_scale"), node.float("width_scale")])
