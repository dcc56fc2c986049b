"""Convolution in row-major order against the reference of the operator, at random shapes, between guard pages."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import TARGETS, Execution, described, run_kernels

from tilewright.codegen.cpu.families import lower
from tilewright.ir.core import Function
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import TensorType


def execution(target: str, rng: np.random.Generator) -> Execution:
    """Of groups, strides, dilations and padding of any kind along one, two or three dimensions."""
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    strides, dilations, kernel = (rng.integers(1, most, rank) for most in (4, 3, 5))
    strides[-1] = rng.choice([1, 2, 2, 3])
    pads = rng.integers(0, 4, 2 * rank)
    reach = dilations * (kernel - 1) + 1
    least = np.maximum(1, reach - pads[:rank] - pads[rank:])
    image = least + rng.integers(0, [*[6] * (rank - 1), 50], rank)
    channels, outputs = groups * int(rng.integers(1, 6)), groups * int(rng.integers(1, 6))
    conv = Conv(tuple(strides.tolist()), tuple(pads.tolist()), tuple(dilations.tolist()), groups)
    x = rng.standard_normal((2, channels, *image.tolist())).astype(np.float32)
    w = rng.standard_normal((outputs, channels // groups, *kernel.tolist())).astype(np.float32)
    function = Function("main", [("x", TensorType.of(x)), ("w", TensorType.of(w))])
    op = function.append(conv, function.parameters)
    made = lower(op, described(target))
    assert made is not None
    return Execution(op, made, (x, w))


def check(target: str, count: int, rng: np.random.Generator) -> None:
    executions = [execution(target, rng) for _ in range(count)]
    for each, found in zip(executions, run_kernels(executions, described(target)), strict=True):
        assert found is not None
        (expected,) = each.op.evaluate(each.arrays)
        np.testing.assert_allclose(found[0], expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("target", TARGETS)
def test_random_shapes(target: str, rng: np.random.Generator) -> None:
    check(target, 8, rng)


@pytest.mark.sweep
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(50))
def test_many_random_shapes(seed: int, target: str) -> None:
    check(target, 20, np.random.default_rng(seed))
