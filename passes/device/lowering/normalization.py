"""Normalisation of a map, or of the sum of two, whole pixels at once."""

from __future__ import annotations

import numpy as np

from ....ir.core import Op
from ....ir.feature_map import computed_map
from ....ir.ops.skip_normalization import SkipLayerNorm, standardization_of
from ....ir.quantized import limits, parameters
from ....ir.tile.normalization import LoadNormalization, Normalize
from .on_chip import chip_zero, on_chip
from .program import TileProgram


def lower_normalization(op: Op[SkipLayerNorm], program: TileProgram) -> None:
    """Images are rows, as each pixel is by itself."""
    y, skip, shape = op.result.type, op.operands.skip, computed_map(op)
    by = standardization_of(op)
    low, high = (on_chip(y, bound) for bound in limits(y))
    zeros = chip_zero(op.operands.x), chip_zero(skip) if skip is not None else 0
    normalize = Normalize(on_chip(y, parameters(y)[1]), low, high, *zeros, float(by.epsilon), op.operator.centred)
    multipliers = [each.astype(np.int16) for each in by.multipliers]
    multipliers += [np.zeros_like(multipliers[0])] * (2 - len(multipliers))
    arrays = zip(("multiplier", "skip_multiplier", "gain", "offset"), (*multipliers, by.gain, by.offset), strict=True)
    constants = [program.constant(role, array) for role, array in arrays]
    loaded = program.add(LoadNormalization(program.everywhere), *constants)
    maps = [op.operands.x, *([skip] if skip is not None else [])]
    sources = [program.reshaped(program.map(value), shape) for value in maps]
    target = program.reshaped(program.map(op.result), shape)
    for box in program.tiles(op, shape):
        x, *added = (program.load(source, box) for source in sources)
        program.store(target, box, normalize, x, loaded, *added)
