"""Resampling on the device, nearest and linear: every rule for coordinates, also where tiles start far inside."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import numpy as np
import pytest
from device_runs import compile_for_device, run_on_device

from tilewright.ir import arithmetic, interp
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.activation import Relu, Sigmoid
from tilewright.ir.ops.resize import Resize
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.runtime.machines.machine import load

SMALL = dataclasses.replace(load("s256"), name="small", maps_bytes=16384)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("factor", [2.0, 3.0, 0.5, 1.25])
@pytest.mark.parametrize("shape", [(1, 5, 24, 20), (2, 19, 40)])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_device_equals_reference(
    mode: str, coordinates: str, factor: float, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    scales = (1.0, 1.0, *[factor] * (len(shape) - 2))
    extents = tuple(int(e * s) for e, s in zip(shape, scales, strict=True))
    quant = Quantization.per_tensor(0.1, 7)
    module = Module("resize")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType(shape, DType.U8, quant))
    op = function.append(Resize(extents, scales, mode, coordinates, "floor"), [x], names=["y"])
    function.set_results(op.results)
    inputs = {"x": rng.integers(0, 256, shape).astype(np.uint8)}
    expected = interp.run(module, inputs)["y"]
    found = run_on_device(module, compile_for_device(module, SMALL), SMALL, inputs)["y"]
    np.testing.assert_array_equal(found, expected)


def test_interpolation_is_that_of_real_numbers_rounded_once(rng: np.random.Generator) -> None:
    quant = Quantization.per_tensor(0.1, 7)
    for coordinates, mode in itertools.product(["half_pixel", "asymmetric", "align_corners"], ["i8", "u8"]):
        dtype = DType(mode)
        type = TensorType((1, 3, 6, 5), dtype, quant)
        scales = (1.0, 1.0, float(np.float32(19 / 6)), 1.4)
        operator = Resize((1, 3, 19, 7), scales, "linear", coordinates)
        x = rng.integers(np.iinfo(dtype.numpy).min, np.iinfo(dtype.numpy).max + 1, type.shape).astype(dtype.numpy)
        found = operator.reference_quantized([x], [type], [type.with_shape(operator.extents)])
        exact = operator.reference(x.astype(np.float64))
        # Points are rounded to 2^-12, along two dimensions, between elements that are at most 255 apart.
        assert np.abs(found - exact).max() <= 0.5 + 2 * 255 / 4096
        rows, columns = (arithmetic.neighbours(operator.fixed_points(d, type.shape[d]), type.shape[d]) for d in (2, 3))
        for c, y, z in itertools.product(*map(range, (3, 19, 7))):
            total = sum(
                int(x[0, c, rows[i][y], columns[j][z]])
                * Fraction(int(rows[2][y]) if i else 2048 - int(rows[2][y]), 2048)
                * Fraction(int(columns[2][z]) if j else 2048 - int(columns[2][z]), 2048)
                for i, j in itertools.product((0, 1), repeat=2)
            )
            assert found[0, c, y, z] == round(Fraction(total))


def test_interpolation_on_clusters_with_maps_on_chip(rng: np.random.Generator) -> None:
    quant = Quantization.per_tensor(0.1, 7)
    module = Module("resize")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((1, 32, 18, 16), DType.I8, quant))
    value = x
    for extents in ((32, 30), (13, 41)):
        scales = (1.0, 1.0, *(e / f for e, f in zip(extents, value.type.shape[2:], strict=True)))
        resize = Resize((1, 32, *extents), tuple(float(np.float32(s)) for s in scales), "linear")
        value = function.append(resize, [value]).result
        value = function.append(Sigmoid(), [value], [value.type]).result
    function.append(Relu(), [value], [value.type], names=["y"])
    function.set_results([list(function.ops)[-1].result])
    inputs = {"x": rng.integers(-128, 128, x.type.shape).astype(np.int8)}
    (name,) = function.result_names
    expected = interp.run(module, inputs)[name]
    machine = load("m4096")
    for clusters in (1, 3):
        found = run_on_device(module, compile_for_device(module, machine, clusters), machine, inputs)[name]
        np.testing.assert_array_equal(found, expected)
