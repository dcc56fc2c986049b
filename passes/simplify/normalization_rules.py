"""Rules over normalisations: known statistics become arithmetic, arithmetic that spells one is recognised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...ir.core import Constant, Value
from ...ir.ops.elementwise import Add, Div, Mul, Pow, Sub
from ...ir.ops.normalization import BatchNorm, LayerNorm, RmsNorm
from ...ir.ops.reduction import ReduceMean
from ...ir.ops.unary import Sqrt
from ..pattern import Const, Match, Operand, OpPattern, Rewrite, Rule, node, scalar


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


def _trailing_axis(found: Match, *reductions: str) -> int | None:
    """First of the dimensions up to the last that all these means run over, if that is what they do."""
    rank = found["x"].type.rank
    means = [found.op(name, ReduceMean).operator for name in reductions]
    axes = {mean.axes for mean in means}
    first = min(next(iter(axes)), default=rank)
    keeps = all(mean.keepdims for mean in means)
    return first if keeps and axes == {tuple(range(first, rank))} and first < rank else None


def _norm(operator: type[LayerNorm | RmsNorm], *reductions: str) -> Rewrite:
    def rewrite(found: Match) -> Value | None:
        axis, epsilon, x = _trailing_axis(found, *reductions), found.constant("epsilon").array, found["x"]
        if axis is None or epsilon.size != 1 or not x.type.dtype.is_float:
            return None
        ones = np.ones(x.type.shape[axis:], x.type.dtype.numpy)
        scale = found.add_constant(f"{found.root.result.name}_scale", ones)
        return found.emit(operator(axis, float(epsilon.reshape(-1)[0])), x, scale)

    return rewrite


def _standardized(centred: Operand) -> Iterator[OpPattern]:
    """Every way to divide something by the root of the mean of its square."""
    for square in (node(Mul, centred, centred), node(Pow, centred, scalar(2.0))):
        variance = node(Add, node(ReduceMean, square, name="variance"), Const("epsilon"), commutative=True)
        yield node(Div, centred, node(Sqrt, variance))
        yield node(Div, centred, node(Pow, variance, scalar(0.5)))
        yield node(Mul, centred, node(Pow, variance, scalar(-0.5)), commutative=True)


def _parameter(found: Match) -> np.ndarray | None:
    """Constant ``c`` spread over the normalised dimensions; ``None`` if it varies along others."""
    norm = found.op("norm", LayerNorm, RmsNorm)
    shape = norm.result.type.shape[norm.operator.axis :]
    array = found.constant("c").array
    extra = array.ndim - len(shape)
    if array.ndim > norm.result.type.rank or (extra > 0 and set(array.shape[:extra]) != {1}):
        return None
    return np.broadcast_to(array.reshape(array.shape[max(extra, 0) :]), shape)


def _norm_times(found: Match) -> Value | None:
    norm = found.op("norm", LayerNorm, RmsNorm)
    factor = _parameter(found)
    parameters = [value for value in norm.inputs[1:] if isinstance(value, Constant)]
    if factor is None or len(parameters) != len(norm.inputs) - 1:
        return None
    scaled = [found.add_constant(value.name, value.array * factor) for value in parameters]
    return found.emit(norm.operator, norm.operands.x, *scaled)


def _norm_plus(found: Match) -> Value | None:
    norm = found.op("norm", LayerNorm)
    x, scale, b = norm.operands
    summand = _parameter(found)
    if summand is None or (b is not None and not isinstance(b, Constant)):
        return None
    name = b.name if b is not None else f"{found.root.result.name}_bias"
    total = summand if b is None else b.array + summand
    return found.emit(norm.operator, x, scale, found.add_constant(name, total))


_mean = node(ReduceMean, "x", name="mean")
_centred = node(Sub, "x", _mean, name="centred", single_use=False)

RULES: tuple[Rule, ...] = (
    Rule(
        "batch_norm_as_arithmetic",
        node(BatchNorm, "x", Const("scale"), Const("b"), Const("mean"), Const("var")),
        _batch_norm,
    ),
    *(Rule("layer_norm", pattern, _norm(LayerNorm, "mean", "variance")) for pattern in _standardized(_centred)),
    *(Rule("rms_norm", pattern, _norm(RmsNorm, "variance")) for pattern in _standardized("x")),
    Rule(
        "norm_times_constant",
        node(Mul, node((LayerNorm, RmsNorm), name="norm"), Const("c"), commutative=True),
        _norm_times,
    ),
    Rule("norm_plus_constant", node(Add, node(LayerNorm, name="norm"), Const("c"), commutative=True), _norm_plus),
)
"""Batch normalisation as arithmetic; layer and root-mean-square normalisation from arithmetic."""
