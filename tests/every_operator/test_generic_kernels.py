"""The generic kernels equal the reference on the samples of every operator.

numba compiles a function for each sample of many operators: those run each time that between them have every value of
an attribute, every element type on some operator of each family, and every two together as far as the same functions
serve. ``pytest -m sweep`` runs all.
"""

from __future__ import annotations

import pytest
from generic_kernels import assert_equals_reference, execution, of_family, the_op
from operator_samples import cases_of

from tilewright.codegen.cpu.tensors import has_real_meaning, is_plain
from tilewright.ir.op import REGISTRY

WITHOUT_KERNEL = {
    "attention": "only a pass makes it, of single precision",
    "skip_layer_norm": "only a pass makes it, of integers, with constant factors",
    "weight_only_matmul": "its kernels read weights in panels, which a pass makes",
    "interleave": "its one kernel moves elements of any size",
    "depth_to_space": "the same",
    "dynamic_quantize_linear": "its one kernel goes over all elements by vectors",
    "narrow_conv": "only a pass makes it, in blocked layouts, for processors with tiles",
    "narrow_matmul": "only a pass makes it, for processors with tiles",
}
"""Operators that have no generic kernel for some plain float or integer sample, and why."""


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
