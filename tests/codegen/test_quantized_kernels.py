"""Kernels for quantised tensors against the references, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from kernel_harness import TARGETS, described
from kernel_runner import Execution, run_kernels
from operator_samples import Case, all_cases, make_case

from tilewright.codegen.cpu.registry import lower
from tilewright.ir import interp
from tilewright.ir.op import Sample
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add, Mul, Sub
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.ops.pooling import AveragePool, GlobalAveragePool
from tilewright.ir.ops.quantization import Dequantize, Quantize
from tilewright.ir.quantized import limits
from tilewright.ir.types import DType, Quantization, TensorType


def is_quantized(case: Case) -> bool:
    (op,) = case.module.main.ops
    return any(value.type.quant is not None for value in (*op.inputs, *op.results))


def check(cases: Sequence[Case], target_name: str) -> None:
    """Every case has a kernel, and it gives the bytes of the reference."""
    target = described(target_name)
    executions = []
    for case in cases:
        (op,) = case.module.main.ops
        kernel = lower(op, target)
        assert kernel is not None, f"{case.name} has no kernel"
        arrays = tuple(array for array in case.sample.inputs if array is not None)
        executions.append(Execution(op, kernel, arrays))
    for case, found in zip(cases, run_kernels(executions, target), strict=True):
        assert found is not None
        expected = interp.run(case.module, case.inputs).values()
        for array, wanted in zip(found, expected, strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted, err_msg=case.name)


@pytest.mark.parametrize("target", TARGETS)
def test_samples(target: str) -> None:
    cases = [case for case in all_cases() if is_quantized(case)]
    assert len(cases) > 150
    check(cases, target)


def integers(rng: np.random.Generator, type: TensorType) -> np.ndarray:
    low, high = limits(type)
    return rng.integers(low, high + 1, type.shape).astype(type.dtype.numpy)


def random_type(rng: np.random.Generator, dtype: DType, shape: Sequence[int], scale: float | None = None) -> TensorType:
    info = np.iinfo(dtype.numpy)
    zero = (info.min, 0, info.max, int(rng.integers(info.min, info.max + 1)))[int(rng.integers(4))]
    scale = float(2.0 ** rng.integers(-9, 0)) if scale is None else float(np.float32(scale))
    return TensorType(tuple(shape), dtype, Quantization.per_tensor(scale, zero))


def weight_type(rng: np.random.Generator, shape: Sequence[int], axis: int) -> TensorType:
    """i8 or u8, as a whole or along ``axis``, with zero points or without."""
    dtype = DType.I8 if rng.random() < 0.7 else DType.U8
    info = np.iinfo(dtype.numpy)
    count = shape[axis] if rng.random() < 0.5 else 1
    zeros = rng.integers(info.min, info.max + 1, count) * (rng.random() < 0.4)
    scales = rng.uniform(0.002, 0.02, count).astype(np.float32)
    if rng.random() < 0.3:
        scales = 2.0 ** rng.integers(-8, -4, count)
    quant = Quantization.per_channel(scales, axis, zeros.tolist())
    if count == 1:
        quant = Quantization.per_tensor(float(scales[0]), int(zeros[0]))
    return TensorType(tuple(shape), dtype, quant)


def product_sample(
    rng: np.random.Generator, operator: Conv | MatMul, x: TensorType, w: TensorType, axis: int
) -> Sample:
    """Inputs over the whole range, and a result whose scale makes most elements fall inside its own."""
    x_array, w_array = integers(rng, x), integers(rng, w)
    outputs = w.shape[axis]
    b = rng.integers(-20000, 20000, outputs).astype(np.int32) if rng.random() < 0.7 else None
    shape = operator.infer(x.plain, w.plain, None, None).shape
    inner = w.elements / outputs
    assert x.quant is not None
    assert w.quant is not None
    scale = x.quant.scale[0] * float(np.mean(w.quant.scale)) * 80 * np.sqrt(inner)
    y = random_type(rng, x.dtype, shape, 2.0 ** round(np.log2(scale)) if rng.random() < 0.5 else scale)
    types = (x, w, TensorType.of(b) if b is not None else None)
    return Sample(operator, (x_array, w_array, b), frozenset({1, 2}), types, (y,))


def random_activation(rng: np.random.Generator) -> tuple[str, tuple[float, ...]]:
    return [("none", ()), ("relu", ()), ("clip", (-0.5, 2.0))][int(rng.integers(3))]


def random_convolution(rng: np.random.Generator) -> Sample:
    rank = int(rng.choice([1, 2, 2, 3]))

    def numbers(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high + 1, count))

    kernel, dilations, strides, pads = numbers(1, 4), numbers(1, 2), numbers(1, 3), numbers(0, 3, 2 * rank)
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    image = tuple(int(rng.integers(max(1, r - pads[i] - pads[rank + i]), r + 9)) for i, r in enumerate(reach))
    group = int(rng.choice([1, 1, 2, 5]))
    channels, outputs = (group * int(n) for n in rng.integers(1, 9, 2))
    x = random_type(rng, DType.I8 if rng.random() < 0.5 else DType.U8, (int(rng.integers(1, 3)), channels, *image))
    w = weight_type(rng, (outputs, channels // group, *kernel), 0)
    return product_sample(rng, Conv(strides, pads, dilations, group, *random_activation(rng)), x, w, 0)


def random_matmul(rng: np.random.Generator) -> Sample:
    m, n, k = (int(n) for n in rng.integers(1, 40, 3))
    transpose_a, transpose_b = (bool(rng.random() < 0.5) for _ in range(2))
    batches = [((), ()), ((3,), ()), ((2, 1), (3,)), ((), (2,))][int(rng.integers(4))]
    x_shape = (*batches[0], *((k, m) if transpose_a else (m, k)))
    w_shape = (*batches[1], *((n, k) if transpose_b else (k, n)))
    x = random_type(rng, DType.I8 if rng.random() < 0.5 else DType.U8, x_shape)
    axis = len(w_shape) - (2 if transpose_b else 1)
    w = weight_type(rng, w_shape, axis)
    return product_sample(rng, MatMul(transpose_a, transpose_b, *random_activation(rng)), x, w, axis)


@pytest.mark.parametrize("target", TARGETS)
def test_random_products(target: str, rng: np.random.Generator) -> None:
    makers = [random_convolution] * 8 + [random_matmul] * 5
    check([make_case(f"{make.__name__}-{i}", make(rng)) for i, make in enumerate(makers)], target)


def random_binary(rng: np.random.Generator) -> Sample:
    operator = [Add(), Sub(), Mul()][int(rng.integers(3))]
    left, right = [((3, 40, 5), (3, 40, 5)), ((2, 7, 33), (7, 1)), ((1,), (700,)), ((64, 1, 5), (1, 70, 1))][
        int(rng.integers(4))
    ]
    dtype = DType.I8 if rng.random() < 0.5 else DType.U8
    a, b = random_type(rng, dtype, left), random_type(rng, dtype, right)
    assert a.quant is not None
    assert b.quant is not None
    # Powers of two, so that many results are exact ties.
    scale = 2 * a.quant.scale[0] if not isinstance(operator, Mul) else 128 * a.quant.scale[0] * b.quant.scale[0]
    y = random_type(rng, dtype, np.broadcast_shapes(left, right), scale)
    return Sample(operator, (integers(rng, a), integers(rng, b)), types=(a, b), result_types=(y,))


@pytest.mark.parametrize("target", TARGETS)
def test_random_binary(target: str, rng: np.random.Generator) -> None:
    check([make_case(f"binary-{i}", random_binary(rng)) for i in range(20)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_scales_far_apart(target: str, rng: np.random.Generator) -> None:
    samples = []
    for scales in ((1e-9, 1e-10, 1.0), (1e-6, 1e-2, 1e-4), (1e-3, 3e-12, 1e-8)):
        types = [random_type(rng, DType.I8, (512,), scale) for scale in scales]
        arrays = tuple(integers(rng, type) for type in types[:2])
        samples += [Sample(op, arrays, types=tuple(types[:2]), result_types=(types[2],)) for op in (Add(), Sub())]
    check([make_case(f"far-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_every_pair_of_bytes(target: str) -> None:
    """All 65536 pairs at scales at which one in four sums and many products are ties."""
    every = np.arange(256, dtype=np.uint8)
    left, right = (np.ascontiguousarray(array) for array in np.broadcast_arrays(every[:, None], every))
    a = TensorType((256, 256), DType.U8, Quantization.per_tensor(0.25, 131))
    samples = []
    for operator, scale in ((Add(), 1.0), (Sub(), 0.5), (Mul(), 16.0)):
        y = TensorType((256, 256), DType.U8, Quantization.per_tensor(scale, 120))
        samples.append(Sample(operator, (left, right), types=(a, a), result_types=(y,)))
    check([make_case(f"pairs-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_special_numbers(target: str) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, 0.0, -0.0, 2.5, 3.5, -2.5, 1e-45] * 3, np.float32)
    samples = [
        Sample(Quantize(), (x,), result_types=(TensorType(x.shape, dtype, Quantization.per_tensor(scale, zero)),))
        for dtype in (DType.I8, DType.U8, DType.I16, DType.U16)
        for scale, zero in ((1.0, 3), (1e-38, 0))
    ]
    bias = np.array([-(2**31), 2**31 - 1, 2**24 + 1, -(2**24) - 3, 7], np.int32)
    types = [TensorType(bias.shape, DType.I32, Quantization.per_tensor(0.3, zero)) for zero in (0, 5, -9)]
    samples += [Sample(Dequantize(), (bias,), types=(type,)) for type in types]
    check([make_case(f"special-{i}", sample) for i, sample in enumerate(samples)], target)


@pytest.mark.parametrize("target", TARGETS)
def test_averages(target: str, rng: np.random.Generator) -> None:
    samples = []
    for i in range(8):
        x = random_type(rng, (DType.I8, DType.U8)[i % 2], (2, 5, 9, 8))
        assert x.quant is not None
        operator = AveragePool((3, 2), (2, 1), (1, 1, 1, 0), (1, 1), i < 4, (1, 0))
        for average in (operator, GlobalAveragePool()):
            y = random_type(rng, x.dtype, average.infer(x.with_quant(None)).shape, x.quant.scale[0] * (1, 0.7)[i % 2])
            samples.append(Sample(average, (integers(rng, x),), types=(x,), result_types=(y,)))
    check([make_case(f"average-{i}", sample) for i, sample in enumerate(samples)], target)
