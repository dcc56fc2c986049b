"""Samples of the operators with what floats and attributes can hold at worst."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from samples import Sample

from tilewright.errors import TilewrightError
from tilewright.ir.op import Operator

ATTRIBUTES = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-20, 1e20, 3.4e38, -3.4e38, math.inf, -math.inf, math.nan)
POWERS = (1, 2, 3, 4, 5, 31, 1000, 2**31 - 1, 2**62)
"""For integer attributes called ``p``."""


ELEMENT_BY_ELEMENT = (
    "activation",
    "comparison",
    "elementwise",
    "indexing",
    "movement",
    "quantization",
    "shape",
    "unary",
)
"""Families whose results are not sums. What others add up must not leave the range of the dtype on the way, for then
the order of the additions decides between infinity, NaN and a number."""


def extremes(sample: Sample, dtype: np.dtype) -> np.ndarray:
    """What a float dtype holds beside ordinary numbers."""
    limits = np.finfo(dtype)
    finite = (0.0, limits.smallest_subnormal, limits.tiny, limits.eps, 1.0)
    if sample.operator.name == "reduce_prod":
        finite = (0.0, 1.0)
    elif sample.operator.family in ELEMENT_BY_ELEMENT:
        finite = (*finite, limits.max, float(limits.max) ** 0.6)
    else:
        # A power of two, of which any number adds up without rounding.
        finite = (*finite, 2.0 ** int(0.3 * np.log2(limits.max)))
    return np.array([math.nan, math.inf, -math.inf, *finite, *(-x for x in finite)]).astype(dtype)


def is_float(array: np.ndarray | None) -> bool:
    return array is not None and array.dtype.kind == "f" and array.size > 0


def with_extreme_inputs(sample: Sample, rng: np.random.Generator, count: int) -> Iterator[Sample]:
    """The sample with one extreme number in one operand, many in all of them, or one everywhere."""
    floats = [index for index, array in enumerate(sample.inputs) if is_float(array)]
    if sample.operator.family == "convolution":
        floats = [0]  # weights times padding: whether 0 * infinity counts there, engines decide
    if not floats or sample.types is not None:
        return
    for number in range(count):
        inputs = list(sample.inputs)
        for index in floats if number % 3 else [int(rng.choice(floats))]:
            before = inputs[index]
            assert before is not None
            array = before.copy().reshape(-1)
            special = extremes(sample, array.dtype)
            if number % 3 == 0:
                array[rng.integers(array.size)] = rng.choice(special)
            elif number % 3 == 1:
                chosen = rng.random(array.size) < rng.choice([0.05, 0.3, 1])
                array[chosen] = rng.choice(special, np.count_nonzero(chosen))
            else:
                array[:] = rng.choice(special)
            inputs[index] = array.reshape(before.shape)
        yield dataclasses.replace(sample, inputs=tuple(inputs))


def with_extreme_integers(sample: Sample, rng: np.random.Generator, count: int) -> Iterator[Sample]:
    """The sample with one number in one integer operand that no index, length or count would be: so many for each, and
    the first indices beyond both ends of a dimension."""
    extents = [extent for array in sample.inputs if array is not None for extent in array.shape]
    for index, before in enumerate(sample.inputs):
        if before is None or not before.size or before.dtype.kind not in "iu" or index in sample.constants:
            continue
        limits = np.iinfo(before.dtype)
        odd = [number for number in (limits.min, -1, 1000, limits.max) if limits.min <= number <= limits.max]
        extent = int(rng.choice(extents or [0]))
        beyond = [number for number in (extent, -extent - 1) if limits.min <= number <= limits.max]
        for number in (*rng.choice(odd, min(count, len(odd)), replace=False), *beyond):
            array = before.copy().reshape(-1)
            array[rng.integers(array.size)] = number
            inputs = (*sample.inputs[:index], array.reshape(before.shape), *sample.inputs[index + 1 :])
            yield dataclasses.replace(sample, inputs=inputs)


def with_extreme_attributes(sample: Sample, rng: np.random.Generator, count: int) -> Iterator[Sample]:
    """The sample with other numbers in its float attributes, and in its power, as far as its operator takes them."""
    fields = [
        field.name
        for field in dataclasses.fields(sample.operator)
        if isinstance(getattr(sample.operator, field.name), float)
        or (field.name == "p" and isinstance(getattr(sample.operator, field.name), int))
    ]
    if not fields:
        return
    for number in range(count):
        chosen = fields if number % 3 == 2 else [str(rng.choice(fields))]
        values = {name: rng.choice(POWERS).item() if name == "p" else float(rng.choice(ATTRIBUTES)) for name in chosen}
        try:
            operator: Operator = dataclasses.replace(sample.operator, **values)
            operator.result_types(sample.operand_types())
        except TilewrightError:
            continue
        yield dataclasses.replace(sample, operator=operator)
