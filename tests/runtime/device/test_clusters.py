"""Programs of several clusters: the bytes of one cluster, in any legal order, and nothing unsafe is accepted."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import instruction_set as isa
import numpy as np
import pytest
from device_clusters import REGIONS, ROW, ROWS, constants, gathered, twice_convolved
from single_card import FunctionalEngine

from tilewright.errors import InstructionError, MachineError
from tilewright.runtime.isa.encoding import Queue, Stream
from tilewright.runtime.machines import machine
from tilewright.runtime.simulator import functional
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.verifier import verify

MACHINE = dataclasses.replace(machine.load("m4096"), clusters=8)

PROGRAMS: dict[str, Callable[[], isa.Program]] = {
    "two clusters": lambda: twice_convolved(MACHINE, 2),
    "two clusters, own weights": lambda: twice_convolved(MACHINE, 2, shared=False),
    "four clusters": lambda: twice_convolved(MACHINE, 4),
    "all to all": lambda: gathered(MACHINE, 4),
}


def outputs(program: isa.Program, rng: np.random.Generator) -> np.ndarray:
    fixed = constants(rng)
    fed = rng.integers(0, 256, ROWS * ROW).astype(np.uint8)
    return FunctionalEngine(program, MACHINE, {"constants": fixed}).run({"x": fed})["y"]


def refused(program: isa.Program) -> str:
    with pytest.raises(InstructionError) as caught:
        verify(program, MACHINE)
    return str(caught.value)


def replaced(program: isa.Program, stream: Stream, index: int, **fields: object) -> isa.Program:
    """The program with some fields of one instruction changed."""
    items = program.instructions(stream)
    items[index] = dataclasses.replace(items[index], **fields)  # pyright: ignore[reportArgumentType]
    return dataclasses.replace(program, queues={**program.queues, stream: b"".join(map(isa.encode, items))})


@pytest.mark.parametrize("clusters", [2, 4, 8])
@pytest.mark.parametrize("shared", [True, False])
def test_rows_split_over_clusters_give_the_bytes_of_one(clusters: int, shared: bool) -> None:
    program = twice_convolved(MACHINE, clusters, shared)
    assert program.clusters == clusters
    assert isa.Program.from_bytes(program.to_bytes()).to_bytes() == program.to_bytes()
    truth = outputs(twice_convolved(MACHINE, 1), np.random.default_rng(clusters))
    assert len(np.unique(truth)) > 50
    np.testing.assert_array_equal(outputs(program, np.random.default_rng(clusters)), truth)


def test_a_broadcast_reads_dram_once() -> None:
    once, often = (simulate(verify(twice_convolved(MACHINE, 4, shared), MACHINE)) for shared in (True, False))
    moved = [sum(event.cost.dram_bytes for event in timeline.events) for timeline in (once, often)]
    weights = [event.cost.dram_bytes for event in often.events if event.mnemonic in ("LDW", "LDP")]
    assert len(weights) == 8
    assert moved[1] - moved[0] == 3 * sum(weights) // 4


def test_moves_reach_every_receiver() -> None:
    rng = np.random.default_rng(5)
    fixed, fed = constants(rng), rng.integers(0, 256, ROWS * ROW).astype(np.uint8)
    for clusters in (2, 4, 8):
        engine = FunctionalEngine(gathered(MACHINE, clusters), MACHINE, {"constants": fixed})
        np.testing.assert_array_equal(engine.run({"x": fed})["y"], fed)


def test_a_load_of_maps_reaches_every_receiver() -> None:
    assembler = isa.Assembler(MACHINE, REGIONS, 3)
    assembler.add(isa.LoadMaps(region=1, offset=5, destination=2, run=40, clusters=0b101), cluster=1)
    for cluster, at in ((0, 0), (2, 64)):
        assembler.add(isa.Store(region=2, offset=at, source=2, run=48), cluster=cluster)
    fed = np.arange(ROWS * ROW, dtype=np.uint64).astype(np.uint8)
    engine = FunctionalEngine(assembler.finish(), MACHINE, {"constants": constants(np.random.default_rng(0))})
    found = engine.run({"x": fed})["y"]
    for at in (0, 64):
        np.testing.assert_array_equal(found[at : at + 40], fed[5:45])
        np.testing.assert_array_equal(found[at + 40 : at + 48], np.zeros(8, np.uint8))


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_wait_of_several_clusters_is_needed(name: str) -> None:
    """Without any one wait, or with any one asking for one signal less, the program is refused."""
    program = PROGRAMS[name]()
    checked = 0
    across = 0
    for stream in program.queues:
        for index, item in enumerate(program.instructions(stream)):
            for at, wait in enumerate(item.waits):
                across += isa.streams(16)[wait.counter - 1].cluster != stream.cluster
                for weaker in ((), (wait._replace(value=wait.value - 1),)):
                    waits = (*item.waits[:at], *weaker, *item.waits[at + 1 :])
                    assert "conflicts are ordered" in refused(replaced(program, stream, index, waits=waits))
                    checked += 1
    assert checked >= 16
    assert across >= 2


@pytest.mark.parametrize("name", PROGRAMS)
def test_any_legal_order_of_the_streams_gives_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = PROGRAMS[name]()
    rng = np.random.default_rng(7)
    fixed, fed = constants(rng), rng.integers(0, 256, ROWS * ROW).astype(np.uint8)
    engine = FunctionalEngine(program, MACHINE, {"constants": fixed})
    truth = engine.run({"x": fed})["y"]
    verified = engine.verified
    for _ in range(25):
        order: list[tuple[Stream, int]] = []
        done = dict.fromkeys(program.queues, 0)
        while len(order) < len(verified.order):
            ready = [
                stream
                for stream, count in done.items()
                if count < len(verified.queues[stream])
                and all(done[other] >= position for other, position in verified.targets[stream][count])
            ]
            stream = ready[int(rng.integers(len(ready)))]
            order.append((stream, done[stream]))
            done[stream] += 1
        other = dataclasses.replace(verified, order=order)
        monkeypatch.setattr(functional, "verify_cards", lambda program, machine, other=other: other)
        again = FunctionalEngine(program, MACHINE, {"constants": fixed})
        np.testing.assert_array_equal(again.run({"x": fed})["y"], truth)


def test_waits_that_circle_over_clusters_are_refused_and_the_circle_is_printed() -> None:
    program = twice_convolved(MACHINE, 2)
    last = len(program.instructions(Stream(0, Queue.MAC))) - 2
    # The first convolution of cluster 1 would wait for the second of cluster 0, which needs a halo of cluster 1.
    item = program.instructions(Stream(1, Queue.MAC))[0]
    waits = (*item.waits, isa.Wait(Stream(0, Queue.MAC).counter, last + 1))
    assert refused(replaced(program, Stream(1, Queue.MAC), 0, waits=waits)) == (
        "the waits of the program cannot all be satisfied; expected no cycle of waits, "
        "found MAC0 1 (CONV) waits for ST1 0 (MOV); ST1 0 (MOV) waits for VEC1 0 (RQ); "
        "VEC1 0 (RQ) waits for MAC1 0 (CONV); MAC1 0 (CONV) waits for MAC0 1 (CONV)"
    )


def test_masks_name_clusters_of_the_program() -> None:
    program = twice_convolved(MACHINE, 4)
    where = "stream LW0, instruction 0 (LDW): field 'clusters' breaks a rule; "
    assert refused(replaced(program, Stream(0, Queue.LW), 0, clusters=0b11111)) == (
        where + "expected the mask names clusters of the program, which has 4, found cluster 4"
    )
    message = refused(replaced(program, Stream(2, Queue.ST), 0, clusters=1 << 15))
    assert message.endswith("expected the mask names clusters of the program, which has 4, found cluster 15")
    message = refused(replaced(program, Stream(2, Queue.ST), 0, clusters=0b110))
    assert message == (
        "stream ST2, instruction 0 (MOV): field 'clusters' breaks a rule; "
        "expected the mask does not name the own cluster, 2, found 0b110"
    )
    message = refused(replaced(program, Stream(2, Queue.ST), 0, destination=0xFFFF))
    assert "written bytes lie inside the 524288 of the maps scratchpad" in message


def test_a_program_has_no_more_clusters_than_the_machine() -> None:
    single = dataclasses.replace(MACHINE, clusters=1)
    with pytest.raises(InstructionError, match=r"more clusters than a card has; expected 1 to 1, found 2"):
        twice_convolved(single, 2)
    program = dataclasses.replace(twice_convolved(MACHINE, 2), machine=single)
    with pytest.raises(MachineError, match=r"uses more clusters than a card has; expected 1, found 2"):
        verify(program, single)
    assembler = isa.Assembler(MACHINE, REGIONS, 2)
    with pytest.raises(InstructionError, match="ST: the program has no such cluster; expected below 2, found 2"):
        assembler.add(isa.Store(region=2, offset=0, source=0, run=16), cluster=2)


def test_more_waits_than_a_header_holds_go_into_barriers() -> None:
    assembler = isa.Assembler(MACHINE, REGIONS, 8)
    for cluster in range(1, 8):
        box = isa.LoadMaps(region=1, offset=0, destination=cluster, run=16, clusters=1)
        assembler.add(box, cluster=cluster)
    assembler.add(isa.Store(region=2, offset=0, source=1, run=112))
    program = assembler.finish()
    items = program.instructions(Stream(0, Queue.ST))
    assert [type(item) for item in items] == [isa.Barrier, isa.Store, isa.End]
    assert [len(item.waits) for item in items] == [4, 3, 0]
    verify(program, MACHINE)


def test_more_waits_than_a_header_holds_go_into_an_instruction_ahead_that_starts_later() -> None:
    assembler = isa.Assembler(MACHINE, REGIONS, 8)
    for cluster in range(1, 8):
        if cluster == 4:
            assembler.add(isa.Store(region=2, offset=0, source=3, run=16))
        box = isa.LoadMaps(region=1, offset=0, destination=cluster, run=16, clusters=1)
        assembler.add(box, cluster=cluster)
    assembler.add(isa.Store(region=2, offset=128, source=1, run=112))
    program = assembler.finish()
    items = program.instructions(Stream(0, Queue.ST))
    assert [type(item) for item in items] == [isa.Store, isa.Store, isa.End]
    assert [wait.counter for wait in items[0].waits] == [Stream(each, Queue.LD).counter for each in (1, 2, 3)]
    assert [len(item.waits) for item in items] == [3, 4, 0]
    verify(program, MACHINE)
