"""The instruction table: encoding is exact both ways, broken rules are refused, the document is current."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import instruction_set as isa
import numpy as np
import pytest
from documents.isa import HEADER

from tilewright.errors import InstructionError
from tilewright.limits import DEVICE_INSTRUCTIONS
from tilewright.runtime.isa import layouts
from tilewright.runtime.isa.encoding import EncodedField


def random_value(rng: np.random.Generator, field: EncodedField) -> int:
    lowest, highest = field.bits.lowest, field.bits.highest
    small = min(max(lowest, int(rng.integers(9))), highest)
    return int(rng.choice([lowest, highest, small, int(rng.integers(lowest, highest + 1))]))


def random_instruction(rng: np.random.Generator, cls: type[isa.Instruction]) -> isa.Instruction:
    """Any instruction that keeps its own rules: random fields, of which one that breaks a rule gets another value."""
    fields = {field.name: field for field in isa.encoded_fields(cls)}
    for _ in range(100):
        values: dict[str, Any] = {name: random_value(rng, field) for name, field in fields.items()}
        waits = [
            isa.Wait(int(rng.integers(1, isa.COUNTERS + 1)), int(rng.integers(0, isa.COUNTER_LIMIT + 1)))
            for _ in range(int(rng.integers(isa.WAITS + 1)))
        ]
        item = cls(waits=tuple(waits), signal=int(rng.integers(0, 2)), **values)
        for _ in range(100):
            broken = isa.check(item)
            if broken is None:
                return item
            item = replace(item, **{broken.field: random_value(rng, fields[broken.field])})
    raise AssertionError(f"no random {cls.MNEMONIC} keeps its rules")


@pytest.mark.parametrize("cls", isa.table(), ids=lambda cls: cls.MNEMONIC)
def test_every_instruction_survives_encoding(cls: type[isa.Instruction]) -> None:
    rng = np.random.default_rng(cls.OPCODE)
    for _ in range(30):
        item = random_instruction(rng, cls)
        data = isa.encode(item)
        assert len(data) == isa.INSTRUCTION_BYTES
        assert isa.decode(data) == item
        assert isa.encode(isa.decode(data)) == data


def test_random_bytes_decode_to_themselves_or_are_refused() -> None:
    rng = np.random.default_rng(3)
    samples = [random_instruction(rng, cls) for cls in isa.table()]
    accepted = 0
    for _ in range(3000):
        data = bytearray(isa.encode(samples[int(rng.integers(len(samples)))]))
        for _ in range(int(rng.integers(1, 3))):
            data[int(rng.integers(isa.INSTRUCTION_BYTES))] ^= 1 << int(rng.integers(8))
        try:
            item = isa.decode(bytes(data))
        except InstructionError:
            continue
        accepted += 1
        assert isa.encode(item) == bytes(data)
    assert accepted > 100


def test_fields_do_not_overlap_and_stay_inside() -> None:
    for cls in isa.table():
        used = sum(((1 << width) - 1) << shift for name, width, shift, _ in HEADER if name != "flags")
        for field in isa.encoded_fields(cls):
            mask = ((1 << field.bits.width) - 1) << field.shift
            assert not used & mask, f"{cls.MNEMONIC}.{field.name} overlaps another field"
            assert field.shift + field.bits.width <= (32 if field.bits.flag else 512)
            used |= mask
    assert sum(width for _, width, _, _ in HEADER) == 160
    end = 0
    for _, width, shift, _ in HEADER:
        assert shift == end
        end += width


def test_every_stream_of_a_card_has_a_counter_of_its_own() -> None:
    every = isa.streams(16)
    assert len(every) == isa.COUNTERS == 80
    assert [stream.counter for stream in every] == list(range(1, 81))
    assert every[5 * 3 + isa.Queue.MAC] == isa.Stream(3, isa.Queue.MAC)
    assert every[5 * 3 + isa.Queue.MAC].name == "MAC3"
    # No program is long enough for a counter to wrap.
    assert DEVICE_INSTRUCTIONS < isa.COUNTER_LIMIT


def refused(data: bytes) -> str:
    with pytest.raises(InstructionError) as caught:
        isa.decode(data)
    return str(caught.value)


def test_refusals_name_the_field() -> None:
    barrier = int.from_bytes(isa.encode(isa.Barrier()), "little")

    def flipped(bit: int) -> bytes:
        return (barrier ^ (1 << bit)).to_bytes(64, "little")

    assert refused(flipped(200)) == "BAR: reserved bit 200 is set; expected 0, found 1"
    assert refused(flipped(9)) == "BAR: reserved bit 9 is set; expected 0, found 1"
    assert refused(flipped(6)) == "BAR: field 'dtype' is reserved; expected 0 (int8), found 1"
    counters = "BAR: field 'waits' breaks a rule; expected a counter from 1 to 80, a value up to 16777215, found "
    assert refused(flipped(40)) == counters + "(0, 1)"
    assert refused(flipped(64)) == counters + "(0, 0)", "a slot in use after an empty one"
    assert refused((barrier | 81 << 32).to_bytes(64, "little")) == counters + "(81, 0)"
    assert "field 'opcode' is unknown" in refused(bytes(64))
    assert "found 32" in refused(bytes(32))


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (
            isa.LoadWeights(region=16, offset=0, destination=0, length=1),
            "LDW: field 'region' breaks a rule; expected between 0 and 15, found 16",
        ),
        (
            isa.LoadWeights(region=0, offset=0, destination=0, length=0),
            "LDW: field 'length' breaks a rule; expected between 1 and 16383, found 0",
        ),
        (
            isa.LoadMaps(region=0, offset=0, destination=0, run=40, count_y=2, map_stride_y=2),
            "LDM: field 'map_stride_y' breaks a rule; expected written runs do not overlap: at least 3, found 2",
        ),
        (
            isa.Store(region=0, offset=0, source=0, run=40, count_y=2, dram_stride_y=39),
            "ST: field 'dram_stride_y' breaks a rule; expected written runs do not overlap: at least 40, found 39",
        ),
        *(
            (
                isa.Convolve(
                    source=0,
                    weights=0,
                    accumulator=0,
                    output_height=1,
                    output_width=1,
                    output_blocks=blocks,
                    input_channels=1,
                    input_height=1,
                    input_width=1,
                    row_pitch=1,
                    pixel_pitch=1,
                    skipped=skipped,
                    unused=unused,
                ),
                f"CONV: field 'skipped' breaks a rule; expected 0, or what is left of {stop} outputs in half of one "
                f"block, found {skipped}",
            )
            for blocks, stop, skipped, unused in (
                (1, 8, 2, 8),
                (1, 12, 1, 4),
                (2, 20, 1, 12),
                (2, 17, 3, 15),
            )
        ),
        (
            isa.Requantize(
                accumulator=0,
                destination=0,
                height=1,
                width=2,
                blocks=2,
                destination_row_pitch=0,
                destination_pixel_pitch=1,
                parameters=0,
            ),
            "RQ: field 'destination_pixel_pitch' breaks a rule; "
            "expected written pixels do not overlap: at least 2, found 1",
        ),
        (
            isa.Pool(
                source=0,
                destination=0,
                height=1,
                width=3,
                blocks=1,
                kernel_height=2,
                kernel_width=2,
                stride_width=2,
                input_height=2,
                input_width=4,
                source_row_pitch=4,
                destination_row_pitch=4,
                source_pixel_pitch=1,
                destination_pixel_pitch=1,
            ),
            "POOL: field 'column_origin' breaks a rule; "
            "expected every window has a pixel inside the input map, found 0",
        ),
        (isa.Barrier(signal=2), "BAR: field 'signal' breaks a rule; expected 0 or 1, found 2"),
        (isa.Barrier(waits=(isa.Wait(1, 1),) * 5), "BAR: field 'waits' breaks a rule; expected at most 4, found 5"),
    ],
)
def test_broken_rules_are_refused_by_the_encoder(item: isa.Instruction, message: str) -> None:
    with pytest.raises(InstructionError) as caught:
        isa.encode(item)
    assert str(caught.value) == message


def test_disassembly_is_one_line_with_waits_and_signal() -> None:
    item = isa.LoadWeights(region=1, offset=2, destination=3, length=4, waits=(isa.Wait(9, 6),), signal=1)
    assert str(item) == "LDW  region=1 offset=2 destination=3 length=4 clusters=0 wait=MAC1>=6 signal"


def test_packed_weights_unpack_to_themselves() -> None:
    rng = np.random.default_rng(0)
    for packed in (False, True):
        weights = rng.integers(-128, 128, (20, 3, 2, 5)).astype(np.int8)
        data = np.frombuffer(isa.pack_dense(weights, weight_zero=7, packed=packed), np.uint8)
        channels = 5 if packed else 16
        matrix = layouts.unpack_dense(data, 2, 3 * 2 * channels).reshape(3, 2, channels, 32)
        np.testing.assert_array_equal(matrix[:, :, :5, :20], weights.transpose(1, 2, 3, 0))
        assert (matrix[:, :, 5:] == 7).all() and (matrix[:, :, :, 20:] == 7).all()
        assert len(data) % 64 == 0
    for group in (1, 2, 4):
        weights = rng.integers(-128, 128, (20, 3, 3, group)).astype(np.int8)
        data = np.frombuffer(isa.pack_depthwise(weights), np.uint8)
        assert len(data) == 2 * -(-9 * group // 4) * 64
        found = layouts.unpack_depthwise(data, 2, 9 * group)
        np.testing.assert_array_equal(found[:, :20], weights.reshape(20, 9 * group).T)


def test_packed_parameters_unpack_to_themselves() -> None:
    bias = np.arange(20, dtype=np.int32) - 10
    scale = np.linspace(0.001, 1, 20, dtype=np.float32)
    data = np.frombuffer(isa.pack_requantize(bias, scale), np.uint8)
    assert len(data) == 256
    found = layouts.unpack_requantize(data, 2)
    np.testing.assert_array_equal(found[0][:20], bias)
    np.testing.assert_array_equal(found[1][:20], scale)
    record = isa.pack_record(zero_a=-5, shift=30, scale_a=0.25)
    values = layouts.unpack_record(record)
    assert (values["zero_a"], values["shift"], values["scale_a"], values["zero_b"]) == (-5, 30, 0.25, 0)


def test_the_range_of_a_slope_is_declared() -> None:
    highest = {cls: {each.name: each.highest for each in isa.encoded_fields(cls)}.get("slope") for cls in isa.table()}
    assert {cls.MNEMONIC: value for cls, value in highest.items() if value is not None} == {
        "RQ": 0x3F800000,
        "RQA": 0x3F800000,
        "RQM": 0,
        "RQW": 0x3F800000,
    }
