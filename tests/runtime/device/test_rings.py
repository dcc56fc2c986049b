"""Maps that never lie on chip as a whole: a convolution and a pooling after it work through rings of rows."""

from __future__ import annotations

import dataclasses

import instruction_set as isa
import numpy as np
import pytest
from device_clusters import BLOCKS, COLUMNS, REGIONS, ROW, ROWS, WEIGHTS, constants
from device_programs import convolution
from single_card import FunctionalEngine

from tilewright.errors import InstructionError
from tilewright.runtime.machines import machine
from tilewright.runtime.simulator.verifier import verify

MACHINE = machine.load("m4096")
STEP = 2


def cascade(rings: tuple[int, int]) -> isa.Program:
    """Two rows at a time from DRAM through both layers; ``rings`` are the rows of input and middle, 0 for all."""
    assembler = isa.Assembler(MACHINE, REGIONS)
    assembler.add(isa.LoadWeights(region=0, offset=0, destination=0, length=WEIGHTS))
    assembler.add(isa.LoadParameters(region=0, offset=WEIGHTS, destination=0, length=2 * BLOCKS))
    pitch = ROW // 16
    middle = (rings[0] or ROWS) * pitch
    last = middle + (rings[1] or ROWS) * pitch

    def at(row: int, ring: int) -> int:
        return (row % ring if ring else row) * pitch

    loaded = 0
    for first in range(0, ROWS + STEP, STEP):
        for row in range(loaded, min(first + STEP + 1, ROWS)):
            assembler.add(isa.LoadMaps(region=1, offset=row * ROW, destination=at(row, rings[0]), run=ROW))
            loaded = row + 1
        if first < ROWS:
            window = {"kernel_height": 3, "kernel_width": 3, "row_origin": first - 1, "column_origin": -1}
            size = {"input_height": ROWS, "ring": rings[0], "pad_value": -7}
            target = middle + at(first, rings[1])
            for item in convolution(0, target, 0, (STEP, COLUMNS), BLOCKS, BLOCKS, **size, **window):
                assembler.add(item)
        if first:
            pool = isa.Pool(
                source=middle,
                destination=last,
                height=STEP,
                width=COLUMNS,
                blocks=BLOCKS,
                kernel_height=3,
                kernel_width=3,
                input_height=ROWS,
                input_width=COLUMNS,
                row_origin=first - STEP - 1,
                column_origin=-1,
                source_row_pitch=pitch,
                destination_row_pitch=pitch,
                source_pixel_pitch=BLOCKS,
                destination_pixel_pitch=BLOCKS,
                ring=rings[1],
            )
            assembler.add(pool)
            assembler.add(isa.Store(region=2, offset=(first - STEP) * ROW, source=last, run=STEP * ROW))
    return assembler.finish()


def test_layers_that_work_through_rings_give_the_bytes_of_whole_maps() -> None:
    rng = np.random.default_rng(3)
    fixed, fed = constants(rng), rng.integers(0, 256, ROWS * ROW).astype(np.uint8)

    def outputs(rings: tuple[int, int]) -> np.ndarray:
        return FunctionalEngine(cascade(rings), MACHINE, {"constants": fixed}).run({"x": fed})["y"]

    truth = outputs((0, 0))
    assert len(np.unique(truth)) > 20
    for rings in ((4, 6), (5, 6), (0, 6), (4, 0)):
        np.testing.assert_array_equal(outputs(rings), truth)


def test_every_wait_on_a_ring_is_needed() -> None:
    """A row of a ring is overwritten only when all that read it have."""
    program = cascade((4, 6))
    checked = 0
    for stream in program.queues:
        items = program.instructions(stream)
        for index, item in enumerate(items):
            for which in range(len(item.waits)):
                waits = item.waits[:which] + item.waits[which + 1 :]
                changed = [*items[:index], dataclasses.replace(item, waits=waits), *items[index + 1 :]]
                queues = {**program.queues, stream: b"".join(map(isa.encode, changed))}
                with pytest.raises(InstructionError, match="conflicts are ordered"):
                    verify(dataclasses.replace(program, queues=queues), MACHINE)
                checked += 1
    assert checked > 15


def test_a_ring_holds_all_rows_that_are_read() -> None:
    with pytest.raises(InstructionError) as caught:
        cascade((3, 6))
    assert str(caught.value) == (
        "CONV: field 'ring' breaks a rule; expected at least the 4 rows that are read, or 0, found 3"
    )
