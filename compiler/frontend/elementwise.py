"""Arithmetic that takes more than one op, as the importers of all formats emit it."""

import numpy as np

from ...ir.core import Value
from ...ir.ops.activation import Sigmoid, Swish
from ...ir.ops.elementwise import Mod, Mul
from ...ir.ops.reduction import ReduceMean
from ...ir.ops.unary import Sqrt
from .builder import ModuleBuilder
from .expression import Expression


def scaled(importer: ModuleBuilder, x: Value, factor: float) -> Value:
    """``x`` times a number."""
    return importer.emit_one(Mul(), x, importer.constant(np.array(factor, x.type.dtype.numpy), "factor"))


def swish(importer: ModuleBuilder, x: Value, factor: float) -> Value:
    """``x`` * sigmoid(``factor`` * ``x``)"""
    if factor == 1:
        return importer.emit_one(Swish(), x)
    return importer.emit_one(Mul(), x, importer.emit_one(Sigmoid(), scaled(importer, x, factor)))


def floor_mod(importer: ModuleBuilder, x: Value, y: Value) -> Value:
    """The remainder of ``x`` / ``y`` that has the sign of ``y``."""
    return importer.emit_one(Mod(fmod=False), x, y)


def squared_difference(importer: ModuleBuilder, x: Value, y: Value) -> Value:
    """(``x`` - ``y``) ^ 2"""
    difference = Expression(importer, x) - y
    return (difference * difference).value


def centred(importer: ModuleBuilder, x: Value, axes: tuple[int, ...]) -> Value:
    """``x`` less its mean along axes."""
    return (x - Expression(importer, x).apply(ReduceMean(axes, keepdims=True))).value


def standardized(importer: ModuleBuilder, x: Value, axes: tuple[int, ...], epsilon: float, *, is_inside: bool) -> Value:
    """``x`` less its mean along axes, over the root of its variance.
    ``is_inside``: epsilon is added to the variance, else to its root."""
    difference = Expression(importer, centred(importer, x, axes))
    spread = (difference * difference).apply(ReduceMean(axes, keepdims=True))
    deviation = (spread + epsilon).apply(Sqrt()) if is_inside else spread.apply(Sqrt()) + epsilon
    return (difference / deviation).value
