"""Transposes and pooling in row-major order, which run on vectors, at random shapes between guard pages."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kernel_harness import TARGETS, Execution, described, run_kernels

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.interleaving import repeat
from tilewright.ir.core import Function, is_op
from tilewright.ir.op import Operator
from tilewright.ir.ops.movement import DepthToSpace, Interleave, Slice, Transpose
from tilewright.ir.ops.pooling import AveragePool, MaxPool
from tilewright.ir.ops.resize import Resize
from tilewright.ir.types import DType, TensorType


def execution(operator: Operator, x: np.ndarray, kernel: str | tuple[str, ...], target: str) -> Execution:
    function = Function("main", [("x", TensorType.of(x))])
    op = function.append(operator, function.parameters)
    made = lower(op, described(target))
    assert made is not None
    assert made.name.startswith(kernel)
    return Execution(op, made, (x,))


def check(executions: list[Execution], target: str) -> None:
    for each, found in zip(executions, run_kernels(executions, described(target)), strict=True):
        assert found is not None
        (expected,) = each.op.evaluate(each.arrays)
        np.testing.assert_allclose(found[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_transposes(target: str, rng: np.random.Generator) -> None:
    executions = []
    for perm in ((1, 0), (0, 2, 1), (2, 1, 0), (0, 2, 3, 1), (3, 0, 2, 1), (1, 3, 0, 2)):
        shape = [int(extent) for extent in rng.integers(4, 39 if len(perm) < 4 else 20, len(perm))]
        x = rng.integers(0, 1 << 62, shape)
        executions += [
            execution(Transpose(perm), x.astype(d), "transposition", target) for d in (np.int64, np.int32, np.int8)
        ]
    for dtype in (np.int64, np.int32, np.int16, np.int8):
        few, many = int(rng.integers(2, 4)), int(rng.integers(4, 250))
        x = rng.integers(0, 1 << 62, (2, few, many)).astype(dtype)
        executions.append(execution(Transpose((0, 2, 1)), x, "interleaving", target))
        executions.append(execution(Transpose((0, 2, 1)), x.reshape(2, many, few), "transposition", target))
    picture = execution(Transpose((1, 0)), np.arange(6144, dtype=np.float32).reshape(2048, 3), "transposition", target)
    assert picture.kernel.units > 1
    executions.append(picture)
    check(executions, target)


@pytest.mark.parametrize("target", [*TARGETS, "x86-64-v2"])
def test_few_neighbours_backwards(target: str, rng: np.random.Generator) -> None:
    executions = []
    for count in (1, 2, 4):
        slice_ = Slice((0, count - 1), (int(rng.integers(1, 90)), count), (1, -1))
        x = rng.integers(0, 1 << 62, slice_.extent)
        executions += [
            execution(slice_, x.astype(d), "vector_nest", target) for d in (np.int64, np.float32, np.int16, np.int8)
        ]
    check(executions, target)


@pytest.mark.parametrize("target", [*TARGETS, "x86-64-v2"])
def test_channels_spread_over_positions(target: str, rng: np.random.Generator) -> None:
    """Of elements of every size: rows shuffled in registers, whole ones and parts, and more phases than that takes."""
    executions = []
    for index, strides in enumerate([(2,), (9,), (3, 5), (1, 2), (2, 8), (2, 3, 4), (1, 2, 1), (1, 1, 11)]):
        given = [int(extent) for extent in rng.integers(2, 9, len(strides) - 1)] + [int(rng.integers(30, 90))]
        begin = tuple(int(rng.integers(stride)) for stride in strides)
        whole = [stride * extent - first for stride, extent, first in zip(strides, given, begin, strict=True)]
        shape = tuple(int(rng.integers(extent - 1, extent + 1)) for extent in whole)
        x = rng.integers(0, 1 << 31, (2, 3 * math.prod(strides), *given))
        dtype = (np.int8, np.int16, np.int32, np.int64)[index % 4]
        executions.append(execution(Interleave(strides, begin, shape), x.astype(dtype), "interleaving", target))
    for blocksize, mode in ((2, "DCR"), (3, "CRD")):
        x = rng.standard_normal((2, 2 * blocksize**2, 5, 37)).astype(np.float32)
        executions.append(execution(DepthToSpace(blocksize, mode), x, "interleaving", target))
    repeats = (
        ((3, 2, 10, 78), (1, 1, 2, 2)),
        ((2, 6, 5, 39), (1, 3, 1, 3)),
        ((10, 78), (2, 1)),
        ((1, 1, 40, 60), (1, 1, 1, 2)),
    )
    for extents, scales in repeats:
        x = rng.integers(0, 1 << 31, [int(e / s) for e, s in zip(extents, scales, strict=True)])
        resize = Resize(extents, tuple(map(float, scales)), "nearest", "asymmetric", "floor")
        executions.append(execution(resize, x.astype((np.int8, np.int32)[extents[0] % 2]), "interleaving", target))
    # Threads share the rows of one image.
    assert executions[-1].kernel.units == 40
    check(executions, target)
    # Pixels of few channels are shorter than what masks are worth.
    function = Function("main", [("x", TensorType((1, 8, 8, 3), DType.F32))])
    pixels = Resize((1, 16, 16, 3), (1.0, 2.0, 2.0, 1.0), "nearest", "asymmetric", "floor")
    op = function.append(pixels, function.parameters)
    assert is_op(op, Resize)
    assert repeat(op, described(target)) is None
    # Code does not grow with the number of phases, nor does the time that it takes to compile.
    many = execution(Interleave((500,), (1,), (999,)), np.zeros((1, 500, 2), np.float32), "interleaving", target)
    assert len(many.kernel.text) < 10_000


@pytest.mark.parametrize("target", [*TARGETS, "x86-64-v2"])
def test_maxima_of_columns_apart(target: str, rng: np.random.Generator) -> None:
    """Any stride, at the borders and inside; the same in every bit."""
    executions = []
    for stride, kernel, pad, width in ((3, 3, 0, 100), (3, 5, 2, 57), (4, 4, 0, 130), (4, 3, 1, 67), (5, 5, 0, 90)):
        x = rng.standard_normal((1, 2, 9, width)).astype(np.float32)
        operator = MaxPool((kernel,) * 2, (stride,) * 2, (pad,) * 4, (1, 1))
        executions.append(execution(operator, x, "row_major_max", target))
    for each, found in zip(executions, run_kernels(executions, described(target)), strict=True):
        assert found is not None
        np.testing.assert_array_equal(found[0], each.op.evaluate(each.arrays)[0])


@pytest.mark.parametrize("target", TARGETS)
def test_pooling(target: str, rng: np.random.Generator) -> None:
    """Of one, two and three dimensions; means where all that windows see counts."""
    executions = []
    for rank in (1, 2, 3, 3):
        kernel, dilations, strides = (tuple(rng.integers(1, most, rank).tolist()) for most in (5, 3, 6))
        pads = tuple(int(rng.integers(0, kernel[d % rank])) for d in range(2 * rank))
        reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
        image = [int(r + rng.integers(0, 40 if d == rank - 1 else 6)) for d, r in enumerate(reach)]
        x = rng.standard_normal((2, 3, *image)).astype(np.float32)
        executions.append(execution(MaxPool(kernel, strides, pads, dilations), x, "row_major_max", target))
        for around, counts in ((pads, True), ((0,) * 2 * rank, False), (pads, False)):
            operator = AveragePool(kernel, strides, around, dilations, counts, (0,) * rank)
            executions.append(execution(operator, x, ("row_major_average", "average_pool"), target))
    # However many windows there are; their counts vary along both dimensions.
    operator = AveragePool((3, 5), (1, 1), (2, 3, 1, 4), (1, 2), False, (0, 0))
    x = rng.standard_normal((1, 2, 130, 135)).astype(np.float32)
    executions.append(execution(operator, x, "row_major_average", target))
    check(executions, target)
