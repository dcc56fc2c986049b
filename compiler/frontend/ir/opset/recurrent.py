"""Recurrent cells of IR, and sequences of their steps.

Gates of LSTM come as fico there; a result is the state of each step by batch and direction, [batch, directions, steps,
hidden].
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .....ir.core import Value
from .....ir.ops.movement import Transpose
from ...movement import join, split
from ...recurrent import ACTIVATIONS, DEFAULT_ACTIVATIONS, DIRECTIONS, GATES, Cell, reordered
from ...shape import reshape
from ..importer import IrImporter, IrNode, opset

FROM_FICO = (1, 3, 0, 2)
"""Where IR has the gates iofc of ONNX."""


@opset("LSTMCell", "GRUCell", "RNNCell")
def import_cell(node: IrNode, importer: IrImporter) -> list[Value]:
    """One step; inputs are x, the state, W, R and B."""
    kind = node.op_type.removesuffix("Cell")
    count = 2 if kind == "LSTM" else 1
    state = tuple(node.input(1 + index) for index in range(count))
    parameters = [node.input(1 + count + index) for index in range(3)]
    cell = cell_of(node, importer, kind, parameters)
    return list(cell.step(cell.projected(node.input(0)), state))


@opset("LSTMSequence", "GRUSequence", "RNNSequence")
def import_sequence(node: IrNode, importer: IrImporter) -> list[Value]:
    """Inputs are x [batch, steps, features], the states [batch, directions, hidden], lengths, W, R and B."""
    kind = node.op_type.removesuffix("Sequence")
    count = 2 if kind == "LSTM" else 1
    batch, steps, features = node.input(0).type.shape
    reversals = DIRECTIONS.get(node.word("direction", "forward"))
    if reversals is None or node.input(2 + count).type.shape[:1] != (len(reversals),):
        expected = ", ".join(DIRECTIONS)
        raise node.model_error("direction and W do not fit", expected=expected, found=node.text("direction", "forward"))
    if set(node.integers(1 + count, "the lengths of the sequences")) != {steps}:
        raise node.unsupported("sequences of different lengths are not supported", expected=steps)
    importer.unroll(node, steps * len(reversals))
    x = reshape(importer, importer.emit_one(Transpose((1, 0, 2)), node.input(0)), (steps * batch, features))
    sequences: list[Value] = []
    ends: list[list[Value]] = []
    rows = [[row(importer, node.input(1 + i), 1, d) for i in range(count)] for d in range(len(reversals))]
    for direction, is_reverse in enumerate(reversals):
        parameters = [row(importer, node.input(2 + count + index), 0, direction) for index in range(3)]
        cell = cell_of(node, importer, kind, parameters)
        found, state = cell.run(x, steps, tuple(rows[direction]), is_reverse=is_reverse)
        shape = (batch, 1, 1, cell.hidden)
        sequences.append(join(importer, [reshape(importer, each, shape) for each in found], 2))
        ends.append([reshape(importer, each, (batch, 1, cell.hidden)) for each in state])
    return [join(importer, sequences, 1), *(join(importer, list(each), 1) for each in zip(*ends, strict=True))]


def row(importer: IrImporter, x: Value, axis: int, index: int) -> Value:
    """``x`` at ``index`` along ``axis``, which is dropped."""
    part = split(importer, x, axis, (1,) * x.type.shape[axis])[index]
    return reshape(importer, part, x.type.shape[:axis] + x.type.shape[axis + 1 :])


def cell_of(node: IrNode, importer: IrImporter, kind: str, parameters: Sequence[Value]) -> Cell:
    """A cell of W, R and B of one direction.

    Raises:
        ModelError: they are of other shapes than the layer says.
        UnsupportedError: it has activations or parts that are not implemented.
    """
    weights, recurrence, bias = parameters
    gates, hidden = GATES[kind], node.int("hidden_size")
    names = [name.lower() for name in node.text("activations", ",").replace(",", " ").split()]
    names = names or [*DEFAULT_ACTIVATIONS[kind]]
    if len(names) != len(DEFAULT_ACTIVATIONS[kind]) or not ACTIVATIONS.keys() >= set(names):
        raise node.unsupported("these activations are not supported", expected=", ".join(ACTIVATIONS), found=names)
    resets_late = kind == "GRU" and node.bool("linear_before_reset", False)
    shapes = [(gates * hidden, weights.type.shape[-1]), (gates * hidden, hidden), ((gates + resets_late) * hidden,)]
    if [each.type.shape for each in parameters] != shapes:
        found = ", ".join(str(list(each.type.shape)) for each in parameters)
        raise node.model_error("W, R and B do not fit the hidden size", expected=f"{shapes}", found=found)
    if node.has("input_forget") and node.bool("input_forget"):
        raise node.unsupported("a forget gate that the input gate makes is not supported")
    peepholes: Sequence[Value] = ()
    if node.op_type == "LSTMCell" and node.optional(6) is not None:
        # Peepholes come as i, o and f already.
        peepholes = split(importer, node.input(6), 0, (hidden,) * 3)
    if kind == "LSTM":
        if node.word("weights_format", "fico") != "fico":
            raise node.unsupported(
                "this order of gates is not supported", expected="fico", found=node.text("weights_format")
            )
        weights, recurrence, bias = (reordered(importer, each, hidden, FROM_FICO) for each in parameters)
    late = None
    if resets_late:
        bias, late = split(importer, bias, 0, (gates * hidden, hidden))
    clip = node.float("clip", 0.0)
    activations = [ACTIVATIONS[name] for name in names]
    limit = 0.0 if math.isinf(clip) else clip
    return Cell(importer, kind, activations, weights, recurrence, bias, late, peepholes, limit)
