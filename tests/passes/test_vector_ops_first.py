"""Ops of the vector unit stand where what they read is made, so that the array has other branches to work on beside."""

from __future__ import annotations

import numpy as np
import pytest
from device_runs import compile_for_device, run_on_device

from tilewright.ir import interp
from tilewright.ir.core import Function, Module, Value
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.movement import Concat
from tilewright.ir.ops.pooling import MaxPool
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.runtime.isa.encoding import Queue
from tilewright.runtime.machines.machine import load
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import verify

S256 = load("s256")
QUANT = Quantization.per_tensor(0.1)


def inception(size: int, channels: int, pool_first: bool) -> Module:
    """Two modules of branches, of a pooling and of convolutions, as a file may give them: in one order or the other."""
    module, rng = Module("inception"), np.random.default_rng(2)

    def map_of(count: int) -> TensorType:
        return TensorType((1, count, size, size), DType.I8, QUANT)

    function = module.add_function(Function("main", [("x", map_of(channels))]))

    def conv(value: Value, outputs: int, kernel: int) -> Value:
        shape, pad = (outputs, value.type.shape[1], kernel, kernel), kernel // 2
        weights = rng.integers(-9, 10, shape).astype(np.int8)
        w = module.add_constant("w", weights, TensorType(shape, DType.I8, QUANT))
        return function.append(Conv((1, 1), (pad,) * 4, (1, 1)), [value, w], [map_of(outputs)]).result

    def pooled(value: Value) -> Value:
        return function.append(MaxPool((3, 3), (1, 1), (1, 1, 1, 1), (1, 1)), [value], [value.type]).result

    def branches(x: Value, sizes: tuple[int, ...]) -> Value:
        early = pooled(x) if pool_first else None
        one, three, inner_three, five, inner_five, last = sizes
        found = [conv(x, one, 1), conv(conv(x, inner_three, 1), three, 3), conv(conv(x, inner_five, 1), five, 5)]
        found.append(conv(early if early is not None else pooled(x), last, 1))
        return function.append(Concat(1), found, [map_of(one + three + five + last)]).result

    quarter = channels // 3
    first = branches(
        function.parameters[0], (quarter, 2 * quarter, quarter // 2 * 3, quarter // 2, quarter // 4, quarter // 2)
    )
    second = branches(first, (2 * quarter, 3 * quarter, 2 * quarter, quarter // 2 * 3, quarter // 2, quarter))
    function.set_results([second], ["y"])
    return module


def test_a_pooling_that_stands_last_does_not_keep_the_array_waiting() -> None:
    found = {}
    for first in (False, True):
        timeline = simulate(verify(compile_for_device(inception(27, 192, first), S256).program, S256))
        array = sum(event.cost.unit for event in timeline.events if event.stream.queue == Queue.MAC)
        found[first] = timeline.cycles / array
    assert found[False] == pytest.approx(found[True], rel=0.01)
    assert found[False] < 1.06


def test_no_byte_depends_on_where_it_stands(rng: np.random.Generator) -> None:
    module = inception(9, 32, pool_first=False)
    expected_of = inception(9, 32, pool_first=False)
    x = rng.integers(-128, 128, module.main.parameters[0].type.shape).astype(np.int8)
    found = run_on_device(module, compile_for_device(module, S256), S256, {"x": x})
    expected = interp.run(expected_of, {"x": x})
    assert next(op.name for op in module.main.ops) == "max_pool"
    np.testing.assert_array_equal(found["y"], expected["y"])
