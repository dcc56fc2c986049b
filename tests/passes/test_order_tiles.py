"""The order of tile programs: any that is chosen computes the same bytes and fits, and branches overlap."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from device_runs import run_on_device
from random_seeds import seeds
from small_tile_programs import Chip, with_room
from tile_programs import RandomProgram, inputs_of, linked, random_program, reorder

from tilewright.codegen.device.program import assemble
from tilewright.errors import PassError
from tilewright.ir import interp
from tilewright.ir.annotations import DRAM, LAYER, PLAN, Plan
from tilewright.ir.core import Function, Module, Op
from tilewright.ir.tile.compute import Convolve, Pool
from tilewright.ir.tile.instructions import Places
from tilewright.ir.tile.places import PLACES, Buffer, Part
from tilewright.ir.tile.transfer import Load, Store
from tilewright.ir.tile.types import EVERY_CLUSTER
from tilewright.ir.types import DType
from tilewright.ir.verify import verify
from tilewright.passes.device.order_tiles import OrderTiles, order, rearrange
from tilewright.passes.device.ordering.dependencies import Dependencies, accesses
from tilewright.passes.device.ordering.program import Steps, op_cost
from tilewright.passes.device.ordering.schedule import DramTimeline, Links, schedule
from tilewright.passes.device.planning.check_scratchpads import check_scratchpads
from tilewright.passes.device.planning.plan_scratchpads import places_of, plan
from tilewright.runtime.isa.encoding import Queue
from tilewright.runtime.machines.cost import cost
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import drafted
from tilewright.runtime.simulator.verifier import verify as verify_program

MACHINE = load("m4096")


def steps_of(function: Function) -> Iterator[Op]:
    """The ops that become instructions."""
    return (op for op in function.ops if not isinstance(op.operator, PLACES))


def layered(seed: int, steps: int, clusters: int) -> Module:
    """A program by chance whose ops are pieces of layers, as far as the steps of a layer may keep their order."""
    rng = np.random.default_rng(seed)
    module = random_program(rng, steps, clusters)
    for number, op in enumerate(module.main.ops):
        LAYER.set(op, f"layer{number // 3}")
    return module


def tight(function: Function, slack: float) -> Machine:
    """A machine with little more room than a program needs."""
    needed: dict[str, int] = {}
    for memory, places in places_of(function).items():
        live = [sum(p.size for p in places if p.first <= place.first <= p.last) for place in places]
        needed[memory] = int(slack * max(live))
    return with_room(
        maps_bytes=needed.get("maps", 0),
        weight_bytes=needed.get("weights", 0),
        accumulator_bytes=needed.get("accumulators", 0),
        parameter_bytes=needed.get("parameters", 0),
    )


def any_order(rng: np.random.Generator, follows: list[set[int]]) -> list[int]:
    """One by chance in which every step goes after those that it follows."""
    left, found = set(range(len(follows))), []
    while left:
        ready = sorted(number for number in left if not follows[number] & left)
        found.append(ready[int(rng.integers(len(ready)))])
        left.remove(found[-1])
    return found


@pytest.mark.parametrize("seed", seeds(6, 12))
def test_no_order_changes_a_byte(seed: int) -> None:
    clusters = 1 + seed % 4
    module = layered(3000 + seed, 16, clusters)
    inputs = inputs_of(module, np.random.default_rng(seed))
    expected = interp.run(module, inputs)
    reorder(module.main, MACHINE)
    verify(module)
    plan(module.main, MACHINE)
    check_scratchpads(module.main)
    found = run_on_device(module, assemble(module.main, MACHINE).finish(), MACHINE, inputs)
    for name, array in interp.run(module, inputs).items():
        np.testing.assert_array_equal(array, expected[name])
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.parametrize("seed", seeds(4, 8))
def test_whatever_order_the_dependencies_allow_computes_the_same(seed: int) -> None:
    """Also orders that nobody would choose: what precedes what is all there is to respect."""
    rng = np.random.default_rng(4000 + seed)
    module = random_program(rng, 12, 1 + seed % 3)
    inputs = inputs_of(module, rng)
    expected = interp.run(module, inputs)
    program = linked(module.main, MACHINE)
    chosen = any_order(rng, [set(step.follows) for step in program.steps])
    assert chosen != sorted(chosen)
    rearrange(module.main, [program.steps[number].op for number in chosen])
    verify(module)
    plan(module.main, MACHINE)
    check_scratchpads(module.main)
    for name, array in interp.run(module, inputs).items():
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("seed", seeds(4, 8))
@pytest.mark.parametrize("slack", [1.0, 1.5])
def test_a_program_still_fits(seed: int, slack: float) -> None:
    """Where there is hardly any room, ops wait for their turn."""
    module = layered(5000 + seed, 20, 1 + seed % 2)
    machine = tight(module.main, slack)
    try:
        plan(module.main, machine)
    except PassError:
        machine = tight(module.main, 2.0)
    reorder(module.main, machine)
    plan(module.main, machine)
    check_scratchpads(module.main)


@pytest.mark.parametrize("seed", range(6))
def test_an_op_costs_what_its_instruction_costs(seed: int) -> None:
    module = random_program(np.random.default_rng(6000 + seed), 24, 1 + seed % 3)
    plan(module.main, MACHINE)
    built = assemble(module.main, MACHINE).finish().program
    places = Places()
    found: dict[tuple[int, int], list[tuple[float, float, int]]] = {}
    for op in module.main.ops:
        places.add(op)
        if not isinstance(op.operator, PLACES):
            price = op_cost(op, places, MACHINE)
            found.setdefault((price.cluster, price.queue), []).append((price.unit, price.dram, price.latency))
    for stream in built.queues:
        items = [item for item in built.instructions(stream) if item.MNEMONIC not in ("BAR", "END")]
        prices = [cost(item, MACHINE) for item in items]
        expected = [(price.unit, price.dram(MACHINE), price.latency) for price in prices]
        assert found.get((stream.cluster, stream.queue), []) == expected


@pytest.mark.parametrize("seed", range(6))
def test_no_program_takes_less_than_its_busiest_unit(seed: int) -> None:
    module = random_program(np.random.default_rng(6000 + seed), 24, 1 + seed % 3)
    plan(module.main, MACHINE)
    least = Steps.apart(module.main, MACHINE).least
    assert 0 < least <= simulate(drafted(assemble(module.main, MACHINE).assembler)).cycles


class Layers(Chip):
    """Layers over a map of 16 channels that lies in DRAM."""

    def layer(self, name: str, first: int) -> None:
        """What comes from an op on is a piece of a layer."""
        for op in [*self.function.ops][first:]:
            LAYER.set(op, name)

    def pooling(self, name: str, tiles: int) -> None:
        first = len(self.function)
        for _ in range(tiles):
            x = self.loaded(16)
            pool = Pool("maximum", (14, 6), (3, 3), (1, 1), (0, 0), False)
            self.results.append(self.stored(self.add(pool, x, None), "scratch", DType.I8))
        self.layer(name, first)

    def convolution(self, name: str, tiles: int) -> None:
        first = len(self.function)
        for _ in range(tiles):
            x = self.loaded(16)
            weights = self._weights((32, 16, 3, 3), 0, 0, False, False)
            sums = self.add(Convolve((14, 6), (1, 1), (1, 1), (0, 0), 0, 0), x, weights, None)
            self.requantize(sums, self._parameters(32, 0))
            self.results.append(self.stored(self.maps.pop(), "scratch", DType.I8))
        self.layer(name, first)

    def complete(self) -> Module:
        results, self.results = self.results, []
        self.maps = [self.loaded(2)]
        module = self.grow(0)
        assert results
        return module


def cycles(module: Module, machine: Machine) -> float:
    plan(module.main, machine)
    check_scratchpads(module.main)
    return simulate(verify_program(assemble(module.main, machine).finish().program, machine)).cycles


def two_branches() -> tuple[Module, Machine]:
    """Pooling, then convolutions of something else, and a machine whose vector unit is slow."""
    program = Layers()
    program.pooling("pool", 16)
    program.convolution("convolution", 12)
    machine = with_room(maps_bytes=1 << 15, weight_bytes=1 << 14, accumulator_bytes=1 << 15, parameter_bytes=1 << 12)
    return program.complete(), dataclasses.replace(machine, vector_lanes=1)


def test_a_branch_of_pooling_overlaps_one_of_convolutions() -> None:
    module, machine = two_branches()
    before = cycles(module, machine)
    assert order(module.main, machine)
    layers = [LAYER.get(op) or "" for op in steps_of(module.main) if isinstance(op.operator, (Pool, Convolve))]
    assert layers != sorted(layers, reverse=True)
    after = cycles(module, machine)
    assert after < 0.85 * before
    assert not order(module.main, machine)


def test_a_plan_may_keep_what_is_written() -> None:
    module, machine = two_branches()
    PLAN.set(module.main, Plan(1, 0.9, order="written"))
    before = [*module.main.ops]
    assert not order(module.main, machine)
    assert [*module.main.ops] == before


def test_tiles_of_a_layer_may_change_places_where_clusters_have_neighbours() -> None:
    module, machine = two_branches()
    program = linked(module.main, machine)
    alone = sum(Links(program).waits)
    program.clusters = 2
    assert sum(Links(program).waits) < alone
    assert sum(Links(program, tiles_stay=True).waits) == alone


def test_layers_that_would_hardly_overlap_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """What each step follows is not looked for where all that there is to do takes the array."""
    program = Layers()
    program.convolution("first", 12)
    program.convolution("second", 12)
    module, machine = program.complete(), with_room(maps_bytes=1 << 16, weight_bytes=1 << 14)
    steps = Steps.apart(module.main, machine)
    assert steps.least > 0.99 * steps.layer_by_layer
    branches, other = two_branches()
    steps = Steps.apart(branches.main, other)
    assert steps.least < 0.8 * steps.layer_by_layer
    assert order(branches.main, other)
    monkeypatch.delattr(Steps, "link")
    assert not order(module.main, machine)


def test_layers_overlap_what_is_loaded_of_their_maps() -> None:
    """The array may do another layer while it waits for the image of one."""
    program = Layers()
    program.convolution("first", 12)
    module, machine = program.complete(), with_room(maps_bytes=1 << 16, weight_bytes=1 << 14)
    slow = dataclasses.replace(machine, dram_bytes_per_second=machine.dram_bytes_per_second // 4096)
    steps = Steps.apart(module.main, slow)
    loaded = sum(step.cost.dram for step in steps.steps if step.cost.queue == Queue.LD)
    assert steps.layer_by_layer == pytest.approx(loaded)
    assert Steps.apart(module.main, machine).layer_by_layer < 0.5 * loaded


def test_the_time_in_which_orders_are_made_is_about_that_of_the_engine() -> None:
    module, machine = two_branches()
    steps = linked(module.main, machine)
    written = schedule(steps, Links(steps), 0.0, as_written=True)
    assert written is not None
    assert written.steps == [*range(len(steps.steps))]
    assert written.cycles == pytest.approx(cycles(module, machine), rel=0.1)


def follows(function: Function) -> dict[Op, set[Op]]:
    places, dependencies, found = Places(), Dependencies(), dict[Op, set[Op]]()
    ops: list[Op] = []
    for op in function.ops:
        places.add(op)
        if not isinstance(op.operator, PLACES):
            found[op] = {ops[number] for number in dependencies.add(len(ops), accesses(op, places))}
            ops.append(op)
    return found


@pytest.mark.parametrize(("row", "channel", "meets"), [(2, 0, False), (0, 16, False), (1, 0, True), (0, 0, True)])
def test_boxes_of_a_map_in_dram(row: int, channel: int, meets: bool) -> None:
    chip = RandomProgram(np.random.default_rng(0))
    x = chip.enter("image", (1, 32, 6, 4), DType.I8)
    tile = chip.add(Load(0, False), chip.add(Part(0, (0, 2), (0, 4), (0, 16)), x))
    y = chip.add(Buffer((1, 6, 4, 32), DType.I8, "dram", EVERY_CLUSTER, 0))
    chip._address(y, "scratch", 32, True)
    store = chip.add(Store(), tile, chip.add(Part(0, (0, 2), (0, 4), (0, 16)), y)).producer
    again = chip.add(Load(0, False), chip.add(Part(0, (row, 2), (0, 4), (channel, 16)), y)).producer
    assert store is not None and again is not None
    assert (store in follows(chip.function)[again]) == meets


@pytest.mark.parametrize(("offset", "meets"), [(0, True), (256, False), (192, True)])
def test_maps_that_lie_in_the_same_dram(offset: int, meets: bool) -> None:
    """A map is stored where the rows of another one lie that a load has read."""
    chip = Chip()
    y = chip.stored(chip.loaded(2), "scratch", DType.I8)
    load = chip.add(Load(0, False), chip.add(Part(0, (0, 2), (0, 8), (0, 16)), y)).producer
    z = chip.stored(chip.loaded(2), "scratch", DType.I8)
    assert load is not None and z.producer is not None
    address = DRAM.get(z.producer)
    assert address is not None
    DRAM.set(z.producer, address._replace(offset=offset))
    last = [op for op in chip.function.ops if isinstance(op.operator, Store)][-1]
    assert (load in follows(chip.function)[last]) == meets


def test_who_asks_a_busy_dram_gets_what_is_left() -> None:
    dram = DramTimeline()
    assert dram.serve(1024.0, 100.0) == 1124.0
    assert dram.serve(0.0, 50.0) == 50.0
    assert [dram.serve(1024.0, 10.0, take=False) for _ in range(2)] == [1134.0, 1134.0]
    assert dram.serve(0.0, 2000.0) == 2150.0


def test_the_pass_needs_addresses_in_dram() -> None:
    module = random_program(np.random.default_rng(1), 4)
    entered = next(op for op in module.main.ops if op.name == "tile_enter")
    del entered.annotations[DRAM.key]
    with pytest.raises(PassError, match="%tile_enter has no address in device memory"):
        OrderTiles("m4096").run(module)
