"""Rules over normalisations: known statistics become arithmetic, arithmetic that spells one is recognised."""

from collections.abc import Iterator

import numpy as np

from ...ir.core import Constant, Value, is_op
from ...ir.op import Operator
from ...ir.ops.elementwise import Add, Div, Mul, Pow, Sub
from ...ir.ops.movement import Transpose
from ...ir.ops.normalization import BatchNorm, GroupNorm, LayerNorm, RmsNorm
from ...ir.ops.pooling import GlobalAveragePool
from ...ir.ops.reduction import ReduceMean
from ...ir.ops.shape import Reshape
from ...ir.ops.unary import Sqrt
from ..pattern import Const, Match, Operand, OpPattern, Rewrite, Rule, node, scalar

_MEANS = (ReduceMean, GlobalAveragePool)


def _batch_norm(found: Match[BatchNorm]) -> Value | None:
    """Factor and summand for each channel, so that neighbours can take them over."""
    operator = found.root.operator
    scale, b, mean, var = (found.constant(name).array.astype(np.float64) for name in ("scale", "b", "mean", "var"))
    dtype = found.constant("scale").array.dtype
    factor = scale / np.sqrt(var + operator.epsilon)
    summand = b - mean * factor
    if not (np.isfinite(factor).all() and np.isfinite(summand).all()):
        return None
    x = found["x"]
    shape = (-1, *[1] * (x.type.rank - 2))
    name = found.root.result.name
    scaled = found.emit(Mul(), x, found.add_constant(f"{name}_scale", factor.astype(dtype).reshape(shape)))
    return found.emit(Add(), scaled, found.add_constant(f"{name}_shift", summand.astype(dtype).reshape(shape)))


def _normalized_order(found: Match, *reductions: str) -> tuple[int, tuple[int, ...]] | None:
    """How many dimensions all these means run over, and the order that brings them to the end, where all others keep
    theirs: the last ones, or channels that are followed by more."""
    rank = found["x"].type.rank
    pooled = ReduceMean(tuple(range(2, rank)), keepdims=True)
    means = [found.op(name, *_MEANS).operator for name in reductions]
    means = [mean if isinstance(mean, ReduceMean) else pooled for mean in means]
    axes = means[0].axes
    is_known = axes == (1,) or axes == tuple(range(rank - len(axes), rank))
    if not axes or not is_known or any(mean.axes != axes or not mean.keepdims for mean in means):
        return None
    return len(axes), (*(axis for axis in range(rank) if axis not in axes), *axes)


def _norm(operator: type[LayerNorm | RmsNorm], *reductions: str) -> Rewrite:
    def rewrite(found: Match) -> Value | None:
        order, epsilon, x = _normalized_order(found, *reductions), found.constant("epsilon").array, found["x"]
        if order is None or epsilon.size != 1 or not x.type.dtype.is_float:
            return None
        (count, perm), rank = order, x.type.rank
        behind = [value for user in found.root.result.users if is_op(user, Mul, Add) for value in user.inputs]
        # A factor for each pixel is one that a normalisation of layers has.
        is_of_pixels = any(
            isinstance(value, Constant) and max(value.type.shape[-2:], default=1) > 1 for value in behind
        )
        if operator is LayerNorm and rank > 3 and rank - count in (1, 2) and not is_of_pixels:
            ones = np.ones(1 if count == rank - 1 else x.type.shape[1], x.type.dtype.numpy)
            return _of_channels(found, x, float(epsilon.reshape(-1)[0]), ones, 0 * ones)
        is_turned = perm != tuple(range(rank))
        rows = found.emit(Transpose(perm), x) if is_turned else x
        ones = np.ones(rows.type.shape[rank - count :], x.type.dtype.numpy)
        scale = found.add_constant(f"{found.root.result.name}_scale", ones)
        norm = found.emit(operator(rank - count, float(epsilon.reshape(-1)[0])), rows, scale)
        return found.emit(Transpose(_inverse(perm)), norm) if is_turned else norm

    return rewrite


def _of_channels(found: Match, x: Value, epsilon: float, scale: np.ndarray, b: np.ndarray) -> Value:
    """Groups of channels standardised with all pixels of an image, times a factor, plus a summand for each group."""
    channels, groups, name = x.type.shape[1], max(len(scale), 1), found.root.result.name
    numbers = (("scale", scale), ("b", b))
    operands = [found.add_constant(f"{name}_{role}", each.repeat(channels // groups)) for role, each in numbers]
    return found.emit(GroupNorm(groups, epsilon), x, *operands)


def _group_norm(found: Match) -> Value | None:
    """Groups of channels that were made channels, and channels again."""
    norm, x, y = found.op("norm", GroupNorm), found["x"], found.root.result.type
    images, groups = norm.result.type.shape[:2]
    is_whole = norm.operator.groups == groups and y.rank > 2 and images == y.shape[0] and not y.shape[1] % groups
    if not is_whole or (x.type.shape != y.shape and groups == y.shape[1]):
        return None
    x = found.emit(Reshape(y.shape), x) if x.type.shape != y.shape else x
    return _of_channels(found, x, norm.operator.epsilon, found.constant("scale").array, found.constant("b").array)


def _standardized(centred: Operand) -> Iterator[OpPattern]:
    """Every way to divide something by the root of the mean of its square."""
    for square in (node(Mul, centred, centred), node(Pow, centred, scalar(2.0))):
        variance = node(Add, node(_MEANS, square, name="variance"), Const("epsilon"), commutative=True)
        yield node(Div, centred, node(Sqrt, variance))
        yield node(Div, centred, node(Pow, variance, scalar(0.5)))
        yield node(Mul, centred, node(Div, scalar(1.0), node(Sqrt, variance)), commutative=True)
        yield node(Mul, centred, node(Pow, variance, scalar(-0.5)), commutative=True)


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(map(perm.index, range(len(perm))))


def _as_before(found: Match, norm: Value) -> Value:
    """A normalisation in the order of dimensions that it was brought to."""
    moved = found.ops[1].operator
    return found.emit(moved, norm) if isinstance(moved, Transpose) else norm


def _parameter(found: Match) -> np.ndarray | None:
    """Constant ``c`` spread over the normalised dimensions; ``None`` if it varies along others."""
    norm = found.op("norm", *_NORMS)
    y, array, moved = norm.result.type, found.constant("c").array, found.ops[1].operator
    if found.root.result.type.shape != found.ops[1].result.type.shape:
        return None
    if not is_op(norm, LayerNorm, RmsNorm):
        aligned = (1,) * (y.rank - array.ndim) + array.shape
        is_fitting = array.size == 1 or aligned == (1, y.shape[1], *(1,) * (y.rank - 2))
        return np.broadcast_to(array.reshape(-1), y.shape[1:2]) if is_fitting and moved == norm.operator else None
    shape = y.shape[norm.operator.axis :]
    if isinstance(moved, Transpose):
        array = array.reshape((1,) * (len(moved.perm) - array.ndim) + array.shape).transpose(_inverse(moved.perm))
    extra = max(array.ndim - len(shape), 0)
    return np.broadcast_to(array.reshape(array.shape[extra:]), shape) if set(array.shape[:extra]) <= {1} else None


def _norm_times(found: Match) -> Value | None:
    norm = found.op("norm", *_NORMS)
    factor = _parameter(found)
    parameters = [value for value in norm.inputs[1:] if isinstance(value, Constant)]
    if factor is None or len(parameters) != len(norm.inputs) - 1:
        return None
    scaled = [found.add_constant(value.name, value.array * factor) for value in parameters]
    return _as_before(found, found.emit(norm.operator, norm.inputs[0], *scaled))


def _norm_plus(found: Match) -> Value | None:
    norm = found.op("norm", *_WITH_SUMMAND)
    x, scale, b = norm.operands
    summand = _parameter(found)
    if summand is None or (b is not None and not isinstance(b, Constant)):
        return None
    name = b.name if b is not None else f"{found.root.result.name}_bias"
    total = summand if b is None else b.array + summand
    return _as_before(found, found.emit(norm.operator, x, scale, found.add_constant(name, total)))


def _in_any_order(operator: type[Operator] | tuple[type[Operator], ...]) -> Iterator[OpPattern]:
    """A normalisation, and one of channels that were brought back to their place."""
    norm = node(operator, name="norm")
    yield from (norm, node(Transpose, norm))


_WITH_SUMMAND = (LayerNorm, GroupNorm)
_NORMS = (RmsNorm, *_WITH_SUMMAND)
_mean = node(_MEANS, "x", name="mean")
_centred = node(Sub, "x", _mean, name="centred", single_use=False)

RULES: tuple[Rule, ...] = (
    Rule(
        "batch_norm_as_arithmetic",
        node(BatchNorm, "x", Const("scale"), Const("b"), Const("mean"), Const("var")),
        _batch_norm,
    ),
    *(Rule("layer_norm", pattern, _norm(LayerNorm, "mean", "variance")) for pattern in _standardized(_centred)),
    *(Rule("rms_norm", pattern, _norm(RmsNorm, "variance")) for pattern in _standardized("x")),
    *(
        Rule("norm_times_constant", node(Mul, norm, Const("c"), commutative=True), _norm_times)
        for norm in _in_any_order(_NORMS)
    ),
    *(
        Rule("norm_plus_constant", node(Add, norm, Const("c"), commutative=True), _norm_plus)
        for norm in _in_any_order(_WITH_SUMMAND)
    ),
    Rule(
        "group_norm",
        node(Reshape, node(GroupNorm, node(Reshape, "x"), Const("scale"), Const("b"), name="norm")),
        _group_norm,
    ),
)
"""Batch normalisation as arithmetic; layer and root-mean-square normalisation from arithmetic."""
