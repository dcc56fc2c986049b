"""The DRAM of the cycle model: which rows lie open, and who goes first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import instruction_set as isa
import pytest

from tilewright.runtime.machines import machine
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.dram import Dram, Traffic
from tilewright.runtime.simulator.verifier import verify

M4096 = machine.load("m4096")
ROW, BANKS = M4096.dram_row_bytes, M4096.dram_banks
REGIONS = (isa.Region("x", isa.RegionKind.INPUT, 2 * BANKS * ROW), isa.Region("y", isa.RegionKind.INPUT, 100))


def openings(*items: isa.Instruction) -> list[int]:
    """Rows that are opened for transfers, one after the other."""
    dram = Dram(isa.Assembler(M4096, REGIONS).finish(), M4096, None)
    return [dram.transfer(item, 0) for item in items]


def load(offset: int, run: int = 64, count: int = 1, stride: int = 0, region: int = 0) -> isa.Instruction:
    box: dict[str, Any] = {"count_y": count, "dram_stride_y": stride, "map_stride_y": -(-run // 16) if count > 1 else 0}
    return isa.LoadMaps(region=region, offset=offset, destination=0, run=run, **box)


def test_a_row_stays_open_until_another_one_of_its_bank_is_reached() -> None:
    far = BANKS * ROW
    assert openings(load(0), load(ROW - 64), load(ROW), load(128), load(far), load(0), load(ROW)) == [
        1,
        0,
        1,
        0,
        1,
        1,
        0,
    ]
    # The second region begins in a row of its own, behind the first: in the bank of row 0.
    assert openings(load(0), load(0, region=1), load(64, region=1), load(0)) == [1, 1, 0, 1]
    lines = isa.LoadWeights(region=0, offset=1, destination=0, length=4)
    assert openings(load(0), lines, load(ROW - 1, 2), load(ROW)) == [1, 0, 0, 0]


def test_rows_that_a_run_goes_on_into_are_opened_ahead_and_close_others() -> None:
    assert openings(load(0, 3 * ROW), load(2 * ROW), load(ROW)) == [1, 0, 0]
    assert openings(load(0), load(ROW, BANKS * ROW), load(0), load(BANKS * ROW)) == [1, 1, 1, 1]


@pytest.mark.parametrize("run", [16, ROW // 3, ROW + 16])
@pytest.mark.parametrize("stride", [64, ROW // 2, ROW, ROW + 80, 3 * ROW + 80, BANKS * ROW // 2, BANKS * ROW])
def test_runs_open_what_does_not_lie_open(stride: int, run: int) -> None:
    stride += run - 16
    count = min(12, (REGIONS[0].size - run) // stride)
    held: dict[int, int] = {}
    expected = 0
    for start in range(0, count * stride, stride):
        first, last = start // ROW, (start + run - 1) // ROW
        expected += held.get(first % BANKS) != first
        for row in range(first, last + 1):
            held[row % BANKS] = row
    assert openings(load(0, run, count, stride)) == [expected]


def test_more_runs_than_a_map_holds_are_taken_as_if_no_row_were_open() -> None:
    store = isa.Store(
        region=0, offset=0, source=0, run=16, count_y=65535, count_z=65535, dram_stride_y=32, dram_stride_z=1 << 22
    )
    dram = Dram(isa.Assembler(M4096, REGIONS).finish(), M4096, None)
    assert dram.transfer(store, 77) == 77


def test_fetches_lie_behind_the_regions_one_after_the_other() -> None:
    dram = Dram(isa.Assembler(M4096, REGIONS).finish(), M4096, None)
    every = [dram.fetch(512) for _ in range(2 * ROW // 512)]
    assert [index for index, opened in enumerate(every) if opened] == [0, ROW // 512]


def test_of_what_waits_the_layer_that_comes_first_is_served_first() -> None:
    assembler = isa.Assembler(replace(M4096, clusters=1), REGIONS)
    assembler.add(load(0, 4096), layer="first")
    for index in range(4):
        assembler.add(isa.LoadWeights(region=0, offset=0, destination=64 * index, length=64), layer="second")
    assembler.add(load(4096, 4096), layer="first")
    traffic = Traffic()
    simulate(verify(assembler.finish(), assembler.machine), traffic=traffic)
    served = [each.request for each in traffic.dram[0] if not each.request.is_fetch]
    names = [f"{each.stream.queue.name}{each.number}" for each in served]
    # By the time at which they ask, the weights would take turns with the maps.
    assert names == ["LD0", "LD1", "LW0", "LW1", "LW2", "LW3"]


def test_what_stands_ahead_of_the_first_layer_is_served_with_it() -> None:
    """Products of the second layer that go between those of the first have their weights when the first needs them to,
    not behind all that the first loads."""
    assembler = isa.Assembler(replace(M4096, clusters=1), REGIONS)
    sizes: dict[str, Any] = {"output_height": 1, "output_width": 8, "input_height": 1, "input_width": 8}
    sizes |= {"input_channels": 1, "output_blocks": 1, "row_pitch": 8, "pixel_pitch": 1}
    for index, layer in enumerate(("first", "second", "first", "first")):
        if layer == "first":
            assembler.add(replace(load(4096 * index, 4096), destination=256 * index), layer=layer)
        assembler.add(isa.LoadWeights(region=0, offset=0, destination=64 * index, length=4), layer=layer)
        source = 256 * index if layer == "first" else 0
        assembler.add(isa.Convolve(source=source, weights=64 * index, accumulator=8 * index, **sizes), layer=layer)
    traffic = Traffic()
    simulate(verify(assembler.finish(), assembler.machine), traffic=traffic)
    served = [each.request for each in traffic.dram[0] if not each.request.is_fetch]
    names = [f"{each.stream.queue.name}{each.number}" for each in served]
    assert names.index("LW1") < names.index("LD2")


def test_of_one_layer_what_most_waits_for_is_served_first() -> None:
    assembler = isa.Assembler(replace(M4096, clusters=2), REGIONS, 2)
    for index in range(3):
        assembler.add(isa.LoadWeights(region=0, offset=0, destination=16 * index, length=16), layer="a")
    assembler.add(isa.LoadMaps(region=0, offset=0, destination=0, run=1024), layer="a")
    for _ in range(20):
        assembler.add(isa.Move(source=0, destination=1 << 11, run=64, clusters=2), layer="a")
    traffic = Traffic()
    simulate(verify(assembler.finish(), assembler.machine), traffic=traffic)
    served = [each.request for each in traffic.dram[0] if not each.request.is_fetch]
    assert [each.stream.queue.name for each in served] == ["LD", "LW", "LW", "LW"]
