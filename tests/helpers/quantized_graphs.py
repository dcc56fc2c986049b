"""Random small networks on quantised types, calibrated on random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from calibration_interpreter import collect_ranges, interpreter, quantize_with
from random_graphs import CONVOLUTIONAL, Maker, random_graph

from tilewright.compiler.calibration.sample_sets import RandomSet
from tilewright.compiler.pipeline import simplify_pipeline
from tilewright.ir.core import Module
from tilewright.passes.quantization.plan import plan_quantization


def random_quantized_graph(
    rng: np.random.Generator,
    *,
    groups: int = 10,
    activations: str = "i8",
    makers: Sequence[Maker] = CONVOLUTIONAL,
    images: int | None = None,
) -> Module:
    """A network of convolutions, pooling, products and sums on 8-bit types, with borders to floating point.

    Args:
        images: how many its inputs hold; 1 or 2 by default.
    """
    while True:
        module = random_graph(rng, groups=groups, makers=makers, images=images)
        simplify_pipeline().run(module)
        exact_sums, slopes = bool(rng.integers(2)), bool(rng.integers(2))
        values = plan_quantization(module.main, exact_sums=exact_sums, slopes=slopes).values
        if values:
            break
    types = {parameter.name: parameter.type for parameter in module.main.parameters}
    samples = RandomSet(types, 2, seed=int(rng.integers(1 << 30)))
    ranges = collect_ranges(interpreter(module, values), samples, values, method="minmax")
    quantize_with(ranges, activations, exact_sums=exact_sums, slopes=slopes).run(module)
    return module
