"""Normalisation of a map, or of the sum of two, whole pixels at once."""

from dataclasses import replace

import numpy as np

from ....ir.core import Op, Value
from ....ir.feature_map import computed_map, is_of_images
from ....ir.ops.skip_normalization import SkipLayerNorm, standardization_of
from ....ir.quantized import is_wide, limits, parameters
from ....ir.tile.normalization import LoadNormalization, Normalize
from ....runtime.machines.machine import CHANNEL_BLOCK
from .chip_map import ChipMap
from .on_chip import chip_zero, on_chip
from .program import TileProgram


def lower_normalization(op: Op[SkipLayerNorm], program: TileProgram) -> None:
    """Images are rows where each pixel is by itself; otherwise tiles are whole images of some groups of channels."""
    (x, *_, skip, _), y, shape = op.operands, op.result.type, computed_map(op)
    by = standardization_of(op)
    low, high = (on_chip(y, bound) for bound in limits(y))
    wide = is_wide(x.type)
    zeros = (0, 0) if wide else (chip_zero(x), chip_zero(skip) if skip is not None else 0)
    ends = on_chip(y, parameters(y)[1]), low, high
    channels, of_images = shape.channels, is_of_images(op)
    group = channels // op.operator.groups if of_images else 0
    normalize = Normalize(*ends, *zeros, float(by.epsilon), op.operator.centred, wide, group)
    multipliers = [each.astype(np.int16) for each in by.multipliers]
    multipliers += [np.zeros_like(multipliers[0])] * (2 - len(multipliers))
    roles = "multiplier", "skip_multiplier", "gain", "offset"
    arrays = [*zip(roles, (*multipliers, by.gain, by.offset), strict=True)]
    loaded: dict[tuple[int | Value, ...], Value] = {}

    def parameters_of(first: int, count: int) -> Value:
        """Of channels, which are loaded once, and so are those of heads that are alike."""
        cluster = program.everywhere if count == channels else program.cluster
        constants = [program.constant(role, array[first : first + count]) for role, array in arrays]
        key = cluster, *constants
        if key not in loaded:
            loaded[key] = program.add(LoadNormalization(cluster), *constants)
        return loaded[key]

    *sources, target = program.maps(op, x, *([skip] if skip is not None else []))
    over = of_images and not wide and not any(isinstance(place, ChipMap) for place in (target, sources[0]))
    for box in program.tiles(op, shape):
        first, count = box.channels
        size = 2 * -(-count // CHANNEL_BLOCK) * CHANNEL_BLOCK if wide else count
        read = replace(box, channels=(2 * first if wide else first, size))
        x, *added = (program.load(source, read) for source in sources)
        added = [*added, None][:1]
        program.store(target, box, normalize, x, parameters_of(*box.channels), *added, *([x] if over else []))
