"""Programs: what the assembler makes is accepted; each way of being unsafe is refused with place, field and rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import instruction_set as isa
import numpy as np
import pytest
from device_programs import convolution
from single_card import FunctionalEngine

from tilewright.errors import InputError, InstructionError, MachineError
from tilewright.runtime.isa.encoding import Stream, streams
from tilewright.runtime.machines import machine
from tilewright.runtime.simulator.verifier import verify

MACHINE = machine.load("s256")
LD, LW, ST, MAC, VEC = streams(1)
REGIONS = [
    isa.Region("weights", isa.RegionKind.CONSTANT, 4096),
    isa.Region("input", isa.RegionKind.INPUT, 4096),
    isa.Region("output", isa.RegionKind.OUTPUT, 4096),
]


def tiny(tiles: int = 4) -> isa.Program:
    """A 1x1 convolution in tiles that alternate between two buffers, so that every kind of conflict occurs."""
    assembler = isa.Assembler(MACHINE, REGIONS)
    assembler.add(isa.LoadWeights(region=0, offset=0, destination=0, length=4), "conv")
    assembler.add(isa.LoadParameters(region=0, offset=8, destination=0, length=2), "conv")
    for tile in range(tiles):
        half = tile % 2
        assembler.add(isa.LoadMaps(region=1, offset=tile * 64, destination=half * 4, run=64), "conv")
        convolve, requantize = convolution(half * 4, 64 + half * 4, half * 4, (1, 4), 1, 1)
        assembler.add(convolve, "conv")
        assembler.add(requantize, "relu")
        assembler.add(isa.Store(region=2, offset=tile * 64, source=64 + half * 4, run=64), "relu")
    return assembler.finish()


def replaced(program: isa.Program, stream: Stream, index: int, **fields: object) -> isa.Program:
    """The program with some fields of one instruction changed."""
    items = program.instructions(stream)
    items[index] = dataclasses.replace(items[index], **fields)  # pyright: ignore[reportArgumentType]
    queues = {**program.queues, stream: b"".join(map(isa.encode, items))}
    return dataclasses.replace(program, queues=queues)


def refused(program: isa.Program) -> str:
    with pytest.raises(InstructionError) as caught:
        verify(program, MACHINE)
    return str(caught.value)


def test_the_assembler_makes_programs_that_verify() -> None:
    program = tiny()
    verified = verify(program, MACHINE)
    assert len(verified.order) == sum(len(data) // 64 for data in program.queues.values())
    assert program.layers == ("conv", "relu")
    seen = dict.fromkeys(streams(1), 0)
    for stream, index in verified.order:
        assert index == seen[stream]
        assert all(seen[other] >= position for other, position in verified.targets[stream][index])
        seen[stream] += 1


def test_programs_survive_their_file_form() -> None:
    program = tiny()
    copy = isa.Program.from_bytes(program.to_bytes())
    assert copy.to_bytes() == program.to_bytes()
    assert copy.disassemble() == program.disassemble()
    assert "; relu" in copy.disassemble()
    assert copy.machine == MACHINE


def test_another_machine_is_refused_with_the_difference() -> None:
    other = dataclasses.replace(MACHINE, maps_bytes=1 << 18)
    with pytest.raises(MachineError, match=r"was compiled for machine 'S256'.*maps_bytes: 524288, 262144"):
        verify(tiny(), other)


def test_every_wait_is_needed() -> None:
    """Without any one wait, or with any one asking for one signal less, the program is refused."""
    program = tiny()
    checked = 0
    for stream in program.queues:
        for index, item in enumerate(program.instructions(stream)):
            for at, wait in enumerate(item.waits):
                for weaker in ((), (wait._replace(value=wait.value - 1),)):
                    waits = (*item.waits[:at], *weaker, *item.waits[at + 1 :])
                    assert "conflicts are ordered" in refused(replaced(program, stream, index, waits=waits))
                    checked += 1
    assert checked >= 20


def test_impossible_and_circular_waits_are_refused() -> None:
    program = tiny()
    message = refused(replaced(program, VEC, 0, waits=(isa.Wait(MAC.counter, 900),)))
    assert message == (
        "stream VEC0, instruction 0 (RQ): field 'waits' breaks a rule; "
        "expected stream MAC0 raises the counter 5 times, found (4, 900)"
    )
    message = refused(replaced(program, VEC, 0, waits=(isa.Wait(60, 1),)))
    assert "expected a counter of the program's streams, 1 to 5, found (60, 1)" in message
    message = refused(replaced(program, LD, 0, waits=(isa.Wait(MAC.counter, 1),)))
    assert message == (
        "the waits of the program cannot all be satisfied; expected no cycle of waits, "
        "found LD0 0 (LDM) waits for MAC0 0 (CONV); MAC0 0 (CONV) waits for LD0 0 (LDM)"
    )
    message = refused(replaced(program, LD, 1, waits=(isa.Wait(LD.counter, 2),)))
    assert "a stream does not wait for what it does later" in message


def test_accesses_outside_are_refused() -> None:
    program = tiny()
    message = refused(replaced(program, LD, 0, offset=4090))
    assert message == (
        "stream LD0, instruction 0 (LDM): field 'offset' breaks a rule; "
        "expected read bytes lie inside the 4096 of region 'input', found bytes 4090 to 4154"
    )
    assert "the 524288 of the maps scratchpad" in refused(replaced(program, LD, 0, destination=32766))
    assert "there are 3 regions" in refused(replaced(program, LD, 0, region=3))
    assert "region 'input' (input) is never written" in refused(replaced(program, ST, 0, region=1))
    assert "field 'accumulator'" in refused(replaced(program, MAC, 0, accumulator=1022))
    assert "field 'weights'" in refused(replaced(program, MAC, 0, weights=2047))
    assert "field 'parameters'" in refused(replaced(program, VEC, 0, parameters=255))


def test_queues_hold_only_what_they_understand_and_end_with_end() -> None:
    program = tiny()
    swapped = {**program.queues, MAC: program.queues[VEC]}
    assert "field 'opcode' breaks a rule; expected only in queue VEC, found MAC" in refused(
        dataclasses.replace(program, queues=swapped)
    )
    cut = {**program.queues, MAC: program.queues[MAC][:-64]}
    assert refused(dataclasses.replace(program, queues=cut)) == "stream MAC0 does not end with END; found CONV"
    odd = {**program.queues, MAC: program.queues[MAC][:-1]}
    assert "not a whole number of instructions" in refused(dataclasses.replace(program, queues=odd))
    twice = {**program.queues, ST: program.queues[ST] + program.queues[ST][-64:]}
    assert "END is the last of its stream" in refused(dataclasses.replace(program, queues=twice))


def test_a_wait_for_what_is_never_signalled_is_refused() -> None:
    silent = replaced(replaced(tiny(), MAC, 3, signal=0), MAC, 4, signal=0)
    assert "expected stream MAC0 raises the counter 3 times, found (4, 4)" in refused(silent)


def test_reserved_bits_are_refused_with_queue_and_index() -> None:
    program = tiny()
    data = bytearray(program.queues[VEC])
    data[64 + 63] |= 0x80
    changed = dataclasses.replace(program, queues={**program.queues, VEC: bytes(data)})
    assert refused(changed) == "stream VEC0, instruction 1: RQ: reserved bit 511 is set; expected 0, found 1"


def test_regions_must_fit_into_dram() -> None:
    regions = (*REGIONS, isa.Region("large", isa.RegionKind.SCRATCH, MACHINE.dram_bytes))
    with pytest.raises(MachineError, match="do not fit into the DRAM"):
        verify(dataclasses.replace(tiny(), regions=regions), MACHINE)


def test_damaged_files_are_refused() -> None:
    data = tiny().to_bytes()
    rng = np.random.default_rng(1)
    for length in (0, 3, 15, 16, 200, len(data) - 1):
        with pytest.raises((InstructionError, MachineError)):
            isa.Program.from_bytes(data[:length])
    for _ in range(300):
        changed = bytearray(data)
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        try:
            verify(isa.Program.from_bytes(bytes(changed)), MACHINE)
        except (InstructionError, MachineError):
            continue


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "[1]", "device program: the top level is not an object; found [1]"),
        (lambda text: "[" * 100_000, "device program: not JSON: nested too deeply"),
        (lambda text: text.replace('"layers":', '"more":'), "device program: field 'layers' is missing"),
        (
            lambda text: text.replace('"kind":"input"', '"kind":["input"]'),
            "field 'regions[1].kind' is unknown; expected one of constant, input, output, scratch, found ['input']",
        ),
        (
            lambda text: text.replace('"kind":"input"', '"kind":"sink"'),
            "field 'regions[1].kind' is unknown; expected one of constant, input, output, scratch, found 'sink'",
        ),
        (lambda text: text.replace('"name":"input"', '"name":"output"'), "two regions have one name; found "),
        (lambda text: text.replace('"LD0":5', '"LD0":4'), "length does not match the instruction counts"),
        (
            lambda text: text.replace('"LD0":5', '"LD0":-5'),
            "field 'instructions.LD0' is out of range",
        ),
        (
            lambda text: text.replace('"LD0":5', '"LD1":5'),
            "instruction counts are wrong; expected a count for each of LD, LW, ST, MAC and VEC of every cluster",
        ),
        (
            lambda text: text.replace('"LD0":5', ",".join(f'"X{n}":0' for n in range(1000)) + ',"LD0":5'),
            "instruction counts are wrong; expected a count for each of LD, LW, ST, MAC and VEC of every cluster",
        ),
        (lambda text: text.replace('"cards":1', '"cards":2'), "machine description and hash disagree"),
        (
            lambda text: text.replace('"cards":1', '"cards":-1'),
            "'machine.cards' (accelerator cards) is out of range",
        ),
        (lambda text: text.replace('"layers":["conv"', '"layers":[1'), "field 'layers[0]' is not a text; found 1"),
    ],
)
def test_descriptions_that_do_not_hold_together_are_refused(change: Callable[[str], str], message: str) -> None:
    data = tiny().to_bytes()
    length = int.from_bytes(data[8:16], "little")
    original = data[16 : 16 + length].decode()
    changed = change(original).encode()
    assert changed != original.encode()
    with pytest.raises((InstructionError, MachineError)) as caught:
        isa.Program.from_bytes(data[:8] + len(changed).to_bytes(8, "little") + changed + data[16 + length :])
    assert message in str(caught.value)


def test_the_assembler_refuses_what_cannot_be_placed() -> None:
    assembler = isa.Assembler(MACHINE, REGIONS)
    with pytest.raises(InstructionError, match="LDW: read bytes lie inside the 4096 of region 'weights'"):
        assembler.add(isa.LoadWeights(region=0, offset=64, destination=0, length=1))
    with pytest.raises(InstructionError, match="sets waits and signals itself"):
        assembler.add(isa.Barrier(signal=1))


def test_programs_of_another_instruction_set_are_refused() -> None:
    data = tiny().to_bytes()
    with pytest.raises(InstructionError) as caught:
        isa.Program.from_bytes(data[:4] + (1).to_bytes(4, "little") + data[8:])
    assert str(caught.value) == (
        "device program: instruction set 1 is not the one that is run here; expected 7, found 1. "
        "Compile the model again."
    )


def test_engine_checks_what_it_is_given() -> None:
    program = tiny()
    with pytest.raises(InputError, match="nothing is given for region 'weights'"):
        FunctionalEngine(program, MACHINE, {})
    engine = FunctionalEngine(program, MACHINE, {"weights": np.zeros(4096, np.uint8)})
    with pytest.raises(InputError, match=r"expected uint8\[4096\], found uint8\[5\]"):
        engine.run({"input": np.zeros(5, np.uint8)})
    assert set(engine.run({"input": np.zeros(4096, np.uint8)})) == {"output"}
