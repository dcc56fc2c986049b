"""Samples of the family ``activation``."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from samples import Sample, random_array, samples_of

from operators.unary import ELEMENT_TYPES, FLOATS, OPERATORS, RANGES
from tilewright.ir.ops.activation import (
    Activation,
    Celu,
    Clip,
    Elu,
    HardSigmoid,
    LeakyRelu,
    PRelu,
    Relu,
    Selu,
    Sigmoid,
    Tanh,
    ThresholdedRelu,
)
from tilewright.ir.types import DType

RANGES[Activation] = (-7.0, 7.0)
ELEMENT_TYPES.update(
    {
        Relu: (DType.F32, DType.I32),
        Clip: (DType.F32, DType.I32, DType.I64, DType.U8, DType.F64),
        Sigmoid: FLOATS,
        Tanh: FLOATS,
    }
)
BOUNDS = ((0.0, 6.0), (-2.0, 3.0), (-math.inf, 1.0), (1.0, math.inf), (2.0, 1.0))
OPERATORS.update(
    {
        Clip: tuple(Clip(*bounds) for bounds in BOUNDS),
        LeakyRelu: (LeakyRelu(0.01), LeakyRelu(0.25)),
        ThresholdedRelu: (ThresholdedRelu(1.0), ThresholdedRelu(-0.5)),
        HardSigmoid: (HardSigmoid(0.2, 0.5), HardSigmoid(1 / 6, 0.5)),
        Elu: (Elu(1.0), Elu(0.5)),
        Selu: (Selu(1.6732632, 1.0507010), Selu(0.5, 2.0)),
        Celu: (Celu(1.0), Celu(2.5)),
    }
)


@samples_of(PRelu)
def prelu(cls: type[PRelu], rng: np.random.Generator) -> Iterator[Sample]:
    for shape in ((17, 1, 1), (1,), (5, 4), (2, 17, 5, 4)):
        arrays = random_array(rng, DType.F32, (2, 17, 5, 4)), random_array(rng, DType.F32, shape)
        yield Sample(cls(), arrays, frozenset({1}))
    yield Sample(cls(), (random_array(rng, DType.F32, (3, 7)), random_array(rng, DType.F32, (7,))))
