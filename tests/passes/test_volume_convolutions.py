"""Convolutions of volumes become convolutions of images."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import random_inputs, run_pass

from tilewright.ir import interp
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.ops.activation import Relu
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.integer_products import ConvInteger
from tilewright.ir.types import DType, Quantization, TensorType

CASES = {
    "windows of all dimensions": ((8, 8, 3, 3, 3), (1, 1, 1), (1, 1, 1, 1, 1, 1), (1, 1, 1), 1),
    "strides, dilations and uneven padding": ((9, 8, 2, 3, 2), (2, 1, 2), (0, 1, 2, 3, 0, 1), (2, 1, 1), 1),
    "few channels in strides": ((4, 3, 3, 3, 3), (1, 2, 2), (1, 1, 1, 1, 1, 1), (1, 1, 1), 1),
    "one plane": ((8, 8, 1, 3, 3), (1, 1, 1), (0, 1, 1, 0, 1, 1), (1, 1, 1), 1),
    "one pixel": ((8, 8, 1, 1, 1), (1, 1, 1), (0, 0, 0, 0, 0, 0), (1, 1, 1), 1),
    "one pixel of several planes in groups": ((8, 4, 3, 1, 1), (2, 1, 1), (1, 0, 0, 0, 0, 0), (1, 1, 1), 2),
    "groups of blocks of channels": ((64, 8, 2, 3, 3), (1, 2, 1), (1, 1, 0, 1, 1, 0), (2, 1, 1), 2),
}
"""Weights, strides, pads, dilations and group."""


def network(name: str, rng: np.random.Generator, convolutions: int = 1) -> Module:
    shape, strides, pads, dilations, group = CASES[name]
    module = Module("m")
    function = module.add_function(Function("main"))
    value: Value = function.add_parameter("x", TensorType((2, shape[1] * group, 5, 6, 7), DType.F32))
    b = module.add_constant("b", rng.standard_normal(shape[0]).astype(np.float32))
    for _ in range(convolutions):
        w = module.add_constant("w", rng.standard_normal(shape).astype(np.float32))
        value = function.append(Conv(strides, pads, dilations, group), [value, w, b]).result
        value = function.append(Relu(), [value], names=["y"]).result
    function.set_results((value,))
    return module


@pytest.mark.parametrize("name", CASES)
def test_images_give_what_the_volume_gives(name: str, rng: np.random.Generator) -> None:
    module = network(name, rng)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["y"]
    run_pass("volume_convolutions", module)
    (conv,) = (op for op in module.ops if op.name == "conv")
    assert conv.result.type.rank == 4
    assert [user.name for user in conv.result.users] == ["relu"]
    np.testing.assert_allclose(interp.run(module, inputs)["y"], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kernel", "outputs"), [((2, 3, 2), 8), ((5, 2, 7), 33)])
def test_patches_are_rows_of_a_product(
    kernel: tuple[int, ...], outputs: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is behind the last whole patch is read by none."""
    monkeypatch.setitem(CASES, "patches", ((outputs, 3, *kernel), kernel, (0,) * 6, (1, 1, 1), 1))
    module = network("patches", rng)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["y"]
    run_pass("volume_convolutions", module)
    (product,) = (op for op in module.ops if op.name in ("conv", "matmul"))
    assert product.name == "matmul"
    assert [user.name for user in product.result.users] == ["relu"]
    np.testing.assert_allclose(interp.run(module, inputs)["y"], expected, rtol=1e-4, atol=1e-4)


def test_planes_keep_their_places_between_convolutions(rng: np.random.Generator) -> None:
    module = network("windows of all dimensions", rng, convolutions=2)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)["y"]
    run_pass("volume_convolutions", module)
    assert [op.name for op in module.ops].count("transpose") == 2
    np.testing.assert_allclose(interp.run(module, inputs)["y"], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("strides", "dilations"), [((1, 1, 1), (1, 1, 1)), ((2, 1, 2), (1, 2, 1))])
def test_groups_of_integers_become_images(
    strides: tuple[int, ...], dilations: tuple[int, ...], rng: np.random.Generator
) -> None:
    """Each with the planes of its own channels; there are no fast kernels for volumes of integers."""
    module = Module("m")
    types = [
        TensorType(shape, DType.I8, Quantization.per_tensor(scale, zero))
        for shape, scale, zero in (((2, 6, 5, 6, 7), 0.05, 7), ((9, 2, 3, 3, 2), 0.01, 0))
    ]
    function = module.add_function(Function("main", [("x", types[0])]))
    w = module.add_constant("w", rng.integers(-128, 128, types[1].shape).astype(np.int8), types[1])
    b = module.add_constant("b", rng.integers(-999, 999, 9).astype(np.int32))
    conv = Conv(strides, (1, 1, 0, 1, 1, 1), dilations, 3)
    plain = conv.infer(types[0].plain, types[1].plain, None, None)
    result = TensorType(plain.shape, DType.I8, Quantization.per_tensor(0.1, -3))
    function.set_results(function.append(conv, [*function.parameters, w, b], [result]).results)
    inputs = {"x": rng.integers(-128, 128, types[0].shape).astype(np.int8)}
    (expected,) = interp.run(module, inputs).values()
    run_pass("volume_convolutions", module)
    assert [op.result.type.rank for op in module.ops if op.name == "conv"] == [4]
    (found,) = interp.run(module, inputs).values()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("is_given", [False, True])
def test_padding_of_integers_stands_for_a_zero_point_that_a_run_gives(
    name: str, is_given: bool, rng: np.random.Generator
) -> None:
    shape, strides, pads, dilations, group = CASES[name]
    given = [("x", TensorType((2, shape[1] * group, 5, 6, 7), DType.U8)), ("zero", TensorType((1,), DType.U8))]
    module = Module("m")
    function = module.add_function(Function("main", given if is_given else given[:1]))
    w = module.add_constant("w", rng.integers(-128, 128, shape).astype(np.int8))
    zeros = module.add_constant("zeros", rng.integers(-128, 128, shape[0]).astype(np.int8))
    x, *zero = function.parameters
    conv = ConvInteger(strides, pads, dilations, group)
    function.set_results(function.append(conv, [x, w, *(zero or [None]), zeros]).results)
    inputs = random_inputs(module, rng)
    (expected,) = interp.run(module, inputs).values()
    run_pass("volume_convolutions", module)
    assert [op.result.type.rank for op in module.ops if op.name == "conv_integer"] == [4]
    (found,) = interp.run(module, inputs).values()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("shape", "group"),
    [
        pytest.param((8, 3, 3, 3, 3), 1, id="few channels"),
        pytest.param((1, 8, 1, 1, 1), 1, id="few outputs"),
        pytest.param((8, 4, 3, 3, 3), 2, id="groups over several planes"),
        pytest.param((8, 8, 3, 3), 1, id="an image"),
    ],
)
def test_stays(shape: tuple[int, ...], group: int, rng: np.random.Generator) -> None:
    module = Module("m")
    function = module.add_function(Function("main"))
    spatial = len(shape) - 2
    x = function.add_parameter("x", TensorType((1, shape[1] * group, *(5,) * spatial), DType.F32))
    w = module.add_constant("w", rng.standard_normal(shape).astype(np.float32))
    conv = Conv((1,) * spatial, (0,) * 2 * spatial, (1,) * spatial, group)
    function.set_results(function.append(conv, [x, w, None]).results)
    run_pass("volume_convolutions", module)
    assert [op.name for op in module.ops] == ["conv"]
    assert next(module.ops).inputs[0] is x
