"""Sums of squares that 64 bits do not hold, which no compiler makes: they wrap, as the instruction set says."""

from __future__ import annotations

import dataclasses

import device_scalar as scalar
import instruction_set as isa
import numpy as np
from single_card import FunctionalEngine

from tilewright.runtime.machines import machine
from tilewright.runtime.simulator.memory import CardMemory

MACHINE = dataclasses.replace(machine.load("s256"), maps_bytes=1 << 17)


def test_squares_of_a_group_wrap_below_zero() -> None:
    """Of 33 x 64 pixels of 16 channels, which are all read at one place: they would be 50 and what is added, but are as
    large as bytes can be, being divided by 1."""
    height, value = 33, 2 * 255 * -(1 << 15)
    total = height * 64 * 16 * value**2
    assert scalar.wrap(total, 64) == total - (1 << 64) < 0
    assembler = isa.Assembler(
        MACHINE, [isa.Region("constants", isa.RegionKind.CONSTANT, 256), isa.Region("y", isa.RegionKind.OUTPUT, 16)]
    )
    gain, multiplier = np.full(16, 50 * np.sqrt(total) / value, np.float32), np.full(16, -(1 << 15))
    lanes = isa.NormalizationParameters(multiplier, multiplier, gain, np.arange(16, dtype=np.float32))
    constants = np.zeros(256, np.uint8)
    constants[:192], constants[192:208] = np.frombuffer(isa.pack_normalization(lanes), np.uint8), 127
    assembler.add(isa.LoadParameters(region=0, offset=0, destination=0, length=3))
    assembler.add(isa.LoadMaps(region=0, offset=192, destination=0, run=16))
    item = isa.Normalize(
        source=0,
        source_row_pitch=0,
        source_pixel_pitch=0,
        source_zero=-128,
        skip_zero=-128,
        sum=1,
        parameters=0,
        epsilon=0,
        group=16,
        height=height,
        width=64,
        blocks=1,
        destination=1,
        destination_row_pitch=64,
        destination_pixel_pitch=1,
    )
    assembler.add(item)
    assembler.add(isa.Store(region=1, offset=0, source=1, run=16))
    program = assembler.finish()
    card = CardMemory(program, {"constants": constants})
    FunctionalEngine(program, MACHINE, {"constants": constants}).execute(card)
    poison = b"\xa5" * (1 << 17)
    expected = scalar.Memories(bytearray(poison), bytearray(), bytearray(), bytearray(poison), [])
    expected.parameters[:192], expected.maps[:16] = constants[:192].tobytes(), constants[192:208].tobytes()
    scalar.normalize(expected, item)
    assert card.clusters[0].maps.tobytes() == bytes(expected.maps)
    first = np.frombuffer(expected.maps, np.int8)[16:32]
    np.testing.assert_array_equal(first, 127)
