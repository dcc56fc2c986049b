"""The generic kernels equal the reference on the samples of every operator.

numba compiles a function for each sample of many operators: those run each time that between them have every value of
an attribute, every element type on some operator of each family, and every two together as far as the same functions
serve. ``pytest -m sweep`` runs all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache

import pytest
from generic_kernels import assert_equals_reference, execution, function_of, the_op
from operator_samples import Case, cases_of

from tilewright.codegen.cpu.tensors import has_real_meaning, is_plain
from tilewright.ir.op import REGISTRY

WITHOUT_KERNEL = {
    "attention": "only a pass makes it, of single precision",
    "skip_layer_norm": "only a pass makes it, of integers, with constant factors",
    "weight_only_matmul": "its kernels read weights in panels, which a pass makes",
    "interleave": "its one kernel moves elements of any size",
    "depth_to_space": "the same",
    "narrow_conv": "only a pass makes it, in blocked layouts, for processors with tiles",
    "narrow_matmul": "only a pass makes it, for processors with tiles",
}
"""Operators that have no generic kernel for some plain float or integer sample, and why."""


@cache
def of_family(family: str) -> dict[str, list[Case]]:
    """What is chosen of each of its operators. They share what computes with element types: each is met once."""
    met: set[object] = set()
    return {name: [*chosen(cases_of(name), met)] for name, cls in REGISTRY.items() if cls.family == family}


def chosen(cases: Iterable[Case], types: set[object]) -> Iterator[Case]:
    """Cases that between them have every rank and value of an attribute, and what element types are not yet among
    ``types``, to which theirs are added; those first that bring most of it for what is left to compile; and of those
    for whose functions nothing is left the ones that have types, or two of all that together, anew."""
    left: dict[str, tuple[Case, object, set[object], set[object]]] = {}
    for case in cases:
        op = the_op(case)
        values = [(name, repr(value)) for name, value in sorted(asdict(op.operator).items())]
        own = [(f"operand {index}", value.type.dtype.value) for index, value in enumerate(op.inputs)]
        single = {*values, *((index, value.type.rank) for index, value in enumerate(op.inputs)), *own} - types
        values += own
        found = {*single, tuple(str(value.type) for value in op.inputs), *itertools.combinations(values, 2)}
        left[case.name] = case, function_of(case), single, found
    met: set[object] = set()
    compiled: set[object] = {()}
    while left:
        # To compile a function takes some thirty times as long as to run a case.
        name = max(left, key=lambda each: len(left[each][2] - met) * (30 if left[each][1] in compiled else 1))
        case, function, single, found = left[name]
        if single <= met:
            break
        yield case
        compiled.add(function)
        met |= found
        types.update((f"operand {index}", value.type.dtype.value) for index, value in enumerate(the_op(case).inputs))
        del left[name]
    for case, function, _, found in left.values():
        if function in compiled and not found <= met:
            yield case
            met |= found


@pytest.mark.sweep
@pytest.mark.parametrize("name", REGISTRY)
def test_all_samples(name: str) -> None:
    assert_equals_reference([*cases_of(name)])


@pytest.mark.parametrize("name", REGISTRY)
def test_kernels_equal_the_reference(name: str) -> None:
    cases = of_family(REGISTRY[name].family)[name]
    assert_equals_reference(cases)
    plain = [case for case in cases if is_plain(the_op(case)) and has_real_meaning(the_op(case))]
    missing = [case.name for case in plain if execution(case) is None]
    assert not missing or name in WITHOUT_KERNEL
