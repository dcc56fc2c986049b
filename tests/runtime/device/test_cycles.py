"""The cycle model: closed forms for single instructions, bounds it never beats, and units that overlap."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import instruction_set as isa
import pytest
from device_programs import pointwise

from tilewright.runtime.machines import machine
from tilewright.runtime.machines.cost import cost, handover
from tilewright.runtime.report.layer_times import layer_times, scratchpad_traffic
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.timeline import Timeline
from tilewright.runtime.simulator.verifier import verify

S256, M4096 = machine.load("s256"), machine.load("m4096")


def modelled(device: machine.Machine, tiles: int = 8, blocks: int = 4) -> Timeline:
    return simulate(verify(pointwise(device, tiles, blocks=blocks), device))


def convolve(**fields: Any) -> isa.Convolve:
    common: dict[str, Any] = {
        "source": 0,
        "weights": 0,
        "accumulator": 0,
        "output_height": 10,
        "output_width": 14,
        "output_blocks": 4,
        "input_channels": 4,
        "kernel_height": 3,
        "kernel_width": 3,
        "input_height": 12,
        "input_width": 16,
        "row_pitch": 64,
        "pixel_pitch": 4,
    }
    return isa.Convolve(**{**common, **fields})


def test_a_convolution_costs_its_closed_form() -> None:
    timing = M4096.timing
    steps = 35 * 4 * 9 * 4  # groups of 4 of 140 pixels, blocks of 16 outputs, taps, blocks of 16 inputs
    found = cost(convolve(), M4096)
    assert (found.setup, found.unit, found.latency) == (timing.mac_setup, steps, timing.mac_drain)
    assert cost(convolve(), M4096).macs == 10 * 14 * 64 * 9 * 64
    packed = convolve(packed=1, input_channels=3, pixel_pitch=3, kernel_height=7, kernel_width=7)
    assert cost(packed, M4096).unit == 35 * 4 * 10  # 147 bytes, 16 in a step
    assert cost(convolve(), S256).unit == 4 * steps


def test_a_transfer_counts_whole_bursts() -> None:
    def load(**fields: Any) -> int:
        return cost(isa.LoadMaps(region=0, destination=0, map_stride_y=8, **fields), M4096).dram_bytes

    assert load(offset=0, run=128) == 128
    assert load(offset=0, run=100) == 128
    assert load(offset=32, run=64) == 128
    assert load(offset=0, run=32, count_y=10, dram_stride_y=32) == 320
    assert load(offset=0, run=32, count_y=10, dram_stride_y=64) == 640


def test_average_pooling_costs_more_than_the_maximum_by_its_divisions() -> None:
    fields: dict[str, Any] = {
        "source": 0,
        "destination": 512,
        "height": 4,
        "width": 4,
        "blocks": 4,
        "kernel_height": 2,
        "kernel_width": 2,
        "input_height": 5,
        "input_width": 5,
        "source_row_pitch": 20,
        "destination_row_pitch": 16,
        "source_pixel_pitch": 4,
        "destination_pixel_pitch": 4,
    }
    most, mean = (cost(isa.Pool(kind=kind, **fields), M4096).unit for kind in (0, 1))
    assert mean - most == 16 * 2 * M4096.timing.divide


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
@pytest.mark.parametrize("blocks", [1, 4])
def test_time_never_beats_the_bounds_and_units_overlap(device: machine.Machine, blocks: int) -> None:
    timeline = modelled(device, blocks=blocks)
    assert timeline.cycles >= timeline.mac_bound
    assert timeline.cycles >= timeline.dram_bound
    assert 0 < timeline.mac_utilization <= 1
    assert timeline.seconds == timeline.cycles / device.clock_hertz
    costs = [event.cost for event in timeline.events]
    alone = sum(each.setup + each.unit + each.dram(device) + each.latency for each in costs)
    assert timeline.cycles < alone + timeline.parts["turnaround"] + timeline.parts["instruction-fetch"]


def test_instructions_of_a_queue_follow_each_other_and_waits_are_kept() -> None:
    verified = verify(pointwise(M4096, 8), M4096)
    timeline = simulate(verified)
    every = {(event.stream, event.index): event for event in timeline.events}
    ends, starts = ({place: getattr(event, name) for place, event in every.items()} for name in ("end", "start"))
    assert len(ends) == len(verified.order)
    for stream, targets in verified.targets.items():
        for index, waits in enumerate(targets):
            seen = (ends[other, position - 1] + handover(M4096) for other, position in waits if position)
            assert starts[stream, index] >= max(seen, default=0)
            if index:
                before = every[stream, index - 1]
                assert starts[stream, index] >= max(before.free, before.start + every[stream, index].cost.setup)
                assert ends[stream, index] >= before.end


def test_what_reads_a_map_that_the_vector_unit_makes_waits_until_it_is_there() -> None:
    assembler = isa.Assembler(M4096, [isa.Region("x", isa.RegionKind.INPUT, 4096)])
    assembler.add(isa.LoadMaps(region=0, offset=0, destination=0, run=1024))
    assembler.add(isa.LoadParameters(region=0, offset=0, destination=0, length=4))
    shape: dict[str, Any] = {
        "height": 4,
        "width": 4,
        "blocks": 4,
        "destination_row_pitch": 16,
        "destination_pixel_pitch": 4,
    }
    pitches: dict[str, Any] = {"source_row_pitch": 16, "source_pixel_pitch": 4}
    for source, destination in ((0, 64), (64, 128)):
        assembler.add(isa.LookUp(source=source, destination=destination, table=0, **pitches, **shape))
    events = simulate(verify(assembler.finish(), M4096)).events
    first, second = (event for event in events if event.mnemonic == "LUT")
    assert second.start == first.end == first.free + M4096.timing.vector_drain


def test_a_slope_and_what_is_added_are_each_one_further_pass() -> None:
    size: dict[str, Any] = {"height": 1, "width": 1, "blocks": 1, "destination_row_pitch": 1}
    fields: dict[str, Any] = {**size, "destination": 0, "destination_pixel_pitch": 1, "accumulator": 0, "parameters": 0}
    source: dict[str, Any] = {
        "source": 0,
        "source_row_pitch": 1,
        "source_pixel_pitch": 1,
        "source_zero": 0,
        "source_multiplier": 0,
    }
    for slope in (0, 1):
        for passes, item in (
            (1, isa.Requantize(**fields, slope=slope)),
            (2, isa.RequantizeSum(**fields, **source, slope=slope)),
        ):
            assert cost(item, M4096).latency == (passes + slope) * M4096.timing.vector_drain


def test_layers_are_in_order_of_completion_whatever_was_loaded_first() -> None:
    timeline = modelled(S256)
    first = min(timeline.events, key=lambda event: event.end)
    events = [replace(each, layer="second") if each is first else each for each in timeline.events]
    assert [layer.name for layer in layer_times(replace(timeline, events=events), S256)] == ["first", "second"]


def test_layers_add_up_to_the_whole() -> None:
    timeline = modelled(S256)
    layers = layer_times(timeline, S256)
    assert [layer.name for layer in layers] == ["first", "second"]
    assert sum(layer.cycles for layer in layers) == pytest.approx(timeline.cycles)
    assert sum(layer.macs for layer in layers) == timeline.macs
    assert sum(layer.dram_bytes for layer in layers) == timeline.dram_bytes
    assert all(0 <= layer.mac_utilization <= 1 for layer in layers)
    assert {layer.bound for layer in layers} <= {"mac", "vector", "dram"}


def test_steps_and_bytes_of_a_layer_are_counted() -> None:
    tiles, columns, blocks = 8, 16, 4
    ordered = verify(pointwise(M4096, tiles, columns, blocks), M4096)
    channels = blocks * 16
    first, second = layer_times(simulate(ordered), M4096)
    for time in (first, second):
        assert time.clusters == 1
        # 64 input channels are 4 groups of lanes, as are the 64 of the output, and 16 pixels.
        assert time.array_steps == tiles // 2 * 4 * 4 * 4
        assert time.macs == time.array_steps * M4096.cluster_macs_per_cycle
    traffic = scratchpad_traffic(ordered, M4096)
    weights, parameters, pixels = channels * channels, 2 * blocks * 64, tiles * columns
    # Maps are loaded, written by the vector unit and stored; sums are written and read. In a step the array reads 16 x
    # 16 weights and 16 channels of four pixels.
    expected = 3 * pixels * channels + 2 * pixels * channels * 4 + weights + (1 + tiles) * parameters
    assert sum(traffic.values()) == expected + (first.array_steps + second.array_steps) * (16 * 16 + 16 * 4)
    assert traffic["first"] - traffic["second"] == weights + parameters
