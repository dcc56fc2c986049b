"""Integers that products multiply as numbers stay integers; the rest becomes numbers when compiling."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_same_meaning, clone

from tilewright.compiler.pipeline import float_pipeline
from tilewright.ir import interp
from tilewright.ir.core import Function, Module, Op, Value
from tilewright.ir.layout import HALVES
from tilewright.ir.ops.indexing import Gather
from tilewright.ir.ops.matmul import MatMul, NarrowMatMul
from tilewright.ir.ops.movement import Transpose
from tilewright.ir.ops.quantization import DequantizeLinear
from tilewright.ir.ops.shape import Reshape
from tilewright.ir.ops.weight_only import WeightOnlyMatMul
from tilewright.ir.types import DType, TensorType
from tilewright.passes.cpu.weight_only_products import WeightOnlyProducts


class Network:
    """A product of a parameter with what is made of stored integers."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.module = Module("stored")
        self.main = self.module.add_function(Function("main"))

    def integers(self, shape: tuple[int, ...], low: int, high: int, dtype: type, axis: int | None, zero: bool) -> Value:
        count = () if axis is None else (shape[axis],)
        stored = self.module.add_constant("q", self.rng.integers(low, high, shape).astype(dtype))
        scale = self.module.add_constant("s", self.rng.uniform(0.01, 0.1, count).astype(np.float32))
        zeros = self.rng.integers(low, high, count).astype(dtype)
        operands = [stored, scale, self.module.add_constant("z", zeros) if zero else None]
        return self.main.append(DequantizeLinear(axis), operands).result

    def optimized(self, w: Value, rows: int, inner: int, *, transposed: bool = False, returns_w: bool = False) -> Op:
        """The product after all passes, which keep the meaning."""
        x = self.main.add_parameter("x", TensorType((rows, inner), DType.F32))
        y = self.main.append(MatMul(transpose_b=transposed), [x, w]).result
        self.main.set_results([y, *[w] * returns_w], ["y", "w"][: 1 + returns_w])
        before = clone(self.module)
        float_pipeline().run(self.module)
        assert_same_meaning(before, self.module, self.rng, tolerance=1e-5)
        return self.main.results[0].producer  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize(
    ("dtype", "low", "high", "axis", "zero", "layout"),
    [
        (np.int8, -128, 128, 1, False, "i4o16"),
        (np.uint8, 0, 256, None, True, "i4o16"),
        (np.uint8, 120, 136, 1, True, HALVES),
    ],
)
def test_columns(
    dtype: type, low: int, high: int, axis: int | None, zero: bool, layout: str, rng: np.random.Generator
) -> None:
    net = Network(rng)
    product = net.optimized(net.integers((24, 32), low, high, dtype, axis, zero), 5, 24)
    assert product.operator == WeightOnlyMatMul(24)
    assert (product.inputs[1].type.dtype, product.inputs[1].type.layout) == (DType.I8, layout)


def test_blocks_of_transposed_weights(rng: np.random.Generator) -> None:
    """As formats with a scale for each block of a row are imported."""
    net = Network(rng)
    flat = net.integers((32 * 3, 16), -8, 8, np.int8, 0, zero=True)
    w = net.main.append(Reshape((32, 48)), [flat]).result
    assert net.optimized(w, 1, 48, transposed=True).operator == WeightOnlyMatMul(16)
    net = Network(rng)
    w = net.main.append(Transpose((1, 0)), [net.integers((32, 24), -8, 8, np.int8, 0, zero=False)]).result
    assert net.optimized(w, 7, 24).operator == WeightOnlyMatMul(24)


def test_what_may_be_rounded_is_said_of_the_product(rng: np.random.Generator) -> None:
    net = Network(rng)
    x = net.main.add_parameter("x", TensorType((5, 24), DType.F32))
    w = net.integers((24, 32), -8, 8, np.int8, 1, zero=False)
    net.main.set_results([net.main.append(MatMul(x_bits=16), [x, w]).result], ["y"])
    float_pipeline().run(net.module)
    assert net.main.results[0].producer.operator == WeightOnlyMatMul(24, x_bits=16)  # pyright: ignore[reportOptionalMemberAccess]


def test_matrices_that_are_picked(rng: np.random.Generator) -> None:
    """As the experts of few rows are imported."""
    net = Network(rng)
    flat = net.integers((3 * 24 * 2, 8), -8, 8, np.int8, 0, zero=True)
    which = net.main.add_parameter("which", TensorType((2,), DType.I64))
    w = net.main.append(Gather(0), [net.main.append(Reshape((3, 24, 16)), [flat]).result, which]).result
    x = net.main.add_parameter("x", TensorType((2, 1, 16), DType.F32))
    net.main.set_results([net.main.append(MatMul(transpose_b=True), [x, w]).result], ["y"])
    before = clone(net.module)
    float_pipeline().run(net.module)
    product = net.main.results[0].producer
    assert product is not None and product.operator == WeightOnlyMatMul(8)
    assert (product.inputs[1].type.shape, product.inputs[1].type.layout) == ((48, 24), HALVES)
    operands = {"x": rng.standard_normal((2, 1, 16)).astype(np.float32), "which": np.array([2, -3])}
    expected, y = (interp.run(module, operands)["y"] for module in (before, net.module))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_rows_that_are_picked_are_no_matrices(rng: np.random.Generator) -> None:
    """Though there is one for each matrix of the other factor."""
    net = Network(rng)
    which = net.main.add_parameter("which", TensorType((8,), DType.I64))
    rows = net.main.append(Gather(0), [net.integers((40, 32), -128, 128, np.int8, None, zero=False), which]).result
    x = net.main.add_parameter("x", TensorType((8, 1, 8), DType.F32))
    net.main.set_results([net.main.append(MatMul(), [x, rows]).result], ["y"])
    WeightOnlyProducts().run(net.module)
    assert [op.name for op in net.main.ops] == ["dequantize_linear", "gather", "matmul"]


@pytest.mark.parametrize(("rows", "expected"), [(4, WeightOnlyMatMul(64)), (5, NarrowMatMul())])
def test_bfloat16_multiplies_many_rows(rows: int, expected: WeightOnlyMatMul | NarrowMatMul) -> None:
    """Integers of 8 bits are exact there; of few rows, reading the weights is what takes time."""
    net = Network(np.random.default_rng(0))
    w = net.integers((64, 256), -128, 128, np.int8, 1, zero=False)
    x = net.main.add_parameter("x", TensorType((rows, 64), DType.F32))
    net.main.set_results([net.main.append(MatMul(), [x, w]).result], ["y"])
    float_pipeline(narrow=2).run(net.module)
    assert [op.operator for op in net.main.ops][-1] == expected


def test_what_becomes_numbers(rng: np.random.Generator) -> None:
    """Weights that something else reads, few columns, and scales of single rows."""
    for columns, axis, returns_w in ((32, 1, True), (4, 1, False), (32, 0, False)):
        net = Network(rng)
        w = net.integers((24, columns), -128, 128, np.int8, axis, zero=False)
        assert isinstance(net.optimized(w, 5, 24, returns_w=returns_w).operator, MatMul)
        assert all(op.name != "dequantize_linear" for op in net.module.ops)
