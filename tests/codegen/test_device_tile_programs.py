"""Tile programs as programs for the accelerator: the engine computes what the references of their ops do."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from device_runs import run_on_device
from random_seeds import seeds
from tile_programs import RandomProgram, inputs_of, random_program

from tilewright.codegen.device.program import assemble
from tilewright.errors import InstructionError, IRError, PassError
from tilewright.ir import interp
from tilewright.ir.annotations import ADDRESS, DRAM, LAYER, SCRATCHPAD_BYTES
from tilewright.ir.core import Module
from tilewright.ir.tile.places import Buffer, Part
from tilewright.ir.tile.transfer import Load, LoadWeights
from tilewright.ir.types import DType
from tilewright.passes.device.planning.check_scratchpads import check_scratchpads
from tilewright.passes.device.planning.plan_scratchpads import places_of, plan
from tilewright.passes.device.planning.scratchpads import UNITS
from tilewright.runtime.isa.encoding import Queue
from tilewright.runtime.machines.machine import Machine, load

MACHINE = load("m4096")


def computes_what_it_says(module: Module, machine: Machine, rng: np.random.Generator) -> None:
    inputs = inputs_of(module, rng)
    expected = interp.run(module, inputs)
    found = run_on_device(module, assemble(module.main, machine).finish(), machine, inputs)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, name)


@pytest.mark.parametrize("seed", seeds(6, 12))
def test_the_engine_computes_what_the_references_do(seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    module = random_program(rng, steps=16, clusters=1 + seed % 3)
    plan(module.main, MACHINE)
    check_scratchpads(module.main)
    computes_what_it_says(module, MACHINE, rng)


@pytest.mark.parametrize("seed", range(4))
def test_addresses_that_the_checker_lets_pass_change_no_byte(seed: int) -> None:
    """Any place is put anywhere: the checker refuses, or the engine computes the same."""
    rng = np.random.default_rng(2000 + seed)
    module = random_program(rng, steps=16, clusters=1 + seed % 2)
    plan(module.main, MACHINE)
    refused = passed = 0
    for memory, places in places_of(module.main).items():
        unit, end = UNITS[memory], SCRATCHPAD_BYTES[memory].get(module.main)
        assert end is not None
        for place, _ in itertools.product(places, range(3)):
            sound = ADDRESS.get(place.op)
            assert sound is not None
            ADDRESS.set(place.op, int(rng.integers(0, (end - place.size) // unit + 1)) * unit)
            try:
                check_scratchpads(module.main)
            except PassError:
                refused += 1
            else:
                passed += 1
                if passed % 8 == 1:
                    computes_what_it_says(module, MACHINE, rng)
            ADDRESS.set(place.op, sound)
    assert refused > 5 and passed > 1


def loaded() -> RandomProgram:
    """A program with a map of 4 rows on chip."""
    program = RandomProgram(np.random.default_rng(3))
    x = program.enter("image", (1, 16, 4, 5), DType.I8)
    program.maps.append(program.add(Load(0, False), program.add(Part(0, (0, 4), (0, 5), (0, 16)), x)))
    return program


def test_an_instruction_for_each_op() -> None:
    program = loaded()
    program.convolve()
    module = program.grow(0)
    for op in module.main.ops:
        LAYER.set(op, "first" if isinstance(op.operator, Load) else "second")
    plan(module.main, MACHINE)
    built = assemble(module.main, MACHINE).finish().program
    places = ("tile_enter", "tile_leave", "tile_buffer", "tile_part", "tile_phase", "tile_reshape")
    assert built.layers == ("first", "second")
    items = [item for stream in built.queues for item in built.instructions(stream)]
    printed = [item.MNEMONIC for item in items if item.MNEMONIC not in ("BAR", "END")]
    assert len(printed) == len([op for op in module.main.ops if op.name not in places])


def test_streams_of_a_program_of_two_clusters() -> None:
    module = random_program(np.random.default_rng(1), steps=20, clusters=2)
    plan(module.main, MACHINE)
    built = assemble(module.main, MACHINE).finish().program
    assert {stream.cluster for stream in built.queues} == {0, 1}
    moves = [op for op in module.main.ops if op.name == "tile_move"]
    stored = [i for s in built.queues if s.queue is Queue.ST for i in built.instructions(s)]
    assert len([item for item in stored if item.MNEMONIC == "MOV"]) == len(moves) > 0


def test_equal_weights_are_stored_once() -> None:
    program = loaded()
    weights = program.constant(np.ones((16, 16, 1, 1), np.int8))
    for _ in range(3):
        program.add(LoadWeights(0, 0, False, False), weights)
    again = program.constant(np.ones((16, 16, 1, 1), np.int8))
    program.add(LoadWeights(0, 0, False, False), again)
    module = program.grow(0)
    plan(module.main, MACHINE)
    assert len(assemble(module.main, MACHINE).finish().constants) == 256


def refused(module: Module, message: str) -> None:
    with pytest.raises(IRError, match=message) as caught:
        assemble(module.main, MACHINE).finish()
    assert caught.value.stage == "device code"


def test_places_without_address() -> None:
    module = loaded().grow(0)
    refused(module, "%tile_load has no address on chip")
    plan(module.main, MACHINE)
    entered = next(op for op in module.main.ops if op.name == "tile_enter")
    del entered.annotations[DRAM.key]
    refused(module, "%tile_enter has no address in device memory")


def test_no_instruction_goes_round_the_end_of_a_ring() -> None:
    program = loaded()
    x = program.enter("rows", (1, 16, 6, 5), DType.I8)
    ring = program.add(Buffer((6, 5, 16), DType.I8, "maps", 0, 4))
    for first in (0, 3):
        box = program.add(Part(0, (first, 3), (0, 5), (0, 16)), x)
        program.add(Load(0, False), box, program.add(Part(-1, (first, 3), (0, 5), (0, 16)), ring))
    module = program.grow(0)
    plan(module.main, MACHINE)
    check_scratchpads(module.main)
    refused(module, "an instruction does not go round the end of a ring; expected 4 rows, found 3 from row 3")


def test_a_program_needs_its_clusters() -> None:
    module = random_program(np.random.default_rng(1), steps=20, clusters=2)
    plan(module.main, MACHINE)
    with pytest.raises(InstructionError, match="more clusters than a card has"):
        assemble(module.main, dataclasses.replace(MACHINE, clusters=1)).finish()
