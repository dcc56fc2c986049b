"""The steps of optimisers, which ONNX has for training."""

from .....ir.core import Value
from .....ir.ops.elementwise import Pow
from .....ir.ops.unary import Sqrt
from ...expression import Expression
from ..importer import Importer, Node, imports

TRAINING = "ai.onnx.preview.training"
"""Domain of the operators that ONNX has for training alone."""


class Step:
    """One step of an optimiser: inputs are the rate, the count of steps, then for all tensors their values, their
    gradients, and what is remembered of them."""

    def __init__(self, node: Node, importer: Importer, kinds: int) -> None:
        self.node = node
        self.rate, self.count = (Expression(importer, node.input(index)) for index in range(2))
        tensors = [Expression(importer, value) for value in node.all_inputs()[2:]]
        if not tensors or len(tensors) % kinds:
            raise node.model_error(f"each tensor needs {kinds} inputs", found=f"{len(tensors)} in all")
        number = len(tensors) // kinds
        self.groups = [tuple(tensors[first::number]) for first in range(number)]

    def regularized(self, x: Expression, gradient: Expression, default: float | None = None) -> Expression:
        """The gradient with that of half the squared norm of x."""
        return x * self.node.float("norm_coefficient", default) + gradient

    def not_first(self, later: Expression | float, first: Expression | float) -> Expression:
        """What holds from the second step on, and what holds in the first."""
        return self.rate.where(self.count > 0, later, first)

    def outputs(self, results: list[tuple[Expression, ...]]) -> list[Value]:
        """Outputs of the node: of all tensors the first result, then of all the next."""
        return [expression.value for kind in zip(*results, strict=True) for expression in kind]


@imports("Adagrad", domain=TRAINING)
def import_adagrad(node: Node, importer: Importer) -> list[Value]:
    step, results = Step(node, importer, 3), []
    rate = step.rate / (step.count.cast(step.rate.value.type.dtype) * node.float("decay_factor", 0.0) + 1)
    for x, gradient, squares in step.groups:
        g = step.regularized(x, gradient, 0.0)
        squares = squares + g * g
        results.append((x - rate * g / (squares.apply(Sqrt()) + node.float("epsilon", 1e-6)), squares))
    return step.outputs(results)


@imports("Adam", domain=TRAINING)
def import_adam(node: Node, importer: Importer) -> list[Value]:
    step, results = Step(node, importer, 4), []
    alpha, beta = node.float("alpha", 0.9), node.float("beta", 0.999)
    count = step.count.cast(step.rate.value.type.dtype)

    def missing(share: float) -> Expression:
        """What means that began with nothing lack of 1."""
        return 1 - Expression(importer, count.operand(share)).apply(Pow(), count)

    rate = step.not_first(step.rate * missing(beta).apply(Sqrt()) / missing(alpha), step.rate)
    for x, gradient, mean, squares in step.groups:
        g = step.regularized(x, gradient, 0.0)
        mean, squares = mean * alpha + g * (1 - alpha), squares * beta + g * g * (1 - beta)
        moved = x - rate * mean / (squares.apply(Sqrt()) + node.float("epsilon", 1e-6))
        results.append((moved * (1 - node.float("norm_coefficient_post", 0.0)), mean, squares))
    return step.outputs(results)


@imports("Momentum", domain=TRAINING)
def import_momentum(node: Node, importer: Importer) -> list[Value]:
    step, results = Step(node, importer, 3), []
    mode = node.string("mode")
    if mode not in ("standard", "nesterov"):
        raise node.model_error("unknown mode", expected="standard or nesterov", found=mode)
    alpha, beta = node.float("alpha"), node.float("beta")
    share = step.not_first(beta, 1)
    for x, gradient, momentum in step.groups:
        g = step.regularized(x, gradient)
        momentum = momentum * alpha + share * g
        direction = g + momentum * alpha if mode == "nesterov" else momentum
        results.append((x - step.rate * direction, momentum))
    return step.outputs(results)
