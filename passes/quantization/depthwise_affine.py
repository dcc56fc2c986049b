"""Scaling and shifting of channels as depthwise convolution, which has a quantised form with a scale per channel."""

import math
from collections.abc import Callable, Set
from dataclasses import replace

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.feature_map import VIEWS
from ...ir.ops.activation import Clip, PRelu
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Div, Elementwise, Mul
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Transpose
from ...ir.ops.normalization import RmsNorm
from ...ir.ops.pooling import GlobalAveragePool
from ...ir.ops.reduction import Reduce, ReduceL2, ReduceMean, ReduceSum
from ...ir.ops.shape import Reshape
from ...ir.types import DType
from ...runtime.machines.machine import KERNEL_LIMIT
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..named_ops import still_there
from ..pattern import Const, Driver, Match, Rule, node
from ..simplify import linear_rules, share_rules
from .plan import plan_quantization
from .quantizable import BELOW_ZERO, NORMS, feeds_real_alone


class DepthwiseAffine(Pass):
    """Replaces ``x * c``, ``x + d`` and ``x * c + d`` by a convolution of 1x1 kernels, one for each channel.

    x is [N, C, *spatial] and the constants have one number for each channel. Such arithmetic is what is left of a
    batch normalisation that no convolution could take over. As an elementwise op on 8-bit tensors its constants would
    share one scale, which costs accuracy; as a convolution each channel has its own.

    What follows goes into the same convolution, as where a normalisation and a scale with its own names are two layers.
    Comes before calibration: the values that are calibrated are those of the convolutions.
    ``prelu``: so does a PReLU with a slope for each channel, if its result becomes integers: x and a convolution of
    what of it is below zero. And arithmetic on tokens, [N, tokens, channels], whose means become pools, and what
    compares channels of a map with each other.
    ``keep``: names of operators, of source nodes or of results that stay in floating point, with their PReLUs."""

    requires = (PLAIN, UNPLANNED)

    prelu: bool = True
    keep: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        rules = (*_of_tokens(module), *share_rules.RULES, *RULES) if self.prelu else RULES
        changed = Driver(rules).run(module, record)
        means = {op for op in module.main.ops if self.prelu and is_op(op, GlobalAveragePool) and _has_kernel(op)}
        if means:
            # A normalisation of floating point, as one whose result is an output, had better have what is not rounded.
            made = self._planned(module, means)
            rules = _where(MEANS, lambda op: op.inputs[0].producer in means and {*op.result.users} <= made)
            changed |= Driver(rules).run(module, record)
        # Of rows and maps with one slope for each channel: volumes are not the accelerator's.
        slopes = (op for op in module.main.ops if self.prelu and is_op(op, PRelu) and op.result.type.rank < 5)
        prelus = {op for op in slopes if _channels(*op.inputs) is not None}
        if prelus:
            prelus &= self._planned(module, prelus)
            rule = Rule("prelu", node(PRelu, "x", Const("c"), where=prelus.__contains__), _prelu)
            changed |= Driver((rule,)).run(module, record)
        return changed

    def _planned(self, module: Module, also: Set[Op]) -> Set[Op]:
        """The ops that become integers, if these can be convolutions as well."""
        return plan_quantization(module.main, still_there(module.ops, self.keep), also, shortcuts=True).ops


def _channels(x: Value, constant: Value) -> np.ndarray | None:
    """A constant as one number for each channel of x, ``None`` if it is none such."""
    rank = x.type.rank
    if rank < 3 or x.type.dtype is not DType.F32 or isinstance(x, Constant) or x.type.shape[1] < 2:
        return None
    if not isinstance(constant, Constant) or not np.isfinite(constant.array).all():
        return None
    shape = (1,) * (rank - constant.type.rank) + constant.type.shape
    return constant.array.reshape(-1) if shape == (1, x.type.shape[1], *[1] * (rank - 2)) else None


def _convolution(found: Match) -> Value | None:
    x, name = found["x"], found.root.result.name
    numbers = _channels(x, found["c"])
    done = linear_rules.effect(found.root, found["c"], numbers) if numbers is not None else None
    if done is None or feeds_real_alone(found.root):
        return None
    (factor, summand), ones = done, (1,) * (x.type.rank - 2)
    w, b = found.add_constant(f"{name}_scale", factor.astype(np.float32).reshape(-1, 1, *ones)), None
    if summand.any():
        b = found.add_constant(f"{name}_shift", summand.astype(np.float32))
    return found.emit(Conv(ones, (0,) * 2 * len(ones), ones, len(factor)), x, w, b)


def _on_channels(found: Match) -> Value | None:
    """Of tokens, channels first."""
    x, numbers, turned = found["x"], found["c"], Transpose((0, 2, 1))
    is_of_tokens = x.type.rank == 3 and x.type.shape[1] > 1 and not is_op(x.producer, *NORMS)
    if not is_of_tokens or not isinstance(numbers, Constant):
        return None
    if numbers.type.shape not in ((x.type.shape[2],), (1, 1, x.type.shape[2])):
        return None
    channels, x = found.add_constant(numbers.name, numbers.array.reshape(1, -1, 1)), found.emit(turned, x)
    if _channels(x, channels) is None or linear_rules.effect(found.root, numbers, numbers.array) is None:
        return None
    operands = (channels, x) if found.root.inputs[0] is numbers else (x, channels)
    return found.emit(turned, found.emit(found.root.operator, *operands))


def _mean_of_tokens(found: Match[Reduce]) -> Value | None:
    x, y = found["x"], found.root.result
    if x.type.rank not in (3, 4) or found.root.operator.axes != (*range(1, x.type.rank - 1),):
        return None
    pooled = found.emit(GlobalAveragePool(), found.emit(Transpose((0, x.type.rank - 1, *range(1, x.type.rank - 1))), x))
    pooled = found.emit(Reshape(y.type.shape), pooled)
    if is_op(found.root, ReduceMean):
        return pooled
    count = np.array(math.prod(x.type.shape[1:-1]), np.float32)
    return found.emit(Mul(), pooled, found.add_constant(f"{y.name}_count", count))


def _mean_that_is_normalised(found: Match[Reshape]) -> Value | None:
    """A mean of a map as a convolution, whose result may have 16 bits, as all that follows is made of few numbers; that
    of a sum as the sum of means, which the normalisation adds up."""
    x, y, views = found["x"], found.root.result, list[Op]()
    channels, extents = x.type.shape[1], x.type.shape[2:]
    if y.is_returned or not all(is_op(user, *NORMS) and not user.result.is_returned for user in y.users):
        return None
    source = x
    while is_op(source.producer, *VIEWS) and len(source.uses) == 1:
        views.insert(0, source.producer)
        source = source.producer.inputs[0]
    terms = [*source.producer.inputs] if is_op(source.producer, Add) and len(source.uses) == 1 else []
    if not terms or any(value.type != source.type or isinstance(value, Constant) for value in terms):
        terms, views = [x], []
    means, ones = list[Value](), (1,) * len(extents)
    weights = np.full((channels, 1, *extents), 1 / math.prod(extents), np.float32)
    weights = found.add_constant(f"{y.name}_mean", weights)
    for value in terms:
        for view in views:
            value = found.emit(view.operator, value)
        mean = found.emit(Conv(ones, (0,) * 2 * len(ones), ones, channels), value, weights, None)
        means.append(found.emit(found.root.operator, mean))
    return found.emit(Add(), *means) if len(means) > 1 else means[0]


def _of_length_one(found: Match[Div]) -> Value | None:
    """Vectors divided by their lengths, which are 0 nearly nowhere."""
    x, length, bound = found["x"], found.op("length", ReduceL2).operator, found.op("bound", Clip).operator
    count, last = math.prod(x.type.shape[axis] for axis in length.axes), x.type.rank - 1
    if not length.keepdims or not 0 < bound.min < _SHORT or bound.max < math.inf or count < 2:
        return None
    is_turned = length.axes != (last,)
    if is_turned and (length.axes, last) != ((1,), 2):
        return None
    scale = found.add_constant(f"{found.root.result.name}_scale", np.full(count, count**-0.5, np.float32))
    y = found.emit(Transpose((0, 2, 1)), x) if is_turned else x
    # Of shorter ones 32 bits hold no square: what holds nothing would be no number.
    y = found.emit(RmsNorm(last, max(bound.min, 1e-15) ** 2 / count), y, scale)
    return found.emit(Transpose((0, 2, 1)), y) if is_turned else y


def _factor_of_heads(found: Match[Mul]) -> Value | None:
    """Scores times a number for each head, as of queries and keys of length one: the queries times that."""
    op, y, factor = found.op("product", MatMul), found.root.result.type, found.constant("c")
    shape = (1,) * (y.rank - factor.type.rank) + factor.type.shape
    if shape[-2:] != (1, 1) or factor.type.elements < 2 or op.result.type != y or op.operator.act != "none":
        return None
    queries, keys, bias, residual = op.operands
    if isinstance(keys, Constant) or bias is not None or residual is not None:
        return None
    array = np.broadcast_to(factor.array.reshape(shape), (*shape[:-2], *queries.type.shape[-2:-1], 1))
    return found.emit(op.operator, found.emit(Mul(), queries, found.add_constant(factor.name, array)), keys)


def _prelu(found: Match) -> Value | None:
    x, slopes = found["x"], _channels(found["x"], found["c"])
    if slopes is None:
        return None
    name, ones = found.root.result.name, (1,) * (x.type.rank - 2)
    w = found.add_constant(f"{name}_slopes", (slopes - 1).astype(np.float32).reshape(-1, 1, *ones))
    below = found.emit(BELOW_ZERO, x)
    scaled = found.emit(Conv(ones, (0,) * 2 * len(ones), ones, len(slopes)), below, w, None)
    # The tensor that the source names is the sum.
    below.name, scaled.name = f"{name}_below", f"{name}_scaled"
    return found.emit(Add(), x, scaled)


_SHORT = 1e-5
"""No vector is as short, but for those that hold nothing."""

RULES: tuple[Rule, ...] = (
    *linear_rules.RULES,
    Rule("scale_or_shift", node(linear_rules.ARITHMETIC, "x", Const("c"), commutative=True), _convolution),
)
"""From arithmetic on channels to convolutions, which take over what follows."""

MEANS: tuple[Rule, ...] = (
    Rule("mean_that_is_normalised", node(Reshape, node(GlobalAveragePool, "x")), _mean_that_is_normalised),
)
"""Heads of networks, for the accelerator."""


def _of_tokens(module: Module) -> tuple[Rule, ...]:
    """For what the accelerator has of maps alone, on the rows of products: those of signals are no channels."""
    pending: list[Op] = [op for op in module.main.ops if is_op(op, MatMul)]
    found = {*pending}
    while pending:
        op = pending.pop()
        values = [value for value in (*op.inputs, *op.results) if not isinstance(value, Constant)]
        near = {user for value in values for user in (value.producer, *value.users)} - found
        # Tokens may be rows and columns again before the last mean.
        beside = (each for op in near if is_op(op, Reshape) for each in (op.inputs[0].producer, *op.result.users))
        near |= {each for each in beside if is_op(each, ReduceMean)} - found
        pending += (each for each in near if is_op(each, Elementwise, ReduceMean, ReduceSum, *NORMS))
        found.update(pending)
    return _where(TOKENS, found.__contains__)


def _where(rules: tuple[Rule, ...], is_wanted: Callable[[Op], bool]) -> tuple[Rule, ...]:
    return tuple(replace(rule, pattern=replace(rule.pattern, where=is_wanted)) for rule in rules)


def _has_kernel(op: Op) -> bool:
    """Whether a mean can be a convolution of each channel."""
    _, channels, *extents = op.inputs[0].type.shape
    return math.prod(extents) > 1 and channels > 1 and max(extents) <= KERNEL_LIMIT


TOKENS: tuple[Rule, ...] = (
    Rule("factor_of_heads", node(Mul, node(MatMul, name="product"), Const("c"), commutative=True), _factor_of_heads),
    Rule("tokens_on_channels", node(linear_rules.ARITHMETIC, "x", Const("c"), commutative=True), _on_channels),
    Rule("mean_of_tokens", node((ReduceMean, ReduceSum), "x"), _mean_of_tokens),
    Rule("of_length_one", node(Div, "x", node(Clip, node(ReduceL2, "x", name="length"), name="bound")), _of_length_one),
)
"""Of tokens, wherever they are."""
