"""Joins and slices inside blocks of channels become joins of whole blocks, and not one byte of any output changes."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import Any

import numpy as np
import pytest
from before_after import clone, random_inputs, run_pass
from channel_networks import ChannelNetwork
from wide_networks import I8, I16, WideNetwork

from tilewright.ir import interp
from tilewright.ir.annotations import ON
from tilewright.ir.core import Module, Value, is_op
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.movement import Concat
from tilewright.passes.device import whole_blocks
from tilewright.passes.device.order_tiles import Orders
from tilewright.passes.device.tile_device import tile_function
from tilewright.passes.device.tiling.tile_search import splits
from tilewright.passes.device.whole_blocks import WholeBlocks
from tilewright.passes.simplify.unique_names import UniqueNames
from tilewright.runtime.machines.machine import load


def written(
    net: ChannelNetwork, *more: Value, machine: str = "m4096", clusters: int = 4
) -> tuple[Module, Counter[str]]:
    """The module after the pass, and its ops; what it computes and counts has not changed, and its tiles cost no
    more."""
    results = [net.x, *more]
    net.function.set_results(results, [f"y{index}" for index in range(len(results))])
    run_pass(UniqueNames(), net.module)
    after = clone(net.module)
    run_pass(WholeBlocks(machine, clusters), after)
    inputs = net.inputs()
    found = interp.run(after, inputs)
    for name, array in interp.run(net.module, inputs).items():
        assert len(np.unique(array)) > 8
        np.testing.assert_array_equal(found[name], array)
    macs = [sum(op.macs for op in module.ops if is_op(op, Conv)) for module in (net.module, after)]
    assert macs[0] == macs[1]
    prices = [tile_function(clone(module).main, load(machine), clusters) for module in (net.module, after)]
    assert prices[1] <= prices[0]
    return after, Counter(op.name for op in after.ops)


def joined(module: Module) -> list[list[int]]:
    """The channels of what each join joins."""
    return [[value.type.shape[1] for value in op.inputs] for op in module.ops if is_op(op, Concat)]


def test_parts_are_made_with_whole_blocks_and_read_with_zeros(rng: np.random.Generator) -> None:
    """Nothing is chosen where convolutions read what is joined, or what is made of that channel by channel."""
    net = ChannelNetwork(rng, 24, size=(14, 14))
    net.ghost(12)
    net.table()
    net.ghost(20)
    net.pool()
    net.convolution(16, 1)
    module, found = written(net)
    assert found == Counter(conv=5, concat=2, tanh=1, max_pool=1)
    assert joined(module) == [[16, 16], [32, 32]]


def test_sums_of_maps_in_blocks_are_in_blocks(rng: np.random.Generator) -> None:
    """What has its channels elsewhere has them moved by a choice, which here comes from a convolution."""
    net = ChannelNetwork(rng, 24, size=(14, 14))
    net.convolution(24, 1)
    first = net.x
    net.ghost(12)
    net.add(first)
    last = net.x
    net.ghost(12)
    net.add(last)
    net.convolution(16, 1)
    module, found = written(net)
    assert found == Counter(conv=6, concat=2, add=2, gather=1)
    assert joined(module) == [[16, 16]] * 2


@pytest.mark.parametrize("channels", [116, 58])
def test_halves_that_change_places_stay_where_they_are(channels: int, rng: np.random.Generator) -> None:
    """Shuffles and halves are known as such of what is joined, and what is left out, before it is joined again."""
    net = ChannelNetwork(rng, 24, size=(14, 14))
    net.convolution(channels, 1)
    for _ in range(3):
        net.exchanged_halves()
    net.convolution(32, 1)
    module, found = written(net)
    assert not found["slice"]
    assert all(size % 16 == 0 for sizes in joined(module) for size in sizes[:-1])


def test_each_is_written_as_costs_less(rng: np.random.Generator) -> None:
    """A join of large maps, which no scratchpad holds, stays where those of small maps are of blocks."""
    net = ChannelNetwork(rng, 24, size=(112, 112))
    net.ghost(4)
    net.convolution(24, 1)
    for stride in (4, 2):
        net.pool(stride)
    for _ in range(32):
        net.ghost(12)
        net.convolution(24, 1)
    module, _ = written(net, machine="s256", clusters=1)
    assert joined(module) == [[4, 4], *[[16, 16]] * 32]


def test_what_others_read_is_chosen(rng: np.random.Generator) -> None:
    """Results of the function are the maps themselves."""
    net = ChannelNetwork(rng, 24, size=(14, 14))
    net.ghost(12)
    net.ghost(20)
    middle = net.x
    for _ in range(3):
        net.convolution(40, 40, 3)
    module, _ = written(net, middle)
    assert [value.type.shape[1] for value in module.main.results] == [40, 40]


def test_what_falls_on_blocks_stays(rng: np.random.Generator) -> None:
    net = ChannelNetwork(rng, 24)
    net.ghost(16)
    net.part(16, 9)
    net.convolution(9, 1)
    net.function.set_results([net.x])
    assert not run_pass(WholeBlocks("m4096"), net.module)[0].modified


@pytest.mark.parametrize("products", [0, 4])
def test_ways_are_tried_where_the_function_could_cost_less(
    products: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside products that take as long as they do on S256 a join is of no weight."""
    counted, trial = Counter[str](), WholeBlocks._trial

    def counting(*given: Any) -> Any:
        counted["trial"] += 1
        return trial(*given)

    monkeypatch.setattr(WholeBlocks, "_trial", counting)
    net = ChannelNetwork(rng, 24, size=(14, 14))
    net.ghost(12)
    net.table()
    for _ in range(products):
        net.convolution(64, 1, 3)
    net.convolution(8, 1)
    net.function.set_results([net.x])
    run_pass(WholeBlocks("s256"), net.module)
    assert (counted["trial"] == 1) is (products > 0)


@pytest.mark.parametrize(
    ("cycles", "clusters", "is_written"),
    [
        ((94, 100), 1, True),
        ((96, 100), 1, False),
        ((96, 100), 4, True),
        ((98, 100), 4, False),
        ((94, inf), 4, True),
        ((inf, 100), 4, False),
    ],
)
def test_where_prices_are_near_each_other_the_time_of_orders_decides(
    cycles: tuple[float, float],
    clusters: int,
    is_written: bool,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the function in blocks, then of the one as it is; what does not fit takes for ever."""
    times = iter(cycles)
    monkeypatch.setattr(whole_blocks, "_LARGEST_SHARE", 0.0)
    monkeypatch.setattr(Orders, "cycles", property(lambda _: next(times)))
    net = ChannelNetwork(rng, 24, size=(14, 14))
    net.ghost(12)
    net.convolution(16, 1)
    module, _ = written(net, clusters=clusters)
    assert joined(module) == [[16, 16] if is_written else [12, 12]]
    assert not [*times]


def test_joins_that_clusters_wait_for_are_of_blocks(rng: np.random.Generator) -> None:
    """By their prices the ops of these branches cost more than seven eighths of what they do as they are."""
    net = ChannelNetwork(rng, 64, size=(28, 28))
    net.convolution(64, 1, 3)
    start, ends = net.x, list[Value]()
    for channels, kernel in ((44, 1), (36, 3), (20, 1)):
        net.x = start
        net.convolution(channels, 1, kernel)
        ends.append(net.x)
    net.x = ends[0]
    net.join(*ends[1:])
    net.convolution(64, 1)
    module, _ = written(net)
    assert joined(module) == [[48, 48, 20]]


def test_what_several_read_is_chosen_once(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A convolution in groups and a sum with what it makes, as behind the joins of ShuffleNet."""
    monkeypatch.setattr(
        WholeBlocks, "_ways", lambda _pass, _module, function: {op.result.name: True for op in function.ops}
    )
    net = ChannelNetwork(rng, 24, size=(4, 4))
    net.ghost(24)
    whole = net.x
    net.convolution(48, 4)
    net.add(whole)
    net.convolution(16, 1)
    net.function.set_results([net.x], ["y"])
    run_pass(UniqueNames(), net.module)
    after = clone(net.module)
    run_pass(WholeBlocks("m4096", 4), after)
    assert sum(op.name == "gather" for op in after.ops) == 1
    inputs = net.inputs()
    np.testing.assert_array_equal(interp.run(after, inputs)["y"], interp.run(net.module, inputs)["y"])


def test_choices_are_shared_out_by_rows(rng: np.random.Generator) -> None:
    """By channels each cluster would have to be given all pixels; of one pixel there is no other way."""
    net = ChannelNetwork(rng, 48, size=(4, 4))
    net.choice(rng.permutation(48))
    assert splits(next(net.function.ops), 4) == ["rows"]
    net = ChannelNetwork(rng, 48, size=(1, 1))
    net.choice(rng.permutation(48))
    assert splits(next(net.function.ops), 4) == ["channels"]


def test_choices_may_count_from_the_end(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the map, whatever is stored of it."""
    monkeypatch.setattr(
        WholeBlocks, "_ways", lambda _pass, _module, function: {op.result.name: False for op in function.ops}
    )
    net = ChannelNetwork(rng, 24, size=(4, 4))
    net.ghost(12)
    net.table()
    net.choice(np.array([3, -1, -20, 0, -3]))
    net.convolution(16, 1)
    net.function.set_results([net.x], ["y"])
    run_pass(UniqueNames(), net.module)
    after = clone(net.module)
    run_pass(WholeBlocks("s256"), after)
    assert not any(op.name == "gather" for op in after.ops)
    inputs = net.inputs()
    np.testing.assert_array_equal(interp.run(after, inputs)["y"], interp.run(net.module, inputs)["y"])


@pytest.mark.parametrize("is_returned", [False, True])
def test_maps_of_16_bits_are_made_in_blocks_and_read_so(is_returned: bool, rng: np.random.Generator) -> None:
    """There is no choice of channels of 16 bits: where one would be needed, all stays."""
    made = WideNetwork(rng, I8, 1, 24, 14, 14)
    a = made.conv(made.x, I8, 12, 1)
    joined = made.function.append(Concat(1), [a, a], [a.type.with_shape((1, 24, 14, 14))], names=["j"]).result
    b = made.conv(joined, I16, 24, 3, group=24)
    c = made.conv(b, I16, 24, 3, group=24)
    d = made.conv(c, I8, 20, 1)
    made.function.set_results([d, c] if is_returned else [d], ["d", "c"][: 1 + is_returned])
    ON.set(made.function, "device")
    for op in made.function.ops:
        ON.set(op, "device")
    run_pass(UniqueNames(), made.module)
    inputs = random_inputs(made.module, rng)
    expected = interp.run(made.module, inputs)
    (record,) = run_pass(WholeBlocks("m4096", 4), made.module)
    assert record.modified is not is_returned
    found = interp.run(made.module, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    if not is_returned:
        assert [op.result.type.shape[1] for op in made.function.ops] == [16, 32, 32, 32, 20]
