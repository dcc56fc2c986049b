"""Programs of several cards: the bytes of one card, in any legal order, and nothing unsafe is accepted."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import instruction_set as isa
import numpy as np
import pytest
from device_cards import chained, outputs, regions, replaced
from device_cases import random_order
from device_clusters import ROW, ROWS, constants

from tilewright.errors import InstructionError, MachineError, TilewrightError
from tilewright.runtime.isa.encoding import Queue, Stream
from tilewright.runtime.isa.program import Program
from tilewright.runtime.machines import machine
from tilewright.runtime.report.layer_times import layer_times
from tilewright.runtime.simulator import functional
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.left_out import COSTS
from tilewright.runtime.simulator.verifier import verify, verify_cards

MACHINE = dataclasses.replace(machine.load("m4096"), cards=3)

CHAINS = {
    "two cards": ((0, 1), 1, 1),
    "two cards in pieces": ((0, 1), 2, 4),
    "there and back": ((0, 1, 0), 1, 2),
    "there and back, two clusters": ((1, 0, 1), 2, 2),
    "three cards": ((0, 1, 2), 2, 2),
    "past a card": ((0, 0, 2, 1), 1, 1),
}


def chain(name: str) -> list[Program]:
    stages, clusters, pieces = CHAINS[name]
    return chained(MACHINE, stages, clusters, pieces)


def refused(programs: Sequence[Program]) -> str:
    with pytest.raises(InstructionError) as caught:
        verify_cards(programs, MACHINE)
    return str(caught.value)


def is_accepted(programs: Sequence[Program]) -> bool:
    try:
        return bool(verify_cards(programs, MACHINE))
    except InstructionError:
        return False


def items_of(programs: Sequence[Program], stream: Stream) -> list[isa.Instruction]:
    return programs[stream.card].instructions(stream._replace(card=0))


def streams_of(programs: Sequence[Program]) -> list[Stream]:
    return [stream._replace(card=card) for card, program in enumerate(programs) for stream in program.queues]


@pytest.mark.parametrize("name", CHAINS)
def test_several_cards_give_the_bytes_of_one(name: str, rng: np.random.Generator) -> None:
    fixed, fed = constants(rng), rng.integers(0, 256, ROWS * ROW).astype(np.uint8)
    programs = chain(name)
    alone = outputs(chained(MACHINE, [0] * len(CHAINS[name][0])), fixed, fed)
    found = outputs(programs, fixed, fed)
    assert len(set(next(iter(found.values())))) > 50
    assert found == alone
    assert [Program.from_bytes(program.to_bytes()).to_bytes() for program in programs] == [
        program.to_bytes() for program in programs
    ]


@pytest.mark.parametrize("name", CHAINS)
def test_every_wait_and_every_message_is_needed(name: str) -> None:
    """Without any one message or wait, or with any wait asking for one signal less, the programs are refused.

    Where an answer comes back, it says for itself what its card did before it asked: waits for that alone may go.
    """
    programs = chain(name)
    waits = messages = implied = 0
    for stream in streams_of(programs):
        items = items_of(programs, stream)
        for index, item in enumerate(items):
            if isinstance(item, (isa.Send, isa.Receive)):
                # A barrier keeps the counts of signals.
                barrier = isa.Barrier(waits=item.waits, signal=item.signal)
                message = refused(replaced(programs, stream, [*items[:index], barrier, *items[index + 1 :]]))
                assert "every SND has its RCV on the other card, and every RCV its SND" in message
                messages += 1
            for at, wait in enumerate(item.waits):
                for weaker in ((), (wait._replace(value=wait.value - 1),)):
                    left = dataclasses.replace(item, waits=(*item.waits[:at], *weaker, *item.waits[at + 1 :]))
                    changed = replaced(programs, stream, [*items[:index], left, *items[index + 1 :]])
                    waits += 1
                    if "back" in name and is_accepted(changed):
                        implied += 1
                    else:
                        assert "conflicts are ordered" in refused(changed)
    assert messages >= 2
    assert waits - implied >= 16
    assert bool(implied) == ("back" in name)


@pytest.mark.parametrize("name", CHAINS)
def test_any_legal_order_gives_the_same_bytes(
    name: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed, fed = constants(rng), rng.integers(0, 256, ROWS * ROW).astype(np.uint8)
    programs = chain(name)
    truth = outputs(programs, fixed, fed)
    verified = verify_cards(programs, MACHINE)
    for _ in range(10):
        other = dataclasses.replace(verified, order=random_order(verified, rng))
        monkeypatch.setattr(functional, "verify_cards", lambda programs, machine, other=other: other)
        assert outputs(programs, fixed, fed) == truth


def mutated(programs: Sequence[Program], rng: np.random.Generator) -> list[Program]:
    """The programs with one field of one message changed, or a wait of an instruction."""
    places = [
        (stream, index, item)
        for stream in streams_of(programs)
        for index, item in enumerate(items_of(programs, stream))
        if isinstance(item, (isa.Send, isa.Receive)) or (item.waits and rng.random() < 0.2)
    ]
    while True:
        stream, index, item = places[int(rng.integers(len(places)))]
        if isinstance(item, (isa.Send, isa.Receive)):
            fields = isa.encoded_fields(type(item))
            field = fields[int(rng.integers(len(fields)))]
            value = getattr(item, field.name)
            choices = [value + 1, value - 1, 2 * value, value // 2, int(rng.integers(field.lowest, field.highest + 1))]
            item = dataclasses.replace(item, **{field.name: int(rng.choice(choices))})
        else:
            waits = [wait._replace(counter=int(rng.integers(1, 11))) for wait in item.waits]
            item = dataclasses.replace(item, waits=tuple(waits))
        if isa.check(item) is None:
            items = items_of(programs, stream)
            return replaced(programs, stream, [*items[:index], item, *items[index + 1 :]])


@pytest.mark.parametrize("name", ["two cards in pieces", "there and back"])
def test_what_is_accepted_of_changed_messages_is_safe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(len(name))
    fixed, fed = constants(rng), rng.integers(0, 256, ROWS * ROW).astype(np.uint8)
    accepted = found = 0
    for _ in range(60):
        programs = mutated(chain(name), rng)
        try:
            verified = verify_cards(programs, MACHINE)
        except TilewrightError:
            found += 1
            continue
        accepted += 1
        runs: set[tuple[bytes, ...]] = set()
        for _ in range(4):
            other = dataclasses.replace(verified, order=random_order(verified, rng))
            with monkeypatch.context() as patch:
                patch.setattr(functional, "verify_cards", lambda programs, machine, other=other: other)
                runs.add(tuple(outputs(programs, fixed, fed).values()))
        assert len(runs) == 1
    assert found >= 20 and accepted >= 1


def linked(first: Sequence[isa.Instruction], second: Sequence[isa.Instruction]) -> list[Program]:
    """Programs of two cards, of which the first has the input and the second the output, from these messages."""
    programs: list[Program] = []
    for card, items in enumerate((first, second)):
        assembler = isa.Assembler(MACHINE, regions((0, 1), card))
        for item in items:
            assembler.add(item)
        programs.append(assembler.finish())
    return programs


def send(tag: int = 0, peer: int = 1, **fields: int) -> isa.Send:
    values: dict[str, Any] = {"region": 1, "offset": 0, "run": 64, "peer": peer, "tag": tag, **fields}
    return isa.Send(**values)


def receive(tag: int = 0, peer: int = 0, **fields: int) -> isa.Receive:
    values: dict[str, Any] = {"region": 2, "offset": 0, "run": 64, "peer": peer, "tag": tag, **fields}
    return isa.Receive(**values)


def test_messages_without_another_end_are_refused() -> None:
    rule = "field 'tag' breaks a rule; expected every SND has its RCV on the other card, and every RCV its SND, found "
    assert refused(linked([send(3)], [])) == (
        f"stream ST0, instruction 0 (SND): {rule}card 1 receives no message 3 from card 0"
    )
    assert refused(linked([], [receive(7)])) == (
        f"stream card1:LD0, instruction 0 (RCV): {rule}card 0 sends no message 7 to card 1"
    )
    assert refused(linked([send(1)], [receive(2)])).endswith("card 1 receives no message 1 from card 0")


def test_messages_have_the_bytes_that_are_received() -> None:
    verify_cards(linked([send(run=16, count_y=4, dram_stride_y=32)], [receive()]), MACHINE)
    assert refused(linked([send(run=65)], [receive()])) == (
        "stream ST0, instruction 0 (SND): field 'run' breaks a rule; expected a message has as many bytes where it is "
        "received, found 65 bytes, of which card1:LD0 0 (RCV) takes 64"
    )


def test_messages_are_for_other_cards_that_run() -> None:
    rule = "field 'peer' breaks a rule; expected one of the other cards that run the program: "
    assert refused(linked([send(peer=2)], [])) == f"stream ST0, instruction 0 (SND): {rule}1, found card 2"
    assert refused(linked([send(peer=0)], [])) == f"stream ST0, instruction 0 (SND): {rule}1, found card 0"
    assert refused(linked([], [receive(peer=9)])).endswith(f"{rule}0, found card 9")
    with pytest.raises(InstructionError, match="expected there is no other card, found card 1"):
        verify(linked([send()], [])[0], MACHINE)


def test_tags_are_for_one_message() -> None:
    message = refused(linked([send(4), send(4, offset=64)], [receive(4)]))
    assert message == (
        "stream ST0, instruction 1 (SND): field 'tag' breaks a rule; expected each message from one card to another "
        "has a tag of its own, found 4, as of ST0 0 (SND)"
    )
    assert "of card1:LD0 0 (RCV)" in refused(linked([send(4)], [receive(4), receive(4, offset=64)]))


def test_what_nobody_sent_is_not_read() -> None:
    load = isa.LoadMaps(region=2, offset=0, destination=0, run=64)
    verify_cards(linked([send()], [receive(), load]), MACHINE)
    message = refused(linked([send(run=48)], [receive(run=48), load]))
    assert message == (
        "stream card1:LD0, instruction 1 (LDM): field 'offset' breaks a rule; expected the bytes that it reads from "
        "region 'map1' have been written, found nothing before it wrote bytes 48 to 64"
    )
    assert "nothing before it wrote" in refused(linked([send(region=2)], [receive()]))


def test_a_receive_does_not_race_with_the_card() -> None:
    load = isa.LoadMaps(region=1, offset=0, destination=0, run=64)
    feed = isa.Receive(region=1, offset=0, run=64, peer=0, tag=0)
    programs = linked([send(0), send(1)], [feed, load, isa.Store(region=2, offset=0, source=0, run=64), receive(1)])
    verify_cards(programs, MACHINE)
    stream = Stream(0, Queue.LD, 1)
    items = items_of(programs, stream)
    late = dataclasses.replace(items[2], waits=())
    message = refused(replaced(programs, stream, [*items[:2], late, *items[3:]]))
    assert message == (
        "stream card1:LD0, instruction 2 (RCV): field 'waits' breaks a rule; expected conflicts are ordered, found no "
        "wait that orders it after card1:ST0 0 (ST)"
    )


def test_what_crosses_waits_for_both_ends() -> None:
    """Without the order of the receive the sender would write over what the other card still reads."""
    feed = isa.Receive(region=2, offset=0, run=64, peer=0, tag=0)
    load = isa.LoadMaps(region=2, offset=0, destination=0, run=64)
    again = isa.Receive(region=2, offset=0, run=64, peer=0, tag=1)
    programs = linked([send(0), send(1, offset=64)], [feed, load, again])
    verified = verify_cards(programs, MACHINE)
    targets = verified.targets[Stream(0, Queue.ST)]
    assert (Stream(0, Queue.LD, 1), 2) in targets[1]
    assert (Stream(0, Queue.ST), 2) in verified.targets[Stream(0, Queue.LD, 1)][2]


def test_waits_that_circle_over_cards_are_refused_and_the_circle_is_printed() -> None:
    to, back = send(0), isa.Send(region=2, offset=0, run=64, peer=0, tag=0)
    answer = isa.Receive(region=2, offset=0, run=64, peer=1, tag=0)
    programs = linked([to, answer], [receive(0), back])
    verify_cards(programs, MACHINE)
    # The first card would send only when it has the answer.
    stream = Stream(0, Queue.ST)
    items = items_of(programs, stream)
    early = dataclasses.replace(items[0], waits=(isa.Wait(Stream(0, Queue.LD).counter, 1),))
    assert refused(replaced(programs, stream, [early, *items[1:]])) == (
        "the waits of the program cannot all be satisfied; expected no cycle of waits, "
        "found LD0 0 (RCV) waits for card1:ST0 0 (SND); card1:ST0 0 (SND) waits for card1:LD0 0 (RCV); "
        "card1:LD0 0 (RCV) waits for ST0 0 (SND); ST0 0 (SND) waits for LD0 0 (RCV)"
    )


def test_programs_for_more_cards_than_the_machine_has_are_refused() -> None:
    single = dataclasses.replace(MACHINE, cards=1)
    with pytest.raises(MachineError, match="uses more cards than the machine has; expected 1, found 2"):
        verify_cards(chained(single, (0, 1)), single)


# Time


@pytest.mark.parametrize("rate", [1, 100])
def test_a_message_takes_reading_crossing_and_writing(rate: int) -> None:
    device = dataclasses.replace(MACHINE, link_bytes_per_second=rate * 10**9)
    size, timing = ROWS * ROW, device.timing
    programs = [
        dataclasses.replace(program, machine=device) for program in linked([send(run=size)], [receive(run=size)])
    ]
    verified = verify_cards(programs, device)
    timeline = simulate(verified, without={"instruction-fetch"})
    dram = timing.dram_row_activation + size / device.dram_bytes_per_cycle
    link = size / (rate * 10**9 / device.clock_hertz)
    # The receive is set up meanwhile.
    ends = timing.transfer_setup + 2 * timing.dram_latency + timing.dram_turnaround
    expected = ends + max(dram, link) + device.link_latency + dram
    assert timeline.cycles == pytest.approx(expected)
    bare = simulate(verified, without={"instruction-fetch", "card-link"}).cycles
    assert bare == pytest.approx(ends + 2 * dram)
    assert timeline.parts["card-link"] == pytest.approx(link + device.link_latency)
    assert (timeline.cards, timeline.link_bytes, timeline.clusters) == (2, size, 1)
    assert timeline.dram_bound < timeline.cycles


def test_messages_of_a_link_follow_each_other_and_cards_do_not_share_their_dram() -> None:
    timeline = simulate(verify_cards(chain("two cards in pieces"), MACHINE))
    moved = {card: sum(e.cost.dram_bytes for e in timeline.events if e.stream.card == card) for card in (0, 1)}
    assert moved[0] > 0 and moved[1] > 0
    sent = sorted(event.end for event in timeline.events if event.mnemonic == "SND")
    piece = timeline.link_bytes / len(sent) / MACHINE.link_bytes_per_cycle
    assert all(later - earlier >= piece for earlier, later in pairwise(sent))
    layers = layer_times(timeline, MACHINE)
    assert sum(layer.cycles for layer in layers) == pytest.approx(timeline.cycles)
    assert "link" in {layer.name for layer in layers}


def test_a_better_link_is_never_slower_and_neither_is_leaving_out_more(rng: np.random.Generator) -> None:
    verified = verify_cards(chain("there and back, two clusters"), MACHINE)
    times = [
        simulate(verified, dataclasses.replace(MACHINE, link_bytes_per_second=rate, link_latency=latency)).cycles
        for rate, latency in ((10**8, 999), (10**9, 999), (10**9, 10), (10**11, 10))
    ]
    assert times == sorted(times, reverse=True) and times[0] > times[-1]
    assert simulate(verified, without={"card-link"}).cycles < times[-1]
    names = list(COSTS)
    for _ in range(10):
        without = {name for name in names if rng.random() < 0.5}
        less = simulate(verified, without={*without, str(rng.choice(names))})
        assert less.cycles <= simulate(verified, without=without).cycles


def test_no_question_waits_for_its_answer() -> None:
    """Where a store has more to wait for than a header holds, of which the answer comes first, and a send has room."""
    machine = dataclasses.replace(MACHINE, clusters=6)
    asking, answering = (isa.Assembler(machine, regions((0, 1), card), 6) for card in (0, 1))
    result: dict[str, Any] = {"height": 8, "width": 8, "destination_row_pitch": 8, "destination_pixel_pitch": 1}
    source = {"input_height": 8, "input_width": 8, "source_row_pitch": 8, "source_pixel_pitch": 1}
    window = {"kernel_height": 1, "kernel_width": 1, "blocks": 1, **source, **result}
    asking.add(isa.LoadMaps(region=1, offset=0, destination=0, run=1024))
    asking.add(isa.Pool(source=0, destination=0, **window))
    asking.add(isa.Store(region=2, offset=0, source=0, run=1024))
    asking.add(send(region=2))
    answering.add(receive())
    answering.add(isa.Send(region=2, offset=0, run=64, peer=0, tag=0))
    asking.add(receive(peer=1, offset=1024), cluster=1)
    for cluster in range(2, 6):
        asking.add(isa.LoadMaps(region=1, offset=0, destination=62 + cluster, run=16, clusters=1), cluster=cluster)
    asking.add(isa.Store(region=2, offset=1024, source=64, run=64))
    verify_cards([asking.finish(), answering.finish()], machine)
