"""LSTM, GRU and RNN of ONNX: their steps in time, one after the other, of products and elementwise operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .....ir.core import Value
from .....ir.ops.activation import Relu, Sigmoid, Tanh
from .....ir.ops.elementwise import Add, Mul, Sub
from .....ir.ops.matmul import MatMul
from .....ir.ops.movement import Transpose
from .....ir.ops.unary import Unary
from ...movement import join, split
from ...shape import reshape
from ..importer import Importer, Node, imports

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DEFAULT_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
ACTIVATIONS: dict[str, type[Unary]] = {"relu": Relu, "sigmoid": Sigmoid, "tanh": Tanh}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""For each direction, whether it goes from the last step to the first."""


@dataclass(frozen=True)
class Cell:
    """The parameters of one direction, gates in the order of ONNX: iofc of LSTM, zrh of GRU.

    Attributes:
        recurrence: R, [gates * hidden, hidden].
        bias: what is added to the products with R of GRU's last gate before it is reset, [hidden].
        peepholes: P for i, o and f, each [hidden].
    """

    importer: Importer
    activations: Sequence[type[Unary]]
    recurrence: Value
    bias: Value | None
    peepholes: Sequence[Value]

    @property
    def hidden(self) -> int:
        return self.recurrence.type.shape[-1]

    def product(self, h: Value, factor: Value, b: Value | None, addend: Value | None) -> Value:
        return self.importer.emit_one(MatMul(transpose_b=True), h, factor, b, addend)

    def activate(self, which: int, x: Value) -> Value:
        return self.importer.emit_one(self.activations[which](), x)

    def mul(self, a: Value, b: Value) -> Value:
        return self.importer.emit_one(Mul(), a, b)

    def add(self, a: Value, b: Value) -> Value:
        return self.importer.emit_one(Add(), a, b)


def _rnn(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    return (cell.activate(0, cell.product(state[0], cell.recurrence, None, x)),)


def _gru(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    (h,) = state
    sizes = (2 * cell.hidden, cell.hidden)
    x_gates, x_new = split(cell.importer, x, 1, sizes)
    r_gates, r_new = split(cell.importer, cell.recurrence, 0, sizes)
    gates = cell.activate(0, cell.product(h, r_gates, None, x_gates))
    update, reset = split(cell.importer, gates, 1, (cell.hidden,) * 2)
    if cell.bias is None:
        new = cell.product(cell.mul(reset, h), r_new, None, x_new)
    else:
        new = cell.add(x_new, cell.mul(reset, cell.product(h, r_new, cell.bias, None)))
    new = cell.activate(1, new)
    return (cell.add(new, cell.mul(update, cell.importer.emit_one(Sub(), h, new))),)


def _lstm(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    h, c = state
    gates = cell.product(h, cell.recurrence, None, x)
    i, o, f, new = split(cell.importer, gates, 1, (cell.hidden,) * 4)
    if cell.peepholes:
        i = cell.add(i, cell.mul(cell.peepholes[0], c))
        f = cell.add(f, cell.mul(cell.peepholes[2], c))
    i, f, new = cell.activate(0, i), cell.activate(0, f), cell.activate(1, new)
    c = cell.add(cell.mul(f, c), cell.mul(i, new))
    if cell.peepholes:
        o = cell.add(o, cell.mul(cell.peepholes[1], c))
    return cell.mul(cell.activate(0, o), cell.activate(2, c)), c


STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


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
        cell, factor, bias = _cell(node, importer, index)
        projected = importer.emit_one(MatMul(transpose_b=True), rows, factor, bias)
        inputs = split(importer, projected, 0, (batch,) * steps)
        state = tuple(_row(importer, each, index) for each in states)
        hidden_states = []
        for each in reversed(inputs) if is_reverse else inputs:
            state = STEPS[node.op_type](cell, each, state)
            hidden_states.append(reshape(importer, state[0], (1, 1, batch, hidden)))
        sequences.append(join(importer, hidden_states[::-1] if is_reverse else hidden_states, 0))
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


def _cell(node: Node, importer: Importer, index: int) -> tuple[Cell, Value, Value | None]:
    """The cell of direction ``index``, its W, and what is added to the products with that."""
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
    return Cell(importer, [ACTIVATIONS[name] for name in names], recurrence, late, peepholes), factor, bias
