"""What a device program may cost: memory follows the bytes that it touches, and the rest is refused."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import instruction_set as isa
import numpy as np
import pytest
from single_card import FunctionalEngine

from tilewright.errors import ResourceError
from tilewright.runtime.isa.program import RegionKind
from tilewright.runtime.machines import machine
from tilewright.runtime.simulator import functional, verifier
from tilewright.runtime.simulator.cycles import simulate
from tilewright.runtime.simulator.functional import CardsEngine
from tilewright.runtime.simulator.verifier import verify

LARGEST = dataclasses.replace(
    machine.load("m4096"),
    maps_bytes=1 << 20,
    weight_bytes=1 << 20,
    accumulator_bytes=1 << 20,
    dram_bytes=1 << 36,
)
GIB = 1 << 30


def program(items: Sequence[isa.Instruction], **sizes: int) -> isa.Program:
    """Instructions on regions of given sizes; constants is region 0, scratch 1, output 2."""
    kinds = {"constants": RegionKind.CONSTANT, "scratch": RegionKind.SCRATCH, "output": RegionKind.OUTPUT}
    regions = [isa.Region(name, kind, sizes.get(name, 4096)) for name, kind in kinds.items()]
    assembler = isa.Assembler(LARGEST, regions)
    for item in items:
        assembler.add(item)
    return assembler.finish()


def filled(*items: isa.Instruction) -> list[isa.Instruction]:
    """These instructions after others that write what they read on chip; accumulators only the first few."""
    reads = [access for item in items for access in item.accesses(0) if not access.write]
    needed = {space: max((each.stop for each in reads if each.space == space), default=0) for space in isa.Space}
    product = dataclasses.replace(PRODUCT, output_width=4, input_width=4, input_channels=1)
    before: list[isa.Instruction] = []
    if needed[isa.Space.ACCUMULATORS]:
        before += filled(product)
    for start in range(0, needed[isa.Space.MAPS], 4096):
        before.append(isa.LoadMaps(region=0, offset=0, destination=start // 16, run=4096))
    for start in range(0, needed[isa.Space.WEIGHTS], 4096):
        before.append(isa.LoadWeights(region=0, offset=0, destination=start // 64, length=64))
    for start in range(0, needed[isa.Space.PARAMETERS], 4096):
        before.append(isa.LoadParameters(region=0, offset=0, destination=start // 64, length=64))
    return [*before, *items]


def engine_of(made: isa.Program) -> FunctionalEngine:
    # As binary32, these are scales.
    return FunctionalEngine(made, LARGEST, {"constants": np.full(4096, 0x3F, np.uint8)})


@contextmanager
def at_most(mebibytes: int) -> Iterator[None]:
    """The block takes no more memory than that at any time."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= mebibytes << 20, f"{peak:,} bytes"


FAR: dict[str, Any] = {
    "source": 0,
    "weights": 0,
    "accumulator": 0,
    "output_height": 8,
    "output_width": 255,
    "kernel_height": 2,
    "kernel_width": 2,
    "stride_height": 31,
    "stride_width": 31,
    "dilation_height": 31,
    "dilation_width": 31,
    "input_height": 8,
    "input_width": 8,
    "row_origin": -100,
    "column_origin": -100,
    "pad_value": 3,
    "row_pitch": 16,
    "pixel_pitch": 1,
}
SPARSE: dict[str, Any] = {
    "source": 0,
    "destination": 0,
    "height": 16,
    "width": 16,
    "blocks": 255,
    "kernel_height": 2,
    "kernel_width": 2,
    "stride_height": 31,
    "stride_width": 31,
    "input_height": 1023,
    "input_width": 1023,
    "source_row_pitch": 0,
    "source_pixel_pitch": 0,
    "destination_row_pitch": 16 * 255,
    "destination_pixel_pitch": 255,
}


PRODUCT = isa.Convolve(
    source=0,
    weights=0,
    accumulator=0,
    output_height=1,
    output_width=4095,
    output_blocks=1,
    input_channels=4095,
    input_height=1,
    input_width=4095,
    row_pitch=0,
    pixel_pitch=1,
)
"""Rows that lie almost over each other times a matrix of nearly a mebibyte."""


@pytest.mark.parametrize(
    "item",
    [
        isa.Convolve(**FAR, output_blocks=1, input_channels=16),
        isa.Convolve(
            **{**FAR, "output_height": 64, "kernel_height": 31, "stride_height": 1}, output_blocks=1, input_channels=8
        ),
        isa.ConvolveDepthwise(**FAR, blocks=8),
        PRODUCT,
        # Maps of 16 bits have pairs of blocks.
        *(
            isa.Pool(**{**SPARSE, "blocks": 254 if kind is isa.PoolKind.WIDE_MAXIMUM else 255}, kind=kind)
            for kind in isa.PoolKind
        ),
    ],
    ids=["convolve", "convolve_in_lines", "depthwise", "matrix", *(kind.name.lower() for kind in isa.PoolKind)],
)
def test_memory_follows_what_an_instruction_reads_and_writes(item: isa.Instruction) -> None:
    engine = engine_of(program(filled(item)))
    with at_most(320):
        engine.run({})


BOUNDED = """
import resource, sys
import numpy as np
from tilewright.runtime.isa.program import Program
from tilewright.runtime.simulator.functional import CardsEngine

program = Program.from_bytes(sys.stdin.buffer.read())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
(found,) = CardsEngine((program,), program.machine, ({"constants": np.zeros(4096, np.uint8)},)).run(({},))
found = found["output"]
assert (found[:64] == 0).all() and (found[64:] == 0xA5).all(), found
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert grown < 64 << 10, grown
"""


def test_only_what_is_used_of_a_large_scratch_region_is_touched() -> None:
    items = [
        isa.LoadMaps(region=0, offset=0, destination=0, run=64),
        isa.Store(region=1, offset=3 << 29, source=0, run=64),
        isa.LoadMaps(region=1, offset=3 << 29, destination=16, run=64),
        isa.Store(region=2, offset=0, source=16, run=64),
    ]
    content = program(items, scratch=3 * GIB).to_bytes()
    subprocess.run([sys.executable, "-c", BOUNDED], input=content, check=True, timeout=120)


def test_proofs_take_memory_for_instructions_and_not_for_regions() -> None:
    far = [
        isa.Store(region=1, offset=GIB + 7, source=0, run=5),
        isa.LoadMaps(region=1, offset=GIB + 7, destination=0, run=1, count_y=5, dram_stride_y=1, map_stride_y=1),
        isa.LoadMaps(region=1, offset=GIB + 9, destination=0, run=3, count_z=64, map_stride_z=1),
    ]
    stores = [isa.Store(region=2, offset=64 * number, source=0, run=64) for number in range(50)]
    made = program(filled(*far, *stores), scratch=2 * GIB, output=GIB)
    with at_most(16):
        simulate(verify(made, LARGEST))


def test_regions_instructions_and_steps_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(made: isa.Program, check: Callable[[isa.Program], object]) -> str:
        with pytest.raises(ResourceError) as caught:
            check(made)
        return str(caught.value)

    assert refused(program([], scratch=12 * GIB), lambda made: verify(made, LARGEST)) == (
        "the regions that the device program works in are too large; expected at most 4294967296 bytes, "
        f"found {12 * GIB + 4096}"
    )
    before = filled(PRODUCT)[:-1]
    count = (1 << 40) // PRODUCT.macs + 1
    long = program([*before, *[PRODUCT] * count])
    assert verify(long, LARGEST)
    loaded = 4096 * len(before)
    assert refused(long, engine_of) == (
        f"the device program takes too long to simulate; expected at most {1 << 40} steps, "
        f"found {count * PRODUCT.macs + loaded}"
    )
    monkeypatch.setattr(verifier, "DEVICE_INSTRUCTIONS", 10)
    assert refused(program([PRODUCT] * 7), lambda made: verify(made, LARGEST)) == (
        "the device program is too long; expected at most 10 instructions, found 12"
    )


def test_what_is_not_kept_is_decoded_again(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    constants = rng.integers(0, 256, 4096).astype(np.uint8)
    items = [
        isa.LoadParameters(region=0, offset=0, destination=0, length=4),
        isa.LoadMaps(region=0, offset=0, destination=0, run=256),
        *(
            isa.LookUp(
                source=0,
                destination=16,
                height=1,
                width=16,
                blocks=1,
                source_row_pitch=0,
                destination_row_pitch=0,
                source_pixel_pitch=1,
                destination_pixel_pitch=1,
                table=0,
            )
            for _ in range(3)
        ),
        isa.Store(region=2, offset=0, source=16, run=256),
    ]
    made = program(items)
    expected = FunctionalEngine(made, LARGEST, {"constants": constants}).run({})["output"]
    monkeypatch.setattr(functional, "_DECODED_BASE", 0)
    again = CardsEngine((made,), LARGEST, ({"constants": constants},))
    np.testing.assert_array_equal(again.run(({},))[0]["output"], expected)
    assert not again._decoded
