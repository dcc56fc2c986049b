"""Random instructions on random memories: the functional engine and the scalar interpreter leave the same bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import device_scalar as scalar
import instruction_set as isa
import numpy as np
import pytest
from random_seeds import seeds
from single_card import FunctionalEngine

from tilewright.errors import InstructionError
from tilewright.runtime.machines import machine
from tilewright.runtime.simulator.memory import CardMemory

SMALL = dataclasses.replace(
    machine.load("s256"), maps_bytes=8192, weight_bytes=8192, accumulator_bytes=8192, parameter_bytes=8192
)
CONSTANTS = 1 << 14
REGIONS = [
    isa.Region("constants", isa.RegionKind.CONSTANT, CONSTANTS),
    isa.Region("input", isa.RegionKind.INPUT, 8192),
    isa.Region("maps", isa.RegionKind.OUTPUT, 8192),
    isa.Region("stored", isa.RegionKind.OUTPUT, 8192),
]


def pick(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def geometry(rng: np.random.Generator) -> dict[str, Any]:
    """Fields that CONV and DWC share."""
    return {
        "source": pick(rng, 0, 64),
        "weights": pick(rng, 0, 8),
        "accumulator": pick(rng, 0, 8),
        "output_height": pick(rng, 1, 3),
        "output_width": pick(rng, 1, 4),
        "kernel_height": pick(rng, 1, 3),
        "kernel_width": pick(rng, 1, 3),
        "stride_height": pick(rng, 1, 3),
        "stride_width": pick(rng, 1, 3),
        "dilation_height": pick(rng, 1, 2),
        "dilation_width": pick(rng, 1, 2),
        "input_height": pick(rng, 1, 6),
        "input_width": pick(rng, 1, 6),
        "row_origin": pick(rng, -4, 4),
        "column_origin": pick(rng, -4, 4),
        "pad_value": pick(rng, -128, 127),
        "row_pitch": pick(rng, 0, 24),
        "weight_zero": int(rng.choice([0, pick(rng, -128, 127)])),
        "ring": int(rng.choice([0, pick(rng, 1, 6)])),
        "unused": int(rng.choice([0, pick(rng, 1, 15)])),
    }


def convolve(rng: np.random.Generator) -> isa.Instruction:
    fields = geometry(rng)
    if rng.random() < 0.5:
        channels = pick(rng, 1, 9)
        fields.update(packed=1, input_channels=channels, pixel_pitch=channels, dilation_width=1)
    else:
        fields.update(input_channels=pick(rng, 1, 2), pixel_pitch=pick(rng, 1, 4), wide=pick(rng, 0, 1))
    blocks = pick(rng, 1, 2)
    skipped = pick(rng, 0, 3 if blocks == 1 else 0)
    if skipped:
        fields["unused"] = pick(rng, 8, 11) if skipped == 1 else pick(rng, 0, 15 - 4 * skipped)
    return isa.Convolve(output_blocks=blocks, accumulate=pick(rng, 0, 1), skipped=skipped, **fields)


def depthwise(rng: np.random.Generator) -> isa.Instruction:
    blocks, group = pick(rng, 1, 2), int(rng.choice([0, pick(rng, 1, 4)]))
    wide = pick(rng, 0, 1) if not group else 0
    return isa.ConvolveDepthwise(blocks=blocks, group=group, wide=wide, pixel_pitch=pick(rng, 1, 4), **geometry(rng))


def output(rng: np.random.Generator, height: int, width: int, blocks: int) -> dict[str, Any]:
    """An output map whose pixels do not overlap."""
    pixel = blocks + pick(rng, 0, 2)
    return {
        "destination": pick(rng, 256, 300),
        "destination_row_pitch": blocks + (width - 1) * pixel + pick(rng, 0, 3),
        "destination_pixel_pitch": pixel,
    }


def size(rng: np.random.Generator) -> dict[str, Any]:
    return {"height": pick(rng, 1, 3), "width": pick(rng, 1, 4), "blocks": pick(rng, 1, 2)}


def requantized(rng: np.random.Generator) -> dict[str, Any]:
    """Fields that RQ and RQA share."""
    shape, doubled = size(rng), pick(rng, 0, 1)
    return {
        "doubled": doubled,
        "accumulator": pick(rng, 0, 8),
        "parameters": pick(rng, 0, 3) * 2,
        "zero_point": pick(rng, -256, 255),
        "low": pick(rng, -128, 0),
        "high": pick(rng, 0, 127),
        "unused": 8 if doubled else int(rng.choice([0, pick(rng, 1, 15)])),
        **shape,
        **output(rng, **shape),
    }


def slope(rng: np.random.Generator) -> int:
    return int(np.float32(rng.choice([0.0, 0.1, rng.random(), 1.0])).view(np.uint32))


def requantize(rng: np.random.Generator) -> isa.Instruction:
    return isa.Requantize(**requantized(rng), slope=slope(rng))


def requantize_sum(rng: np.random.Generator) -> isa.Instruction:
    fields = requantized(rng)
    source: dict[str, Any] = {
        "source": pick(rng, 0, 64),
        "source_row_pitch": pick(rng, 0, 24),
        "source_pixel_pitch": pick(rng, 0, 4),
    }
    if rng.random() < 0.5:
        # In place.
        source = {name: fields[name.replace("source", "destination")] for name in source}
    # From beside nothing to beside everything, and to the largest there may be.
    factor = rng.choice([np.exp2(rng.uniform(-12, 3)), 0.5, 1.0, 0.0, 2.0**16])
    bits = int(np.float32(factor).view(np.uint32))
    return isa.RequantizeSum(
        **fields, **source, source_zero=pick(rng, -128, 127), source_multiplier=bits, slope=slope(rng)
    )


def requantize_mean(rng: np.random.Generator) -> isa.Instruction:
    # Sums of weights that are bytes of any kind, one of them for all pixels or each its own.
    source: dict[str, Any] = {
        "source": pick(rng, 0, 64),
        "source_row_pitch": pick(rng, 0, 24),
        "source_pixel_pitch": pick(rng, 0, 4),
    }
    return isa.RequantizeMean(**requantized(rng), **source)


def normalize(rng: np.random.Generator) -> isa.Instruction:
    shape, wide = size(rng), pick(rng, 0, 1)

    def map(name: str) -> dict[str, Any]:
        return {
            name: pick(rng, 0, 64),
            f"{name}_row_pitch": pick(rng, 0, 24),
            f"{name}_pixel_pitch": pick(rng, 0, 4),
            f"{name}_zero": pick(rng, -128, 127),
        }

    epsilon = np.float32(rng.choice([0.0, 0.5, np.exp2(rng.uniform(-40, 60))]))
    unused = int(rng.choice([0, pick(rng, 1, 15)]))
    channels = shape["blocks"] * 16 - unused
    groups = [size for size in range(1, channels + 1) if channels % size == 0]
    return isa.Normalize(
        parameters=int(rng.choice([20, 23])),
        zero_point=pick(rng, -256, 255),
        low=pick(rng, -128, 0),
        high=pick(rng, 0, 127),
        unused=unused,
        group=int(rng.choice([0, rng.choice(groups)])),
        epsilon=int(epsilon.view(np.uint32)),
        centred=pick(rng, 0, 1),
        wide=wide,
        **map("source"),
        **({"sum": 1, **map("skip")} if rng.random() < 0.7 else {}),
        **shape,
        **output(rng, **shape),
    )


def weigh(rng: np.random.Generator) -> isa.Instruction:
    shape = size(rng)
    mask: dict[str, Any] = {
        "source": pick(rng, 0, 64),
        "source_row_pitch": pick(rng, 0, 24),
        "source_pixel_pitch": pick(rng, 0, 4),
        "mask_zero": pick(rng, -128, 127),
        "mask_multiplier": pick(rng, 0, 1 << pick(rng, 0, 30)),
    }
    placed = output(rng, **{**shape, "blocks": shape["blocks"] + 1})
    softmax = {
        "multiplier": pick(rng, -(1 << 24), (1 << 24) - 1) >> pick(rng, 0, 20),
        # Weights of all sizes, or two of a row at most.
        "shift": pick(rng, 24, 36) if rng.random() < 0.8 else pick(rng, 0, 40),
        **({"masked": 1, **mask} if rng.random() < 0.7 else {}),
    }
    return isa.Weigh(
        accumulator=pick(rng, 0, 8),
        **({"multiplier": 0, "shift": 0, "shares": 1} if rng.random() < 0.3 else softmax),
        first=pick(rng, 0, 20),
        causal=pick(rng, 0, 1),
        unused=int(rng.choice([0, pick(rng, 1, 15)])),
        **shape,
        **placed,
    )


def move_weights(rng: np.random.Generator) -> isa.Instruction:
    return isa.MoveWeights(
        source=pick(rng, 0, 64),
        destination=pick(rng, 0, 8),
        pixels=pick(rng, 1, 40),
        blocks=pick(rng, 1, 3),
        pixel_pitch=pick(rng, 0, 8),
        turned=pick(rng, 0, 1),
    )


def requantize_wide(rng: np.random.Generator) -> isa.Instruction:
    shape = size(rng)
    place = output(rng, shape["height"], shape["width"], 2 * shape["blocks"])
    source = {name.replace("destination", "source"): value for name, value in place.items()}
    if rng.random() < 0.5:
        source = {
            "source": pick(rng, 0, 64),
            "source_row_pitch": pick(rng, 0, 24),
            "source_pixel_pitch": pick(rng, 0, 4),
        }
    factor = rng.choice([np.exp2(rng.uniform(-12, 3)), 0.5, 1.0, 0.0, 2.0**16])
    return isa.RequantizeWide(
        accumulator=pick(rng, 0, 8),
        parameters=pick(rng, 0, 3) * 2,
        zero_point=int(rng.choice([0, pick(rng, -(2**15), 2**15 - 1)])),
        low=pick(rng, -(2**15), 0),
        high=pick(rng, 0, 2**15 - 1),
        unused=int(rng.choice([0, pick(rng, 1, 15)])),
        sum=pick(rng, 0, 1),
        source_zero=int(rng.choice([0, pick(rng, -(2**15), 2**15 - 1)])),
        source_multiplier=int(np.float32(factor).view(np.uint32)),
        slope=slope(rng),
        **source,
        **place,
        **shape,
    )


def pool(rng: np.random.Generator) -> isa.Instruction:
    shape = size(rng)
    kind = pick(rng, 0, 3)
    shape["blocks"] *= 2 if kind == isa.PoolKind.WIDE_MAXIMUM else 1
    return isa.Pool(
        source=pick(rng, 0, 64),
        kernel_height=pick(rng, 1, 3),
        kernel_width=pick(rng, 1, 3),
        stride_height=pick(rng, 1, 2),
        stride_width=pick(rng, 1, 2),
        input_height=pick(rng, 1, 6),
        input_width=pick(rng, 1, 6),
        row_origin=pick(rng, -2, 2),
        column_origin=pick(rng, -2, 2),
        source_row_pitch=pick(rng, 0, 24),
        source_pixel_pitch=pick(rng, 0, 4),
        ring=int(rng.choice([0, pick(rng, 1, 6)])),
        parameters=0 if isa.PoolKind(kind).is_maximum else 30,
        unused=pick(rng, 0, 15) if kind != isa.PoolKind.WIDE_MAXIMUM else 0,
        kind=kind,
        include_pad=pick(rng, 0, 1) if kind == 1 else 0,
        **shape,
        **output(rng, **shape),
    )


def elementwise(rng: np.random.Generator) -> isa.Instruction:
    shape, kind = size(rng), pick(rng, 0, 4)
    wide = kind == isa.ElementwiseKind.WIDE_MULTIPLY
    shape["blocks"] *= 2 if wide else 1
    return isa.Elementwise(
        source_a=pick(rng, 0, 64),
        source_b=pick(rng, 64, 128),
        row_pitch_a=pick(rng, 0, 24),
        row_pitch_b=pick(rng, 0, 24),
        pixel_pitch_a=pick(rng, 0, 4),
        pixel_pitch_b=pick(rng, 0, 4),
        parameters=30,
        low=-128 if wide else pick(rng, -128, 0),
        high=127 if wide else pick(rng, 0, 127),
        kind=kind,
        **shape,
        **output(rng, **shape),
    )


def look_up(rng: np.random.Generator) -> isa.Instruction:
    shape, wide = size(rng), pick(rng, 0, 1)
    shape["blocks"] *= 1 + wide
    pitches: dict[str, Any] = {"source_row_pitch": pick(rng, 0, 24), "source_pixel_pitch": pick(rng, 0, 4)}
    table = 32 if wide else pick(rng, 0, 20)
    return isa.LookUp(source=pick(rng, 0, 64), table=table, wide=wide, **pitches, **shape, **output(rng, **shape))


def resize(rng: np.random.Generator) -> isa.Instruction:
    shape = size(rng)
    return isa.ResizeNearest(
        source=pick(rng, 0, 64),
        source_row_pitch=pick(rng, 0, 24),
        source_pixel_pitch=pick(rng, 0, 4),
        step_height=pick(rng, 0, 1 << 17),
        step_width=pick(rng, 0, 1 << 17),
        origin_height=pick(rng, 0, 1 << 17),
        origin_width=pick(rng, 0, 1 << 17),
        **shape,
        **output(rng, **shape),
    )


def resize_linear(rng: np.random.Generator) -> isa.Instruction:
    shape = size(rng)
    return isa.ResizeLinear(
        source=pick(rng, 0, 64),
        input_height=pick(rng, 1, 8),
        input_width=pick(rng, 1, 8),
        source_row_pitch=pick(rng, 0, 24),
        source_pixel_pitch=pick(rng, 0, 4),
        # Half of the steps end in a fraction that makes ties.
        step_height=pick(rng, 0, 1 << 28) & (-1 << pick(rng, 0, 1) * 26),
        step_width=pick(rng, 0, 1 << 28) & (-1 << pick(rng, 0, 1) * 26),
        origin_height=pick(rng, -(1 << 28), 1 << 28) & (-1 << pick(rng, 0, 1) * 26),
        origin_width=pick(rng, -(1 << 28), 1 << 28) & (-1 << pick(rng, 0, 1) * 26),
        **shape,
        **output(rng, **shape),
    )


def box(rng: np.random.Generator) -> dict[str, Any]:
    return {
        "offset": pick(rng, 0, 500),
        "run": pick(rng, 1, 40),
        "count_y": pick(rng, 1, 4),
        "count_z": pick(rng, 1, 3),
        "dram_stride_y": pick(rng, 40, 90),
        "dram_stride_z": pick(rng, 400, 500),
        "map_stride_y": pick(rng, 3, 6),
        "map_stride_z": pick(rng, 40, 60),
        "flip": pick(rng, 0, 1),
    }


def load_maps(rng: np.random.Generator) -> isa.Instruction:
    return isa.LoadMaps(region=1, destination=pick(rng, 0, 64), **box(rng))


def store(rng: np.random.Generator) -> isa.Instruction:
    return isa.Store(region=3, source=pick(rng, 0, 64), **box(rng))


def parameters(rng: np.random.Generator) -> bytes:
    """Requantise parameters in lines 0 to 15, a table from 16 on, normalisation parameters in lines 20 to 28, a vector
    record in line 30, and knots from line 32 on."""
    lines = np.frombuffer(scalar.random_bytes(rng, 8192), np.uint8).copy()
    scales = np.exp2(rng.uniform(-24, -6, 128)).astype(np.float32)
    bias = rng.integers(-(1 << 20), 1 << 20, 128).astype(np.int32)
    lines[:1024] = np.frombuffer(isa.pack_requantize(bias, scales), np.uint8)
    first, second = (rng.integers(-(1 << 15), 1 << 15, 48) for _ in range(2))
    gain = rng.normal(size=48) * np.exp2(rng.uniform(-3, 6))
    offset = rng.normal(0, 30, 48).astype(np.float32)
    lanes = isa.NormalizationParameters(first, second, gain.astype(np.float32), offset)
    lines[20 * 64 : 29 * 64] = np.frombuffer(isa.pack_normalization(lanes), np.uint8)
    shift = pick(rng, 0, 30)
    record = isa.pack_record(
        zero_a=pick(rng, -255, 255),
        zero_b=pick(rng, -255, 255),
        zero_output=pick(rng, -255, 255),
        offset=int(rng.choice([0, -128])),
        multiplier_a=pick(rng, -(1 << shift), 1 << shift),
        multiplier_b=pick(rng, -(1 << shift), 1 << shift),
        shift=shift,
        scale_a=float(np.float32(rng.uniform(0.01, 2))),
        scale_output=float(np.float32(rng.uniform(0.01, 2))),
        multiplier=float(np.float32(0.5 * np.exp2(-rng.uniform(0, 20)))),
    )
    lines[30 * 64 : 31 * 64] = np.frombuffer(record, np.uint8)
    return lines.tobytes()


MAKERS: list[Callable[[np.random.Generator], isa.Instruction]] = [
    convolve,
    depthwise,
    requantize,
    pool,
    elementwise,
    look_up,
    resize,
    resize_linear,
    load_maps,
    store,
    requantize_sum,
    requantize_mean,
    weigh,
    move_weights,
    requantize_wide,
    normalize,
]


def surround(item: isa.Instruction) -> isa.Program:
    """Fill the scratchpads, run one instruction, store the maps."""
    assembler = isa.Assembler(SMALL, REGIONS)
    assembler.add(isa.LoadMaps(region=1, offset=0, destination=0, run=8192))
    assembler.add(isa.LoadWeights(region=0, offset=0, destination=0, length=128))
    assembler.add(isa.LoadParameters(region=0, offset=128, destination=0, length=128))
    # Known accumulators everywhere: 64 rows of 2 blocks, each the product with one column of the maps.
    for block in range(8):
        assembler.add(
            isa.Convolve(
                source=0,
                weights=block,
                accumulator=block * 16,
                output_height=16,
                output_width=1,
                output_blocks=1,
                input_channels=1,
                input_height=16,
                input_width=1,
                row_pitch=0,
                pixel_pitch=1,
            )
        )
    assembler.add(item)
    assembler.add(isa.Store(region=2, offset=0, source=0, run=8192))
    return assembler.finish()


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("seed", seeds(2, 3))
def test_engine_and_scalar_interpreter_agree(make: Callable[[np.random.Generator], isa.Instruction], seed: int) -> None:
    compare(make, np.random.default_rng([seed, MAKERS.index(make)]), 4)


@pytest.mark.parametrize("make", [convolve, depthwise, pool])
def test_what_is_too_large_for_one_piece_gives_the_same(
    make: Callable[[np.random.Generator], isa.Instruction], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tilewright.runtime.simulator.memory.LARGEST_IMAGE", 0)
    monkeypatch.setattr("tilewright.runtime.simulator.vector.LARGEST_IMAGE", 0)
    monkeypatch.setattr("tilewright.runtime.simulator.matrix._LARGEST_GATHERED", 0)
    compare(make, np.random.default_rng(MAKERS.index(make)), 12)


@pytest.mark.sweep
@pytest.mark.parametrize("make", MAKERS)
def test_engine_and_scalar_interpreter_agree_at_length(make: Callable[[np.random.Generator], isa.Instruction]) -> None:
    compare(make, np.random.default_rng(MAKERS.index(make)), 300)


def compare(make: Callable[[np.random.Generator], isa.Instruction], rng: np.random.Generator, count: int) -> None:
    done = 0
    while done < count:
        item = make(rng)
        try:
            program = surround(item)
        except InstructionError:
            continue  # a random window without a pixel, or a map outside the scratchpad
        constants = np.frombuffer(scalar.random_bytes(rng, 8192) + parameters(rng), np.uint8)
        fed = np.frombuffer(scalar.random_bytes(rng, 8192), np.uint8)
        engine = FunctionalEngine(program, SMALL, {"constants": constants})
        card = CardMemory(program, {"constants": constants, "input": fed})
        engine.execute(card)
        found = card.clusters[0]
        poison = b"\xa5" * 8192
        regions = [bytearray(data) for data in (constants.tobytes(), fed.tobytes(), poison, poison)]
        expected = scalar.Memories(bytearray(8192), bytearray(8192), bytearray(poison), bytearray(8192), regions)
        for stream, index in engine.verified.order:
            scalar.run(expected, engine.verified.queues[stream][index])
        assert found.accumulators.tobytes() == bytes(expected.accumulators), str(item)
        assert found.maps.tobytes() == bytes(expected.maps), str(item)
        assert found.weights.tobytes() == bytes(expected.weights), str(item)
        for mine, theirs in zip(found.regions, regions, strict=True):
            assert mine.tobytes() == bytes(theirs), str(item)
        done += 1
