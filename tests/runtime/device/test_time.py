"""What the cycle model charges between instructions, by closed forms; and that less of anything is never slower."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from operator import ne

import instruction_set as isa
import numpy as np
import pytest
from device_programs import pointwise

from tilewright.runtime.isa.encoding import INSTRUCTION_BYTES, Queue, Stream
from tilewright.runtime.machines import machine
from tilewright.runtime.machines.cost import handover
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.left_out import COSTS
from tilewright.runtime.simulator.verifier import VerifiedProgram, verify

S256, M4096 = machine.load("s256"), machine.load("m4096")
REGIONS = (isa.Region("x", isa.RegionKind.INPUT, 1 << 16), isa.Region("y", isa.RegionKind.OUTPUT, 1 << 16))


def copied(device: machine.Machine, size: int = 640) -> VerifiedProgram:
    """A map in, and out again."""
    assembler = isa.Assembler(device, REGIONS)
    assembler.add(isa.LoadMaps(region=0, offset=0, destination=0, run=size))
    assembler.add(isa.Store(region=1, offset=0, source=0, run=size))
    return verify(assembler.finish(), device)


def loaded(device: machine.Machine, count: int) -> VerifiedProgram:
    """So many lines, one by one, each by an instruction."""
    assembler = isa.Assembler(device, REGIONS)
    for index in range(count):
        assembler.add(isa.LoadMaps(region=0, offset=64 * index, destination=4 * index, run=64))
    return verify(assembler.finish(), device)


def transfer(device: machine.Machine, size: int) -> float:
    """Cycles of one transfer that is set up, with nothing else to do."""
    timing = device.timing
    moved = size / device.dram_bytes_per_cycle
    return timing.dram_row_activation + moved + timing.dram_latency


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
def test_a_store_after_a_load_pays_for_the_turn_of_the_bus(device: machine.Machine) -> None:
    # Both are set up at once, and one waits for the other.
    both = device.timing.transfer_setup + 2 * transfer(device, 640) + device.timing.signal + device.timing.wait
    verified = copied(device)
    timeline = simulate(verified, without={"instruction-fetch"})
    assert timeline.cycles == pytest.approx(both + device.timing.dram_turnaround)
    assert simulate(verified, without={"instruction-fetch", "turnaround"}).cycles == pytest.approx(both)
    assert timeline.turnarounds == 1
    assert timeline.parts["turnaround"] == device.timing.dram_turnaround


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
def test_what_waits_starts_when_the_counter_is_seen_and_compared(device: machine.Machine) -> None:
    verified = copied(device)
    timeline, less = simulate(verified), simulate(verified, without={"synchronisation"})
    load, store = (next(each for each in timeline.events if each.mnemonic == name) for name in ("LDM", "ST"))
    assert store.start == load.end + device.timing.signal + device.timing.wait
    assert timeline.cycles - less.cycles == timeline.parts["synchronisation"] == handover(device) > 0
    assert less.parts["synchronisation"] == 0
    # The last loads wait for nothing, and an end waits for what is before it in its stream alone.
    assert not simulate(loaded(device, 3)).parts["synchronisation"]


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
def test_rows_of_the_dram_are_opened_for_every_transfer(device: machine.Machine) -> None:
    verified = copied(device)
    bare = simulate(verified, without={"instruction-fetch", "row-openings"})
    opened = simulate(verified, without={"instruction-fetch"})
    assert opened.cycles - bare.cycles == pytest.approx(2 * device.timing.dram_row_activation)
    assert (bare.parts["row-openings"], opened.parts["row-openings"]) == (0, 2 * device.timing.dram_row_activation)


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
def test_the_first_instruction_is_fetched_before_it_starts(device: machine.Machine) -> None:
    verified = copied(device)
    timeline = simulate(verified)
    late = timeline.cycles - simulate(verified, without={"instruction-fetch"}).cycles
    fetched = {stream: sum(sizes) for stream, sizes in timeline.instruction_bytes.items()}
    # The load and the end of its queue.
    fetch = fetched[Stream(0, Queue.LD)] / device.dram_bytes_per_cycle
    assert late == pytest.approx(device.timing.dram_row_activation + fetch + device.timing.dram_latency)
    assert timeline.dram_bytes == 2 * 640 + sum(fetched.values())


def test_of_an_instruction_words_are_fetched_that_differ_from_those_ahead() -> None:
    verified = loaded(M4096, 20)
    sizes, burst = simulate(verified).instruction_bytes, M4096.dram_burst_bytes
    for stream, code in verified.programs[0].queues.items():
        words = [code[at : at + 4] for at in range(0, len(code), 4)]
        every = [[bytes(4)] * 16, *([*words[at : at + 16]] for at in range(0, len(words), 16))]
        packed = [4 + 4 * sum(map(ne, *both)) for both in pairwise(every)]
        assert max(packed[1:], default=0) < INSTRUCTION_BYTES
        for first in range(0, len(packed), M4096.fetch_instructions):
            some = slice(first, first + M4096.fetch_instructions)
            # The last one fills the burst.
            assert sizes[stream][some][:-1] == packed[some][:-1]
            assert sum(sizes[stream][some]) == -(-sum(packed[some]) // burst) * burst


def test_a_queue_that_holds_one_instruction_waits_for_each() -> None:
    shallow, count = replace(M4096, queue_depth=1), 20
    timing = shallow.timing
    each = timing.dram_row_activation + INSTRUCTION_BYTES / shallow.dram_bytes_per_cycle + timing.dram_latency
    verified = loaded(shallow, count)
    starts = [event.start for event in simulate(verified).events if event.mnemonic == "LDM"]
    # The second is fetched right behind the other queues, in an open row.
    gone_on = [0, *[timing.dram_row_activation] * (count - 1)]
    expected = [(each + timing.transfer_setup) * (index + 1) - gone_on[index] for index in range(count)]
    assert starts == pytest.approx(expected)
    deep = simulate(loaded(M4096, count)).cycles
    assert simulate(verified, without={"queue-depth"}).cycles < simulate(verified).cycles
    assert deep < simulate(verified).cycles / 2


def test_every_cost_that_can_be_left_out_is_known_and_changes_a_program() -> None:
    narrow = replace(M4096, queue_depth=1, maps_banks=1, accumulator_banks=1)
    verified = verify(pointwise(narrow, 4, blocks=1), narrow)
    whole = simulate(verified)
    assert set(whole.parts) == set(COSTS) - {"queue-depth"}
    for name in COSTS:
        less = simulate(verified, without={name})
        assert less.cycles < whole.cycles or not whole.parts.get(name, 1), name
        assert not less.parts.get(name), name
    assert simulate(verified, without=set(COSTS)).cycles < whole.cycles


def better(device: machine.Machine, rng: np.random.Generator) -> machine.Machine:
    """A machine that has more of something, or takes less time for it, chosen by chance."""
    changes = {
        name: getattr(device, name) * int(2 ** rng.integers(1, 3))
        for name in ("dram_bytes_per_second", "vector_lanes")
        if rng.random() < 0.4
    }
    if rng.random() < 0.4 and device.maps_banks < 64:
        changes |= {"pixel_lanes": 2 * device.pixel_lanes, "maps_banks": 2 * device.maps_banks}
    timing = {
        field.name: int(getattr(device.timing, field.name) * rng.random())
        for field in fields(device.timing)
        if rng.random() < 0.4
    }
    return replace(device, **changes, timing=replace(device.timing, **timing))


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
@pytest.mark.parametrize("blocks", [1, 4])
def test_a_program_is_never_slower_on_a_machine_with_more_of_anything(device: machine.Machine, blocks: int) -> None:
    rng = np.random.default_rng(blocks)
    verified = verify(pointwise(device, 8, columns=13, blocks=blocks), device)
    for _ in range(40):
        once = better(device, rng)
        twice = better(once, rng)
        times = [simulate(verified, each).cycles for each in (device, once, twice)]
        assert times == sorted(times, reverse=True), (once, twice)


def test_leaving_out_more_is_never_slower() -> None:
    rng = np.random.default_rng(3)
    verified = verify(pointwise(S256, 8, blocks=4), S256)
    names = list(COSTS)
    for _ in range(20):
        without = {name for name in names if rng.random() < 0.5}
        less = simulate(verified, without={*without, str(rng.choice(names))})
        assert less.cycles <= simulate(verified, without=without).cycles
