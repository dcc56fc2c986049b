"""The generic kernels equal the reference on the samples of every operator."""

from __future__ import annotations

import pytest
from generic_kernels import assert_equals_reference, execution, the_op
from operator_samples import cases_of

from tilewright.codegen.cpu.tensors import has_real_meaning, is_plain
from tilewright.ir.op import REGISTRY

WITHOUT_KERNEL = {
    "attention": "only a pass makes it, of single precision",
    "skip_layer_norm": "only a pass makes it, of integers, with constant factors",
    "weight_only_matmul": "its kernels read weights in panels, which a pass makes",
    "narrow_conv": "only a pass makes it, in blocked layouts, for processors with tiles",
}
"""Operators that have no generic kernel for some plain float or integer sample, and why."""


@pytest.mark.parametrize("name", REGISTRY)
def test_kernels_equal_the_reference(name: str) -> None:
    cases = [*cases_of(name)]
    assert_equals_reference(cases)
    plain = [case for case in cases if is_plain(the_op(case)) and has_real_meaning(the_op(case))]
    missing = [case.name for case in plain if execution(case) is None]
    assert not missing or name in WITHOUT_KERNEL
