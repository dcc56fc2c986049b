"""The steps of optimisers, which ONNX has for training."""

import numpy as np

from .....ir.core import Value
from .....ir.ops.comparison import Greater, Where
from .....ir.ops.elementwise import Add, Div, Mul, Pow, Sub
from .....ir.ops.unary import Sqrt
from ...elementwise import running_mean, scaled
from ...shape import cast
from ..importer import Importer, Node, imports

TRAINING = "ai.onnx.preview.training"
"""Domain of the operators that ONNX has for training alone."""


class Step:
    """One step of an optimiser: inputs are the rate, the count of steps, then for all tensors their values, their
    gradients, and what is remembered of them."""

    def __init__(self, node: Node, importer: Importer, kinds: int) -> None:
        self.node, self.importer = node, importer
        self.rate, self.count = node.input(0), node.input(1)
        tensors = node.all_inputs()[2:]
        if not tensors or len(tensors) % kinds:
            raise node.model_error(f"each tensor needs {kinds} inputs", found=f"{len(tensors)} in all")
        number = len(tensors) // kinds
        self.groups = [tuple(tensors[first::number]) for first in range(number)]

    def sum(self, x: Value, y: Value) -> Value:
        return self.importer.emit_one(Add(), x, y)

    def difference(self, x: Value, y: Value) -> Value:
        return self.importer.emit_one(Sub(), x, y)

    def product(self, x: Value, y: Value) -> Value:
        return self.importer.emit_one(Mul(), x, y)

    def quotient(self, x: Value, y: Value) -> Value:
        return self.importer.emit_one(Div(), x, y)

    def root(self, x: Value) -> Value:
        return self.importer.emit_one(Sqrt(), x)

    def number(self, like: Value, value: float) -> Value:
        return self.importer.constant(np.array(value, like.type.dtype.numpy), "number")

    def times(self, x: Value, name: str, default: float | None = None) -> Value:
        """``x`` times an attribute."""
        return scaled(self.importer, x, self.node.float(name, default))

    def regularized(self, x: Value, gradient: Value, default: float | None = None) -> Value:
        """The gradient with that of half the squared norm of x."""
        return self.sum(self.times(x, "norm_coefficient", default), gradient)

    def not_first(self, later: Value, first: Value) -> Value:
        """What holds from the second step on, and what holds in the first."""
        zero = self.importer.constant(np.zeros((), self.count.type.dtype.numpy), "zero")
        return self.importer.emit_one(Where(), self.importer.emit_one(Greater(), self.count, zero), later, first)

    def outputs(self, results: list[tuple[Value, ...]]) -> list[Value]:
        """Outputs of the node: of all tensors the first result, then of all the next."""
        return [value for kind in zip(*results, strict=True) for value in kind]


@imports("Adagrad", domain=TRAINING)
def import_adagrad(node: Node, importer: Importer) -> list[Value]:
    step, results = Step(node, importer, 3), []
    decay = step.times(cast(importer, step.count, step.rate.type.dtype), "decay_factor", 0.0)
    rate = step.quotient(step.rate, step.sum(decay, step.number(decay, 1)))
    for x, gradient, squares in step.groups:
        g = step.regularized(x, gradient, 0.0)
        squares = step.sum(squares, step.product(g, g))
        root = step.sum(step.root(squares), step.number(x, node.float("epsilon", 1e-6)))
        results.append((step.difference(x, step.quotient(step.product(rate, g), root)), squares))
    return step.outputs(results)


@imports("Adam", domain=TRAINING)
def import_adam(node: Node, importer: Importer) -> list[Value]:
    step, results = Step(node, importer, 4), []
    alpha, beta = node.float("alpha", 0.9), node.float("beta", 0.999)
    count = cast(importer, step.count, step.rate.type.dtype)

    def missing(share: float) -> Value:
        """What means that began with nothing lack of 1."""
        one = step.number(count, 1)
        return step.difference(one, importer.emit_one(Pow(), step.number(count, share), count))

    rate = step.quotient(step.product(step.rate, step.root(missing(beta))), missing(alpha))
    rate = step.not_first(rate, step.rate)
    for x, gradient, mean, squares in step.groups:
        g = step.regularized(x, gradient, 0.0)
        mean, squares = (
            running_mean(importer, mean, g, alpha),
            running_mean(importer, squares, step.product(g, g), beta),
        )
        root = step.sum(step.root(squares), step.number(x, node.float("epsilon", 1e-6)))
        moved = step.difference(x, step.quotient(step.product(rate, mean), root))
        results.append((scaled(importer, moved, 1 - node.float("norm_coefficient_post", 0.0)), mean, squares))
    return step.outputs(results)


@imports("Momentum", domain=TRAINING)
def import_momentum(node: Node, importer: Importer) -> list[Value]:
    step, results = Step(node, importer, 3), []
    mode = node.string("mode")
    if mode not in ("standard", "nesterov"):
        raise node.model_error("unknown mode", expected="standard or nesterov", found=mode)
    share = step.not_first(step.number(step.rate, node.float("beta")), step.number(step.rate, 1))
    for x, gradient, momentum in step.groups:
        g = step.regularized(x, gradient)
        momentum = step.sum(step.times(momentum, "alpha"), step.product(share, g))
        direction = step.sum(g, step.times(momentum, "alpha")) if mode == "nesterov" else momentum
        results.append((step.difference(x, step.product(step.rate, direction)), momentum))
    return step.outputs(results)
