"""Arithmetic that takes more than one op, as the importers of all formats emit it."""

import numpy as np

from ...ir.core import Value
from ...ir.ops.elementwise import Add, Div, Mod, Mul, Sub
from ...ir.ops.reduction import ReduceMean
from ...ir.ops.unary import Sqrt
from .builder import ModuleBuilder


def scaled(importer: ModuleBuilder, x: Value, factor: float) -> Value:
    """``x`` times a number."""
    return importer.emit_one(Mul(), x, importer.constant(np.array(factor, x.type.dtype.numpy), "factor"))


def running_mean(importer: ModuleBuilder, old: Value, new: Value, share: float) -> Value:
    """The mean of two tensors, of which ``share`` is the weight of the old one."""
    return importer.emit_one(Add(), scaled(importer, old, share), scaled(importer, new, 1 - share))


def floor_mod(importer: ModuleBuilder, x: Value, y: Value) -> Value:
    """The remainder of ``x`` / ``y`` that has the sign of ``y``."""
    return importer.emit_one(Mod(fmod=False), x, y)


def squared_difference(importer: ModuleBuilder, x: Value, y: Value) -> Value:
    """(``x`` - ``y``) ^ 2"""
    difference = importer.emit_one(Sub(), x, y)
    return importer.emit_one(Mul(), difference, difference)


def centred(importer: ModuleBuilder, x: Value, axes: tuple[int, ...]) -> Value:
    """``x`` less its mean along axes."""
    return importer.emit_one(Sub(), x, importer.emit_one(ReduceMean(axes, keepdims=True), x))


def standardized(importer: ModuleBuilder, x: Value, axes: tuple[int, ...], epsilon: float, *, is_inside: bool) -> Value:
    """``x`` less its mean along axes, over the root of its variance.
    ``is_inside``: epsilon is added to the variance, else to its root."""
    difference, small = centred(importer, x, axes), importer.constant(np.array(epsilon, x.type.dtype.numpy), "epsilon")
    spread = importer.emit_one(ReduceMean(axes, keepdims=True), importer.emit_one(Mul(), difference, difference))
    if is_inside:
        deviation = importer.emit_one(Sqrt(), importer.emit_one(Add(), spread, small))
    else:
        deviation = importer.emit_one(Add(), importer.emit_one(Sqrt(), spread), small)
    return importer.emit_one(Div(), difference, deviation)
