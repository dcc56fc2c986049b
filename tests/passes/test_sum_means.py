"""Means over large maps become sums of parts, on the device alone, and no bit of them changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from before_after import clone, run_pass
from channel_networks import QUANT, ChannelNetwork
from device_runs import compile_for_device, run_on_device

from tilewright.ir import interp
from tilewright.ir.annotations import ON
from tilewright.ir.arithmetic import global_average_multiplier, multiplier
from tilewright.ir.core import Module, is_op
from tilewright.ir.feature_map import is_depthwise, map_shape
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.quantized import parameters
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.device import sum_means
from tilewright.passes.device.sum_means import SumMeans
from tilewright.passes.simplify.unique_names import UniqueNames
from tilewright.runtime.machines.machine import load


def gated(rng: np.random.Generator, channels: int, size: tuple[int, int], mean: Quantization = QUANT) -> ChannelNetwork:
    """A convolution of each channel and what is made of the means of its channels."""
    net = ChannelNetwork(rng, channels, size=size)
    net.convolution(channels, channels, 3)
    net.mean(mean)
    net.convolution(channels, 1)
    net.function.set_results([net.x])
    run_pass(UniqueNames(), net.module)
    return net


def written(net: ChannelNetwork, machine: str, clusters: int) -> Module:
    """The module after the pass, which computes the same on the reference and on the device."""
    after, inputs = clone(net.module), net.inputs()
    run_pass(SumMeans(machine, clusters), after)
    run_pass(UniqueNames(), after)
    (expected,) = interp.run(net.module, inputs).values()
    assert len(np.unique(expected)) > 8
    (found,) = interp.run(after, inputs).values()
    np.testing.assert_array_equal(found, expected)
    program = compile_for_device(clone(after), load(machine), clusters)
    (produced,) = run_on_device(after, program, load(machine), inputs).values()
    np.testing.assert_array_equal(produced, expected)
    return after


@pytest.mark.parametrize(("machine", "clusters"), [("m4096", 4), ("s256", 1)])
@pytest.mark.parametrize("size", [(56, 56), (41, 37), (28, 100)])
def test_parts_of_large_maps_have_sums_of_16_bits(
    size: tuple[int, int], machine: str, clusters: int, rng: np.random.Generator
) -> None:
    scale = float(rng.uniform(0.001, 0.01))
    module = written(gated(rng, 40, size, Quantization((scale,), (-9,))), machine, clusters)
    _, parts, means, _ = module.main.ops
    assert is_op(parts, Conv)
    assert is_op(means, Conv)
    assert is_depthwise(parts)
    assert is_depthwise(means)
    assert parts.result.type.dtype is DType.I16
    assert parts.inputs[1].type.elements // 40 <= 128
    assert map_shape(means.result.type)[:3] == (1, 1, 1)
    assert ON.get(parts) == "device"
    # Each cluster has whole parts, unless its rows are a prime number of too many.
    rows = -(-size[0] // clusters)
    assert rows % parts.operator.strides[0] == 0 or rows == 41


@pytest.mark.parametrize("size", [(11, 11), (8, 16)])
def test_small_maps_have_means(size: tuple[int, int], rng: np.random.Generator) -> None:
    """One part would be all of it."""
    module = written(gated(rng, 40, size), "s256", 1)
    assert Counter(op.name for op in module.ops) == Counter(conv=2, global_average_pool=1)


def test_means_of_the_host_stay(rng: np.random.Generator) -> None:
    net = gated(rng, 40, (56, 56))
    for op in net.function.ops:
        ON.set(op, "cpu")
    before = str(net.module)
    run_pass(SumMeans("s256"), net.module)
    assert str(net.module) == before


def test_what_costs_more_leaves_nothing_behind(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    net = gated(rng, 40, (56, 56))
    before = str(net.module)
    monkeypatch.setattr(sum_means, "_scales", lambda *_: None)
    run_pass(SumMeans("m4096", 4), net.module)
    assert str(net.module) == before


def test_ones_have_the_multiplier_of_a_mean_to_the_bit(rng: np.random.Generator) -> None:
    """Two divisions and a multiplication round otherwise than what a mean is scaled with, and skip some numbers."""
    found = 0
    for count in rng.integers(129, 50000, 500).tolist():
        x, y = (
            TensorType((1, 8, 4, 4), DType.I8, Quantization.per_tensor(float(np.float32(scale))))
            for scale in 2.0 ** rng.uniform(-12, 2, 2)
        )
        scales = sum_means._scales(x, y, count)
        if scales is None:
            continue
        found += 1
        first, sums, second = (np.array([scale], np.float32) for scale in scales)
        (scale_x, _), (scale_y, _) = parameters(x), parameters(y)
        assert multiplier(scale_x, first, sums[0]) == 1
        assert multiplier(sums[0], second, scale_y) == global_average_multiplier(scale_x, scale_y, count)
    assert found > 400
