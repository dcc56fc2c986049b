"""Convolutions that cut a signal into frames become matrix products."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import parse, random_inputs, run_pass

from tilewright.ir import interp
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import DType, Quantization, TensorType


def network(x: list[int], w: list[int], y: list[int], strides: list[int], pads: list[int]) -> Module:
    spatial = len(w) - 2
    rng = np.random.default_rng(1)
    weights, bias = rng.standard_normal(w).astype(np.float32), rng.standard_normal(w[0]).astype(np.float32)
    attributes = f'strides={strides}, pads={pads}, dilations={[1] * spatial}, group=1, act="relu", act_args=[]'
    text = f"""
      const @w : f32{w} = blob "w"
      const @b : f32[{w[0]}] = blob "b"
      func @main(%x: f32{x}) -> (%y: f32{y}) {{
        %y = conv(%x, @w, @b) {{{attributes}}} : f32{y} loc("spectrum")
        return %y
      }}"""
    return parse(text, {"w": weights, "b": bias})


@pytest.mark.parametrize(
    ("x", "w", "y", "strides", "pads"),
    [
        ([2, 1, 200], [8, 1, 40], [2, 8, 6], [30], [0, 0]),
        ([1, 1, 200], [9, 1, 32], [1, 9, 10], [20], [3, 13]),
        ([1, 1, 600], [8, 1, 80], [1, 8, 17], [32], [0, 0]),
        ([2, 1, 1, 164], [8, 1, 1, 64], [2, 8, 1, 3], [1, 40], [0, 0, 0, 0]),
    ],
)
def test_becomes_a_product_of_frames(
    x: list[int], w: list[int], y: list[int], strides: list[int], pads: list[int], rng: np.random.Generator
) -> None:
    module = network(x, w, y, strides, pads)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["y"]
    (origin,) = (op.loc for op in module.ops)
    run_pass("frame_convolutions", module)
    names = [op.name for op in module.ops]
    assert "conv" not in names
    assert {"gather", "matmul"} <= set(names)
    assert {op.loc for op in module.ops} == {origin}
    np.testing.assert_allclose(interp.run(module, inputs)["y"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [DType.U8, DType.I16])
def test_integers_become_a_product_as_well(dtype: DType, rng: np.random.Generator) -> None:
    """There are no kernels on vectors for windows so long; padding is the zero point."""
    module = Module("m")
    x = TensorType((2, 1, 300), dtype, Quantization.per_tensor(0.05, 7))
    w = TensorType((9, 1, 130), DType.I8, Quantization(tuple(rng.uniform(0.01, 0.02, 9).tolist()), (0,) * 9, 0))
    function = module.add_function(Function("main", [("x", x)]))
    weights = module.add_constant("w", rng.integers(-128, 128, w.shape).astype(np.int8), w)
    bias = module.add_constant("b", rng.integers(-999, 999, 9).astype(np.int32))
    conv = Conv((16,), (40, 3), (1,), 1)
    result = TensorType((2, 9, 14), dtype, Quantization.per_tensor(0.1, 3))
    function.set_results(function.append(conv, [*function.parameters, weights, bias], [result]).results)
    inputs = random_inputs(module, rng)
    (expected,) = interp.run(module, inputs).values()
    run_pass("frame_convolutions", module)
    assert {"gather", "matmul"} <= {op.name for op in module.ops} and "conv" not in {op.name for op in module.ops}
    (found,) = interp.run(module, inputs).values()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("x", "w", "y", "strides", "pads", "seen"),
    [
        pytest.param([1, 2, 200], [8, 2, 40], [1, 8, 17], [10], [0, 0], [1, 20, 20], id="two channels"),
        pytest.param([2, 1, 200], [8, 1, 16], [2, 8, 24], [8], [3, 2], [2, 8, 25], id="short windows"),
        pytest.param([2, 1, 200], [8, 1, 40], [2, 8, 17], [10], [0, 0], [2, 10, 20], id="long windows"),
        pytest.param([1, 1, 200], [8, 1, 65], [1, 8, 34], [4], [0, 0], [1, 4, 50], id="frames of single elements"),
        pytest.param([1, 1, 203], [4, 1, 40], [1, 4, 17], [10], [0, 0], [1, 10, 20], id="few outputs"),
        pytest.param([1, 3, 50], [8, 3, 7], [1, 8, 25], [2], [3, 3], [1, 6, 28], id="an odd number of taps"),
        pytest.param([1, 1, 8, 40], [8, 1, 3, 40], [1, 8, 8, 1], [1, 1], [1, 0, 1, 0], [1, 40, 8, 1], id="words"),
        pytest.param([1, 2, 9, 41], [8, 2, 1, 40], [1, 8, 9, 1], [1, 2], [0, 0, 0, 0], [1, 80, 9, 1], id="lines"),
    ],
)
def test_others_become_convolutions_of_phases(
    x: list[int], w: list[int], y: list[int], strides: list[int], pads: list[int], seen: list[int], rng
) -> None:
    module = network(x, w, y, strides, pads)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["y"]
    run_pass("frame_convolutions", module)
    (conv,) = (op for op in module.ops if op.name == "conv")
    assert list(conv.inputs[0].type.shape) == seen
    assert "strides=[1" in str(conv)
    np.testing.assert_allclose(interp.run(module, inputs)["y"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("x", "w", "y", "strides", "pads"),
    [
        pytest.param([1, 1, 200], [8, 1, 40], [1, 8, 161], [1], [0, 0], id="neighbouring columns lie together"),
        pytest.param([1, 8, 200], [8, 8, 40], [1, 8, 17], [10], [0, 0], id="many channels"),
        pytest.param([1, 2, 50], [8, 2, 3], [1, 8, 24], [2], [0, 0], id="a third more taps"),
        pytest.param([1, 1, 8, 40], [8, 1, 3, 4], [1, 8, 3, 19], [2, 2], [0, 0, 0, 0], id="images"),
        pytest.param([1, 1, 200], [8, 1, 33], [1, 8, 11], [16], [0, 0], id="frames of single elements"),
    ],
)
def test_where_neither_pays_nothing_changes(
    x: list[int], w: list[int], y: list[int], strides: list[int], pads: list[int]
) -> None:
    module = network(x, w, y, strides, pads)
    run_pass("frame_convolutions", module)
    assert [op.name for op in module.ops] == ["conv"]


def test_convolutions_of_one_signal_share_its_frames(rng: np.random.Generator) -> None:
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((2, 1, 203), DType.F32))
    values: list[Value] = []
    for index in range(2):
        w = module.add_constant("w", rng.standard_normal((9, 1, 40)).astype(np.float32))
        values.append(function.append(Conv((30,), (2, 0), (1,)), [x, w, None], names=[f"y{index}"]).result)
    function.set_results(values)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    run_pass("frame_convolutions", module)
    (gather,) = (op for op in module.ops if op.name == "gather")
    # Windows begin every 30 elements, and so does a quarter of 40: ten at a time are copied.
    assert gather.result.type.shape == (2, 6, 4, 10)
    for name, found in interp.run(module, inputs).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("stride", "expected"), [(8, "conv"), (30, "matmul")])
def test_weights_that_are_computed_are_put_in_order_in_the_run(
    stride: int, expected: str, rng: np.random.Generator
) -> None:
    module = Module("m")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((2, 1, 203), DType.F32))
    w = function.add_parameter("w", TensorType((9, 1, 45), DType.F32))
    conv = function.append(Conv((stride,), (2, 0), (1,)), [x, w, None])
    function.set_results(conv.results)
    inputs = random_inputs(module, rng)
    before = interp.run(module, inputs)
    run_pass("frame_convolutions", module)
    assert expected in {op.name for op in module.ops} and f"strides=[{stride}" not in str(module.main)
    for name, found in interp.run(module, inputs).items():
        np.testing.assert_allclose(found, before[name], rtol=1e-5, atol=1e-5)
