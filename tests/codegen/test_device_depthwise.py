"""Depthwise convolutions and those in small groups, of any shape, on the device: the bytes of the reference, no lanes
for padding, no products of zeros."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import compile_for_device, run_on_device
from random_machines import random_machine
from random_seeds import seeds

from tilewright.ir import interp
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.runtime.isa.encoding import Queue
from tilewright.runtime.isa.matrix import ConvolveDepthwise
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator.verifier import verify_cards

QUANT = Quantization((0.05,), (3,))


def depthwise(rng: np.random.Generator) -> Module:
    """One convolution: 2 to 48 channels, each alone or in groups of up to 16, kernels of up to 7, strides of up to 3,
    dilated and padded by chance."""
    group = int(rng.choice([1, 1, 2, 4, 8, 16]))
    channels = group * int(rng.integers(2, max(41 // group, 4)))
    kernel, stride, dilation = (rng.integers(1, most + 1, 2) for most in (7, 3, 2))
    span = (kernel - 1) * dilation + 1
    begin, end = rng.integers(0, span), rng.integers(0, span)
    extent = np.maximum(rng.integers(1, 12, 2), span - begin - end)
    output = (extent + begin + end - span) // stride + 1
    module = Module("depthwise")
    x = TensorType((1, channels, *map(int, extent)), DType.I8, QUANT)
    function = module.add_function(Function("main", [("x", x)]))
    scales = tuple((2.0 ** -rng.integers(4, 7, channels).astype(float)).tolist())
    shape = (channels, group, *map(int, kernel))
    type = TensorType(shape, DType.I8, Quantization(scales, (0,) * channels, 0))
    w = module.add_constant("w", rng.integers(-128, 128, shape).astype(np.int8), type)
    b = module.add_constant("b", rng.integers(-999, 1000, channels).astype(np.int32))
    pads = tuple(int(pad) for pad in (*begin, *end))
    conv = Conv(tuple(map(int, stride)), pads, tuple(map(int, dilation)), channels // group)
    result = TensorType((1, channels, *map(int, output)), DType.I8, QUANT)
    function.set_results([function.append(conv, [function.parameters[0], w, b], [result]).result])
    return module


@pytest.mark.parametrize("seed", seeds(12, 36))
def test_equals_the_reference(seed: int) -> None:
    rng = np.random.default_rng(160 + seed)
    module = depthwise(rng)
    machines: tuple[tuple[Machine, int], ...] = ((load("s256"), 1), (load("m4096"), 4), (random_machine(rng), 1))
    machine, clusters = machines[seed % 3]
    channels = module.main.parameters[0].type.shape[1]
    inputs = {"x": rng.integers(-128, 128, module.main.parameters[0].type.shape).astype(np.int8)}
    (expected,) = interp.run(module, inputs).values()
    compiled = compile_for_device(module, machine, clusters)
    verified = verify_cards([compiled.program], machine)
    (found,) = run_on_device(module, compiled, machine, inputs).values()
    np.testing.assert_array_equal(found, expected)
    items = [
        item
        for stream, queue in verified.queues.items()
        for item in queue
        if stream.queue == Queue.MAC and isinstance(item, ConvolveDepthwise)
    ]
    assert {item.outputs % 16 for item in items} <= {0, channels % 16}
    (op,) = module.main.ops
    assert sum(item.macs for item in items) == op.macs
