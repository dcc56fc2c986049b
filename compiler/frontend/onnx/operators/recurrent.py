"""LSTM, GRU and RNN of ONNX: their steps in time, one after the other, of products and elementwise operators."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from .....ir.ops.elementwise import Add
from .....ir.ops.movement import Transpose
from ...movement import join, split
from ...recurrent import ACTIVATIONS, DEFAULT_ACTIVATIONS, DIRECTIONS, GATES, Cell
from ...shape import reshape
from ..importer import Importer, Node, imports


@imports(*GATES)
def import_recurrent(node: Node, importer: Importer) -> list[Value]:
    """Results: the hidden state of each step, the last one, and LSTM's last cell state."""
    for attribute, value in (("clip", 0.0), ("input_forget", 0)):
        if node.attributes.get(attribute, value) != value:
            raise node.unsupported(f"attribute {attribute!r} is not supported", found=node.attributes[attribute])
    is_batch_first = node.bool("layout", 0)
    x, w, r = (node.input(index) for index in range(3))
    if is_batch_first:
        x = importer.emit_one(Transpose((1, 0, 2)), x)
    steps, batch, features = x.type.shape
    gates, hidden = GATES[node.op_type], r.type.shape[-1]
    reversals = DIRECTIONS.get(node.string("direction", "forward"))
    if reversals is None or w.type.shape != (len(reversals), gates * hidden, features):
        raise node.model_error(
            "direction and shape of W do not fit",
            expected=f"[directions, {gates} * {hidden}, {features}]",
            found=f"{node.string('direction', 'forward')!r} and {list(w.type.shape)}",
        )
    if node.optional(4) is not None and set(node.integers(4, "the lengths of the sequences")) != {steps}:
        raise node.unsupported("sequences of different lengths are not supported", expected=steps)
    importer.unroll(node, steps * len(reversals))
    states = [_initial(node, importer, index, batch, is_batch_first) for index in (5, 6)[: 2 if gates == 4 else 1]]
    rows = reshape(importer, x, (steps * batch, features))
    sequences, last = [], []
    for index, is_reverse in enumerate(reversals):
        state = tuple(_row(importer, each, index) for each in states)
        found, state = _cell(node, importer, index).run(rows, steps, state, is_reverse=is_reverse)
        sequences.append(join(importer, [reshape(importer, each, (1, 1, batch, hidden)) for each in found], 0))
        last.append([reshape(importer, each, (1, batch, hidden)) for each in state])
    y = join(importer, sequences, 1)
    ends = [join(importer, list(each), 0) for each in zip(*last, strict=True)]
    if not is_batch_first:
        return [y, *ends]
    return [
        importer.emit_one(Transpose((2, 0, 1, 3)), y),
        *(importer.emit_one(Transpose((1, 0, 2)), each) for each in ends),
    ]


def _row(importer: Importer, x: Value, index: int) -> Value:
    """``x[index]``."""
    row = split(importer, x, 0, (1,) * x.type.shape[0])[index]
    return reshape(importer, row, x.type.shape[1:])


def _initial(node: Node, importer: Importer, index: int, batch: int, is_batch_first: bool) -> Value:
    """The state at the beginning, [directions, batch, hidden]: given, or zeros."""
    given, r = node.optional(index), node.input(2)
    if given is None:
        shape = (r.type.shape[0], batch, r.type.shape[-1])
        return importer.described(node, shape, r.type.dtype, lambda: np.zeros(shape, r.type.dtype.numpy), "_initial")
    return importer.emit_one(Transpose((1, 0, 2)), given) if is_batch_first else given


def _cell(node: Node, importer: Importer, index: int) -> Cell:
    """The cell of direction ``index``."""
    factor, recurrence = (_row(importer, node.input(each), index) for each in (1, 2))
    gates, hidden = GATES[node.op_type], recurrence.type.shape[-1]
    names = node.attributes.get("activations")
    names = [n.decode() for n in names] if names else [*DEFAULT_ACTIVATIONS[node.op_type]] * (index + 1)
    count = len(DEFAULT_ACTIVATIONS[node.op_type])
    names = [name.lower() for name in names[index * count : (index + 1) * count]]
    if len(names) < count or not ACTIVATIONS.keys() >= set(names):
        raise node.unsupported("these activations are not supported", expected=", ".join(ACTIVATIONS), found=names)
    bias = late = None
    if node.optional(3) is not None:
        of_w, of_r = split(importer, _row(importer, node.input(3), index), 0, (gates * hidden,) * 2)
        if node.bool("linear_before_reset", 0):
            of_r, late = split(importer, of_r, 0, (2 * hidden, hidden))
            early, new = split(importer, of_w, 0, (2 * hidden, hidden))
            bias = join(importer, [importer.emit_one(Add(), early, of_r), new], 0)
        else:
            bias = importer.emit_one(Add(), of_w, of_r)
    elif node.bool("linear_before_reset", 0):
        late = importer.constant(np.zeros(hidden, recurrence.type.dtype.numpy), "bias")
    given = node.optional(7)
    peepholes = split(importer, _row(importer, given, index), 0, (hidden,) * 3) if given is not None else ()
    activations = [ACTIVATIONS[name] for name in names]
    return Cell(importer, node.op_type, activations, factor, recurrence, bias, late, peepholes)
