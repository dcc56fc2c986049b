"""The shared port of the maps: what passes it in a cycle, counted one by one, and who waits for whom."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import instruction_set as isa
import numpy as np
import pytest

from tilewright.runtime.machines import machine
from tilewright.runtime.machines.banks import port_cycles
from tilewright.runtime.machines.cost import cost
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.dram import Traffic
from tilewright.runtime.simulator.timeline import Event
from tilewright.runtime.simulator.verifier import VerifiedProgram, verify

S256, M4096 = machine.load("s256"), machine.load("m4096")
ONE = replace(M4096, maps_banks=1)
"""A bank, whose port passes a line a cycle."""


def one_by_one(banks: int, pixels: int, run: int, pitch: int) -> int:
    """Lines of pixels in order, as many at once as there are banks; those in one bank after each other."""
    lines: list[int] = []
    for pixel in range(pixels):
        for byte in range(pixel * pitch, pixel * pitch + run, 16):
            if not lines or lines[-1] != byte // 64:
                lines.append(byte // 64)
    cycles = 0
    for at in range(0, len(lines), banks):
        together = [(line + 5 * (line // banks)) % banks for line in lines[at : at + banks]]
        cycles += max(map(together.count, together))
    return cycles


@pytest.mark.parametrize("device", [S256, M4096, machine.load("u250"), ONE], ids=["s256", "m4096", "u250", "one"])
def test_the_port_passes_a_line_of_each_bank_in_a_cycle(device: machine.Machine) -> None:
    rng = np.random.default_rng(6)
    for _ in range(60):
        run = 16 * int(rng.integers(1, 4 * device.maps_banks))
        pitch = run + 16 * int(rng.integers(0, 40))
        pixels = 4 * device.maps_banks * int(rng.integers(1, 3))
        expected = pixels // (4 * device.maps_banks) * one_by_one(device.maps_banks, 4 * device.maps_banks, run, pitch)
        assert port_cycles(device, pixels, run, pitch) == expected
        both = np.array([run, 64]), np.array([pitch, 64])
        assert np.array_equal(port_cycles(device, pixels, *both), [expected, pixels // device.maps_banks])
    whole = 64 * device.maps_banks
    assert port_cycles(device, 5, 3 * whole + 16, 9 * whole) == 5 * 4


def added(pitch: int, blocks: int = 1, pixels: int = 64) -> isa.Elementwise:
    """Two maps with so many units of 16 bytes from pixel to pixel, added."""
    fields: dict[str, Any] = {f"{name}_{side}": 0 for name in ("source", "row_pitch") for side in "ab"}
    fields |= {"pixel_pitch_a": pitch, "pixel_pitch_b": pitch, "destination_pixel_pitch": pitch}
    return isa.Elementwise(
        **fields, destination=0, height=1, width=pixels, blocks=blocks, parameters=0, destination_row_pitch=0
    )


def test_the_vector_unit_waits_for_lines_of_its_maps() -> None:
    # Four pixels of a block are a step of 64 lanes; far apart they are four lines of each of three maps.
    near, far = cost(added(1), M4096), cost(added(4), M4096)
    assert (near.steps, near.port, near.unit) == (16, 3 * 2, 16)
    assert (far.steps, far.port) == (16, 3 * 64 // 8)
    assert (far.port_stalls, far.bank_conflicts, far.unit) == (0, 8, 24)
    # What ports as wide cannot pass is no conflict.
    narrow = cost(added(1), ONE)
    assert (narrow.port_stalls, narrow.bank_conflicts) == (3 * 16 - 16, 0)


def contended(loaded: int, device: machine.Machine = ONE) -> VerifiedProgram:
    """A table over a map, and loads of others meanwhile."""
    assembler = isa.Assembler(device, [isa.Region("x", isa.RegionKind.INPUT, 1 << 16)])
    assembler.add(isa.LoadParameters(region=0, offset=0, destination=0, length=4))
    assembler.add(isa.LoadMaps(region=0, offset=0, destination=0, run=1 << 14))
    shape: dict[str, Any] = {"height": 1, "width": 64, "blocks": 16, "destination_row_pitch": 0}
    shape |= {"source_row_pitch": 0, "source_pixel_pitch": 16, "destination_pixel_pitch": 16}
    assembler.add(isa.LookUp(source=0, destination=1 << 10, table=0, **shape))
    for index in range(loaded):
        assembler.add(isa.LoadMaps(region=0, offset=0, destination=(1 << 11) + 64 * index, run=1 << 10))
    return verify(assembler.finish(), device)


def passed(verified: VerifiedProgram, names: tuple[str, ...], event: Event) -> float:
    """Cycles of the port that transfers of these names take while an instruction works."""
    traffic, found = Traffic(), 0.0
    events = {(each.stream, each.index): each for each in simulate(verified, traffic=traffic).events}
    for service in traffic.dram[0]:
        other = events[service.request.stream, service.request.number]
        if not service.request.is_fetch and other.mnemonic in names:
            both = min(service.end, event.free) - max(service.start, event.start)
            found += max(both, 0) / (service.end - service.start) * other.cost.port
    return found


def test_the_vector_unit_waits_while_loads_pass() -> None:
    verified = contended(12)
    timeline = simulate(verified)
    table = next(event for event in timeline.events if event.mnemonic == "LUT")
    taken = table.free - table.start
    assert table.cost.port == table.cost.unit == 2 * table.cost.steps
    assert timeline.parts["port-contention"] == pytest.approx(taken - table.cost.unit)
    assert taken == pytest.approx(table.cost.port + passed(verified, ("LDM",), table), abs=1e-3)
    assert taken > table.cost.unit + 8 * 16
    less = simulate(verified, without={"port-contention"})
    alone = next(event.free - event.start for event in less.events if event.mnemonic == "LUT")
    assert alone == pytest.approx(table.cost.unit)
    assert less.parts["port-contention"] == 0
    assert less.cycles < timeline.cycles
    wide = simulate(verified, without={"port-contention", "port-stalls"})
    steps = next(event.free - event.start for event in wide.events if event.mnemonic == "LUT")
    assert steps == pytest.approx(table.cost.steps)


def test_who_has_room_left_waits_for_nobody() -> None:
    timeline = simulate(contended(12, M4096))
    table = next(event for event in timeline.events if event.mnemonic == "LUT")
    assert table.cost.port < table.cost.unit == table.cost.steps
    assert table.free - table.start == pytest.approx(table.cost.unit)
    assert timeline.parts["port-contention"] == 0


def test_what_passes_stays_when_others_take_less_time() -> None:
    verified = contended(12)
    whole = simulate(verified)
    for name in ("instruction-fetch", "synchronisation", "row-openings"):
        less = simulate(verified, without={name})
        assert less.parts["port-contention"] == pytest.approx(whole.parts["port-contention"])
        assert less.cycles <= whole.cycles


def test_moves_into_a_cluster_hold_its_vector_unit_up() -> None:
    device = replace(ONE, clusters=2)
    assembler = isa.Assembler(device, [isa.Region("x", isa.RegionKind.INPUT, 1 << 16)], 2)
    assembler.add(isa.LoadParameters(region=0, offset=0, destination=0, length=4))
    for cluster in (0, 1):
        assembler.add(isa.LoadMaps(region=0, offset=0, destination=0, run=1 << 14), cluster=cluster)
    shape: dict[str, Any] = {"height": 1, "width": 64, "blocks": 16, "destination_row_pitch": 0}
    shape |= {"source_row_pitch": 0, "source_pixel_pitch": 16, "destination_pixel_pitch": 16}
    assembler.add(isa.LookUp(source=0, destination=1 << 10, table=0, **shape))
    assembler.add(isa.Move(source=0, destination=1 << 11, run=512, clusters=0b01), cluster=1)
    timeline = simulate(verify(assembler.finish(), device))
    table, move = (next(each for each in timeline.events if each.mnemonic == name) for name in ("LUT", "MOV"))
    both = min(table.free, move.free) - max(table.start, move.start)
    assert move.cost.port == move.cost.unit == 128
    assert table.free - table.start == pytest.approx(table.cost.unit + both, abs=1e-3)
    assert 0 < both <= 128
