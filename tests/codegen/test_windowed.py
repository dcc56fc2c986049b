"""Depthwise convolution and pooling in blocked layout against the references of their operators."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from kernel_harness import TARGETS, Execution, described, run, run_kernels
from operator_samples import make_case
from samples import Sample

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.activation import Activation
from tilewright.codegen.cpu.kernels.convolutions.depthwise import Depthwise
from tilewright.codegen.cpu.kernels.pooling import AveragePooling, MaxPooling
from tilewright.codegen.cpu.kernels.window import Axis
from tilewright.codegen.cpu.kernels.window_walk import FEW_LINES
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.ir.core import Function
from tilewright.ir.layout import pack, physical_shape, unpack
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.pooling import AveragePool, MaxPool
from tilewright.ir.ops.reduction import ReduceMax, ReduceMean, ReduceMin, ReduceSum
from tilewright.ir.types import TensorType


@dataclass(frozen=True)
class Window:
    """Geometry of a window operator on x [batch, channels, *image]."""

    batch: int
    channels: int
    image: tuple[int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    def axes(self, output: tuple[int, ...]) -> tuple[Axis, Axis]:
        rows, columns = (
            Axis(self.image[i], output[i], self.kernel[i], self.strides[i], self.dilations[i], self.pads[i])
            for i in (0, 1)
        )
        return rows, columns

    def counted_axes(self, output: tuple[int, ...], include_pad: bool) -> tuple[Axis, Axis]:
        if not include_pad:
            return self.axes(output)
        rows, columns = (
            Axis(
                self.image[i] + self.pads[i] + self.pads[i + 2],
                output[i],
                self.kernel[i],
                self.strides[i],
                self.dilations[i],
                0,
            )
            for i in (0, 1)
        )
        return rows, columns


WINDOWS = [
    Window(1, 16, (8, 9), (3, 3), pads=(1, 1, 1, 1)),
    Window(2, 35, (15, 30), (3, 3), (2, 2), (1, 1, 1, 1)),
    Window(1, 20, (7, 7), (5, 5), pads=(2, 2, 2, 2)),
    Window(1, 40, (9, 33), (2, 4), (1, 3), (0, 1, 1, 2), (3, 2)),
    Window(1, 17, (1, 29), (1, 7), (1, 2), (0, 3, 0, 3)),
    Window(1, 3, (12, 5), (9, 2), (3, 1)),
]
targets = pytest.mark.parametrize("target", TARGETS)
windows = pytest.mark.parametrize("window", WINDOWS, ids=lambda w: f"{w.channels}x{w.image[0]}x{w.image[1]}")


def blocked(spec: KernelSpec, target: str, operands: list[np.ndarray], type: TensorType) -> np.ndarray:
    """The result in logical order; checks that padding lanes hold exact zeros."""
    type = type.with_layout("c16")
    (y,) = run(spec, described(target), operands, [(physical_shape(type), np.float32)])
    np.testing.assert_array_equal(pack(unpack(y, type), "c16"), y)
    return unpack(y, type)


def image(window: Window, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((window.batch, window.channels, *window.image)).astype(np.float32)


@targets
@windows
@pytest.mark.parametrize("act", ["none", "sigmoid"])
def test_depthwise(window: Window, act: str, target: str, rng: np.random.Generator) -> None:
    operator = Conv(window.strides, window.pads, window.dilations, window.channels, act)
    x = image(window, rng)
    w = rng.standard_normal((window.channels, 1, *window.kernel)).astype(np.float32)
    bias = rng.standard_normal(window.channels).astype(np.float32)
    type = operator.infer(TensorType.of(x), TensorType.of(w), None, None)
    residual = rng.standard_normal(type.shape).astype(np.float32) if act == "none" else None
    axes = window.axes(type.shape[2:])
    spec = Depthwise(
        window.batch,
        window.channels,
        *axes,
        has_bias=True,
        has_residual=residual is not None,
        activation=Activation(act),
    )
    operands = [pack(x, "c16"), pack(w, "o16"), bias, *([pack(residual, "c16")] if residual is not None else [])]
    y = blocked(spec, target, operands, type)
    np.testing.assert_allclose(y, operator.reference(x, w, bias, residual), rtol=0, atol=2e-5)


@targets
@windows
def test_max_pooling(window: Window, target: str, rng: np.random.Generator) -> None:
    operator = MaxPool(window.kernel, window.strides, window.pads, window.dilations)
    x = image(window, rng) - 3
    type = operator.infer(TensorType.of(x))
    spec = MaxPooling(window.batch, window.channels, *window.axes(type.shape[2:]))
    y = blocked(spec, target, [pack(x, "c16")], type)
    np.testing.assert_array_equal(y, operator.reference(x))


@targets
@windows
@pytest.mark.parametrize("include_pad", [False, True])
def test_average_pooling(window: Window, include_pad: bool, target: str, rng: np.random.Generator) -> None:
    # Windows that overhang by one pixel, as those of ceil_mode do; what is beyond the padding never counts.
    operator = AveragePool(window.kernel, window.strides, window.pads, window.dilations, include_pad, (1, 0))
    x = image(window, rng)
    type = operator.infer(TensorType.of(x))
    output = type.shape[2:]
    counted = window.counted_axes(output, include_pad)
    spec = AveragePooling(window.batch, window.channels, *window.axes(output), *counted)
    y = blocked(spec, target, [pack(x, "c16")], type)
    with np.errstate(invalid="ignore"):
        expected = operator.reference(x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@targets
def test_windows_in_the_padding_alone(target: str, rng: np.random.Generator) -> None:
    """Maxima of nothing, and means of nothing, which are none, wherever along a row or a column they are."""
    window = Window(1, 5, (3, 3), (2, 2), pads=(3, 3, 3, 3))
    geometry = window.kernel, window.strides, window.pads, window.dilations
    x = image(window, rng)
    for operator in (MaxPool(*geometry), AveragePool(*geometry, False, (0, 0))):
        type = operator.infer(TensorType.of(x))
        axes = window.axes(type.shape[2:])
        spec = AveragePooling(1, 5, *axes, *axes) if isinstance(operator, AveragePool) else MaxPooling(1, 5, *axes)
        y = blocked(spec, target, [pack(x, "c16")], type)
        with np.errstate(invalid="ignore"):
            np.testing.assert_allclose(y, operator.reference(x), rtol=1e-6, atol=0)


@targets
def test_images_of_one_column_are_cut_along_their_rows(target: str, rng: np.random.Generator) -> None:
    """Signals that are written as images: convolution, depthwise convolution and both kinds of pooling."""
    x, dense, depthwise = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((2, 32, 37, 1), (20, 32, 5, 1), (32, 1, 5, 1))
    )
    window = ((3, 1), (2, 1), (1, 0, 1, 0), (1, 1))
    operators = (
        (Conv((2, 1), (2, 0, 1, 0), (1, 1)), {"x": (x, "c16"), "w": (dense, "o16i16")}),
        (Conv((1, 1), (2, 0, 3, 0), (2, 1), 32), {"x": (x, "c16"), "w": (depthwise, "o16")}),
        (MaxPool(*window), {"x": (x, "c16")}),
        (AveragePool(*window, True, (0, 0)), {"x": (x, "c16")}),
    )
    executions: list[Execution] = []
    for operator, operands in operators:
        types = [(name, TensorType.of(array).with_layout(layout)) for name, (array, layout) in operands.items()]
        function = Function("main", types)
        op = function.append(operator, function.parameters)
        op.result.type = op.result.type.with_layout("c16")
        kernel = lower(op, described(target))
        assert kernel is not None
        executions.append(Execution(op, kernel, tuple(array for array, _ in operands.values())))
    for each, found in zip(executions, run_kernels(executions, described(target)), strict=True):
        assert found is not None
        np.testing.assert_allclose(found[0], each.op.evaluate(each.arrays)[0], rtol=0, atol=1e-4)


def prefetches(channels: int, kernel: int, outputs: int) -> int:
    axis = Axis(outputs + kernel - 1, outputs, kernel, 1, 1, 0)
    spec = Depthwise(1, channels, axis, axis, has_bias=True, activation=Activation("none"))
    return spec.generate(described("x86-64-v3")).text.count("call void @llvm.prefetch")


def test_few_lines_of_weights_are_asked_for_at_once() -> None:
    """Those of the next channels: however large windows are, and not where there are no more channels."""
    assert prefetches(256, 3, 9) == 1
    assert prefetches(256, 5, 7) == 4
    assert prefetches(256, 100, 7) == FEW_LINES
    assert prefetches(16, 100, 7) == 0


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("image", [(5, 70), (3, 4, 33)])
def test_windows_of_whole_rows_are_reductions(image: tuple[int, ...], mean: bool, rng: np.random.Generator) -> None:
    """In row-major order, where the last dimension goes; of columns alone they stay pools, whose vectors are rows."""
    target, rank = described(TARGETS[0]), len(image)
    ones, zeros = (1,) * rank, (0,) * rank
    executions, expected = list[Execution](), list[np.ndarray]()
    for axis, is_reduction in ((rank - 1, True), (0, False)):
        kernel = tuple(extent if index == axis else 1 for index, extent in enumerate(image))
        window = kernel, ones, (*zeros, *zeros), ones
        pool = AveragePool(*window, True, zeros) if mean else MaxPool(*window)
        reduction = (ReduceMean if mean else ReduceMax)((2 + axis,), True)
        x = rng.standard_normal((2, 3, *image)).astype(np.float32)
        cases = [make_case("rows", Sample(operator, (x,), frozenset())) for operator in (pool, reduction)]
        ops = [next(iter(case.module.main.ops)) for case in cases]
        pooled, reduced = (lower(op, target) for op in ops)
        assert pooled is not None
        assert reduced is not None
        assert (pooled.name == reduced.name) == is_reduction
        executions.append(Execution(ops[0], pooled, (x,)))
        expected.append(reduction.reference(x))
    for found, result in zip(run_kernels(executions, target), expected, strict=True):
        assert found is not None
        np.testing.assert_allclose(found[0], result, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("target", [*TARGETS, "x86-64-v2"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reductions_of_single_and_double_precision(dtype: type, target: str, rng: np.random.Generator) -> None:
    """Of rows in registers, short ones side by side, and columns: NaN is the largest and smallest of all."""
    executions = list[Execution]()
    for shape, axes in (((3, 157), (1,)), ((3, 1100), (1,)), ((45, 5), (1,)), ((5, 70), (0,)), ((2, 3, 9, 21), (1, 3))):
        x = rng.standard_normal(shape).astype(dtype)
        x.flat[7] = np.nan
        for cls in (ReduceMax, ReduceMin, ReduceSum, ReduceMean):
            op = next(iter(make_case("reduction", Sample(cls(axes), (x,))).module.main.ops))
            kernel = lower(op, described(target))
            assert kernel is not None
            assert kernel.name.startswith(("extreme", "sum"))
            executions.append(Execution(op, kernel, (x,)))
    for each, found in zip(executions, run_kernels(executions, described(target)), strict=True):
        assert found is not None
        (expected,) = each.op.evaluate(each.arrays)
        np.testing.assert_allclose(found[0], expected, rtol=20 * np.finfo(dtype).eps, atol=20 * np.finfo(dtype).eps)
