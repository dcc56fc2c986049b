"""Nearest resampling on the device: every coordinate rule that steps can follow, also where tiles start far inside."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from device_runs import compile_for_device, run_on_device

from tilewright.ir import interp
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.resize import Resize
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.runtime.machine import load

SMALL = dataclasses.replace(load("s256"), name="small", maps_bytes=16384)


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("factor", [2.0, 3.0, 0.5, 1.25])
@pytest.mark.parametrize("shape", [(1, 5, 24, 20), (2, 19, 40)])
def test_device_equals_reference(
    coordinates: str, factor: float, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    scales = (1.0, 1.0, *[factor] * (len(shape) - 2))
    extents = tuple(int(e * s) for e, s in zip(shape, scales, strict=True))
    quant = Quantization.per_tensor(0.1, 7)
    module = Module("resize")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType(shape, DType.U8, quant))
    op = function.append(Resize(extents, scales, "nearest", coordinates, "floor"), [x], names=["y"])
    function.set_results(op.results)
    inputs = {"x": rng.integers(0, 256, shape).astype(np.uint8)}
    expected = interp.run(module, inputs)["y"]
    found = run_on_device(module, compile_for_device(module, SMALL), SMALL, inputs)["y"]
    np.testing.assert_array_equal(found, expected)
