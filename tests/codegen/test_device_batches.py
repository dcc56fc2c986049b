"""Pointwise convolution of many images: in memory they are one map, and are computed as one."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import compile_for_device, run_on_device

from tilewright.ir import interp
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.runtime.isa.encoding import Queue, Stream
from tilewright.runtime.isa.matrix import Convolve
from tilewright.runtime.machines.machine import load

QUANT = Quantization.per_tensor(0.1, 3)


def batch(shape: tuple[int, ...], rng: np.random.Generator, pads: tuple[int, ...] = (0, 0, 0, 0)) -> Module:
    module = Module("batch")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType(shape, DType.I8, QUANT))
    weights = rng.integers(-9, 9, (20, shape[1], 1, 1)).astype(np.int8)
    w = module.add_constant("w", weights, TensorType(weights.shape, DType.I8, Quantization.per_tensor(0.01)))
    y = TensorType((shape[0], 20, shape[2] + pads[0] + pads[2], shape[3] + pads[1] + pads[3]), DType.I8, QUANT)
    op = function.append(Conv((1, 1), pads, (1, 1)), [x, w], [y], names=["y"])
    function.set_results(op.results)
    return module


@pytest.mark.parametrize("machine", ["m4096", "s256"])
@pytest.mark.parametrize(
    ("shape", "pads", "joined"),
    [
        ((50, 33, 1, 1), (0, 0, 0, 0), True),
        ((7, 5, 3, 1), (0, 0, 0, 0), True),
        ((7, 40, 2, 3), (0, 0, 0, 0), True),
        ((7, 40, 2, 3), (0, 0, 1, 0), False),
    ],
)
def test_images_that_follow_each_other_are_one_map(
    shape: tuple[int, ...], pads: tuple[int, ...], joined: bool, machine: str, rng: np.random.Generator
) -> None:
    module = batch(shape, rng, pads)
    compiled = compile_for_device(module, load(machine))
    queue = compiled.program.instructions(Stream(0, Queue.MAC))
    # Of one map the tiles are as the search likes them, otherwise every image has its own.
    assert (sum(isinstance(item, Convolve) for item in queue) < shape[0]) == joined
    inputs = {"x": rng.integers(-128, 128, shape).astype(np.int8)}
    found = run_on_device(module, compiled, load(machine), inputs)
    np.testing.assert_array_equal(found["y"], interp.run(module, inputs)["y"])
