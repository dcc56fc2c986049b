"""Choices of channels go into the convolutions around them, and not one byte of any output changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from before_after import clone, run_pass
from channel_networks import ChannelNetwork

from tilewright.ir import interp
from tilewright.ir.annotations import MACS, PART
from tilewright.ir.core import Module, Value, is_op
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.types import DType
from tilewright.passes.device.channel_blocks import blocks_read, channels_made, products_in_quarters
from tilewright.passes.device.fold_gathers import FoldGathers


def folded(net: ChannelNetwork, *more: Value, machine: str = "m4096") -> tuple[Module, Counter[str]]:
    """The module after the pass, and its ops; what it computes has not changed."""
    net.function.set_results([net.x, *more])
    after = clone(net.module)
    run_pass(FoldGathers(machine), after)
    inputs = net.inputs()
    expected, found = interp.run(net.module, inputs), interp.run(after, inputs)
    for name, array in expected.items():
        assert len(np.unique(array)) > 8
        np.testing.assert_array_equal(found[name], array)
    assert sum(op.macs for op in after.ops) == sum(op.macs for op in net.module.ops)
    return after, Counter(op.name for op in after.ops)


@pytest.mark.parametrize("weights", [DType.I8, DType.U8])
@pytest.mark.parametrize(
    ("channels", "groups", "of_all"),
    [(24, (2, 4), 2), (48, (4, 4), 2), (68, (4, 4), 2), (96, (3, 2), 1), (40, (1, 4), 0)],
)
def test_a_shuffle_between_convolutions_in_groups(
    channels: int, groups: tuple[int, int], of_all: int, weights: DType, rng: np.random.Generator
) -> None:
    net = ChannelNetwork(rng, 24, weights=weights)
    net.convolution(channels, groups[0])
    net.table()
    net.shuffle(groups[1])
    net.convolution(channels, channels, 3)
    net.pool()
    net.convolution(32, groups[1])
    module, found = folded(net)
    assert found == Counter(conv=3, tanh=1, max_pool=1)
    # What counts is what there was, and of two convolutions in groups one or both have become one of all channels.
    convolutions = [op for op in module.ops if is_op(op, Conv)]
    assert sum(MACS.is_at(op) for op in convolutions) == of_all


@pytest.mark.parametrize(
    ("machine", "channels", "groups", "least"),
    [
        ("m4096", 64, 2, (32, 32)),
        ("m4096", 136, 4, (114, 124)),
        ("m4096", 272, 4, (356, 356)),
        ("s256", 136, 4, (114, 106)),
        ("s256", 272, 4, (340, 340)),
        ("u250", 136, 4, (132, 184)),
    ],
)
def test_the_order_that_costs_the_array_least(
    machine: str, channels: int, groups: int, least: tuple[int, int], rng: np.random.Generator
) -> None:
    """Quarters of blocks of outputs times blocks of inputs. Where runs of a whole block of 16 go from each group to
    each, no product is of more than before; of 17 one is left, and of 34 two, which share a block: its halves are made
    alone where half of the lanes take other pixels, its quarters where a step is of four outputs."""
    net = ChannelNetwork(rng, channels)
    net.convolution(channels, groups)
    net.shuffle(groups)
    net.convolution(channels, groups)
    module, _ = folded(net, machine=machine)
    blocks = [blocks_read(op) for op in module.ops]
    assert tuple(products_in_quarters(found) for found in blocks if found is not None) == least


def test_what_is_made_alone_is_said_where_blocks_are_cut(rng: np.random.Generator) -> None:
    """And the pass tells that it changed the module."""
    for machine, group, part in (("s256", 1, None), ("s256", 3, 4), ("m4096", 3, None), ("u250", 3, 16)):
        net = ChannelNetwork(rng, 72)
        net.convolution(72, group)
        (op,) = folded(net, machine=machine)[0].ops
        assert PART.get(op) == part
    for machine, part in (("s256", 4), ("m4096", None), ("u250", 16)):
        net = ChannelNetwork(rng, 48)
        net.choice(np.roll(np.arange(48), 4))
        (op,) = folded(net, machine=machine)[0].ops
        assert PART.get(op) == part, "choices that stay are products as well"


def test_what_the_weights_before_or_behind_take_alone(rng: np.random.Generator) -> None:
    for convolution_first in (True, False):
        net = ChannelNetwork(rng, 32)
        if convolution_first:
            net.convolution(32, 1)
        net.shuffle(4)
        if not convolution_first:
            net.convolution(32, 1)
        assert folded(net)[1] == Counter(conv=1)


def test_a_choice_that_others_read_stays(rng: np.random.Generator) -> None:
    net = ChannelNetwork(rng, 32)
    net.convolution(32, 1)
    before = net.x
    net.shuffle(4)
    assert folded(net, before)[1]["gather"] == 1


def test_channels_that_are_left_out_are_read_with_zeros_where_that_costs_less(rng: np.random.Generator) -> None:
    """As behind heads of 12 channels that start blocks of 16. One of each block of a wide map is chosen by itself."""
    for weights in (DType.I8, DType.U8):
        net = ChannelNetwork(rng, 64, weights=weights)
        net.convolution(64, 1)
        net.choice(np.flatnonzero(np.arange(64) % 16 < 12)[::-1])
        net.convolution(24, 1)
        assert folded(net)[1] == Counter(conv=2)
    net = ChannelNetwork(rng, 256)
    net.choice(np.arange(0, 256, 16))
    net.convolution(64, 1)
    assert folded(net)[1]["gather"] == 1


def test_copies_stay(rng: np.random.Generator) -> None:
    net = ChannelNetwork(rng, 16)
    net.convolution(16, 1)
    net.choice(np.arange(32) // 2)
    net.convolution(32, 32, 3)
    assert folded(net)[1]["gather"] == 1


@pytest.mark.parametrize("weights", [DType.I8, DType.U8])
@pytest.mark.parametrize(
    ("channels", "kernel", "groups"),
    [
        ((8, 16), 5, 2),
        ((4, 12), 3, 3),
        ((2, 8), 3, 4),
        ((8, 16), 1, 1),
        ((6, 12), 3, 1),
        ((8, 32), 3, 1),
        ((8, 8), 3, 1),
    ],
)
def test_a_convolution_of_few_channels_reads_copies_of_them(
    channels: tuple[int, int], kernel: int, groups: int, weights: DType, rng: np.random.Generator
) -> None:
    net = ChannelNetwork(rng, 24, weights=weights)
    net.convolution(channels[0], 1)
    net.table()
    net.pool()
    net.convolution(channels[1], 1, kernel)
    module, found = folded(net)
    assert found == Counter(conv=2, tanh=1, max_pool=1)
    first, last = (op for op in module.ops if is_op(op, Conv))
    assert (first.operator.group, last.operator.group) == (1, groups)
    assert first.result.type.shape[1] == groups * channels[0] if groups > 1 else channels[0]


@pytest.mark.parametrize(
    ("channels", "kernel", "is_read", "made", "groups"),
    [(24, 1, False, 4, 3), (24, 1, True, 4, 1), (48, 5, False, 4, 1), (48, 5, False, 8, 2)],
)
def test_copies_are_made_where_nothing_else_reads_them_and_steps_are_saved(
    channels: int, kernel: int, is_read: bool, made: int, groups: int, rng: np.random.Generator
) -> None:
    net = ChannelNetwork(rng, channels)
    net.convolution(made, 1, kernel)
    more = [net.x] * is_read
    # Half a block that is written twice is computed once.
    net.convolution(16 if made == 8 else 12, 1, 3)
    net.table()
    found = [op for op in folded(net, *more)[0].ops if is_op(op, Conv)]
    assert [op.operator.group for op in found] == [1, groups]
    assert channels_made(found[0]) == made * (groups if made < 8 else 1)
