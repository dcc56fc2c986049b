"""Scratchpads of more than a mebibyte: every byte has an address, and conflicts far inside are found like others."""

from __future__ import annotations

from dataclasses import replace

import instruction_set as isa
import numpy as np
import pytest
from single_card import FunctionalEngine

from tilewright.errors import InstructionError
from tilewright.runtime.isa.encoding import Queue, Stream
from tilewright.runtime.machines.machine import MAPS_LIMIT, MAPS_UNIT, Machine, load
from tilewright.runtime.simulator.verifier import verify

U250 = load("u250")
PIXELS, CHANNELS = 24, 32
BYTES = PIXELS * CHANNELS
REGIONS = (isa.Region("x", isa.RegionKind.INPUT, BYTES), isa.Region("y", isa.RegionKind.OUTPUT, BYTES))


def copied(source: int, target: int, machine: Machine = U250) -> isa.Program:
    """Load pixels to the byte ``source`` of the maps of the last cluster, copy them to ``target``, and store them."""
    assembler = isa.Assembler(machine, REGIONS, machine.clusters)
    last = machine.clusters - 1
    assembler.add(isa.LoadMaps(region=0, offset=0, run=BYTES, destination=source // MAPS_UNIT), cluster=last)
    pixel = CHANNELS // MAPS_UNIT
    copy = isa.ResizeNearest(
        source=source // MAPS_UNIT,
        destination=target // MAPS_UNIT,
        height=1,
        width=PIXELS,
        blocks=pixel,
        source_row_pitch=PIXELS * pixel,
        source_pixel_pitch=pixel,
        destination_row_pitch=PIXELS * pixel,
        destination_pixel_pitch=pixel,
    )
    assembler.add(copy, cluster=last)
    assembler.add(isa.Store(region=1, offset=0, run=BYTES, source=target // MAPS_UNIT), cluster=last)
    return assembler.finish()


@pytest.mark.parametrize("source", [0, (1 << 20) - 16, 1 << 20, 3 << 20])
def test_bytes_far_inside_are_read_and_written(source: int, rng: np.random.Generator) -> None:
    fed = rng.integers(0, 256, BYTES).astype(np.uint8)
    program = copied(source, U250.maps_bytes - BYTES)
    assert isa.Program.from_bytes(program.to_bytes()).to_bytes() == program.to_bytes()
    found = FunctionalEngine(program, U250, {}).run({"x": fed})["y"]
    np.testing.assert_array_equal(found, fed)


def test_the_last_byte_that_a_machine_may_have_has_an_address(rng: np.random.Generator) -> None:
    largest = replace(U250, clusters=4, maps_bytes=MAPS_LIMIT)
    fed = rng.integers(0, 256, BYTES).astype(np.uint8)
    found = FunctionalEngine(copied(0, MAPS_LIMIT - BYTES, largest), largest, {}).run({"x": fed})["y"]
    np.testing.assert_array_equal(found, fed)


def test_what_lies_behind_the_last_byte_is_refused() -> None:
    with pytest.raises(InstructionError, match=r"written bytes lie inside the 4194304 of the maps scratchpad"):
        copied(0, U250.maps_bytes - BYTES + MAPS_UNIT)


@pytest.mark.parametrize("queue", [Queue.VEC, Queue.ST])
def test_a_missing_wait_is_found_far_inside(queue: Queue) -> None:
    program = copied(2 << 20, 3 << 20)
    verify(program, U250)
    stream = Stream(U250.clusters - 1, queue)
    items = program.instructions(stream)
    items[0] = replace(items[0], waits=())
    tampered = replace(program, queues={**program.queues, stream: b"".join(map(isa.encode, items))})
    with pytest.raises(InstructionError, match="conflicts are ordered"):
        verify(tampered, U250)
