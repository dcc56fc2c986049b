"""Samples of the family ``skip_normalization``."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from samples import Sample, quantized_type, random_array, samples_of, stored_array

from tilewright.ir.ops.skip_normalization import SkipLayerNorm
from tilewright.ir.types import DType, TensorType

CONSTANTS = frozenset({1, 2, 3, 5})


@samples_of(SkipLayerNorm)
def skip_layer_norm(cls: type[SkipLayerNorm], rng: np.random.Generator) -> Iterator[Sample]:
    def numbers(channels: int, low: float, high: float) -> np.ndarray:
        return random_array(rng, DType.F32, (channels,), low, high)

    for shape, axis, centred, is_sum, groups, by_pixel in (
        ((2, 5, 17), 2, True, True, 0, False),
        ((3, 20), 1, True, False, 0, False),
        ((4, 33), 1, False, True, 0, False),
        ((1, 16, 3, 5), 1, True, True, 0, False),
        ((6, 3, 1, 1), 1, False, False, 0, False),
        ((2, 12, 3, 5), 1, True, True, 4, False),
        ((2, 12, 3, 5), 1, False, True, 4, True),
        ((1, 5, 7), 1, True, False, 5, False),
        ((2, 6, 2, 3, 2), 1, True, False, 1, False),
    ):
        channels = shape[axis]
        factor, scale, b = numbers(channels, 0.2, 2), numbers(channels, -2, 2), numbers(channels, -1, 1)
        skip_factor = numbers(channels, -2, 2) if is_sum else None
        real = [random_array(rng, DType.F32, shape) if given else None for given in (True, is_sum)]
        operator = cls(axis, 1e-5, centred, groups, by_pixel)
        yield Sample(operator, (real[0], factor, scale, b, real[1], skip_factor), CONSTANTS)
        for dtype in (DType.I8, DType.U8):
            least = int(np.iinfo(dtype.numpy).min)
            x, skip, y = (
                quantized_type(dtype, shape, float(rng.uniform(0.01, 0.1)), least + int(rng.integers(256)))
                for _ in range(3)
            )
            stored = [stored_array(rng, dtype, shape) if given else None for given in (True, is_sum)]
            known = factor, scale, b, skip_factor
            of_known = [TensorType.of(array) if array is not None else None for array in known]
            types = (x, *of_known[:3], skip if is_sum else None, of_known[3])
            yield Sample(operator, (stored[0], *known[:3], stored[1], known[3]), CONSTANTS, types, (y,))
