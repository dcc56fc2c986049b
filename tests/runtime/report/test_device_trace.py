"""Traces of the modelled accelerator: the rules of the format, and totals that are those of `simulate`."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from device_cards import chained
from device_programs import pointwise
from trace_rules import CheckedTrace, ends, nanoseconds, read_trace

import tilewright
from tilewright.__main__ import main
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.machines import machine
from tilewright.runtime.report.layer_times import layer_times
from tilewright.runtime.report.simulation import SimulatedProgram, simulate_artifact
from tilewright.runtime.report.trace import write_trace
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.dram import Traffic
from tilewright.runtime.simulator.left_out import DETAILS, INSTRUCTIONS, LAYERS
from tilewright.runtime.simulator.verifier import verify_cards

S256 = replace(machine.load("s256"), cards=2)


def simulated(cards: int = 1, in_turn: int = 1) -> SimulatedProgram:
    programs = chained(S256, [0, 1, 0], pieces=2) if cards > 1 else [pointwise(S256, tiles=8)]
    ordered, traffic = verify_cards(programs, programs[0].machine), Traffic()
    return SimulatedProgram("program", ordered, simulate(ordered, traffic=traffic), traffic, in_turn)


def drawn(path: Path, detail: str, *programs: SimulatedProgram) -> CheckedTrace:
    assert write_trace(path, "network", programs, detail) == path.stat().st_size
    return read_trace(path)


@pytest.mark.parametrize("detail", DETAILS)
@pytest.mark.parametrize("cards", [1, 2])
def test_totals_are_those_of_the_cycle_model(cards: int, detail: str, tmp_path: Path) -> None:
    program = simulated(cards)
    found, timeline = drawn(tmp_path / "trace.json", detail, program), program.timeline
    for time in layer_times(timeline, S256):
        own = [each for each in found.slices["network", "layers"] if each["name"] == time.name]
        assert sum(each["args"]["cycles"] for each in own) == pytest.approx(time.cycles)
    assert found.total("network", "layers", "cycles") == pytest.approx(timeline.cycles)
    assert found.total("network", "device programs", "cycles") == timeline.cycles == found.about["cycles"]
    for stream in program.ordered.queues:
        own = [event for event in timeline.events if event.stream == stream]
        place = f"card {stream.card} (S256)", f"cluster {stream.cluster}: {stream.queue.name}"
        assert found.total(*place, "busy cycles") == sum(event.cost.unit for event in own)
        assert found.total(*place, "multiply-accumulates") == sum(event.cost.macs for event in own)
        counted = [each["args"].get("instructions", 1) for each in found.slices[place]]
        assert sum(counted) == len(own)
        assert detail == LAYERS or len(counted) == len(own)
    for slices in found.slices.values():
        assert all(ends(one)[1] <= ends(other)[0] for one, other in pairwise(slices)), "no unit does two things at once"
    for card in range(cards):
        own = [event for event in timeline.events if event.stream.card == card]
        fetched = sum(timeline.instruction_bytes[event.stream][event.index] for event in own)
        # The instructions of a card lie in one row.
        assert fetched < S256.dram_row_bytes
        busy = sum(event.cost.dram(S256) for event in own) + S256.timing.dram_row_activation
        busy += fetched / S256.dram_bytes_per_cycle
        assert found.total(f"card {card} (S256)", "DRAM", "busy cycles") == pytest.approx(busy)


def test_a_slice_lasts_as_long_as_its_unit_is_taken(tmp_path: Path) -> None:
    program = simulated()
    found = drawn(tmp_path / "trace.json", INSTRUCTIONS, program)
    own = [event for event in program.timeline.events if event.stream.queue.name == "MAC"]
    slices = found.slices["card 0 (S256)", "cluster 0: MAC"]
    assert [each["name"] for each in slices] == [event.mnemonic for event in own]
    for event, shown in zip(own, slices, strict=True):
        assert nanoseconds(shown["ts"]) == round(event.start * 1e9 / S256.clock_hertz)
        assert shown["dur"] == pytest.approx(event.cost.unit * 1e6 / S256.clock_hertz)
        assert (shown["args"]["layer"], shown["args"]["number"]) == (event.layer or None, event.index)


def test_every_wait_is_an_arrow(tmp_path: Path) -> None:
    program = simulated(cards=2)
    found = drawn(tmp_path / "trace.json", INSTRUCTIONS, program)
    waits = {
        (stream, index, other, position)
        for stream, every in program.ordered.targets.items()
        for index, targets in enumerate(every)
        for other, position in targets
        if position and other != stream
    }
    kinds = [start["name"] for start, _ in found.arrows]
    assert len(kinds) == len(waits)
    assert kinds.count("message") == len(program.ordered.receives) == 4
    links = [track for _, track in found.slices if track.startswith("link")]
    assert links == ["link to card 1", "link to card 0"]
    fewer = drawn(tmp_path / "layers.json", LAYERS, program)
    assert 0 < len(fewer.arrows) < len(found.arrows)


def test_programs_follow_each_other(tmp_path: Path) -> None:
    first, second = simulated(in_turn=3), simulated()
    found = drawn(tmp_path / "trace.json", INSTRUCTIONS, first, second)
    shown = found.slices["network", "device programs"]
    assert [each["args"]["runs"] for each in shown] == [3, 1]
    assert shown[0]["args"]["cycles"] == 3 * first.timeline.cycles
    assert nanoseconds(shown[1]["ts"]) == nanoseconds(shown[0]["dur"])


def test_compressed_traces_are_the_same(tmp_path: Path) -> None:
    program, plain, packed = simulated(), tmp_path / "trace.json", tmp_path / "trace.json.gz"
    assert drawn(packed, INSTRUCTIONS, program).slices == drawn(plain, INSTRUCTIONS, program).slices
    assert packed.stat().st_size < plain.stat().st_size / 4
    before = packed.read_bytes()
    drawn(packed, INSTRUCTIONS, program)
    assert packed.read_bytes() == before


def test_watching_changes_nothing() -> None:
    program = simulated(cards=2)
    assert simulate(program.ordered) == program.timeline


@pytest.mark.sweep
def test_mobilenet_v2(data_folder: Path, tmp_path: Path) -> None:
    """The totals of the command, to the cycle."""
    path, file = tmp_path / "network.twa", tmp_path / "trace.json"
    model = data_folder / "models" / "mobilenet_v2_1.0_224_qdq.onnx"
    tilewright.compile(model, output=path, engines="device", effort="quick", machine="m4096")
    assert main(["simulate", str(path), "--without", "host-stages", "--trace", str(file), "--machine", "m4096"]) == 0
    found, programs = read_trace(file), []
    simulation = simulate_artifact(Artifact.open(path), observe=programs.append)
    assert round(found.total("network", "layers", "cycles")) == simulation.total.cycles
    for layer in simulation.layers:
        own = [each["args"]["cycles"] for each in found.slices["network", "layers"] if each["name"] == layer.name]
        assert round(sum(own)) == layer.cycles
    for cluster in range(4):
        for queue in ("MAC", "VEC"):
            place = cluster, queue
            events = [each for each in programs[0].timeline.events if (each.stream[0], each.stream.queue.name) == place]
            busy = sum(event.cost.unit for event in events)
            assert found.total("card 0 (M4096)", f"cluster {cluster}: {queue}", "busy cycles") == busy
    assert file.stat().st_size < 2**21
