"""LSTM, GRU and RNN for the importers of all formats: steps in time, one after the other, of plain operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...ir.core import Value
from ...ir.ops import activation as activations
from ...ir.ops.comparison import Less, Where
from ...ir.ops.elementwise import Add, Mul, Sub
from ...ir.ops.matmul import MatMul
from ...ir.types import DType
from .builder import ModuleBuilder
from .elementwise import scaled
from .movement import join, split
from .shape import cast, reshape

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DEFAULT_ACTIVATIONS = {"LSTM": ("sigmoid", "tanh", "tanh"), "GRU": ("sigmoid", "tanh"), "RNN": ("tanh",)}
ACTIVATIONS: dict[str, tuple[Callable[..., activations.Activation], tuple[float, ...]]] = {
    "relu": (activations.Relu, ()),
    "sigmoid": (activations.Sigmoid, ()),
    "tanh": (activations.Tanh, ()),
    "softsign": (activations.Softsign, ()),
    "softplus": (activations.Softplus, ()),
    "leakyrelu": (activations.LeakyRelu, (0.01,)),
    "thresholdedrelu": (activations.ThresholdedRelu, (1.0,)),
    "elu": (activations.Elu, (1.0,)),
    "hardsigmoid": (activations.HardSigmoid, (0.2, 0.5)),
}
"""Operators of activations by name, and what their attributes alpha and beta are where they are not given."""

PLAIN = ("relu", "sigmoid", "tanh")
"""Those that have no attributes anywhere."""

SCALED = {"affine": (1.0, 0.0), "scaledtanh": (1.0, 1.0)}
"""Defaults of alpha * x + beta and alpha * tanh(beta * x)."""
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""For each direction, whether it goes from the last step to the first."""


Activate = Callable[[ModuleBuilder, Value], Value]


def numbers_of(name: str) -> tuple[float, ...]:
    """The defaults of alpha and beta, as many as an activation has."""
    return SCALED[name] if name in SCALED else ACTIVATIONS[name][1]


def activate(name: str, *numbers: float) -> Activate:
    """The activation of a name, with its alpha and beta."""

    def emit(importer: ModuleBuilder, x: Value) -> Value:
        if name == "affine":
            offset = importer.constant(np.asarray(numbers[1], x.type.dtype.numpy), "beta")
            return importer.emit_one(Add(), scaled(importer, x, numbers[0]), offset)
        if name == "scaledtanh":
            return scaled(importer, importer.emit_one(activations.Tanh(), scaled(importer, x, numbers[1])), numbers[0])
        return importer.emit_one(ACTIVATIONS[name][0](*numbers), x)

    return emit


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
        input_forgets: what LSTM takes in it forgets: f is 1 - i.
    """

    importer: ModuleBuilder
    kind: str
    activations: Sequence[Activate]
    weights: Value
    recurrence: Value
    bias: Value | None = None
    late_bias: Value | None = None
    peepholes: Sequence[Value] = ()
    clip: float = 0.0
    input_forgets: bool = False

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
        self, x: Value, steps: int, state: tuple[Value, ...], *, is_reverse: bool, lengths: Value | None = None
    ) -> tuple[list[Value], tuple[Value, ...]]:
        """Hidden states of all steps in the order of time, and the state at the end.

        Args:
            x: [steps * batch, features], whole steps one after the other.
            lengths: how many steps each sequence has, integers [batch]; the others leave the state and give zeros.
        """
        rows = x.type.shape[0] // steps if steps else 0
        inputs = split(self.importer, self.projected(x), 0, (rows,) * steps)
        found: list[Value] = []
        for index in range(steps)[:: -1 if is_reverse else 1]:
            after = self.step(inputs[index], state)
            if lengths is None:
                state = after
                found.append(state[0])
                continue
            step = self.importer.constant(np.asarray(index), "step")
            column = reshape(self.importer, cast(self.importer, lengths, DType.I64), (rows, 1))
            goes_on = self.importer.emit_one(Less(), step, column)
            zero = self.importer.constant(np.zeros((), after[0].type.dtype.numpy), "zero")
            found.append(self.importer.emit_one(Where(), goes_on, after[0], zero))
            pairs = zip(after, state, strict=True)
            state = tuple(self.importer.emit_one(Where(), goes_on, new, old) for new, old in pairs)
        return (found[::-1] if is_reverse else found), state

    def product(self, h: Value, factor: Value, b: Value | None, addend: Value | None) -> Value:
        return self.importer.emit_one(MatMul(transpose_b=True), h, factor, b, addend)

    def gate(self, which: int, x: Value) -> Value:
        """An activation of a sum, which is clipped."""
        x = self.importer.emit_one(activations.Clip(-self.clip, self.clip), x) if self.clip else x
        return self.activations[which](self.importer, x)

    def rest(self, x: Value) -> Value:
        """1 - ``x``"""
        one = self.importer.constant(np.ones((), x.type.dtype.numpy), "one")
        return self.importer.emit_one(Sub(), one, x)

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
    i, new = cell.gate(0, i), cell.gate(1, new)
    f = cell.rest(i) if cell.input_forgets else cell.gate(0, f)
    c = cell.add(cell.mul(f, c), cell.mul(i, new))
    if cell.peepholes:
        o = cell.add(o, cell.mul(cell.peepholes[1], c))
    return cell.mul(cell.gate(0, o), cell.activations[2](cell.importer, c)), c


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def reordered(importer: ModuleBuilder, parameter: Value, hidden: int, order: Sequence[int]) -> Value:
    """A parameter [gates * hidden, ...] with its gates in another order: gate g is the gate ``order[g]`` there."""
    gates = split(importer, parameter, 0, (hidden,) * len(order))
    return join(importer, [gates[index] for index in order], 0)
