"""Products of plain integers equal NumPy's in every byte: extents with remainders, bytes and zero points at limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Union

import numpy as np
import pytest
from kernel_harness import EMULATED, TARGETS, Execution, described, in_two_calls, run_kernels
from quantized_cases import weights

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir.core import Constant, Function, Op
from tilewright.ir.ops.attention import Attention
from tilewright.ir.ops.integer_products import ConvInteger, MatMulInteger
from tilewright.ir.types import DType, Quantization, TensorType

Case = tuple[Union[ConvInteger, MatMulInteger], tuple[Union[np.ndarray, None], ...]]


def op_of(operator: ConvInteger | MatMulInteger, operands: tuple[np.ndarray | None, ...]) -> Op:
    present = [array for array in operands if array is not None]
    function = Function("main", [(f"x{index}", TensorType.of(array)) for index, array in enumerate(present)])
    values = iter(function.parameters)
    return function.append(operator, [None if array is None else next(values) for array in operands])


def stored(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Any bytes, or only the smallest and the largest."""
    limits = np.iinfo(dtype)
    if rng.random() < 0.3:
        return rng.choice(np.array([limits.min, limits.max], dtype), shape)
    return rng.integers(limits.min, limits.max + 1, shape, dtype)


def bytes_of(rng: np.random.Generator) -> np.dtype:
    return np.dtype(rng.choice(["int8", "uint8"]))


def zero_point(rng: np.random.Generator, like: np.ndarray, *counts: int) -> np.ndarray | None:
    """One, as many as one of the numbers says, or none."""
    shape = rng.choice(np.array([None, (), (1,), *((count,) for count in counts)], object))
    return None if shape is None else stored(rng, shape, like.dtype)


def convolution(rng: np.random.Generator) -> Case:
    dimensions = int(rng.integers(1, 3))
    group, channels, outputs = (int(n) for n in rng.integers(1, (4, 9, 40)))
    if rng.random() < 0.2:
        group, channels, outputs = int(rng.integers(1, 30)), 1, 1

    def each(low: int, high: int, count: int = dimensions) -> tuple[int, ...]:
        return tuple(rng.integers(low, high, count).tolist())

    kernel, strides, dilations, pads = each(1, 5), each(1, 4), each(1, 4), each(0, 4, 2 * dimensions)
    image = tuple(max(n, (k - 1) * d + 1) for n, k, d in zip(each(1, 50), kernel, dilations, strict=True))
    if rng.random() < 0.2:
        image = (*image[:-1], image[-1] + 700)
    x = stored(rng, (int(rng.integers(1, 3)), group * channels, *image), bytes_of(rng))
    w = stored(rng, (group * outputs, channels, *kernel), bytes_of(rng))
    zeros = zero_point(rng, x), zero_point(rng, w, group * outputs)
    return ConvInteger(strides, pads, dilations, group), (x, w, *zeros)


def matrices(rng: np.random.Generator) -> Case:
    rows, inner, columns = (int(n) for n in rng.integers(1, 80, 3))
    if rng.random() < 0.2:
        columns += 700
    batch = [(), (2,), (2, 3), (1, 3)][rng.integers(0, 4)]
    of_right = [(), batch, (1,) * len(batch)][rng.integers(0, 3)]
    a, b = stored(rng, (*batch, rows, inner), bytes_of(rng)), stored(rng, (*of_right, inner, columns), bytes_of(rng))
    return MatMulInteger(), (a, b, zero_point(rng, a, rows), zero_point(rng, b, columns))


def cases(rng: np.random.Generator, count: int) -> Iterator[Case]:
    for _ in range(count):
        yield convolution(rng)
        yield matrices(rng)
    # Patches, further apart than vectors are read in one piece, and a few points.
    for strides, kernel, pads in (((32, 32), (32, 32), (0, 0, 0, 0)), ((2, 17), (3, 2), (1, 0, 1, 20))):
        x = stored(rng, (1, 3, 96, 100), bytes_of(rng))
        w = stored(rng, (5, 3, *kernel), bytes_of(rng))
        yield ConvInteger(strides, pads, (1, 1)), (x, w, zero_point(rng, x), zero_point(rng, w, 5))
    # More than 65,536 elements in a window.
    x, w = stored(rng, (1, 4401, 3, 7), bytes_of(rng)), stored(rng, (2, 4401, 3, 5), bytes_of(rng))
    yield ConvInteger((1, 1), (1, 0, 1, 0), (1, 1)), (x, w, zero_point(rng, x), zero_point(rng, w, 2))
    # A column that is left alone.
    a, b = stored(rng, (5, 7), bytes_of(rng)), stored(rng, (7, 257), bytes_of(rng))
    yield MatMulInteger(), (a, b, zero_point(rng, a, 5), stored(rng, (257,), b.dtype))
    # Several blocks of output channels, and sums that wrap at 32 bits.
    largest = np.full((70, 34000), 255, np.uint8)
    yield MatMulInteger(), (largest, largest.T[:, :5], None, None)
    yield (
        ConvInteger((1,), (0, 0), (1,)),
        (largest[None, :, :8], np.tile(largest[:, :70], (5, 1))[:, :, None], None, None),
    )


@pytest.mark.parametrize("count", [6, pytest.param(25, marks=pytest.mark.sweep)])
@pytest.mark.parametrize("target", TARGETS)
def test_products_in_vectors_are_exact(target: str, count: int, rng: np.random.Generator) -> None:
    executions, expected = [], []
    for operator, operands in cases(rng, count):
        op, present = op_of(operator, operands), tuple(array for array in operands if array is not None)
        kernel = lower(op, described(target))
        assert kernel is not None
        assert kernel.name.startswith(("word_product", "computed_product"))
        executions.append(Execution(op, in_two_calls(kernel, len(present) + 1), present))
        expected.append(op.evaluate(operands))
    found = run_kernels(executions, described(target))
    for each, numbers, right in zip(executions, found, expected, strict=True):
        assert numbers is not None
        np.testing.assert_array_equal(numbers[0], right[0], err_msg=str(each.op))


def known_matrix(rng: np.random.Generator) -> Case:
    rows, inner, columns = (int(n) for n in rng.integers(1, (30, 120, 150)))
    batch = [(), (2,), (1, 3)][rng.integers(0, 3)]
    a = stored(rng, (*batch, rows, inner), bytes_of(rng))
    b = weights(rng, (inner, columns), DType.of(bytes_of(rng)))
    return MatMulInteger(), (a, b, zero_point(rng, a), zero_point(rng, b, columns))


@pytest.mark.parametrize("target", [*TARGETS, *EMULATED])
def test_products_with_known_matrices_are_exact(target: str, rng: np.random.Generator) -> None:
    """Of which four bytes at once are multiplied."""
    executions, expected = [], []
    for operator, operands in (known_matrix(rng) for _ in range(6 if target in TARGETS else 2)):
        a, b, a_zero, b_zero = (None if array is None else TensorType.of(array) for array in operands)
        function = Function("main", [(f"x{i}", type) for i, type in enumerate((a, a_zero)) if type is not None])
        known = [
            None if array is None or type is None else Constant(name, array, type.with_layout(layout))
            for name, array, type, layout in (("b", operands[1], b, "i4o16"), ("z", operands[3], b_zero, ""))
        ]
        zero = function.parameters[1] if a_zero is not None else None
        op = function.append(operator, [function.parameters[0], known[0], zero, known[1]])
        kernel = lower(op, described(target))
        assert kernel is not None
        assert kernel.name.startswith("integer_product")
        present = tuple(array for array in operands if array is not None)
        executions.append(Execution(op, in_two_calls(kernel, len(present) + 1 + bool(kernel.data)), present))
        expected.append(op.evaluate(operands)[0])
    for numbers, right in zip(run_kernels(executions, described(target)), expected, strict=True):
        assert numbers is not None
        np.testing.assert_array_equal(numbers[0], right)


@pytest.mark.parametrize("target", ["avx2", "x86-64-v2"])
@pytest.mark.parametrize(("rows", "inner"), [(13, 71), (1, 3), (40, 128)])
def test_sums_of_rows_are_made_before_their_tiles(target: str, rows: int, inner: int, rng: np.random.Generator) -> None:
    """Of a matrix with zero points, where products of bytes saturate: of whole registers, and of what remains."""
    a, b = stored(rng, (rows, inner), np.dtype(np.int8)), stored(rng, (inner, 40), np.dtype(np.uint8))
    zeros = rng.integers(0, 256, 40).astype(np.uint8)
    function = Function("main", [("a", TensorType.of(a))])
    known = Constant("b", b, TensorType.of(b).with_layout("i4o16")), None, Constant("z", zeros, TensorType.of(zeros))
    op = function.append(MatMulInteger(), [function.parameters[0], *known])
    kernel = lower(op, described(target))
    assert kernel is not None
    assert kernel.scratch_bytes == 4 * rows
    found = run_kernels([Execution(op, in_two_calls(kernel, 5), (a, b, zeros))], described(target))[0]
    assert found is not None
    np.testing.assert_array_equal(found[0], a.astype(np.int32) @ (b.astype(np.int32) - zeros))


def test_what_vectors_are_not_made_for_has_a_kernel() -> None:
    """Products that would need much work memory run as loops."""
    large = Function("main", [("a", TensorType((1, 2**22), DType.U8)), ("b", TensorType((2**22, 1), DType.U8))])
    kernel = lower(large.append(MatMulInteger(), large.parameters), described("host"))
    assert kernel is not None
    assert not kernel.name.startswith(("word_product", "computed_product"))
    assert kernel.scratch_bytes < 2**20


@pytest.mark.parametrize(
    ("level", "rows", "width", "turned", "made"),
    [
        ("avx512-vnni", 2, 64, False, False),
        ("avx512-vnni", 3, 64, False, True),
        ("avx512-vnni", 1, 64, True, True),
        ("avx512-vnni", 1, 7, False, True),
        ("avx-vnni", 1, 64, False, False),
        ("avx-vnni", 2, 64, False, True),
        ("x86-64-v3", 1, 64, False, False),
        ("x86-64-v3", 2, 64, False, True),
        ("aarch64", 2, 64, False, True),
        ("riscv64", 64, 64, False, False),
    ],
)
def test_keys_are_put_in_order_for_enough_queries(level: str, rows: int, width: int, turned: bool, made: bool) -> None:
    """Scores of one or two tokens with many took three times as long as in plain loops."""

    def type_of(*shape: int) -> TensorType:
        return TensorType(shape, DType.I8, Quantization.per_tensor(0.05, 3))

    keys = (0, 1, 100) if turned else (0, width, 1)
    attention = Attention((), rows, 100, width, 100, (rows, 100), (0, width, 1), keys, v_view=(), y_view=(0, 100, 1))
    function = Function("main", [("q", type_of(rows, width)), ("k", type_of(100, width))])
    op = function.append(attention, [*function.parameters, None, None], [type_of(rows, 100)])
    kernel = lower(op, TargetDescription.named(level))
    assert kernel is not None
    assert kernel.name.startswith("computed_product") == made
