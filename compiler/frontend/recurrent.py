"""LSTM, GRU and RNN for the importers of all formats: steps in time, one after the other, of plain operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.core import Value
from ...ir.ops.activation import Clip, Relu, Sigmoid, Tanh
from ...ir.ops.elementwise import Add, Mul, Sub
from ...ir.ops.matmul import MatMul
from ...ir.ops.unary import Unary
from .builder import ModuleBuilder
from .movement import join, split

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DEFAULT_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
ACTIVATIONS: dict[str, type[Unary]] = {"relu": Relu, "sigmoid": Sigmoid, "tanh": Tanh}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""For each direction, whether it goes from the last step to the first."""


@dataclass(frozen=True)
class Cell:
    """One direction, its gates in the order of ONNX: iofc of LSTM, zrh of GRU.

    Attributes:
        kind: LSTM, GRU or RNN.
        weights: W, [gates * hidden, features].
        recurrence: R, [gates * hidden, hidden].
        bias: what is added to the products with W, [gates * hidden].
        late_bias: what is added to the products with R of GRU's last gate before it is reset, [hidden]; ``None`` to
            reset before the product.
        peepholes: P for i, o and f, each [hidden].
        clip: sums that gates are made of are brought to from -clip to clip; 0 leaves them.
    """

    importer: ModuleBuilder
    kind: str
    activations: Sequence[type[Unary]]
    weights: Value
    recurrence: Value
    bias: Value | None = None
    late_bias: Value | None = None
    peepholes: Sequence[Value] = ()
    clip: float = 0.0

    @property
    def hidden(self) -> int:
        return self.recurrence.type.shape[-1]

    def projected(self, x: Value) -> Value:
        """What rows of the input [rows, features] add to the gates, [rows, gates * hidden]."""
        return self.importer.emit_one(MatMul(transpose_b=True), x, self.weights, self.bias)

    def step(self, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        """The state after one step: the hidden state [batch, hidden], and LSTM's cell state.

        Args:
            x: from `projected`.
        """
        return _STEPS[self.kind](self, x, state)

    def run(
        self, x: Value, steps: int, state: tuple[Value, ...], *, is_reverse: bool
    ) -> tuple[list[Value], tuple[Value, ...]]:
        """Hidden states of all steps in the order of time, and the state at the end.

        Args:
            x: [steps * batch, features], whole steps one after the other.
        """
        rows = x.type.shape[0] // steps if steps else 0
        inputs = split(self.importer, self.projected(x), 0, (rows,) * steps)
        found: list[Value] = []
        for each in reversed(inputs) if is_reverse else inputs:
            state = self.step(each, state)
            found.append(state[0])
        return (found[::-1] if is_reverse else found), state

    def product(self, h: Value, factor: Value, b: Value | None, addend: Value | None) -> Value:
        return self.importer.emit_one(MatMul(transpose_b=True), h, factor, b, addend)

    def gate(self, which: int, x: Value) -> Value:
        """An activation of a sum, which is clipped."""
        x = self.importer.emit_one(Clip(-self.clip, self.clip), x) if self.clip else x
        return self.importer.emit_one(self.activations[which](), x)

    def mul(self, a: Value, b: Value) -> Value:
        return self.importer.emit_one(Mul(), a, b)

    def add(self, a: Value, b: Value) -> Value:
        return self.importer.emit_one(Add(), a, b)


def _rnn(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    return (cell.gate(0, cell.product(state[0], cell.recurrence, None, x)),)


def _gru(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    (h,) = state
    sizes = (2 * cell.hidden, cell.hidden)
    x_gates, x_new = split(cell.importer, x, 1, sizes)
    r_gates, r_new = split(cell.importer, cell.recurrence, 0, sizes)
    gates = cell.gate(0, cell.product(h, r_gates, None, x_gates))
    update, reset = split(cell.importer, gates, 1, (cell.hidden,) * 2)
    if cell.late_bias is None:
        new = cell.product(cell.mul(reset, h), r_new, None, x_new)
    else:
        new = cell.add(x_new, cell.mul(reset, cell.product(h, r_new, cell.late_bias, None)))
    new = cell.gate(1, new)
    return (cell.add(new, cell.mul(update, cell.importer.emit_one(Sub(), h, new))),)


def _lstm(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    h, c = state
    gates = cell.product(h, cell.recurrence, None, x)
    i, o, f, new = split(cell.importer, gates, 1, (cell.hidden,) * 4)
    if cell.peepholes:
        i = cell.add(i, cell.mul(cell.peepholes[0], c))
        f = cell.add(f, cell.mul(cell.peepholes[2], c))
    i, f, new = cell.gate(0, i), cell.gate(0, f), cell.gate(1, new)
    c = cell.add(cell.mul(f, c), cell.mul(i, new))
    if cell.peepholes:
        o = cell.add(o, cell.mul(cell.peepholes[1], c))
    return cell.mul(cell.gate(0, o), cell.importer.emit_one(cell.activations[2](), c)), c


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def reordered(importer: ModuleBuilder, parameter: Value, hidden: int, order: Sequence[int]) -> Value:
    """A parameter [gates * hidden, ...] with its gates in another order: gate g is the gate ``order[g]`` there."""
    gates = split(importer, parameter, 0, (hidden,) * len(order))
    return join(importer, [gates[index] for index in order], 0)
