"""Multipliers and scales that are no numbers, infinite or negative are refused before anything runs."""

from __future__ import annotations

from typing import Any

import instruction_set as isa
import numpy as np
import pytest
from single_card import FunctionalEngine

from tilewright.errors import InstructionError
from tilewright.runtime.machines import machine

MACHINE = machine.load("s256")
SIZE: dict[str, Any] = {"height": 1, "width": 2, "blocks": 2}
TARGET: dict[str, Any] = {"destination": 64, "destination_row_pitch": 4, "destination_pixel_pitch": 2}
WINDOW: dict[str, Any] = {
    "source": 0,
    "kernel_height": 1,
    "kernel_width": 1,
    "input_height": 1,
    "input_width": 2,
    "source_row_pitch": 4,
    "source_pixel_pitch": 2,
}
PAIR: dict[str, Any] = {
    "source_a": 0,
    "source_b": 0,
    "row_pitch_a": 4,
    "row_pitch_b": 4,
    "pixel_pitch_a": 2,
    "pixel_pitch_b": 2,
}


def requantize(**fields: Any) -> isa.Instruction:
    return isa.Requantize(accumulator=0, parameters=0, **SIZE, **TARGET, **fields)


def pool(kind: isa.PoolKind) -> isa.Instruction:
    return isa.Pool(kind=kind, parameters=0, **SIZE, **TARGET, **WINDOW)


def elementwise(kind: isa.ElementwiseKind) -> isa.Instruction:
    return isa.Elementwise(kind=kind, parameters=0, **SIZE, **TARGET, **PAIR)


def engine(item: isa.Instruction, parameters: bytes, *loads: isa.Instruction) -> FunctionalEngine:
    """One instruction on a map of 2 pixels of 32 channels and their accumulators, with parameters from byte 2048 on."""
    assembler = isa.Assembler(MACHINE, [isa.Region("constants", isa.RegionKind.CONSTANT, 4096)])
    for before in loads or (isa.LoadParameters(region=0, offset=32, destination=0, length=4),):
        assembler.add(before)
    assembler.add(isa.LoadWeights(region=0, offset=0, destination=0, length=16))
    assembler.add(isa.LoadMaps(region=0, offset=0, destination=0, run=64))
    assembler.add(
        isa.Convolve(
            source=0,
            weights=0,
            accumulator=0,
            output_height=2,
            output_width=1,
            output_blocks=2,
            input_channels=2,
            input_height=2,
            input_width=1,
            row_pitch=2,
            pixel_pitch=2,
        )
    )
    assembler.add(item)
    constants = np.zeros(4096, np.uint8)
    constants[2048 : 2048 + len(parameters)] = np.frombuffer(parameters, np.uint8)
    return FunctionalEngine(assembler.finish(), MACHINE, {"constants": constants})


def refused(item: isa.Instruction, parameters: bytes, *loads: isa.Instruction) -> str:
    with pytest.raises(InstructionError) as caught:
        engine(item, parameters, *loads)
    return str(caught.value)


def multipliers(wrong: float) -> bytes:
    values = np.full(32, 0.5, np.float32)
    values[20] = wrong
    return isa.pack_requantize(np.zeros(32, np.int32), values)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -1e-30, -2.0])
def test_what_is_no_multiplier_is_refused(wrong: float) -> None:
    shown = np.float32(wrong)
    rule = "field 'parameters' breaks a rule; expected multipliers and scales are finite and not negative, and what "
    where = "in the parameters from byte 2048 of region 'constants'"
    assert refused(requantize(), multipliers(wrong)) == (
        f"stream VEC0, instruction 0 (RQ): {rule}divides is not 0, found multiplier 20 is {shown}, {where}"
    )
    for item, name in (
        (pool(isa.PoolKind.SUM), "multiplier"),
        (pool(isa.PoolKind.AVERAGE), "scale_a"),
        (pool(isa.PoolKind.AVERAGE), "scale_output"),
        (elementwise(isa.ElementwiseKind.MULTIPLY), "multiplier"),
    ):
        words = {"scale_a": 1.0, "scale_output": 1.0, "multiplier": 1.0, name: wrong}
        assert f"found {name} is {shown}, {where}" in refused(item, isa.pack_record(**words))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -1e-30, 65537.0, -0.0])
def test_what_a_sum_multiplies_by_is_within_bounds(wrong: float) -> None:
    def added(factor: float) -> isa.Instruction:
        bits = int(np.float32(factor).view(np.uint32))
        source: dict[str, Any] = {"source": 0, "source_row_pitch": 4, "source_pixel_pitch": 2, "source_zero": 3}
        return isa.RequantizeSum(accumulator=0, parameters=0, **SIZE, **TARGET, **source, source_multiplier=bits)

    expected = f"a binary32 from 0 to 65536: at most {0x47800000}"
    rule = f"RQA: field 'source_multiplier' breaks a rule; expected {expected}, found "
    assert rule in refused(added(wrong), multipliers(0.5))
    # It is looked at where the program comes from a file, too.
    place = next(each for each in isa.encoded_fields(isa.RequantizeSum) if each.name == "source_multiplier")
    word = int.from_bytes(isa.encode(added(0.0)), "little") | int(np.float32(wrong).view(np.uint32)) << place.shift
    with pytest.raises(InstructionError, match="breaks a rule"):
        isa.decode(word.to_bytes(64, "little"))
    for right in (0.0, 1e-45, 65536.0):
        assert engine(added(right), multipliers(0.5)).run({}) == {}
    assert "found multiplier 20 is" in refused(added(1.0), multipliers(np.nan))


def test_what_divides_is_not_0() -> None:
    item = pool(isa.PoolKind.AVERAGE)
    assert "found scale_output is 0.0" in refused(item, isa.pack_record(scale_a=1.0))
    assert engine(item, isa.pack_record(scale_a=0.0, scale_output=1.0))


def test_what_is_not_used_may_be_anything() -> None:
    wrong = {"scale_a": np.nan, "scale_output": np.inf, "multiplier": -1.0}
    assert engine(elementwise(isa.ElementwiseKind.ADD), isa.pack_record(**wrong, multiplier_b=-3))
    assert engine(pool(isa.PoolKind.SUM), isa.pack_record(**{**wrong, "multiplier": 1.0}))
    assert engine(pool(isa.PoolKind.MAXIMUM), isa.pack_record(**wrong))
    assert engine(requantize(), multipliers(0.0)).run({}) == {}


def test_multipliers_are_loaded_at_once() -> None:
    """Nobody but the program knows how the pieces end up, so they are refused."""
    pieces = [isa.LoadParameters(region=0, offset=32 + index, destination=index, length=1) for index in range(4)]
    assert engine(requantize(), multipliers(0.5), *pieces)
    assert "bytes that were not loaded at once from a constant region" in refused(
        requantize(), multipliers(0.5), *pieces[:3], isa.LoadParameters(region=0, offset=0, destination=3, length=1)
    )
