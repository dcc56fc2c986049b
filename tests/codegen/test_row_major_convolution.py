"""Convolution and pools in row-major order against the reference, at random shapes, between guard pages."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import TARGETS, Execution, described, run_kernels
from network_files import graph_model
from onnx import TensorProto, helper

import tilewright
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir.core import Function
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.pooling import MaxPool
from tilewright.ir.types import DType, TensorType


def execution(target: str, rng: np.random.Generator) -> Execution:
    """Of groups, strides, dilations and padding of any kind along one, two or three dimensions."""
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    strides, dilations, kernel = (rng.integers(1, most, rank) for most in (4, 3, 5))
    strides[-1] = rng.choice([1, 2, 3, 4, 5])
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


@pytest.mark.parametrize("target", TARGETS)
def test_largest_integers_of_windows_are_found_by_vectors(target: str, rng: np.random.Generator) -> None:
    executions = []
    for dtype in (np.int8, np.uint8, np.int16):
        for _ in range(3):
            rank = int(rng.integers(1, 4))
            strides, dilations, kernel = (tuple(rng.integers(1, most, rank).tolist()) for most in (6, 3, 4))
            pads = tuple(rng.integers(0, 3, 2 * rank).tolist())
            image = 5 + rng.integers(0, [*[6] * (rank - 1), 90], rank)
            limits = np.iinfo(dtype)
            x = rng.integers(limits.min, limits.max, (2, 3, *image), dtype, endpoint=True)
            op = Function("main", [("x", TensorType.of(x))])
            op = op.append(MaxPool(kernel, strides, pads, dilations), op.parameters)
            made = lower(op, described(target))
            assert made is not None and made.name.startswith("row_major_max_pooling")
            executions.append(Execution(op, made, (x,)))
    for each, found in zip(executions, run_kernels(executions, described(target)), strict=True):
        assert found is not None
        np.testing.assert_array_equal(found[0], each.op.evaluate(each.arrays)[0])


def test_rows_that_half_a_vector_holds_take_no_whole_ones() -> None:
    """Several processors take twice as long for these. Random shapes above have such rows, too."""
    for columns in (8, 9):
        shapes = (2, 3, 4, 5, columns), (6, 3, 3, 3, 3)
        function = Function("main", [(name, TensorType(s, DType.F32)) for name, s in zip("xw", shapes, strict=True)])
        op = function.append(Conv((1,) * 3, (1,) * 6, (1,) * 3), function.parameters)
        made = lower(op, TargetDescription.named("x86-64-v4"))
        assert made is not None and ("<16 x float>" in made.text) == (columns > 8)


def test_products_are_not_rounded_to_the_precision_of_what_is_added(rng: np.random.Generator) -> None:
    """Neither in row-major order, which groups of 60 channels take, nor where each channel is a group."""
    for groups, inputs in ((3, 60), (48, 1)):
        x = rng.standard_normal((1, groups * inputs, 12, 17)).astype(np.float32)
        w = (rng.standard_normal((48, inputs, 3, 3)) / 3 / np.sqrt(inputs)).astype(np.float32)
        bias = rng.standard_normal(48).astype(np.float32)
        residual = (1e4 + rng.standard_normal((1, 48, 10, 15))).astype(np.float32)
        nodes = [
            helper.make_node("Conv", ["x", "w", "bias"], ["products"], group=groups),
            helper.make_node("Add", ["products", "residual"], ["y"]),
        ]
        shapes = [("x", TensorProto.FLOAT, x.shape), ("residual", TensorProto.FLOAT, residual.shape)]
        model = graph_model(nodes, shapes, ["y"], {"w": w, "bias": bias})
        products = tilewright.compile(
            graph_model(nodes[:1], shapes[:1], ["products"], {"w": w, "bias": bias}).SerializeToString(),
            precision="fp32",
        )
        artifact = tilewright.compile(model.SerializeToString(), precision="fp32")
        with tilewright.load(products) as session:
            expected = session.run({"x": x})["products"] + residual
        with tilewright.load(artifact) as session:
            found = session.run({"x": x, "residual": residual})["y"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=2 * np.spacing(np.float32(1e4)))


@pytest.mark.sweep
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(50))
def test_many_random_shapes(seed: int, target: str) -> None:
    check(target, 20, np.random.default_rng(seed))
