"""Ops computed in turn: the same bytes, in rings that are as long as they need to be and no longer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from before_after import random_inputs
from cascade_graphs import ChainGraph, cascade_by_chance, random_chain
from chip_graphs import fuse_by_chance
from device_runs import run_on_device
from random_machines import odd_machine
from random_seeds import seeds
from tile_programs import reorder

from tilewright.codegen.device.program import assemble
from tilewright.errors import PassError, TilewrightError
from tilewright.ir import interp
from tilewright.ir.annotations import CASCADE, KEPT, MAP
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Function, Module, Op, is_op
from tilewright.ir.tile.places import Buffer
from tilewright.ir.tile.types import TileType
from tilewright.ir.verify import verify
from tilewright.passes.device.cascade_rows import cascade, in_ring
from tilewright.passes.device.cascades.choose_cascades import Cascades
from tilewright.passes.device.cascades.segment import RowAccess, Stripe, interleaved, ring_rows
from tilewright.passes.device.fused_pairs import choose_overwritten
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.outline_device import device_functions
from tilewright.passes.device.planning.check_scratchpads import check_scratchpads
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.device.planning.plan_scratchpads import plan
from tilewright.passes.device.tile_device import tile_function, tile_of
from tilewright.passes.device.tiling.tile_searches import set_tile
from tilewright.runtime.machines.machine import Machine, load
from tilewright.runtime.simulator.verifier import verify as verify_program

ROOMY = dataclasses.replace(load("s256"), maps_bytes=1 << 20)


def rings_in(function: Function) -> dict[Op, int]:
    """The places on chip that are rings, and their rows."""
    types = ((op, op.result.type) for op in function.ops if is_op(op, Buffer))
    return {op: type.ring for op, type in types if isinstance(type, TileType) and type.ring}


def tiles_of(module: Module) -> Module:
    """The tile program of a module with addresses in DRAM, as it is written layer by layer."""
    tiles = clone_module(module)
    LowerToTiles().run(tiles)
    return tiles


def check_on_device(module: Module, tiles: Module, machine: Machine, inputs: Mapping[str, np.ndarray]) -> None:
    """Plan a tile program, prove it, run it, and compare what it makes with the reference of the network."""
    (function,) = device_functions(tiles)
    plan(function, machine)
    check_scratchpads(function)
    compiled = assemble(function, machine).finish()
    verify_program(compiled.program, machine)
    found = run_on_device(module, compiled, machine, inputs)
    for name, wanted in interp.run(module, inputs).items():
        np.testing.assert_array_equal(found[name], wanted)


def by_chance(seed: int) -> tuple[Module, np.random.Generator]:
    """A chain with tiles and cascades by chance, and addresses in DRAM."""
    rng = np.random.default_rng(seed)
    module = random_chain(rng, int(rng.integers(3, 7)))
    for op in module.main.ops:
        tile = tile_of(op, ROOMY)
        rows = int(rng.integers(1, max(2, min(tile.rows, 7))))
        stationary = "weights" if rng.integers(2) else "inputs"
        set_tile(op, dataclasses.replace(tile, rows=rows, output_blocks=1, stationary=stationary))
    fuse_by_chance(module.main, rng)
    choose_overwritten(module.main)
    cascade_by_chance(module.main, rng)
    PlanDeviceMemory().run(module)
    return module, rng


@pytest.mark.parametrize("seed", seeds(4, 8))
def test_stripes_in_turn_keep_every_byte(seed: int) -> None:
    """Before, after, ordered anew, and on the device: the same results."""
    module, rng = by_chance(11_100 + seed)
    inputs = random_inputs(module, rng)
    tiles = tiles_of(module)
    wanted = interp.run(tiles, inputs)
    (function,) = device_functions(tiles)
    cascade(function)
    verify(tiles)
    for name, found in interp.run(tiles, inputs).items():
        np.testing.assert_array_equal(found, wanted[name])
    ordered = clone_module(tiles)
    check_on_device(module, tiles, ROOMY, inputs)
    reorder(ordered.main, ROOMY)
    check_on_device(module, ordered, ROOMY, inputs)


def test_a_ring_that_is_too_short_is_refused() -> None:
    """One row less than was chosen, for every ring of several programs: an op would read rows of the next lap."""
    refused = tried = 0
    for module in (*(by_chance(11_100 + seed)[0] for seed in range(4)), *(chosen(11_300 + seed) for seed in (1, 2, 5))):
        tiles = tiles_of(module)
        cascade(tiles.main)
        for number, rows in enumerate(rings_in(tiles.main).values()):
            if rows == 1:
                continue
            shorter = clone_module(tiles)
            buffer = [*rings_in(shorter.main)][number]
            in_ring(shorter.main, buffer, rows - 1)
            plan(shorter.main, ROOMY)
            tried += 1
            message = "does not hold what was written there before this op reads it|does not go round the end of a ring"
            with pytest.raises(TilewrightError, match=message):
                check_scratchpads(shorter.main)
                assemble(shorter.main, ROOMY).finish()
            refused += 1
    assert refused == tried >= 5


def _slow(machine: Machine) -> Machine:
    """With so little bandwidth that maps in DRAM cost more than anything else."""
    return dataclasses.replace(machine, dram_bytes_per_second=machine.clock_hertz // 2)


@pytest.mark.parametrize("seed", seeds(3, 6))
def test_chosen_cascades_on_odd_machines(seed: int) -> None:
    """As the compiler chooses them: the device computes what the reference does, where it fits."""
    rng = np.random.default_rng(11_200 + seed)
    module = random_chain(rng, 6, height=int(rng.integers(16, 40)), width=int(rng.integers(4, 12)))
    machine = _slow(odd_machine(rng))
    try:
        tile_function(module.main, machine, cascades=True)
    except PassError:
        return  # an op that not even alone fits
    PlanDeviceMemory().run(module)
    tiles = tiles_of(module)
    cascade(tiles.main)
    try:
        plan(tiles.main, machine)
    except PassError:
        return  # as with maps that stay on chip whole: the driver takes another plan
    check_on_device(module, tiles, machine, random_inputs(module, rng))


def chosen(seed: int) -> Module:
    """A chain of high maps for a machine with little room and bandwidth, as the compiler tiles it."""
    rng = np.random.default_rng(seed)
    module = random_chain(rng, 7, height=48, width=8)
    machine = _slow(dataclasses.replace(load("s256"), maps_bytes=1 << 13))
    tile_function(module.main, machine, cascades=True)
    PlanDeviceMemory().run(module)
    return module


@pytest.mark.parametrize("seed", range(4))
def test_the_rings_that_are_told_are_those_that_are_made(seed: int) -> None:
    """Choosing counts rows without tile programs, and finds the same lengths."""
    check_rings_told(chosen(11_300 + seed))


@pytest.mark.parametrize("channels", [(48, 16, 16, 48, 16, 48), (64, 16, 64, 16, 64, 16)])
def test_kept_maps_that_only_a_cascade_touches_have_rings_as_well(
    channels: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is room for the small maps; so that cascades go on beyond these, each op alone is said to cost more."""
    alone = Cascades._cost_alone
    monkeypatch.setattr(Cascades, "_cost_alone", lambda self, unit: 50 * alone(self, unit) + 1e6)
    graph = ChainGraph(np.random.default_rng(3), 24, 8)
    for outputs in channels:
        graph.convolve(graph.values[-1], outputs, 1, (3, 3), (1, 1), (1, 1, 1, 1), (24, 8))
    graph.finish()
    tile_function(graph.module.main, _slow(dataclasses.replace(load("s256"), maps_bytes=1 << 14)), cascades=True)
    PlanDeviceMemory().run(graph.module)
    check_rings_told(graph.module)


def check_rings_told(module: Module) -> None:
    told: list[int] = []
    for op in module.main.ops:
        place = MAP.get(op)
        if place is not None and place.memory == "ring" and not place.inside:
            assert KEPT.get(op)
            told += place.rows
    tiles = tiles_of(module)
    cascade(tiles.main)
    assert sorted(rings_in(tiles.main).values()) == sorted(told)


def test_cascades_are_chosen_where_maps_do_not_fit() -> None:
    found = [any(CASCADE.is_at(op) for op in chosen(11_300 + seed).main.ops) for seed in range(4)]
    assert sum(found) >= 3


def test_the_shortest_ring_by_brute_force() -> None:
    """Every ring shorter than the one found loses a row that is still to be read; the one found loses none."""
    rng = np.random.default_rng(5)
    for _ in range(300):
        rows = int(rng.integers(2, 20))
        accesses = [*_window_accesses(rng, rows)]
        found = ring_rows(tuple(accesses), rows)
        assert _holds(accesses, found, rows)
        for shorter in range(1, found):
            straddles = any(
                not each.goes_round and each.first // shorter != (each.stop - 1) // shorter for each in accesses
            )
            assert straddles or not _holds(accesses, shorter, rows)


def _window_accesses(rng: np.random.Generator, rows: int) -> Iterator[RowAccess]:
    """A producer that writes pieces when a window lacks them."""
    piece, kernel, stride = (int(n) for n in rng.integers(1, 5, 3))
    written = 0
    for first in range(0, max(rows - kernel + 1, 1), stride):
        while written < min(first + kernel, rows):
            count = min(piece, rows - written)
            yield RowAccess(written, written + count, False)
            written += count
        yield RowAccess(first, min(first + kernel, rows), True)


def _holds(accesses: list[RowAccess], ring: int, rows: int) -> bool:
    """Whether every row is in its place of a ring from the first access to it to the last one."""
    last = {row: step for step, (first, stop, _) in enumerate(accesses) for row in range(first, stop)}
    inside: dict[int, int] = {}
    for step, (first, stop, _) in enumerate(accesses):
        for row in range(first, stop):
            other = inside.get(row % ring, row)
            if other != row and last[other] >= step:
                return False
            inside[row % ring] = row
    return True


def test_stripes_come_as_late_as_those_behind_them_allow() -> None:
    """Three ops, each stripe of which needs its own of the one before and the next one."""
    stripes = [Stripe(0, ()) for _ in range(4)]
    stripes += [Stripe(1, tuple(range(n, min(n + 2, 4)))) for n in range(4)]
    stripes += [Stripe(2, (4 + n,)) for n in range(4)]
    assert interleaved(stripes) == [0, 1, 2, 4, 3, 5, 8, 6, 9, 7, 10, 11]


def test_what_is_in_no_cascade_says_why() -> None:
    """A map too large to stay: the weights of the ops that touch it do not fit together, or there is no room at all."""
    rng = np.random.default_rng(7)
    graph = ChainGraph(rng, 40, 8)
    for outputs in (32, 32, 32):
        graph.convolve(graph.values[-1], outputs, 1, (3, 3), (1, 1), (1, 1, 1, 1), (40, 8))
    graph.finish()
    whys: dict[int, list[str]] = {}
    for weight_bytes, maps_bytes in ((16384, 8192), (1 << 17, 2048)):
        module = clone_module(graph.module)
        machine = _slow(dataclasses.replace(load("s256"), maps_bytes=maps_bytes, weight_bytes=weight_bytes))
        tile_function(module.main, machine, cascades=True)
        places = [MAP.get(op) for op in module.main.ops]
        whys[maps_bytes] = [place.why for place in places if place is not None]
    too_heavy = "; in a cascade, %v2 to %v3 hold 18432 bytes of weights at once, more than 90% of 16384"
    assert whys[8192][1].endswith(too_heavy)
    assert whys[2048][0].endswith("; in a cascade, 2048 bytes of the maps scratchpad are too few for rings and tiles")
