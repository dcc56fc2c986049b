"""Arithmetic with a number, as the importers of all formats emit it."""

from __future__ import annotations

import numpy as np

from ...ir.core import Value
from ...ir.ops.elementwise import Mul
from .builder import ModuleBuilder


def scaled(importer: ModuleBuilder, x: Value, factor: float) -> Value:
    """``x`` times a number."""
    return importer.emit_one(Mul(), x, importer.constant(np.array(factor, x.type.dtype.numpy), "factor"))
