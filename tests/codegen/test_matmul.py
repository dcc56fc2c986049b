"""Matrix products against NumPy, at extents that leave remainders everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kernel_harness import TARGETS, Execution, described, run, run_kernels

from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.kernels.activation import Activation
from tilewright.codegen.cpu.kernels.matmul import DotProducts
from tilewright.codegen.cpu.kernels.products.float_product import FloatProduct
from tilewright.ir.activation import activate
from tilewright.ir.core import Function
from tilewright.ir.layout import pack
from tilewright.ir.ops.matmul import MatMul
from tilewright.ir.types import DType, TensorType

targets = pytest.mark.parametrize("target", TARGETS)


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def check(
    spec: FloatProduct | DotProducts, x: np.ndarray, w: np.ndarray, target: str, rng: np.random.Generator
) -> None:
    """Compare the kernel with NumPy; x and w are the factors as they are multiplied, w not transposed."""
    expected = np.matmul(x, w)
    operands = [x, w]
    if isinstance(spec, DotProducts) or spec.transpose_w:
        operands[1] = np.swapaxes(w, -1, -2)
    if isinstance(spec, FloatProduct) and spec.panels:
        operands[1] = pack(w, "io16")
    if isinstance(spec, FloatProduct) and spec.transpose_x:
        operands[0] = np.swapaxes(x, -1, -2)
    if spec.has_bias:
        operands.append(numbers(rng, w.shape[-1]).astype(x.dtype))
        expected = expected + operands[-1]
    if spec.has_residual:
        operands.append(numbers(rng, *expected.shape).astype(x.dtype))
        expected = expected + operands[-1]
    expected = activate(expected, spec.activation.name, spec.activation.args)
    (y,) = run(spec, described(target), operands, [(expected.shape, x.dtype.type)])
    most = 1e-5 if x.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(y, expected, rtol=most, atol=most * max(1, float(np.abs(expected).max())))


@targets
@pytest.mark.parametrize("transpose_x", [False, True])
@pytest.mark.parametrize("transpose_w", [False, True])
@pytest.mark.parametrize(
    "extents",
    [(1, 1, 1), (5, 33, 7), (31, 70, 19), (64, 16, 5), (3, 130, 40), (26, 300, 40), (31, 1026, 17), (19, 517, 2)],
)
def test_product(
    extents: tuple[int, int, int], transpose_w: bool, transpose_x: bool, target: str, rng: np.random.Generator
) -> None:
    rows, columns, inner = extents
    spec = FloatProduct(rows, columns, inner, (), (), (), transpose_x, transpose_w, has_bias=rows > 4)
    check(spec, numbers(rng, rows, inner), numbers(rng, inner, columns), target, rng)


@targets
@pytest.mark.parametrize("extents", [(1, 16, 7), (5, 33, 7), (31, 70, 19), (64, 200, 5), (3, 24, 40), (19, 517, 2)])
def test_known_factor_in_panels(extents: tuple[int, int, int], target: str, rng: np.random.Generator) -> None:
    rows, columns, inner = extents
    spec = FloatProduct(rows, columns, inner, transpose_x=rows == 5, panels=True, has_bias=True)
    check(spec, numbers(rng, rows, inner), numbers(rng, inner, columns), target, rng)


@targets
@pytest.mark.parametrize("steps", [2, 8])
@pytest.mark.parametrize("panels", [False, True])
def test_products_of_few_steps_finish_a_few_rows_before_the_next(panels: bool, steps: int, target: str) -> None:
    """Down a strip each row of 1024 columns would lie in a page of its own."""
    shape = FloatProduct(512, 1024, steps, panels=panels).shape(described(target))
    assert shape.cut.row_block == 8
    assert shape.cut.vectors * shape.lanes < 1024


@pytest.mark.parametrize("extents", [(97, 97, 40), (49, 49, 32), (13, 128, 128)])
@pytest.mark.parametrize("target", ["x86-64-v2", "avx2"])
def test_what_is_loaded_of_rows_meets_several_vectors(target: str, extents: tuple[int, int, int]) -> None:
    """With one, each product waited for a load of its own, where tiles of so many rows fit the extents better."""
    assert FloatProduct(*extents, transpose_w=True).shape(described(target)).cut.vectors > 1


@targets
@pytest.mark.parametrize("extents", [(2, 2, 1), (5, 33, 7), (31, 70, 19), (29, 157, 40), (19, 137, 2)])
def test_double_precision(extents: tuple[int, int, int], target: str, rng: np.random.Generator) -> None:
    rows, columns, inner = extents
    added = {"has_bias": rows > 2, "has_residual": rows > 5}
    spec = FloatProduct(rows, columns, inner, (2,), (1,), (0,), rows == 5, is_double=True)
    spec = replace(spec, **added)
    x, w = rng.standard_normal((2, rows, inner)), rng.standard_normal((inner, columns))
    check(spec, x, w, target, rng)
    check(replace(spec, transpose_w=True), x, w, target, rng)


@pytest.mark.parametrize(("rows", "columns"), [(3, 4), (1, 4), (3, 1)])
def test_matrices_of_double_precision_are_read_in_vectors(rows: int, columns: int) -> None:
    function = Function("main", [("x", TensorType((rows, 5), DType.F64)), ("w", TensorType((5, columns), DType.F64))])
    kernel = lower(function.append(MatMul(), function.parameters), described("host"))
    assert kernel is not None
    assert kernel.name.startswith("float_product") == (min(rows, columns) > 1)


@targets
@pytest.mark.parametrize("activation", [Activation("relu"), Activation("gelu")])
def test_epilogue(activation: Activation, target: str, rng: np.random.Generator) -> None:
    spec = FloatProduct(9, 37, 12, has_bias=True, has_residual=True, activation=activation)
    check(spec, numbers(rng, 9, 12), numbers(rng, 12, 37), target, rng)


def test_batch_that_broadcasts(rng: np.random.Generator) -> None:
    x, w = numbers(rng, 3, 1, 6, 8), numbers(rng, 2, 8, 5)
    spec = FloatProduct(6, 5, 8, batch=(3, 2), x_strides=(1, 0), w_strides=(0, 1))
    check(spec, x, w, "host", rng)
    check(replace(spec, transpose_w=True), x, w, "host", rng)


def test_rows_in_blocks(rng: np.random.Generator) -> None:
    # So long rows that only a few of them fit into the second level cache.
    inner = described("host").cache_bytes[1] // 64
    spec = FloatProduct(37, 18, inner)
    check(spec, numbers(rng, 37, inner) / 64, numbers(rng, inner, 18) / 64, "host", rng)


@targets
@pytest.mark.parametrize("extents", [(1, 1, 1), (1, 19, 50), (3, 8, 16), (2, 17, 33)])
def test_dot_products(extents: tuple[int, int, int], target: str, rng: np.random.Generator) -> None:
    rows, columns, inner = extents
    spec = DotProducts(rows, columns, inner, has_bias=True, has_residual=True, activation=Activation("sigmoid"))
    check(spec, numbers(rng, rows, inner), numbers(rng, inner, columns), target, rng)


@pytest.mark.parametrize("target", [*TARGETS, "x86-64-v2"])
def test_vectors_of_a_batch(target: str, rng: np.random.Generator) -> None:
    """Matrices times vectors, and few rows by transposed matrices, are dot products, however the batch broadcasts."""
    executions = []
    for transposed, x, w in (
        (False, (3, 1, 19, 33), (2, 33, 1)),
        (False, (5, 1, 16), (5, 16, 1)),
        (False, (4, 7, 9), (4, 9, 1)),
        (True, (2, 3, 4, 21), (3, 11, 21)),
        (True, (6, 1, 5), (1, 6, 40, 5)),
    ):
        arrays = numbers(rng, *x), numbers(rng, *w)
        function = Function("main", [(f"x{i}", TensorType.of(array)) for i, array in enumerate(arrays)])
        op = function.append(MatMul(transpose_b=transposed), function.parameters)
        kernel = lower(op, described(target))
        assert kernel is not None
        assert kernel.name.startswith("dot_products")
        executions.append(Execution(op, kernel, arrays))
    for each, found in zip(executions, run_kernels(executions, described(target)), strict=True):
        assert found is not None
        np.testing.assert_allclose(found[0], each.op.evaluate(each.arrays)[0], rtol=1e-5, atol=1e-5)
