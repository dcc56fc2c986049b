"""Sounds as samples: what networks read of ``.wav`` files, and what is refused of those from strangers."""

from __future__ import annotations

import struct
import wave
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.calibration.sample_sets import hold, rate_of
from tilewright.errors import CalibrationError, CalibrationWarning, InputError, TilewrightError, UsageError
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.files.sound_file import open_sound
from tilewright.runtime.report.execution import gather_inputs

F32 = np.dtype(np.float32)


def sound(path: Path, samples: np.ndarray, *, width: int = 2, rate: int = 16000) -> Path:
    """A file of integers [samples, channels], by the standard library."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        wide = samples.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width]
        file.writeframes((wide ^ 128 if width == 1 else wide).tobytes())
    return path


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_integers_of_every_width_are_numbers_to_1(width: int, tmp_path: Path) -> None:
    numbers = np.array([[0.5, -1.0], [0.25, 0.0], [-0.5, 0.5], [0.0, 0.125]])
    path = sound(tmp_path / "a.wav", numbers * 2.0 ** (8 * width - 1), width=width)
    for shape, expected in (((1, 2, 4), numbers.T), ((1, 4, 2), numbers), ((1, 1, 4), numbers.mean(1)[None])):
        np.testing.assert_array_equal(open_sound(path, "x", shape, F32).read(), expected[np.newaxis])


def test_floating_point_and_sounds_of_one_channel_for_two(tmp_path: Path) -> None:
    data = np.array([0.1, -2.0], "<f4").tobytes()
    extensible = struct.pack("<HHIIHHHHI", 0xFFFE, 1, 8000, 32000, 4, 32, 22, 32, 0) + struct.pack("<H14x", 3)
    for format in (struct.pack("<HHIIHH", 3, 1, 8000, 32000, 4, 32), extensible):
        chunks = b"LIST\3\0\0\0abc\0" + b"fmt " + struct.pack("<I", len(format)) + format
        path = tmp_path / "a.wav"
        # As programs write it that do not know the length when they begin.
        path.write_bytes(b"RIFF\xff\xff\xff\xffWAVE" + chunks + b"data\xff\xff\xff\xff" + data)
        found = open_sound(path, "x", (2, 2, 3), F32)
        assert (found.rate, found.read().tolist()) == (8000, [[[float(np.float32(0.1)), -2, 0]] * 2])


def test_files_are_cut_into_pieces_and_filled_with_silence(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    sound(folder / "a.wav", np.arange(7)[:, None] * 2**12)
    sound(folder / "b.WAV", np.full((2, 1), 2**14))
    samples = open_calibration_set(str(folder), {"x": TensorType((1, 3), DType.F32)})
    assert [each["x"].tolist()[0] for each in samples] == [[0, 0.125, 0.25], [0.375, 0.5, 0.625], [0.5, 0.5, 0]]
    assert gather_inputs([TensorSpec("x", "f32", (2, 1, 3))], [str(folder / "a.wav")], None)["x"].shape == (2, 1, 3)
    assert gather_inputs([TensorSpec("x", "f32", (8,))], [str(folder / "a.wav")], None)["x"].shape == (8,)
    with pytest.raises(InputError, match="is not one batch; expected 1 piece of 3 numbers, found 2 at 16000 a second"):
        gather_inputs([TensorSpec("x", "f32", (1, 3))], [str(folder / "a.wav")], None)
    with pytest.raises(UsageError, match=r"an input is given twice; found x\. Only several images make a batch"):
        gather_inputs([TensorSpec("x", "f32", (8,))], [str(folder / "a.wav"), f"x={folder / 'b.WAV'}"], None)
    inputs = {"x": TensorType((1, 3), DType.F32)}
    assert rate_of(hold(samples, [0, 2]).only([0]), "x") == rate_of(samples, "x") == 16000
    assert rate_of(open_calibration_set(np.zeros((2, 3), np.float32), inputs), "x") == 0
    both = open_calibration_set({"n": np.ones((3, 3), np.float32), "x": folder}, {"n": inputs["x"], **inputs})
    assert [[rate_of(each, name) for name in "nx"] for each in (both, hold(both, [0, 2]))] == [[0, 16000]] * 2
    with pytest.warns(CalibrationWarning, match=r"has 16000 numbers a second, those of calibration 8000: convert it"):
        gather_inputs([TensorSpec("x", "f32", (2, 3))], [str(folder / "a.wav")], None, rates={"x": 8000})
    blocks = open_sound(folder / "b.WAV", "x", (1, 3), F32).blocks(1, 1)
    sound(folder / "b.WAV", np.ones((6, 1)))
    # No file is read before its samples are asked for.
    with pytest.raises(InputError, match="changed while it was read"):
        next(blocks)
    sound(folder / "c.wav", np.ones((3, 1)), rate=8000)
    with pytest.raises(CalibrationError, match=r"rates; expected one rate, found 16000 samples a second in '.*8000"):
        open_calibration_set(str(folder), {"x": TensorType((1, 3), DType.F32)})


def test_what_is_no_sound_or_no_input_for_it_is_refused(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav", np.ones((4, 1)))
    content = path.read_bytes()
    for shape in ((1, 1, 49, 10), (1, 1)):
        with pytest.raises(InputError, match=r"takes no waveform, as '.*' is one; expected an input"):
            open_sound(path, "x", shape, F32)
    for at, new, message in (
        (0, b"RIFX", "is no .wav file"),
        (16, b"\xff\xff\xff\xff", "is damaged, or ends early"),
        (20, b"\x11\0", "compressed or unknown; .* found format 17 of 16 bits. Save it so, as by `ffmpeg"),
        (22, b"\0\0", "is empty; found 0 channels"),
        (34, b"\0\0", "found format 1 of 0 bits"),
        (34, b"\x18\0data\0\0\0\0", "is empty; found 1 channels, 0 bytes"),
    ):
        path.write_bytes(content[:at] + new + content[at + len(new) :])
        with pytest.raises(InputError, match=message):
            open_sound(path, "x", (1, 4), F32)
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content[: rng.integers(len(content) + 1)])
        for at in rng.integers(0, max(1, len(changed)), 2) if changed else ():
            changed[at] = rng.integers(256)
        path.write_bytes(changed)
        with suppress(TilewrightError):
            assert open_sound(path, "x", (1, 4), F32).read().shape[1:] == (4,)
