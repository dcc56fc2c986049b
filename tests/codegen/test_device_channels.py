"""Shuffles and groups on the device: one program, and the bytes of the reference on any machine and any clusters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from channel_networks import ChannelNetwork
from device_runs import compile_for_device, run_on_device

from tilewright.compiler.pipeline import outline_pipeline
from tilewright.ir import interp
from tilewright.ir.annotations import ON
from tilewright.ir.core import Function, Module, is_op
from tilewright.ir.ops.movement import Slice
from tilewright.passes.device.channel_blocks import blocks_read, products_in_quarters
from tilewright.passes.device.fold_gathers import FoldGathers
from tilewright.passes.device.outline_device import device_functions
from tilewright.passes.device.whole_blocks import WholeBlocks
from tilewright.runtime.isa.encoding import Queue, Stream
from tilewright.runtime.isa.matrix import Convolve, ConvolveDepthwise
from tilewright.runtime.machines.cost import cost
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator.verifier import verify_cards

SMALL = replace(
    load("s256"), name="small", maps_bytes=8192, weight_bytes=4096, accumulator_bytes=4096, parameter_bytes=1024
)


def shuffled(rng: np.random.Generator, *, read_twice: bool) -> ChannelNetwork:
    """Convolutions in groups of 17 channels with a shuffle before or between them, and a sum behind.

    Args:
        read_twice: the shuffle comes first, and the sum reads it, too.
    """
    net = ChannelNetwork(rng, 68)
    first = net.x
    if not read_twice:
        net.convolution(68, 4)
    net.spelled_shuffle(4)
    middle = net.x
    net.convolution(68, 68, 3)
    net.convolution(68, 4)
    net.add(middle if read_twice else first)
    net.function.set_results([net.x])
    return net


@pytest.mark.parametrize("read_twice", [False, True])
@pytest.mark.parametrize(("machine", "clusters"), [(load("m4096"), 4), (load("s256"), 1), (SMALL, 1)])
def test_a_shuffle_is_no_border(machine, clusters: int, read_twice: bool, rng: np.random.Generator) -> None:
    net = shuffled(rng, read_twice=read_twice)
    function = compiled_as_the_reference(net, machine, clusters)
    assert any(op.name == "gather" for op in function.ops) == read_twice


def compiled_as_the_reference(net: ChannelNetwork, machine: Machine, clusters: int) -> Function:
    """The device function of a network that is wholly one, of which the device makes the bytes of the reference."""
    inputs = net.inputs()
    expected = interp.run(net.module, inputs)
    ON.drop(net.function)
    outline_pipeline("m4096", order="device", clusters=clusters).run(net.module)
    (function,) = device_functions(net.module)
    alone = Module("alone")
    alone.constants, alone.functions["main"] = net.module.constants, function
    compiled = compile_for_device(alone, machine, clusters)
    verify_cards([compiled.program], machine)
    arguments = dict(zip((p.name for p in function.parameters), inputs.values(), strict=True))
    found = run_on_device(alone, compiled, machine, arguments)
    for array, other in zip(found.values(), expected.values(), strict=True):
        np.testing.assert_array_equal(array, other)
    return function


@pytest.mark.parametrize(("machine", "clusters"), [(load("m4096"), 4), (load("s256"), 1), (SMALL, 1)])
def test_joins_and_slices_inside_blocks(machine: Machine, clusters: int, rng: np.random.Generator) -> None:
    """Ghosts that a sum adds up, and halves that are exchanged, of which the middle ones are results, too."""
    net = ChannelNetwork(rng, 24, size=(14, 14))
    net.convolution(24, 1)
    first = net.x
    net.ghost(12)
    net.add(first)
    net.convolution(58, 1)
    net.exchanged_halves()
    middle = net.x
    net.exchanged_halves()
    net.convolution(20, 1)
    net.function.set_results([middle, net.x], ["middle", "last"])
    function = compiled_as_the_reference(net, machine, clusters)
    assert not any(is_op(op, Slice) for op in function.ops)


@pytest.mark.parametrize(("machine", "clusters"), [(load("m4096"), 4), (load("s256"), 1), (SMALL, 1)])
def test_what_is_joined_twice_lies_where_all_plans_see_it(
    machine: Machine, clusters: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Joins that are written anew read a map in the order of before: of two that do it lies in the first."""

    def only_first(_pass: WholeBlocks, _module: Module, function: Function) -> dict[str, bool]:
        return {op.result.name: False for op in function.ops if op.result.type.shape[1] == 36}

    monkeypatch.setattr(WholeBlocks, "_ways", only_first)
    net = ChannelNetwork(rng, 24, size=(4, 2))
    whole = net.x
    net.part(14, 3)
    part = net.x
    net.x = whole
    net.choice(rng.integers(0, 24, 18))
    chosen = net.x
    net.add(chosen)
    total = net.x
    net.join(total)
    first = net.x
    net.x = part
    net.table()
    table = net.x
    net.join(total)
    last = net.x
    net.x = table
    net.convolution(3, 3, 3)
    net.function.set_results([chosen, first, last, net.x], ["chosen", "first", "last", "convolved"])
    compiled_as_the_reference(net, machine, clusters)


@pytest.mark.parametrize(("size", "most"), [(4, 4), (16, 16), (32, 64)])
def test_blocks_without_weights_are_not_multiplied(size: int, most: int, rng: np.random.Generator) -> None:
    """Of four groups of 32 channels, at most two are multiplied at once; of smaller ones, each by itself."""
    net = ChannelNetwork(rng, 4 * size)
    net.convolution(4 * size, 4)
    net.function.set_results([net.x])
    compiled = compile_for_device(net.module, load("m4096"))
    items = compiled.program.instructions(Stream(0, Queue.MAC))
    macs = [item.macs for item in items if isinstance(item, (Convolve, ConvolveDepthwise))]
    assert 0 < sum(macs) <= 5 * 4 * 4 * size * most


@pytest.mark.parametrize(("machine", "outputs"), [(load("m4096"), 8), (load("s256"), 4)])
def test_parts_of_a_block_that_read_other_groups_are_made_one_after_the_other(
    machine: Machine, outputs: int, rng: np.random.Generator
) -> None:
    """Of four groups of 34 channels no block that is made, or none that is read, would be of one alone."""
    net = ChannelNetwork(rng, 136, size=(16, 12))
    net.convolution(136, 4)
    net.shuffle(4)
    net.convolution(136, 4)
    net.function.set_results([net.x])
    inputs = net.inputs()
    expected = interp.run(net.module, inputs)
    FoldGathers(machine.name.lower()).run(net.module)
    compiled = compile_for_device(net.module, machine)
    verify_cards([compiled.program], machine)
    items = [item for item in compiled.program.instructions(Stream(0, Queue.MAC)) if isinstance(item, Convolve)]
    assert min(item.outputs for item in items if item.skipped) == outputs
    # As many steps as parts of blocks times blocks that are read, or little more for runs that add to sums.
    steps = sum(cost(item, machine).unit for item in items)
    reads = [blocks for op in net.function.ops if (blocks := blocks_read(op)) is not None]
    least = 16 * 12 * 4 * 16 * sum(map(products_in_quarters, reads)) / machine.cluster_macs_per_cycle
    assert least <= steps <= 1.25 * least
    (found,) = run_on_device(net.module, compiled, machine, inputs).values()
    np.testing.assert_array_equal(found, next(iter(expected.values())))


@pytest.mark.parametrize(("machine", "clusters"), [(load("m4096"), 4), (load("s256"), 1), (SMALL, 1)])
@pytest.mark.parametrize("channels", [(8, 16), (4, 12), (2, 8)])
def test_few_channels_are_multiplied_several_taps_at_once(
    channels: tuple[int, int], machine: Machine, clusters: int, rng: np.random.Generator
) -> None:
    net = ChannelNetwork(rng, 24)
    net.convolution(channels[0], 1)
    net.pool()
    net.convolution(channels[1], 1, 5)
    net.function.set_results([net.x])
    inputs = net.inputs()
    expected = interp.run(net.module, inputs)
    FoldGathers("m4096").run(net.module)
    compiled = compile_for_device(net.module, machine, clusters)
    verify_cards([compiled.program], machine)
    items = compiled.program.instructions(Stream(0, Queue.MAC))
    assert {1 << item.group for item in items if isinstance(item, ConvolveDepthwise)} == {channels[0]}
    (found,) = run_on_device(net.module, compiled, machine, inputs).values()
    np.testing.assert_array_equal(found, next(iter(expected.values())))
