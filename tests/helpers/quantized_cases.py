"""Random ops on quantised tensors for tests of CPU kernels, and their comparison with the references."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from kernel_harness import Execution, described, run_kernels
from operator_samples import Case, make_case
from samples import Sample

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir import interp
from tilewright.ir.accumulators import is_word_product, word_parts
from tilewright.ir.core import Op, is_op
from tilewright.ir.ops.convolution import Conv, joined_groups
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.quantized import limits
from tilewright.ir.types import DType, Quantization, TensorType


def check(cases: Sequence[Case], target_name: str) -> None:
    """Every case has a kernel, and it gives the bytes of the reference."""
    check_kernels(cases, described(target_name), lambda op, kernel: kernel)


def check_kernels(cases: Sequence[Case], target: TargetDescription, changed: Callable[[Op, Kernel], Kernel]) -> None:
    """The same of what ``changed`` makes of the kernel of each op."""
    executions = []
    for case in cases:
        (op,) = case.module.main.ops
        kernel = lower(op, target)
        assert kernel is not None, f"{case.name} has no kernel"
        arrays = tuple(array for array in case.sample.inputs if array is not None)
        executions.append(Execution(op, changed(op, kernel), arrays))
    for case, found in zip(cases, run_kernels(executions, target), strict=True):
        assert found is not None
        expected = interp.run(case.module, case.inputs).values()
        for array, wanted in zip(found, expected, strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted, err_msg=case.name)


def integers(rng: np.random.Generator, type: TensorType) -> np.ndarray:
    low, high = limits(type)
    return rng.integers(low, high + 1, type.shape).astype(type.dtype.numpy)


def weights(rng: np.random.Generator, shape: Sequence[int], dtype: DType) -> np.ndarray:
    """Over the whole range, or in its middle: so small that sums of two products with bytes take 16 bits, or mostly."""
    info, most = np.iinfo(dtype.numpy), int(rng.choice([40, 64, 80, 128, 128]))
    middle = (int(info.min) + int(info.max) + 1) // 2
    found = rng.integers(middle - most, middle + most + 1, tuple(shape))
    return np.clip(found, info.min, info.max).astype(dtype.numpy)


def random_type(rng: np.random.Generator, dtype: DType, shape: Sequence[int], scale: float | None = None) -> TensorType:
    info = np.iinfo(dtype.numpy)
    zero = (info.min, 0, info.max, int(rng.integers(info.min, info.max + 1)))[int(rng.integers(4))]
    scale = float(2.0 ** rng.integers(-9, 0)) if scale is None else float(np.float32(scale))
    return TensorType(tuple(shape), dtype, Quantization.per_tensor(scale, zero))


def weight_type(rng: np.random.Generator, shape: Sequence[int], axis: int) -> TensorType:
    """i8 or u8, per tensor or along ``axis``, with zero points or without."""
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
    rng: np.random.Generator,
    operator: Conv | MatMul,
    x: TensorType,
    w: TensorType,
    axis: int,
    result: DType | None = None,
) -> Sample:
    """Inputs over the whole range, and a result, like x unless said otherwise, whose scale makes most elements fall
    inside its own.
    """
    x_array, w_array = integers(rng, x), weights(rng, w.shape, w.dtype)
    outputs = w.shape[axis]
    b = rng.integers(-20000, 20000, outputs).astype(np.int32) if rng.random() < 0.7 else None
    shape = operator.infer(x.plain, w.plain, None, None).shape
    inner = w.elements / outputs
    assert x.quant is not None
    assert w.quant is not None
    scale = x.quant.scale[0] * float(np.mean(w.quant.scale)) * 80 * np.sqrt(inner)
    result = result or x.dtype
    scale /= 2.0 ** (8 * (result.bytes - x.dtype.bytes))
    y = random_type(rng, result, shape, 2.0 ** round(np.log2(scale)) if rng.random() < 0.5 else scale)
    types = (x, w, TensorType.of(b) if b is not None else None)
    return Sample(operator, (x_array, w_array, b), frozenset({1, 2}), types, (y,))


def random_activation(rng: np.random.Generator) -> tuple[str, tuple[float, ...]]:
    return [("none", ()), ("relu", ()), ("clip", (-0.5, 2.0)), ("leaky_relu", (0.1,))][int(rng.integers(4))]


def with_layouts(case: Case, x: str, w: str, y: str) -> Case:
    """The same op on tensors in other layouts."""
    (op,) = case.module.main.ops
    for value, layout in zip((*op.inputs[:2], op.result), (x, w, y), strict=True):
        value.type = value.type.with_layout(layout)
    return case


def words(kind: str, rng: np.random.Generator, small: bool = False) -> Case:
    """A random convolution of a kind, or product, of 16 bits, with sums that fit 32, those of whole blocks in parts."""
    while True:
        case = product(rng, DType.I16) if kind == "product" else blocked(kind, rng, DType.I16, small)
        (op,) = case.module.main.ops
        parts = word_parts(op) if is_op(op, Conv, MatMul) and is_word_product(op) else None
        if parts == 1 or (parts is not None and kind != "joined"):
            return case


def blocked(kind: str, rng: np.random.Generator, dtype: DType | None = None, small: bool = False) -> Case:
    """A random convolution of a kind, of bytes unless ``dtype`` says otherwise.

    Args:
        small: by at most 3 elements an image is larger than a window reaches, not 19, and channels are few.
    """
    rank = int(rng.choice([1, 2, 2, 2]))

    def numbers(low: int, high: int, count: int = rank) -> tuple[int, ...]:
        return tuple(int(n) for n in rng.integers(low, high + 1, count))

    kernel, strides, pads = numbers(1, 5), numbers(1, 3), numbers(0, 3, 2 * rank)
    dilations = (1,) * rank if kind == "plain" else numbers(1, 2)
    if kind == "pointwise":
        kernel, strides, pads = (1,) * rank, (1,) * rank, (0,) * 2 * rank
    reach = [d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True)]
    least = 4 if kind == "plain" else 1
    most = 4 if small else 20
    image = tuple(int(rng.integers(max(least, r - pads[i] - pads[rank + i]), r + most)) for i, r in enumerate(reach))
    group = 2 if kind == "grouped" else 1
    channels, outputs = (int(n) for n in rng.integers(1, 35 if small else 70, 2))
    if kind == "grouped":
        channels, outputs = 32 * (channels % 2 + 1), 32 * (outputs % 2 + 1)
    if kind == "joined":
        group = int(rng.choice([2, 3, 4, 6, 8, 16, 32]))
        channels, outputs = group * (channels % 20 + 1), group * (outputs % 20 + 2)
        if joined_groups(group, channels, outputs) in (1, None):
            channels, outputs = 4 * group, 8 * group
    if kind == "plain":
        channels = channels % 4 + 1
    if kind == "few":
        outputs = outputs % 4 + 1
    is_wide = dtype is not None
    dtype = dtype or (DType.I8 if rng.random() < 0.5 else DType.U8)
    if kind == "depthwise":
        group = outputs = channels
    x = random_type(rng, dtype, (int(rng.integers(1, 3)), channels, *image))
    w = weight_type(rng, (outputs, channels // group, *kernel), 0)
    conv = Conv(strides, pads, dilations, group, *random_activation(rng))
    case = make_case(f"{kind} {conv} {x} {w}", product_sample(rng, conv, x, w, 0))
    layouts = ("", "o16k4", "c16") if kind == "plain" else ("c16", "o16i4", "c16")
    if kind == "depthwise":
        layouts = ("c16", "o16k4", "c16")
    if kind == "joined":
        layouts = ("c16", "", "c16")
    return with_layouts(case, "c16", "", "c16") if is_wide else with_layouts(case, *layouts)


def _inner(rng: np.random.Generator) -> int:
    """Every other one is a multiple of four."""
    return 4 * int(rng.integers(1, 30)) - int(rng.choice([0, 0, 0, 1, 2, 3]))


def product(rng: np.random.Generator, dtype: DType | None = None) -> Case:
    """A random product of activations and a matrix in layout for dot products, with a result of 8 or 16 bits, or as it
    is where ``dtype`` says of what elements.
    """
    rows, columns, inner = int(rng.integers(1, 40)), int(rng.integers(1, 100)), _inner(rng)
    transposed = bool(rng.random() < 0.5)
    is_wide = dtype is not None
    dtype = dtype or (DType.I8 if rng.random() < 0.5 else DType.U8)
    x = random_type(rng, dtype, [(rows, inner), (2, rows, inner), (1, inner)][int(rng.integers(3))])
    axis = 0 if transposed else 1
    w = weight_type(rng, (columns, inner) if transposed else (inner, columns), axis)
    matmul = MatMul(False, transposed, *random_activation(rng))
    result = DType.I16 if rng.random() < 0.3 else dtype
    case = make_case(f"{matmul} {x} {w} {result.value}", product_sample(rng, matmul, x, w, axis, result))
    return case if is_wide else with_layouts(case, "", "o16i4" if transposed else "i4o16", "")
