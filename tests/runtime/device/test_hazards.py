"""Conflicts between accesses are those of shared bytes, and every byte that is read has been written."""

from __future__ import annotations

import dataclasses
from typing import Any

import instruction_set as isa
import pytest
from device_programs import pointwise
from property_tests import given, st

from tilewright.errors import InstructionError, ResourceError
from tilewright.runtime.isa.accesses import MemoryAccess, Space
from tilewright.runtime.isa.encoding import Queue, Stream
from tilewright.runtime.isa.hazards import LastTouch, box_of, overlap
from tilewright.runtime.machines import machine
from tilewright.runtime.simulator import verifier
from tilewright.runtime.simulator.verifier import verify

MACHINE = dataclasses.replace(machine.load("s256"), maps_bytes=1024, maps_banks=1)
REGIONS = [
    isa.Region("input", isa.RegionKind.INPUT, 4096),
    isa.Region("scratch", isa.RegionKind.SCRATCH, 1 << 20),
    isa.Region("output", isa.RegionKind.OUTPUT, 1 << 20),
]
LD, ST = Stream(0, Queue.LD), Stream(0, Queue.ST)


def load(**fields: Any) -> isa.LoadMaps:
    return isa.LoadMaps(**{"region": 1, "offset": 0, "destination": 0, "run": 16, **fields})


def store(**fields: Any) -> isa.Store:
    return isa.Store(**{"region": 1, "offset": 0, "source": 0, "run": 16, **fields})


def program(*items: isa.Instruction) -> isa.Program:
    assembler = isa.Assembler(MACHINE, REGIONS)
    for item in items:
        assembler.add(item)
    return assembler.finish()


def refused(made: isa.Program, device: machine.Machine = MACHINE) -> str:
    with pytest.raises(InstructionError) as caught:
        verify(made, device)
    return str(caught.value)


@st.composite
def accesses(draw: st.DrawFn) -> tuple[int, MemoryAccess]:
    """Any access to one region or to the maps of one cluster, and a stream."""
    write, where = draw(st.booleans()), draw(st.sampled_from([Space.DRAM, Space.MAPS]))
    unit = 16 if where == Space.MAPS and write else 1
    steps = tuple(
        (count, unit * stride) for count, stride in draw(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9))))[:2]
    )
    start, run = unit * draw(st.integers(0, 12)), unit * draw(st.integers(1, 4))
    region, cluster = (1, -1) if where == Space.DRAM else (-1, 0)
    return draw(st.integers(0, 2)), MemoryAccess(where, start, steps, run, write, region, cluster)


@given(st.lists(accesses(), max_size=12), accesses())
def test_the_last_conflicts_are_those_of_shared_bytes(
    before: list[tuple[int, MemoryAccess]], last: tuple[int, MemoryAccess]
) -> None:
    touched = LastTouch(MACHINE, REGIONS)
    stream, access = last
    expected = [0, 0, 0]
    for position, (other, each) in enumerate(before, 1):
        touched.record(other, position, [each])
        same = each.memory == access.memory and overlap(box_of(each), box_of(access))
        if same and (each.write or access.write) and other != stream:
            expected[other] = position
    assert touched.conflicts(stream, [access], [0, 0, 0]) == expected
    known = [max(0, position - 1) for position in expected]
    assert touched.conflicts(stream, [access], known) == expected
    assert touched.conflicts(stream, [access], [99, 99, 99]) == [99, 99, 99]


def test_blocks_of_channels_of_one_map_are_not_in_conflict() -> None:
    """Pixels of 64 channels in DRAM: one half is written while the other is read, and no wait is put in."""
    pixels = {"run": 32, "count_y": 8, "dram_stride_y": 64, "map_stride_y": 2}
    made = program(
        load(region=0, destination=0, run=512),
        store(offset=0, **pixels),
        load(offset=0, destination=32, **pixels),
        store(offset=32, **pixels),
    )
    assert verify(made, MACHINE)
    assert not made.instructions(ST)[1].waits
    overlapping = program(
        load(region=0, destination=0, run=512),
        store(offset=0, **pixels),
        load(offset=0, destination=32, **pixels),
        store(offset=31, **pixels),
    )
    assert len(overlapping.instructions(ST)[1].waits) == 1


def test_what_is_too_close_together_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores of every other 16 bytes, and loads of those in between, which were stored before."""
    pixels = {"run": 16, "count_y": 8, "dram_stride_y": 32, "map_stride_y": 1}
    first = [load(region=0, run=512), store(offset=16, **pixels)]
    made = program(*first, *[load(offset=16, destination=32, **pixels), store(offset=0, **pixels)] * 6)
    assert verify(made, MACHINE)
    monkeypatch.setattr(verifier, "DEVICE_COMPARISONS", 3)
    with pytest.raises(ResourceError, match="lie too close together to tell them apart"):
        verify(made, MACHINE)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            [load(run=64)],
            "stream LD0, instruction 0 (LDM): field 'offset' breaks a rule; expected the bytes that it reads from "
            "region 'scratch' have been written, found nothing before it wrote bytes 0 to 64",
        ),
        (
            [load(region=0, run=64), store(run=40, offset=100), load(offset=96, run=64)],
            "stream LD0, instruction 1 (LDM): field 'offset' breaks a rule; expected the bytes that it reads from "
            "region 'scratch' have been written, found nothing before it wrote bytes 96 to 100",
        ),
        (
            [load(region=0, run=64), store(region=2, run=40, offset=4096), load(region=2, offset=4132, run=8)],
            "stream LD0, instruction 1 (LDM): field 'offset' breaks a rule; expected the bytes that it reads from "
            "region 'output' have been written, found nothing before it wrote bytes 4136 to 4140",
        ),
        (
            [
                load(region=0, run=3, count_y=4, map_stride_y=2),
                store(run=16, count_y=4, map_stride_y=1, dram_stride_y=16),
            ],
            "stream ST0, instruction 0 (ST): field 'source' breaks a rule; expected the bytes that it reads from "
            "the maps scratchpad have been written, found nothing before it wrote bytes 16 to 32",
        ),
        (
            [load(region=0, run=16), store(source=2, run=5)],
            "stream ST0, instruction 0 (ST): field 'source' breaks a rule; expected the bytes that it reads from "
            "the maps scratchpad have been written, found nothing before it wrote bytes 32 to 37",
        ),
    ],
)
def test_bytes_that_nothing_wrote_are_not_read(items: list[isa.Instruction], message: str) -> None:
    assert refused(program(*items)) == message


def test_boxes_that_were_written_bit_by_bit_may_be_read() -> None:
    odd = [store(offset=1000 + 7 * index, run=7) for index in range(9)]
    read = load(offset=1003, run=3, count_y=5, dram_stride_y=11, map_stride_y=1, destination=32)
    assert verify(program(load(region=0, run=64), *odd, read), MACHINE)
    assert "wrote bytes 1049 to 1050" in refused(program(load(region=0, run=64), *odd[:7], read))


def without(made: isa.Program, stream: Stream, index: int) -> isa.Program:
    """The program with a barrier in place of one instruction, which waits and signals all the same."""
    items = made.instructions(stream)
    items[index] = isa.Barrier(waits=items[index].waits, signal=items[index].signal)
    return dataclasses.replace(made, queues={**made.queues, stream: b"".join(map(isa.encode, items))})


def test_a_program_without_one_of_its_loads_is_refused() -> None:
    """Maps, weights, parameters and accumulators: whatever is not made is not read."""
    device = machine.load("s256")
    made = pointwise(device, 1)
    fields = set()
    for stream in made.queues:
        if stream.queue != Queue.ST:
            for index in range(len(made.instructions(stream)) - 1):
                message = refused(without(made, stream, index), device)
                assert "have been written, found nothing before it wrote" in message
                fields.add(message.split("field '")[1].split("'")[0])
    assert fields == {"source", "weights", "parameters", "accumulator"}
