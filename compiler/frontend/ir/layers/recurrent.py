"""Recurrent cells of IR, and sequences of their steps.

Gates of LSTM come as fico there; a result is the state of each step by batch and direction, [batch, directions, steps,
hidden]. In versions 2 to 7 the blob ``weights`` is [gates * hidden, features + hidden]: what the input and what the
state are multiplied by, side by side. ``biases`` is [gates * hidden]; of a GRU with ``linear_before_reset`` it has
[hidden] more, for the product of the state with the last gate.
"""

import math
from collections.abc import Sequence

import numpy as np

from .....ir.core import Value
from .....ir.ops.movement import Transpose
from ...movement import join, part_of, reversed_along, split, transpose
from ...recurrent import DEFAULT_ACTIVATIONS, DIRECTIONS, GATES, PLAIN, Cell, activate, reordered
from ...shape import reshape
from ..importer import IrImporter, IrNode, legacy, opset

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
    batch, steps, _ = node.input(0).type.shape
    reversals = DIRECTIONS.get(node.word("direction", "forward"))
    if reversals is None or node.input(2 + count).type.shape[:1] != (len(reversals),):
        expected = ", ".join(DIRECTIONS)
        raise node.model_error("direction and W do not fit", expected=expected, found=node.text("direction", "forward"))
    if set(node.integers(1 + count, "the lengths of the sequences")) != {steps}:
        raise node.unsupported("sequences of different lengths are not supported", expected=steps)
    x = importer.emit_one(Transpose((1, 0, 2)), node.input(0))
    sequences: list[Value] = []
    ends: list[list[Value]] = []
    rows = [[part_of(importer, node.input(1 + i), 1, d) for i in range(count)] for d in range(len(reversals))]
    for direction, is_reverse in enumerate(reversals):
        parameters = [part_of(importer, node.input(2 + count + index), 0, direction) for index in range(3)]
        cell = cell_of(node, importer, kind, parameters)
        y, state = cell.run(node, x, tuple(rows[direction]), is_reverse=is_reverse)
        y = transpose(importer, y, (1, 0, 2))
        sequences.append(reshape(importer, y, (batch, 1, steps, cell.hidden)))
        ends.append([reshape(importer, each, (batch, 1, cell.hidden)) for each in state])
    return [join(importer, sequences, 1), *(join(importer, list(each), 1) for each in zip(*ends, strict=True))]


def cell_of(node: IrNode, importer: IrImporter, kind: str, parameters: Sequence[Value]) -> Cell:
    """A cell of W, R and B of one direction.
    Raises ModelError: they are of other shapes than the layer says; UnsupportedError: it has activations or parts that
    are not implemented."""
    weights, recurrence, bias = parameters
    gates, hidden = GATES[kind], node.int("hidden_size")
    names = [name.lower() for name in node.text("activations", ",").replace(",", " ").split()]
    names = names or [*DEFAULT_ACTIVATIONS[kind]]
    if len(names) != len(DEFAULT_ACTIVATIONS[kind]) or not set(PLAIN) >= set(names):
        raise node.unsupported("these activations are not supported", expected=", ".join(PLAIN), found=names)
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
    activations = [activate(name) for name in names]
    limit = 0.0 if math.isinf(clip) else clip
    return Cell(importer, kind, activations, weights, recurrence, bias, late, peepholes, limit)


@legacy("LSTMCell", "GRUCell", "RNNCell")
def import_legacy_cell(node: IrNode, importer: IrImporter) -> list[Value]:
    """One step: x [batch, features] and the states [batch, hidden] to the next states."""
    x = node.input(0)
    if x.type.rank != 2:
        raise node.model_error("the input must be [batch, features]", found=x.type)
    cell = _cell(node, importer, x.type.shape[1])
    state = _states(node, importer, cell, x.type.shape[0])
    return list(cell.step(cell.projected(x), state))


@legacy("LSTMSequence", "GRUSequence", "RNNSequence")
def import_legacy_sequence(node: IrNode, importer: IrImporter) -> list[Value]:
    """All steps of x along ``axis``, 0 or 1: the hidden state of each, and the states at the end."""
    x, axis = node.input(0), node.int("axis", 1)
    if x.type.rank != 3 or axis not in (0, 1):
        raise node.model_error(
            "the input must have three dimensions, steps in the first or second", found=f"{x.type}, axis {axis}"
        )
    direction = node.word("direction", "forward")
    if direction not in ("forward", "backward", "reverse"):
        raise node.unsupported(
            "this direction is not supported", expected="forward or backward", found=repr(direction[:60])
        )
    x = transpose(importer, x, (1, 0, 2)) if axis else x
    steps, batch, features = x.type.shape
    cell = _cell(node, importer, features)
    state = _states(node, importer, cell, batch)
    lengths = node.optional(1 + len(state))
    if lengths is not None and set(node.integers(1 + len(state), "the lengths of the sequences")) != {steps}:
        raise node.unsupported("sequences of different lengths are not supported", expected=steps)
    y, state = cell.run(node, x, state, is_reverse=direction != "forward")
    return [transpose(importer, y, (1, 0, 2)) if axis else y, *state]


def _cell(node: IrNode, importer: IrImporter, features: int) -> Cell:
    kind = node.op_type.lower().removesuffix("cell").removesuffix("sequence").upper()
    gates, hidden = GATES[kind], node.int("hidden_size")
    if hidden < 1:
        raise node.model_error("attribute 'hidden_size' is out of range", expected="at least 1", found=hidden)
    count = (gates + (kind == "GRU" and node.bool("linear_before_reset", False))) * hidden
    both = importer.array(node, "weights", (gates * hidden, features + hidden))
    if "biases" in node.layer.blobs:
        bias = importer.array(node, "biases", (count,))
    else:
        bias = importer.described(node, (count,), both.type.dtype, lambda: np.zeros(count, np.float32), "_biases")
    return cell_of(node, importer, kind, [*split(importer, both, 1, (features, hidden)), bias])


def _states(node: IrNode, importer: IrImporter, cell: Cell, batch: int) -> tuple[Value, ...]:
    """The states before the first step [batch, hidden]: inputs, or zeros."""
    shape = (batch, cell.hidden)
    found: list[Value] = []
    for index in range(1, 3 if cell.kind == "LSTM" else 2):
        given = node.optional(index)
        if given is None:
            given = importer.described(node, shape, node.input(0).type.dtype, lambda: np.zeros(shape, np.float32))
        elif given.type.elements != batch * cell.hidden:
            raise node.model_error("a state has another shape", expected=list(shape), found=given.type)
        found.append(reshape(importer, given, shape))
    return tuple(found)


@opset("ReverseSequence")
@legacy("ReverseSequence")
def import_reverse_sequence(node: IrNode, importer: IrImporter) -> Value:
    x, lengths = node.input(0), node.integers(1, "the lengths")
    batch = node.from_front(node.int("batch_axis", 0), x.type.rank)
    axis = node.from_front(node.int("seq_axis", 1), x.type.rank)
    if len(lengths) != x.type.shape[batch]:
        raise node.model_error("each sequence needs a length", expected=x.type.shape[batch], found=len(lengths))
    importer.unroll(node, len(lengths))
    parts: list[Value] = []
    extent = x.type.shape[axis]
    for part, length in zip(split(importer, x, batch, (1,) * len(lengths)), lengths, strict=True):
        if not 0 <= length <= extent:
            raise node.model_error("a sequence is longer than there is room", expected=extent, found=length)
        head, tail = split(importer, part, axis, (length, extent - length))
        parts.append(join(importer, [reversed_along(importer, head, axis), tail], axis))
    return join(importer, parts, batch)
