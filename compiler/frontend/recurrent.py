"""LSTM, GRU and RNN for the importers of all formats: a step in time is plain operators, and steps are a loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...ir.core import Value
from ...ir.ops import activation as activations
from ...ir.ops.comparison import Less, Where
from ...ir.ops.control_flow import COUNT
from ...ir.ops.elementwise import Sub
from ...ir.ops.matmul import MatMul
from ...ir.types import DType
from .builder import ModuleBuilder, SourceNode
from .control_flow import emit_loop
from .elementwise import scaled
from .expression import Expression
from .movement import join, part_of, reversed_along, split
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
            return (Expression(importer, x) * numbers[0] + numbers[1]).value
        if name == "scaledtanh":
            return scaled(importer, importer.emit_one(activations.Tanh(), scaled(importer, x, numbers[1])), numbers[0])
        return importer.emit_one(ACTIVATIONS[name][0](*numbers), x)

    return emit


@dataclass
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
        factors: R as it is multiplied, made once for all steps: of GRU the gates, then what is new.
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
    factors: Sequence[Value] = field(init=False)

    def __post_init__(self) -> None:
        sizes = (2 * self.hidden, self.hidden) if self.kind == "GRU" else (self.recurrence.type.shape[0],)
        self.factors = split(self.importer, self.recurrence, 0, sizes)

    @property
    def hidden(self) -> int:
        return self.recurrence.type.shape[-1]

    def projected(self, x: Value) -> Value:
        """What rows of the input [rows, features] add to the gates, [rows, gates * hidden]."""
        return self.importer.emit_one(MatMul(transpose_b=True), x, self.weights, self.bias)

    def step(self, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        """The state after one step: the hidden state [batch, hidden], and LSTM's cell state."""
        return _STEPS[self.kind](self, x, state)

    def run(
        self, node: SourceNode, x: Value, state: tuple[Value, ...], *, is_reverse: bool, lengths: Value | None = None
    ) -> tuple[Value, tuple[Value, ...]]:
        """Hidden states of all steps in the order of time [steps, batch, hidden], and the state at the end.
        ``x``: [steps, batch, features].
        ``lengths``: how many steps each sequence has, integers [batch]; the others leave the state and give zeros."""
        steps, rows, features = x.type.shape
        importer = self.importer
        projected = self.projected(reshape(importer, x, (steps * rows, features)))
        if lengths is not None:
            lengths = reshape(importer, cast(importer, lengths, DType.I64), (rows, 1))
        if steps == 1:
            y, state = self._step(projected, importer.constant(np.asarray(0), "step"), state, lengths)
            return reshape(importer, y, (1, *y.type.shape)), state
        inputs = reshape(importer, projected, (steps, rows, projected.type.shape[1]))
        with importer.inside(f"{node.name}.step") as body:
            taken = body.add_parameter("step", COUNT)
            before = tuple(body.add_parameter(f"state{i}", each.type) for i, each in enumerate(state))
            index = taken
            if is_reverse:
                index = importer.emit_one(Sub(), importer.constant(np.asarray(steps - 1), "last"), taken)
            y, after = self._step(part_of(importer, inputs, 0, index), index, before, lengths)
            going = importer.constant(np.asarray(True), "true")
        most = importer.constant(np.asarray(steps), "steps")
        *ends, y, _ = emit_loop(importer, body, (most, going, *state), [going, *after, y], steps)
        return reversed_along(importer, y, 0) if is_reverse else y, tuple(ends)

    def _step(
        self, x: Value, index: Value, state: tuple[Value, ...], lengths: Value | None
    ) -> tuple[Value, tuple[Value, ...]]:
        """The hidden state that a step gives, and the state after it; ``lengths`` [batch, 1]."""
        after = self.step(x, state)
        if lengths is None:
            return after[0], after
        goes_on = self.importer.emit_one(Less(), index, lengths)
        zero = self.importer.constant(np.zeros((), x.type.dtype.numpy), "zero")
        pairs = ((after[0], zero), *zip(after, state, strict=True))
        y, *after = (self.importer.emit_one(Where(), goes_on, new, old) for new, old in pairs)
        return y, tuple(after)

    def product(self, h: Value, factor: Value, b: Value | None, addend: Value | None) -> Value:
        return self.importer.emit_one(MatMul(transpose_b=True), h, factor, b, addend)

    def gate(self, which: int, x: Value) -> Expression:
        """An activation of a sum, which is clipped."""
        x = self.importer.emit_one(activations.Clip(-self.clip, self.clip), x) if self.clip else x
        return Expression(self.importer, self.activations[which](self.importer, x))

    def parts(self, x: Value, count: int) -> list[Expression]:
        """So many parts of ``x`` [batch, count * hidden]."""
        return [Expression(self.importer, part) for part in split(self.importer, x, 1, (self.hidden,) * count)]


def _rnn(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    return (cell.gate(0, cell.product(state[0], cell.recurrence, None, x)).value,)


def _gru(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    (h,) = state
    x_gates, x_new = split(cell.importer, x, 1, (2 * cell.hidden, cell.hidden))
    r_gates, r_new = cell.factors
    update, reset = cell.parts(cell.gate(0, cell.product(h, r_gates, None, x_gates)).value, 2)
    if cell.late_bias is None:
        new = cell.gate(1, cell.product((reset * h).value, r_new, None, x_new))
    else:
        new = cell.gate(1, (x_new + reset * cell.product(h, r_new, cell.late_bias, None)).value)
    return ((new + update * (h - new)).value,)


def _lstm(cell: Cell, x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
    h, c = state
    i, o, f, new = cell.parts(cell.product(h, cell.recurrence, None, x), 4)
    if cell.peepholes:
        i, f = (gate + Expression(cell.importer, p) * c for gate, p in zip((i, f), cell.peepholes[::2], strict=True))
    i, new = cell.gate(0, i.value), cell.gate(1, new.value)
    f = 1 - i if cell.input_forgets else cell.gate(0, f.value)
    after = f * c + i * new
    if cell.peepholes:
        o = o + cell.peepholes[1] * after
    return (cell.gate(0, o.value) * cell.activations[2](cell.importer, after.value)).value, after.value


_STEPS = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}


def reordered(importer: ModuleBuilder, parameter: Value, hidden: int, order: Sequence[int]) -> Value:
    """A parameter [gates * hidden, ...] with its gates in another order: gate g is the gate ``order[g]`` there."""
    gates = split(importer, parameter, 0, (hidden,) * len(order))
    return join(importer, [gates[index] for index in order], 0)
