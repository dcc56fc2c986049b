"""Cells and sequences of LSTM, GRU and RNN in IR of versions 2 to 7.

The blob ``weights`` is [gates * hidden, features + hidden]: what the input and what the state are multiplied by, side
by side. The order of gates is that of later versions. ``biases`` is [gates * hidden]; of a GRU with
``linear_before_reset`` it has [hidden] more, for the product of the state with the last gate.
"""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from ...movement import join, split, transpose
from ...recurrent import GATES, Cell
from ...shape import reshape
from ..importer import IrImporter, IrNode, legacy
from ..opset.recurrent import cell_of


@legacy("LSTMCell", "GRUCell", "RNNCell")
def import_cell(node: IrNode, importer: IrImporter) -> list[Value]:
    """One step: x [batch, features] and the states [batch, hidden] to the next states."""
    x = node.input(0)
    if x.type.rank != 2:
        raise node.model_error("the input must be [batch, features]", found=x.type)
    cell = _cell(node, importer, x.type.shape[1])
    state = _states(node, importer, cell, x.type.shape[0])
    return list(cell.step(cell.projected(x), state))


@legacy("LSTMSequence", "GRUSequence", "RNNSequence")
def import_sequence(node: IrNode, importer: IrImporter) -> list[Value]:
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
    importer.unroll(node, steps)
    rows = reshape(importer, x, (steps * batch, features))
    found, state = cell.run(rows, steps, state, is_reverse=direction != "forward")
    y = join(importer, [reshape(importer, each, (1, batch, cell.hidden)) for each in found], 0)
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
