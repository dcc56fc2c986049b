"""Normalisation of a map, or of the sum of two, whole pixels at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ....ir.core import Op
from ....ir.feature_map import computed_map, map_shape
from ....ir.ops.skip_normalization import SkipLayerNorm, standardization_of
from ....ir.quantized import is_wide, limits, parameters
from ....ir.tile.normalization import LoadNormalization, Normalize
from .on_chip import chip_zero, on_chip
from .program import TileProgram


def lower_normalization(op: Op[SkipLayerNorm], program: TileProgram) -> None:
    """Images are rows, as each pixel is by itself."""
    y, skip, shape = op.result.type, op.operands.skip, computed_map(op)
    by = standardization_of(op)
    low, high = (on_chip(y, bound) for bound in limits(y))
    wide = is_wide(op.operands.x.type)
    zeros = (0, 0) if wide else (chip_zero(op.operands.x), chip_zero(skip) if skip is not None else 0)
    ends = on_chip(y, parameters(y)[1]), low, high
    normalize = Normalize(*ends, *zeros, float(by.epsilon), op.operator.centred, wide)
    multipliers = [each.astype(np.int16) for each in by.multipliers]
    multipliers += [np.zeros_like(multipliers[0])] * (2 - len(multipliers))
    arrays = zip(("multiplier", "skip_multiplier", "gain", "offset"), (*multipliers, by.gain, by.offset), strict=True)
    constants = [program.constant(role, array) for role, array in arrays]
    loaded = program.add(LoadNormalization(program.everywhere), *constants)
    maps = [op.operands.x, *([skip] if skip is not None else [])]
    channels = map_shape(op.operands.x.type).channels
    sources = [program.reshaped(program.map(value), shape._replace(channels=channels)) for value in maps]
    target = program.reshaped(program.map(op.result), shape)
    for box in program.tiles(op, shape):
        read = replace(box, channels=(0, channels))
        x, *added = (program.load(source, read) for source in sources)
        program.store(target, box, normalize, x, loaded, *added)
