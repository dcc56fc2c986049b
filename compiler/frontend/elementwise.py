"""Arithmetic that takes more than one op, as the importers of all formats emit it."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.ops.elementwise import Div, Mod, Mul, Sub
from ...ir.ops.unary import Floor
from .builder import ModuleBuilder


def scaled(importer: ModuleBuilder, x: Value, factor: float) -> Value:
    """``x`` times a number."""
    return importer.emit_one(Mul(), x, importer.constant(np.array(factor, x.type.dtype.numpy), "factor"))


def floor_mod(importer: ModuleBuilder, x: Value, y: Value) -> Value:
    """The remainder of ``x`` / ``y`` that has the sign of ``y``."""
    if x.type.dtype.is_integer:
        return importer.emit_one(Mod(fmod=False), x, y)
    whole = importer.emit_one(Floor(), importer.emit_one(Div(), x, y))
    return importer.emit_one(Sub(), x, importer.emit_one(Mul(), whole, y))


def squared_difference(importer: ModuleBuilder, x: Value, y: Value) -> Value:
    """(``x`` - ``y``) ^ 2"""
    difference = importer.emit_one(Sub(), x, y)
    return importer.emit_one(Mul(), difference, difference)
