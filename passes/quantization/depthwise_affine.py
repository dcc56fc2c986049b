"""Scaling and shifting of channels as depthwise convolution, which has a quantised form with a scale per channel."""

from __future__ import annotations

import numpy as np

from ...ir.core import Constant, Module, Value
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Mul, Sub
from ...ir.types import DType
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..pattern import Const, Driver, Match, Rule, node
from ..simplify import linear_rules


class DepthwiseAffine(Pass):
    """Replaces ``x * c``, ``x + d`` and ``x * c + d`` by a convolution of 1x1 kernels, one for each channel.

    x is [N, C, *spatial] and the constants have one number for each channel. Such arithmetic is what is left of a
    batch normalisation that no convolution could take over. As an elementwise op on 8-bit tensors its constants would
    share one scale, which costs accuracy; as a convolution each channel has its own.

    What follows goes into the same convolution, as where a normalisation and a scale with its own names are two layers.
    Comes before calibration: the values that are calibrated are those of the convolutions.
    """

    requires = (PLAIN, UNPLANNED)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(RULES).run(module, record)


def _channels(x: Value, constant: Value) -> np.ndarray | None:
    """A constant as one number for each channel of x, ``None`` if it is none such."""
    rank = x.type.rank
    if rank < 3 or x.type.dtype is not DType.F32 or isinstance(x, Constant) or x.type.shape[1] < 2:
        return None
    if not isinstance(constant, Constant) or not np.isfinite(constant.array).all():
        return None
    shape = (1,) * (rank - constant.type.rank) + constant.type.shape
    return constant.array.reshape(-1) if shape == (1, x.type.shape[1], *[1] * (rank - 2)) else None


def _convolution(found: Match, factor: np.ndarray, summand: np.ndarray | None) -> Value:
    x = found["x"]
    spatial = x.type.rank - 2
    name = found.root.result.name
    w = found.add_constant(f"{name}_scale", factor.astype(np.float32).reshape(-1, 1, *[1] * spatial))
    b = found.add_constant(f"{name}_shift", summand.astype(np.float32)) if summand is not None else None
    ones = (1,) * spatial
    return found.emit(Conv(ones, (0,) * 2 * spatial, ones, x.type.shape[1]), x, w, b)


def _scale(found: Match) -> Value | None:
    factor = _channels(found["x"], found["c"])
    return _convolution(found, factor, None) if factor is not None else None


def _shift(found: Match) -> Value | None:
    summand = _channels(found["x"], found["d"])
    if summand is None:
        return None
    return _convolution(found, np.ones(summand.shape), -summand if isinstance(found.root.operator, Sub) else summand)


RULES: tuple[Rule, ...] = (
    *linear_rules.RULES,
    Rule("scale", node(Mul, "x", Const("c"), commutative=True), _scale),
    Rule("shift", node(Add, "x", Const("d"), commutative=True), _shift),
    Rule("shift", node(Sub, "x", Const("d")), _shift),
)
"""From arithmetic on channels to convolutions, which take over what follows."""
