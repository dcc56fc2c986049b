"""What an instruction costs: closed forms of its parts, counted again by hand or one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import instruction_set as isa
import numpy as np
import pytest

from tilewright.runtime.machines import machine
from tilewright.runtime.machines.banks import Trace, bank_of
from tilewright.runtime.machines.cost import (
    Cost,
    Runs,
    cost,
    dense_steps,
    depthwise_steps,
    dram_bytes,
    host_link_cycles,
    packed_steps,
    row_openings,
)
from tilewright.runtime.machines.vector_unit import vector_steps

S256, M4096 = machine.load("s256"), machine.load("m4096")


def depthwise(**fields: Any) -> isa.ConvolveDepthwise:
    common: dict[str, Any] = {
        "source": 0,
        "weights": 0,
        "accumulator": 0,
        "output_height": 1,
        "output_width": 4,
        "blocks": 4,
        "kernel_height": 3,
        "kernel_width": 3,
        "input_height": 3,
        "input_width": 99,
        "row_pitch": 4 * 99,
        "pixel_pitch": 4,
    }
    return isa.ConvolveDepthwise(**{**common, **fields})


def parts(found: Cost) -> dict[str, int]:
    return {name: value for name, value in vars(found).items() if value}


def brute_force_bytes(device: machine.Machine, run: int, counts: tuple[int, int], strides: tuple[int, int]) -> int:
    burst = device.dram_burst_bytes
    starts = [z * strides[1] + y * strides[0] for z in range(counts[1]) for y in range(counts[0])]
    return sum((start + run - 1) // burst - start // burst + 1 for start in starts) * burst


def test_bytes_of_runs_are_those_of_every_burst_that_they_touch() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        # As many planes as it takes to come back to the same place in a burst.
        counts = (int(rng.integers(1, 9)) * M4096.dram_burst_bytes, int(rng.integers(1, 4)))
        run = int(rng.integers(1, 200))
        stride = run + int(rng.integers(1, 40))
        strides = (stride, stride * counts[0])
        found = dram_bytes(M4096, Runs(run, *counts, *strides))
        assert found == brute_force_bytes(M4096, run, counts, strides)


def test_one_run_counts_from_its_first_byte_to_its_last() -> None:
    for offset in range(130):
        for run in (1, 31, 32, 33, 64, 100):
            expected = ((offset + run - 1) // 64 - offset // 64 + 1) * 64
            assert dram_bytes(M4096, Runs(run, offset=offset)) == expected


def test_runs_without_gaps_are_one() -> None:
    assert dram_bytes(M4096, Runs(48, 4, 10, 48, 4 * 48)) == 40 * 48
    assert row_openings(M4096, Runs(48, 4, 10, 48, 4 * 48)) == 1


@pytest.mark.parametrize(
    ("runs", "openings"),
    [
        (Runs(1 << 20), 1),  # what follows inside a run is opened ahead
        (Runs(16, 100, 1, 32), 1),  # 3,200 bytes of one row
        (Runs(16, 1000, 1, 32), 4),  # 32,000 bytes of four
        (Runs(16, 10, 1, 8192), 10),
        (Runs(16, 4, 5, 16, 100_000), 5),
        (Runs(16, 4, 5, 8192, 100_000), 20),
    ],
)
def test_a_row_is_opened_for_every_run_that_begins_in_another(runs: Runs, openings: int) -> None:
    assert row_openings(M4096, runs) == openings
    item = isa.LoadMaps(region=0, offset=0, destination=0, run=16, count_y=10, dram_stride_y=8192, map_stride_y=1)
    assert cost(item, M4096).dram(M4096) == pytest.approx(
        10 * 64 / M4096.dram_bytes_per_cycle + 10 * M4096.timing.dram_row_activation
    )


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
def test_the_formulas_give_the_same_for_arrays_as_for_numbers(device: machine.Machine) -> None:
    sizes = np.array([1, 3, 16, 49, 196, 3136], np.int64)
    for formula in (
        lambda n: dense_steps(device, n, 3 * 16, 9, 48),
        lambda n: dense_steps(device, 13, n, 9, 48),
        lambda n: depthwise_steps(device, n, 3 * 16, 9),
        lambda n: vector_steps(device, n, 9),
        lambda n: dram_bytes(device, Runs(n, n, 2, 2 * n, 5 * n * n)),
        lambda n: row_openings(device, Runs(n, n, 2, 2 * n, 5 * n * n)),
    ):
        assert np.array_equal(formula(sizes), [int(formula(int(size))) for size in sizes])


def test_pixel_lanes_go_on_in_the_next_row() -> None:
    assert dense_steps(M4096, 7 * 7, 16, 1, 16) == 13
    assert depthwise_steps(M4096, 7 * 7, 16, 9) == 13
    assert depthwise_steps(replace(M4096, depthwise_taps=4), 7 * 7, 16, 9) == 13 * 3


@pytest.mark.parametrize(
    ("device", "outputs", "expected"),
    [
        (M4096, 16, 13),
        (M4096, 9, 13),
        (M4096, 8, 7),  # half of the lanes, eight pixels at once
        (M4096, 24, 13 + 7),
        (S256, 16, 4 * 13),
        (S256, 9, 2 * 13 + 7),  # two whole groups of four, and one channel for eight pixels
        (S256, 8, 2 * 13),
        (S256, 24, 6 * 13),
        (replace(M4096, maps_banks=1), 8, 13),  # a bank gives four pixels a cycle
    ],
)
def test_channels_that_are_none_take_no_lanes(device: machine.Machine, outputs: int, expected: int) -> None:
    assert dense_steps(device, 7 * 7, outputs, 1, 16) == expected
    assert depthwise_steps(device, 7 * 7, outputs, 9) == expected
    blocks = -(-outputs // 16)
    fields: dict[str, Any] = {"output_height": 7, "output_width": 7, "input_height": 9, "blocks": blocks}
    wide = replace(device, line_registers=4096, accumulator_banks=16, depthwise_taps=9)
    found = cost(depthwise(**fields, unused=16 * blocks - outputs), wide)
    assert (found.steps, found.macs) == (expected, 49 * 9 * outputs)
    assert found.macs <= found.unit * device.cluster_macs_per_cycle


def joined_by_hand(groups: int, products: int, at_once: int) -> int:
    """Steps of sums in pieces of four products: each piece goes into the step of the one before if that has room, and
    ends no sum or none of the step has ended."""
    step, room, ended = 0, 0, True
    for _ in range(groups):
        pieces = -(-products // 4)
        for piece in range(pieces):
            is_last = piece == pieces - 1
            if room == 0 or (is_last and ended):
                step, room, ended = step + 1, at_once // 4, False
            room -= 1
            ended |= is_last
    return step


@pytest.mark.parametrize("products", [1, 9, 16, 17, 18, 25, 36, 49, 72, 144])
@pytest.mark.parametrize("outputs", [4, 16, 20, 48, 128])
def test_sums_of_more_products_than_a_step_takes_follow_each_other_without_a_gap(products: int, outputs: int) -> None:
    for device in (S256, replace(M4096, depthwise_taps=8), replace(M4096, pixel_lanes=8)):
        if outputs % device.output_lanes == 0:
            steps = joined_by_hand(outputs // device.output_lanes, products, device.depthwise_taps)
            assert depthwise_steps(device, 4 * device.pixel_lanes, outputs, products) == 4 * steps
    alone = replace(M4096, depthwise_taps=9)
    assert depthwise_steps(alone, 4, 48, products) == 3 * -(-products // 9)


def test_small_groups_take_the_products_that_they_have() -> None:
    """128 channels in groups of four, 3x3: 36 products of 16 at once."""
    fields: dict[str, Any] = {"output_height": 28, "output_width": 28, "input_height": 28, "input_width": 28}
    for device, groups in ((M4096, 8), (S256, 32)):
        found = cost(depthwise(**fields, blocks=8, row_pitch=8 * 28, pixel_pitch=8, group=2), device)
        assert found.steps == 28 * 28 // 4 * groups * 36 // 16
        assert found.macs == 28 * 28 * 128 * 36 == found.steps * device.cluster_macs_per_cycle
        assert found.bank_conflicts == 0


def test_a_part_of_the_blocks_begins_with_a_step_of_its_own() -> None:
    """The lines of 5x5 windows of nine blocks are too many for the registers at once."""
    fields: dict[str, Any] = {"blocks": 9, "kernel_height": 5, "kernel_width": 5, "row_pitch": 9 * 99, "pixel_pitch": 9}
    few, many = (replace(M4096, line_registers=lines, maps_banks=64) for lines in (50, 4096))
    whole, parts = cost(depthwise(**fields), many), cost(depthwise(**fields), few)
    assert whole.steps == -(-9 * 7 // 4) == 16 and whole.bank_conflicts == 0
    assert parts.steps == 16 and parts.bank_conflicts == 3 * -(-3 * 7 // 4) - 16 == 2


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
@pytest.mark.parametrize("unused", [0, 7, 8, 15])
def test_requantisation_takes_half_of_a_block_for_a_pixel_or_all_of_it(device: machine.Machine, unused: int) -> None:
    common: dict[str, Any] = {"accumulator": 0, "parameters": 0, "destination": 0, "height": 8, "width": 8, "blocks": 2}
    item = isa.Requantize(**common, destination_row_pitch=16, destination_pixel_pitch=2, unused=unused)
    found, elements = cost(item, device), 64 * (32 if unused < 8 else 24)
    assert found.steps == elements // device.vector_lanes
    # Sums of half a block are a line of their bank as well.
    lines = 64 * 2 // device.accumulator_banks
    assert found.port_stalls == max(lines - found.steps, 0)


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
def test_shares_take_a_quotient_for_a_pixel(device: machine.Machine) -> None:
    """As means by weights do; exponentials take none."""
    common: dict[str, Any] = {"accumulator": 0, "destination": 0, "height": 9, "width": 9, "blocks": 2}
    common |= {"multiplier": 0, "shift": 0, "destination_row_pitch": 27, "destination_pixel_pitch": 3}
    shares, exponentials = (cost(isa.Weigh(**common, shares=flag), device) for flag in (1, 0))
    assert exponentials.divisions == 0
    assert shares.divisions == -(-81 // device.vector_lanes) * device.timing.divide
    assert shares.steps == exponentials.steps


def pool(height: int, width: int, window: tuple[int, int], **fields: Any) -> isa.Pool:
    rows, columns = height - 1 + window[0], width - 1 + window[1]
    return isa.Pool(
        **{"source": 0, "destination": 0, "height": height, "width": width, "blocks": 1, **fields},
        kernel_height=window[0],
        kernel_width=window[1],
        input_height=rows,
        input_width=columns,
        source_row_pitch=columns,
        source_pixel_pitch=1,
        destination_row_pitch=width,
        destination_pixel_pitch=1,
    )


@pytest.mark.parametrize("unused", [0, 7, 8, 15])
def test_pooling_takes_half_of_a_block_for_a_pixel_or_all_of_it(unused: int) -> None:
    assert cost(pool(8, 8, (2, 3), unused=unused), M4096).steps == 6 * 64 * (16 if unused < 8 else 8) // 64


def test_lanes_that_a_pixel_leaves_take_other_taps_of_it() -> None:
    def steps(kind: isa.PoolKind, height: int = 1, window: tuple[int, int] = (25, 5), **fields: Any) -> int:
        return cost(pool(height, 1, window, kind=kind, **fields), M4096).steps

    # A quarter of the taps at a time, and two steps that combine what four parts of the lanes have.
    assert [steps(kind) for kind in isa.PoolKind] == [34, 125, 34, 125]
    assert steps(isa.PoolKind.SUM, unused=8) == 16 + 3
    assert steps(isa.PoolKind.SUM, 2) == 125
    assert steps(isa.PoolKind.MAXIMUM, window=(1, 2)) == 2
    assert cost(pool(1, 1, (25, 5), kind=isa.PoolKind.SUM), S256).steps == 125


def test_lines_a_multiple_of_all_banks_apart_do_not_meet() -> None:
    lines = np.arange(4) * 8
    assert bank_of(lines, 8).tolist() == [0, 5, 2, 7]
    assert sorted(bank_of(np.arange(64), 8).tolist()) == sorted(list(range(8)) * 8)


def test_dense_convolutions_of_the_samples_wait_for_no_bank() -> None:
    for device in (S256, M4096):
        for blocks in (1, 2, 3, 6, 32):
            for stride in (1, 2):
                item = isa.Convolve(
                    source=0,
                    weights=0,
                    accumulator=0,
                    output_height=4,
                    output_width=7,
                    output_blocks=4,
                    input_channels=blocks,
                    kernel_height=3,
                    kernel_width=3,
                    stride_height=stride,
                    stride_width=stride,
                    input_height=9,
                    input_width=16,
                    row_pitch=16 * blocks,
                    pixel_pitch=blocks,
                )
                assert cost(item, device).bank_conflicts == 0


def test_pixels_in_one_bank_wait_for_each_other() -> None:
    # One block of 16 channels of four pixels in four lines: with one bank a step takes four cycles.
    fields: dict[str, Any] = {
        "source": 0,
        "weights": 0,
        "accumulator": 0,
        "output_height": 2,
        "output_width": 8,
        "output_blocks": 3,
        "input_channels": 1,
        "kernel_height": 1,
        "kernel_width": 1,
        "input_height": 2,
        "input_width": 8,
        "row_pitch": 8 * 4,
        "pixel_pitch": 4,
    }
    one = replace(M4096, maps_banks=1)
    groups = 2 * 8 // 4
    assert parts(cost(isa.Convolve(**fields), one)) == {
        "setup": 16,
        "steps": groups * 3,
        "bank_conflicts": groups * 3 * (4 - 1),
        "latency": 12,
        "macs": 16 * 16 * 48,
    }
    assert cost(isa.Convolve(**fields), M4096).bank_conflicts == 0


def by_hand(rows: int, row: int, lanes: int) -> int:
    """Cycles of a packed window: bytes of four kernel rows in each."""
    cycles = 0
    for first in range(0, rows * row, lanes):
        touched = {byte // row for byte in range(first, min(first + lanes, rows * row))}
        cycles += -(-len(touched) // 4)
    return cycles


def test_packed_windows_go_on_from_kernel_row_to_kernel_row() -> None:
    assert packed_steps(M4096, 4, 16, Trace(7 * 3, 7)) == 10  # 147 bytes; every row by itself were 14 steps
    assert packed_steps(M4096, 4, 16, Trace(11 * 3, 11)) == 23  # 363 bytes, 33 steps
    assert packed_steps(M4096, 5, 32, Trace(3 * 3, 3)) == 2 * 2 * 2
    # Five rows of three bytes are one step of the array, but the registers give bytes of four rows in a cycle.
    assert [packed_steps(M4096, 4, 16, Trace(3, rows)) for rows in (3, 4, 5)] == [1, 1, 2]
    for rows, row, lanes in np.random.default_rng(4).integers(1, 40, (200, 3)).tolist():
        assert Trace(row, rows).steps(lanes) == by_hand(rows, row, lanes)


def test_packed_windows_wait_for_the_lines_of_all_kernel_rows() -> None:
    fields: dict[str, Any] = {
        "source": 0,
        "weights": 0,
        "accumulator": 0,
        "output_height": 2,
        "output_width": 4,
        "output_blocks": 2,
        "input_channels": 3,
        "kernel_height": 7,
        "kernel_width": 7,
        "stride_height": 2,
        "stride_width": 2,
        "input_height": 9,
        "input_width": 13,
        "row_pitch": 4 * 16,  # of four banks, every row begins in the same
        "pixel_pitch": 3,
        "packed": 1,
    }
    item = isa.Convolve(**fields)
    four = replace(M4096, maps_banks=4)
    assert cost(item, four).bank_conflicts == 0  # seven lines with 39 bytes each, in ten steps
    few = replace(four, input_lanes=64, weight_banks=16)  # three steps, of four, four and one rows
    assert cost(item, few).steps == 2 * 2 * 3
    assert cost(item, few).bank_conflicts == 2 * 2 * (7 - 3)
    # With room for six lines, every kernel row is fetched by itself: one line, and no whole step to hide it behind.
    assert cost(item, replace(few, line_registers=6)).bank_conflicts == 2 * 2 * 7


def test_a_depthwise_convolution_waits_where_its_taps_lie_in_more_lines_than_the_banks_give() -> None:
    # Stride 2: 9 columns of 3 rows, each pixel a line of four blocks.
    item = depthwise(stride_width=2, stride_height=2, row_pitch=4 * 99, input_height=3)
    lines = np.add.outer(np.arange(3) * 99, np.arange(9)).reshape(-1)
    fullest = int(np.bincount(bank_of(lines, 8)).max())
    for taps, steps in ((4, 3), (9, 1), (16, 1)):
        wide = replace(M4096, depthwise_taps=taps)
        assert cost(item, wide).steps == 4 * steps
        assert cost(item, wide).bank_conflicts == max(fullest - 4 * steps, 0)
    # With room for fewer lines than those of two groups, 3 x 17, each of the four blocks fetches its own.
    enough, poor = (replace(M4096, depthwise_taps=9, line_registers=lines) for lines in (26, 25))
    assert cost(item, enough).bank_conflicts == max(fullest - 4, 0)
    assert cost(item, poor).bank_conflicts == 4 * (fullest - 1)


@pytest.mark.parametrize(("kernel", "stride", "width"), [(7, 1, 28), (5, 1, 13), (5, 2, 14), (3, 1, 9), (3, 1, 4)])
def test_a_row_of_a_depthwise_convolution_fetches_every_line_once(kernel: int, stride: int, width: int) -> None:
    # One bank and no steps to speak of: the array waits for every line, each pixel in one of its own.
    one = replace(M4096, maps_banks=1, depthwise_taps=16, line_registers=1024)
    fields = {"kernel_height": kernel, "kernel_width": kernel, "stride_width": stride, "stride_height": stride}
    item = depthwise(**fields, output_width=width, output_height=2, blocks=1)
    steps = -(-(kernel**2) // 16)
    first, step = kernel * (3 * stride + kernel), 4 * stride
    after = kernel * min(step, 3 * stride + kernel)
    groups = -(-2 * width // 4)
    assert cost(item, one).bank_conflicts == 2 * (first - steps) + (groups - 2) * max(after - steps, 0)


def test_a_depthwise_convolution_keeps_lines_for_as_many_blocks_as_the_registers_hold() -> None:
    # Pixels of 144 channels begin between lines: 6 columns of 3 rows of 56 pixels.
    fields = {"blocks": 9, "pixel_pitch": 9, "row_pitch": 9 * 56}
    first = (np.add.outer(np.arange(3) * 56, np.arange(6)) * 144).reshape(-1)

    def fullest(blocks: int) -> int:
        return int(np.bincount(bank_of(np.array(sorted(lines(first, blocks))), 8)).max())

    def lines(begin: np.ndarray, blocks: int) -> set[int]:
        return {line for at in begin.tolist() for line in range(at // 64, (at + 16 * blocks - 1) // 64 + 1)}

    def room(blocks: int) -> int:
        """Half of the lines of a group and of the one four columns on."""
        return -(-len(lines(first, blocks) | lines(first + 4 * 144, blocks)) // 2)

    item = depthwise(**fields)
    assert fullest(4) > 4  # four blocks at a time would wait
    assert cost(item, M4096).bank_conflicts == max(fullest(9) - 9, 0) == 0
    # With room for those of three, blocks go in three parts of three.
    assert cost(item, replace(M4096, line_registers=room(3))).bank_conflicts == 3 * max(fullest(3) - 3, 0)
    # With so little that a part has two blocks, the last has one.
    poor = replace(M4096, line_registers=room(3) - 1)
    assert room(2) < room(3)
    assert cost(item, poor).bank_conflicts == 4 * (fullest(2) - 2) + fullest(1) - 1


def test_sums_wait_for_the_port_of_the_accumulators() -> None:
    fields: dict[str, Any] = {
        "source": 0,
        "weights": 0,
        "accumulator": 0,
        "output_height": 1,
        "output_width": 8,
        "output_blocks": 1,
        "kernel_height": 1,
        "kernel_width": 1,
        "input_height": 1,
        "input_width": 8,
    }
    one = isa.Convolve(**fields, input_channels=1, row_pitch=8, pixel_pitch=1)
    assert cost(one, M4096).port_stalls == 0  # 4 x 16 sums of 4 bytes: one cycle of four banks
    assert cost(replace(one, accumulate=1), M4096).port_stalls == 2  # and one more to read them, for each of two groups
    assert cost(one, replace(M4096, accumulator_banks=1)).port_stalls == 2 * 3
    deep = isa.Convolve(**fields, input_channels=4, row_pitch=32, pixel_pitch=4)
    assert cost(deep, replace(M4096, accumulator_banks=1)).port_stalls == 0  # hidden behind four steps


def test_the_vector_unit_waits_for_its_ports() -> None:
    fields: dict[str, Any] = {
        "source_a": 0,
        "source_b": 64,
        "destination": 128,
        "height": 4,
        "width": 4,
        "blocks": 4,
        "parameters": 0,
        "row_pitch_a": 16,
        "row_pitch_b": 16,
        "destination_row_pitch": 16,
        "pixel_pitch_a": 4,
        "pixel_pitch_b": 4,
        "destination_pixel_pitch": 4,
    }
    add = isa.Elementwise(**fields)
    assert cost(add, M4096).port_stalls == 0
    assert cost(add, replace(M4096, maps_banks=2)).port_stalls == 8  # two reads and a write, 64 bytes each, of 128
    requantize = isa.Requantize(
        accumulator=0,
        destination=0,
        height=4,
        width=4,
        blocks=4,
        parameters=0,
        destination_row_pitch=16,
        destination_pixel_pitch=4,
    )
    assert cost(requantize, M4096).port_stalls == 0
    assert cost(requantize, replace(M4096, accumulator_banks=2)).port_stalls == 16


@pytest.mark.parametrize("device", [S256, M4096], ids=lambda device: device.name)
def test_a_message_takes_the_latency_of_the_link_to_the_host_and_its_bytes(device: machine.Machine) -> None:
    # 250 MHz: a byte takes 250 / 7,880 cycles.
    assert host_link_cycles(device, 0) == device.host_link_latency == 250
    assert host_link_cycles(device, 7_880_000) == pytest.approx(250 + 250_000)
    assert host_link_cycles(replace(device, host_link_bytes_per_second=250_000_000), 1000) == 1250


def test_an_interpolated_element_is_made_of_four() -> None:
    fields: dict[str, Any] = {"source": 0, "destination": 64, "height": 4, "width": 6, "blocks": 4, "input_height": 2}
    fields |= {"input_width": 3, "source_row_pitch": 12, "destination_row_pitch": 24}
    found = cost(isa.ResizeLinear(**fields, source_pixel_pitch=4, destination_pixel_pitch=4), M4096)
    # 24 lines, eight in a cycle, are read four times and written once.
    assert parts(found) == {"setup": 12, "steps": 4 * 6 * 4 * 16 // 64 * 4, "latency": 12, "port": 5 * 3}
