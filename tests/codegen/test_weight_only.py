"""Products with integers of 8 and 4 bits against NumPy, a few rows and many."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_harness import TARGETS, described, run

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.activation import Activation
from tilewright.codegen.cpu.kernels.weight_only import WeightOnlyProduct, WeightOnlyRows
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir.core import Constant, Function
from tilewright.ir.layout import HALVES, pack
from tilewright.ir.ops.weight_only import WeightOnlyMatMul
from tilewright.ir.types import DType, TensorType


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize(
    ("rows", "columns", "inner", "block", "zero"),
    [
        (1, 32, 24, 24, False),
        (1, 70, 48, 16, True),
        (3, 20, 16, 8, True),
        (2, 40, 128, 128, False),
        (9, 33, 40, 8, True),
        (12, 50, 32, 16, True),
        (14, 48, 13, 13, False),
    ],
)
def test_product(
    rows: int, columns: int, inner: int, block: int, zero: bool, bits: int, target: str, rng: np.random.Generator
) -> None:
    limit = 1 << (bits - 1)
    x = rng.standard_normal((rows, inner)).astype(np.float32)
    w = rng.integers(-limit, limit, (inner, columns)).astype(np.int8)
    blocks = inner // block, columns
    scale = rng.uniform(0.01, 0.1, blocks).astype(np.float32)
    zeros = rng.integers(-limit, limit, blocks).astype(np.float32) if zero else None
    bias, residual = (rng.standard_normal(shape).astype(np.float32) for shape in (columns, (rows, columns)))
    fields = {"bits": bits, "block": block, "has_zero": zero, "has_bias": True, "has_residual": True}
    fields["activation"] = Activation("swish")
    groups = 3 if rows == 12 else 1
    is_few = rows // groups <= 4 and block % (32 // bits) == 0
    if is_few:
        fields |= {"groups": groups}
    cls = WeightOnlyRows if is_few else WeightOnlyProduct
    spec = cls(rows=rows // groups if is_few else rows, columns=columns, inner=inner, **fields)  # pyright: ignore[reportArgumentType]
    arrays = [
        x,
        pack(w, HALVES if bits == 4 else "i4o16"),
        scale,
        *([zeros] if zeros is not None else []),
        bias,
        residual,
    ]
    (y,) = run(spec, described(target), arrays, [((rows, columns), np.float32)])
    expected = WeightOnlyMatMul(block, "swish").reference(x, w, scale, zeros, bias, residual, None)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("target", TARGETS)
def test_small_numbers_beside_a_large_one(target: str) -> None:
    """Activations of language models have few that are a thousand times the others, whose weights may be 0."""
    x, w = np.full((1, 32), 0.3, np.float32), np.full((32, 16), 7, np.int8)
    x[0, 5], w[5] = 1000, 0
    spec = WeightOnlyRows(rows=1, columns=16, inner=32, block=32, bits=4)
    (y,) = run(spec, described(target), [x, pack(w, HALVES), np.ones((1, 16), np.float32)], [((1, 16), np.float32)])
    np.testing.assert_allclose(y, x @ w.astype(np.float32), rtol=1e-4)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("bits", [8, 4])
def test_fewer_bits_take_fewer_digits(bits: int, target: str, rng: np.random.Generator) -> None:
    """A last group of fewer rows, and blocks of one segment, of two and of a part of one."""
    errors: dict[int, float] = {}
    shapes = ((128, 128, 3, 2, 1, 1), (256, 256, 2, 1, 0, 2), (64, 16, 2, 3, 1, 3))
    for inner, block, rows, groups, absent, digits in shapes:
        x = rng.standard_normal((rows * groups - absent, inner)).astype(np.float32)
        w = rng.integers(-(1 << bits - 1), 1 << bits - 1, (inner, 40)).astype(np.int8)
        scale = rng.uniform(0.01, 0.1, (inner // block, 40)).astype(np.float32)
        shape = {"rows": rows, "groups": groups, "absent": absent, "columns": 40, "inner": inner, "block": block}
        arrays = [x, pack(w, HALVES if bits == 4 else "i4o16"), scale]
        expected = WeightOnlyMatMul(block).reference(x, w, scale, None, None, None, None)
        spec = WeightOnlyRows(**shape, bits=bits, digits=digits)  # pyright: ignore[reportArgumentType]
        (y,) = run(spec, described(target), arrays, [(expected.shape, np.float32)])
        errors[digits] = float(np.abs(y - expected).max() / np.abs(expected).max())
    assert errors[3] < 1e-5 and errors[2] < 1e-3 and errors[1] < 0.1
    assert errors[1] > 10 * errors[2] > 100 * errors[3]


def test_groups_of_rows_are_about_equal() -> None:
    for x_bits, expected in ((24, (7, 2)), (16, (7, 2)), (8, (13, 1))):
        function = Function("main", [("x", TensorType((13, 64), DType.F32))])
        w = Constant("w", np.zeros((64, 32), np.int8), TensorType((64, 32), DType.I8, layout=HALVES))
        scale = Constant("scale", np.ones((2, 32), np.float32))
        operator = WeightOnlyMatMul(32, x_bits=x_bits)
        op = function.append(operator, [function.parameters[0], w, scale, None, None, None, None])
        kernel = lower(op, TargetDescription.named("avx512-vnni"))
        assert kernel is not None
        assert (13 + expected[0] - 1) // expected[0] == expected[1] == kernel.units // 2


@pytest.mark.parametrize("target", ["avx-vnni", "avx512-vnni", "x86-64-v3", "aarch64", "aarch64-dotprod"])
def test_any_rows_become_integers_where_bytes_have_a_dot_product(target: str) -> None:
    function = Function("main", [("x", TensorType((38, 64), DType.F32))])
    w = Constant("w", np.zeros((64, 32), np.int8), TensorType((64, 32), DType.I8, layout=HALVES))
    scale = Constant("scale", np.ones((2, 32), np.float32))
    op = function.append(WeightOnlyMatMul(32), [function.parameters[0], w, scale, None, None, None, None])
    kernel = lower(op, TargetDescription.named(target))
    assert kernel is not None
    has_product = target not in ("x86-64-v3", "aarch64")
    assert kernel.name.startswith("weight_only_rows" if has_product else "weight_only_product")
