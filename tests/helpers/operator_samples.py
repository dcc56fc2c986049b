"""Modules made from the samples of the operator registry, shared by the tests of every executor."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import operators
from samples import MAKERS, Sample, nearest

from tilewright.ir import ops  # noqa: F401  # pyright: ignore[reportUnusedImport]  # fills the registry
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.op import REGISTRY, Operator

for _family in pkgutil.iter_modules(operators.__path__):
    importlib.import_module(f"{operators.__name__}.{_family.name}")


def samples(cls: type[Operator], rng: np.random.Generator) -> Iterator[Sample]:
    """The samples of a class of operators."""
    return nearest(MAKERS, cls)(cls, rng)


@dataclass(frozen=True)
class Case:
    """A sample as a module of one op, with the inputs to run it on."""

    name: str
    sample: Sample
    module: Module
    inputs: dict[str, np.ndarray]


def make_case(name: str, sample: Sample) -> Case:
    module = Module("sample")
    function = module.add_function(Function("main"))
    operands: list[Value | None] = []
    inputs: dict[str, np.ndarray] = {}
    for index, (array, type) in enumerate(zip(sample.inputs, sample.operand_types(), strict=True)):
        if array is None or type is None:
            operands.append(None)
        elif index in sample.constants:
            operands.append(module.add_constant(f"c{index}", array, type))
        else:
            operands.append(function.add_parameter(f"x{index}", type))
            inputs[f"x{index}"] = array
    op = function.append(sample.operator, operands, sample.result_types, names=["y"], loc=[name])
    function.set_results(op.results)
    return Case(name, sample, module, inputs)


def operator_of(case: Case) -> str:
    """Name of the operator that a case is a sample of."""
    return case.sample.operator.name


@cache
def _samples_of(name: str) -> tuple[Sample, ...]:
    return tuple(samples(REGISTRY[name], np.random.default_rng(7)))


def cases_of(name: str) -> Iterator[Case]:
    """Every sample of an operator, the same in each call, in modules of their own."""
    for index, sample in enumerate(_samples_of(name)):
        yield make_case(f"{name}-{index}", sample)


def all_cases() -> Iterator[Case]:
    """Every sample of every registered operator."""
    return itertools.chain.from_iterable(map(cases_of, REGISTRY))
