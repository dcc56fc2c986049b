"""Numbers that make no sense as attributes: inference refuses them, or the operator means something with them.

Kernels are generated from attributes without a further look, also from the text of artifacts that anybody may have
written. What inference lets through must therefore be sound: the reference computes it, in the shape that was inferred.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from operator_samples import samples
from samples import Sample

from tilewright.errors import TilewrightError
from tilewright.ir import ops
from tilewright.ir.op import REGISTRY, Operator
from tilewright.ir.types import TensorType

assert ops, "importing them fills the registry"

ODD = (-7, -1, 0, 5, 1000)
LARGE = 10**6
"""Elements of results that are not computed."""


def odd_values(value: object) -> Iterator[object]:
    """What an attribute of this value is changed to."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield from ODD
    elif isinstance(value, tuple) and value and all(type(number) is int for number in value):
        yield value[:-1]
        yield (*value, 1)
        for place in range(len(value)):
            yield from ((*value[:place], odd, *value[place + 1 :]) for odd in ODD)


def odd_operators(operator: Operator) -> Iterator[Operator]:
    for field in dataclasses.fields(operator):  # pyright: ignore[reportArgumentType]
        for value in odd_values(getattr(operator, field.name)):
            yield dataclasses.replace(operator, **{field.name: value})  # pyright: ignore[reportArgumentType]


def operand_types(sample: Sample) -> list[TensorType | None]:
    given = sample.types or (None,) * len(sample.inputs)
    return [
        None if array is None else type or TensorType.of(array)
        for array, type in zip(sample.inputs, given, strict=True)
    ]


@pytest.mark.parametrize("name", sorted(REGISTRY))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_odd_attributes(name: str, rng: np.random.Generator) -> None:
    for sample in islice(samples(REGISTRY[name], rng), 6):
        types = operand_types(sample)
        for operator in odd_operators(sample.operator):
            try:
                results = operator.result_types(types)
                if max(type.elements for type in results) <= LARGE:
                    found = operator.evaluate(sample.inputs, types, results)
                    assert [array.shape for array in found] == [type.shape for type in results], operator
            except TilewrightError:
                continue
