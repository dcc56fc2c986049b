"""What samples are like, and what in them tells that they are not as they should be; right ones warn of nothing."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tilewright.compiler.calibration.certainty import Certainty, entropy
from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.calibration.statistics import Findings, Watched
from tilewright.compiler.calibration.watch import Watch, _noted
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.pictures.preprocessing import Preprocessing

INPUT = {"x": TensorType((1, 3, 16, 16), DType.F32)}


def pictures(rng: np.random.Generator, count: int = 8) -> np.ndarray:
    """Smooth ones, as photographs are: float32[count, 3, 16, 16] of 0 to 255."""
    coarse = rng.uniform(0, 255, (count, 3, 3, 3))
    steps = np.linspace(0, 1.99, 16)
    low, part = steps.astype(int), steps - steps.astype(int)
    rows = coarse[:, :, low] * (1 - part)[:, None] + coarse[:, :, low + 1 if low.max() < 2 else low] * part[:, None]
    found = rows[..., low] * (1 - part) + rows[..., low + 1] * part
    return found.astype(np.float32)


def warnings_of(samples: np.ndarray, preprocessing: str | None = None) -> list[str]:
    prepared = {} if preprocessing is None else {"x": Preprocessing.of(preprocessing)}
    expected = {name: each.range() for name, each in prepared.items()}
    inputs = INPUT if samples.ndim > 2 else {"x": TensorType((1, *samples.shape[1:]), DType.F32)}
    watched = Watched(open_calibration_set(samples, inputs), inputs, expected)
    assert sum(1 for _ in watched) == len(samples)
    findings = Findings()
    watched.report(findings)
    return findings.warnings


def test_samples_as_they_should_be_warn_of_nothing(rng: np.random.Generator) -> None:
    assert warnings_of(pictures(rng), "mean=0,scale=1") == []
    assert warnings_of(pictures(rng) / 255, "units=0-1") == []
    assert warnings_of(rng.standard_normal((8, 3, 16, 16)).astype(np.float32)) == []
    # A number is no constant sample, and may have few values.
    assert warnings_of(np.array([[0], [1], [0], [1], [1], [1]], np.float32)) == []


def test_what_is_wrong_with_samples_is_told(rng: np.random.Generator) -> None:
    right = pictures(rng)
    grey = np.repeat(right[:, :1], 3, axis=1)
    interleaved = right.transpose(0, 2, 3, 1).reshape(right.shape)
    cases: list[tuple[np.ndarray, str | None, str]] = [
        (np.zeros_like(right), None, "the samples of input 'x' are zero throughout, and tell no ranges"),
        (np.full_like(right, 7), None, "the samples of input 'x' are constant throughout"),
        (np.repeat(right[:1], 5, axis=0), None, "all 5 samples of input 'x' are the same"),
        (right[:1], None, "input 'x' has only one sample, too few for ranges that hold for others"),
        (right[:3], None, "input 'x' has only 3 different samples"),
        (grey, None, "all samples of input 'x' are grey, although it takes three colours"),
        (interleaved, None, "input 'x' looks like pixels whose colours lie one after the other"),
        (
            right,
            "units=0-1",
            "% of the values of input 'x' lie outside 0 to 1, which it is expected to have",
        ),
        (right / 255, "mean=0,scale=1", "the values of input 'x' use 2 of the 256 levels from 0 to 255"),
        (right / 255, "units=-1-1", ", and lie in one half of -1 to 1, which it is expected to have: they may"),
    ]
    for samples, preprocessing, expected in cases:
        found = [each for each in warnings_of(samples.astype(np.float32), preprocessing) if expected in each]
        assert found, expected
        if preprocessing is not None:
            assert found[0].endswith(". Prepare arrays so, or let --preprocess say how they were prepared")


@pytest.mark.parametrize(("words", "expected"), [("colour=bgr", "swapped"), ("units=0-1", "units=-1-1"), ("", None)])
def test_a_network_is_surest_of_what_it_was_trained_with(
    rng: np.random.Generator, words: str, expected: str | None
) -> None:
    """It tells red pictures, and is sure of it only where colours and units are right."""
    given = Preprocessing.of(f"resize=stretch,{words}")

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        red, green, blue = np.abs(inputs["x"].mean((2, 3))).T
        other = np.exp(-4 * np.maximum(red - 2 * green - 2 * blue, 0))
        return {"y": np.stack([1 / (1 + other), other / (1 + other)], -1)}

    certainty = Certainty("x", run, given)
    for _ in range(20):
        pixels = np.empty((16, 16, 3), np.uint8)
        pixels[..., 0], pixels[..., 1:] = rng.integers(200, 256), rng.integers(120, 136, 2)
        inputs = {"x": given.normalize(pixels, (1, 3, 16, 16), np.dtype("f4"))}
        certainty.observe(inputs, run(inputs))
    found = certainty.warnings()
    assert found == [] if expected is None else expected in found[0]
    if expected is not None:
        # What is proposed is what the network was trained with, and nothing else is changed.
        tried = re.search(r"Try --preprocess (\S+), or prepare arrays so$", found[0])
        assert tried and given.differences(Preprocessing.of(tried[1])) == (
            ["colour"] if "colour" in words else ["mean", "scale"]
        )
        assert Preprocessing.of("resize=stretch").differences(Preprocessing.of(tried[1])) == []


def test_few_samples_tell_although_one_is_hardly_recognised(rng: np.random.Generator) -> None:
    """Of most it is nearly sure, half as much with colours swapped; of one it knows little, less if they are right."""
    doubt = 10 ** rng.uniform(-4, -2, 24)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        red, index, blue = inputs["x"][0, :, 0, 0]
        wrong = doubt[int(index) - 1] * (1 if red > blue else 2)
        if index == 6.5:
            wrong = 0.3 if red > blue else 0.2
        return {"y": np.array([[1 - wrong, wrong]])}

    certainty = Certainty("x", run, None)
    for index in range(24):
        inputs = {"x": np.full((1, 3, 16, 16), index + 1.5, np.float32)}
        inputs["x"][:, 0], inputs["x"][:, 2] = -1, 1
        certainty.observe(inputs, run(inputs))
    (found,) = certainty.warnings()
    assert "of 24 samples the network is surer with the other order" in found
    # Constants, which tell nothing, are told of elsewhere.
    certainty = Certainty("x", lambda inputs: {"y": np.eye(2)[:1]}, None)
    for _ in range(24):
        certainty.observe({"x": np.zeros((1, 3, 16, 16), np.float32)}, {"y": np.array([[0.5, 0.5]])})
    assert certainty.warnings() == []


@pytest.mark.parametrize("error", [0, 2e-5])
@pytest.mark.parametrize(("scale", "expected"), [(1 / 255, "units=-1-1"), (1, "units=-1-1"), (None, "")])
def test_units_of_arrays_are_told_by_their_numbers(
    rng: np.random.Generator, scale: float | None, expected: str, error: float
) -> None:
    """Of many places a network sees something in a few, where pixels are from -1 to 1; pixels that were computed back
    from others in single precision, such as 127.5 * x + 127.5, are as near to whole numbers as the error says."""

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = inputs["x"]
        is_right = np.abs(x).max() <= 1.001 and np.abs(x.mean()) < 0.3
        surely = rng.uniform(0.9, 0.99) if is_right else rng.uniform(0.2, 0.5)
        seen = np.full(100, 0.01)
        seen[:3] = surely
        return {"scores": np.stack([1 - seen, seen], -1)[np.newaxis]}

    certainty = Certainty("x", run, None)
    for _ in range(20):
        pixels = np.rint(rng.uniform(3, 250, (1, 3, 16, 16))).astype(np.float32)
        if scale != 1:
            # Black and white, the ends of the range; without them 256 even steps tell nothing.
            pixels.flat[:2] = 0, 255
        pixels += rng.uniform(-error, error, pixels.shape).astype(np.float32)
        inputs = {"x": pixels * scale if scale is not None else pixels / 127.5 - 1}
        certainty.observe(inputs, run(inputs))
    found = " ".join(certainty.warnings())
    assert expected in found
    assert not found or found.endswith(f"surer with {expected}. Prepare arrays so")
    assert bool(expected) == bool(found)


def test_the_entropy_of_outputs() -> None:
    even, sure = np.full((1, 16), 1 / 16, np.float32), np.eye(16, dtype=np.float32)[:1]
    assert entropy({"y": even}) == pytest.approx(np.log(16), abs=1e-6)
    assert entropy({"y": sure}) == pytest.approx(0, abs=1e-6)
    assert entropy({"y": sure * 100 - 50}) == pytest.approx(0, abs=1e-6)
    assert entropy({"boxes": np.full((1, 9, 4), 3, np.float32), "count": np.array([3])}) is None


def test_images_that_lie_on_their_side_are_told_unless_they_are_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for index in range(2):
        Image.new("RGB", (16, 8)).save(tmp_path / f"{index}.png", exif=exif if index else Image.Exif())
    for orientation, expected in (("exif", []), ("stored", ["1 of 2 images for input 'x' lie on their side or head"])):
        files = open_calibration_set(tmp_path, INPUT, preprocessing={"orientation": orientation})
        fit, found = _noted(files)  # pyright: ignore[reportArgumentType]
        assert [each.partition(" as they")[0] for each in found] == expected
        assert fit == "38% of an image kept (resize=shorter)"


def test_what_is_no_image_is_not_expected_to_have_numbers_of_pixels(rng: np.random.Generator) -> None:
    inputs = INPUT | {"facts": TensorType((1, 5), DType.F32)}
    samples = {name: rng.random((4, *type.shape[1:]), np.float32) * 9 for name, type in inputs.items()}
    for preprocessing in ({"x": "units=0-1"}, "units=0-1"):
        watch = Watch(inputs, 1, open_calibration_set(samples, inputs), preprocessing, 0, 4)
        assert len([*watch.samples]) == 4
        watch.report(findings := Findings())
        assert [each.expected for each in findings.inputs] == [(0, 1), None]


def test_samples_are_counted_and_not_the_rows_of_their_first_dimension(rng: np.random.Generator) -> None:
    steps = {"x": TensorType((20, 1, 4), DType.F32)}
    samples = rng.standard_normal((60, 1, 4)).astype(np.float32)
    watched = Watched(open_calibration_set(samples, steps), steps, {})
    assert sum(1 for _ in watched) == 3
    findings = Findings()
    watched.report(findings)
    assert findings.inputs[0].text.startswith("3 samples, ")


def test_no_number_is_shown_as_minus_zero(rng: np.random.Generator) -> None:
    samples = [{"x": -0.0 * rng.random((1, 3, 8, 8), np.float32)} for _ in range(4)]
    watched = Watched(samples, INPUT, {})
    assert len([*watched]) == 4
    watched.report(findings := Findings())
    assert "-0" not in findings.inputs[0].text


@pytest.mark.parametrize(("words", "is_told"), [("mean=0,std=127.5", True), ("mean=150,std=90", True), ("", False)])
def test_arrays_of_256_even_steps_tell_how_pixels_became_them(words: str, is_told: bool) -> None:
    """Neither from 0 to 1 nor from -1 to 1 nor whole: what was subtracted is told by the steps, if all are there."""
    given = Preprocessing.of(f"resize=stretch,{words}")

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        doubt = 0.01 + 0.2 * min(abs(float(inputs["x"].max()) - 1) + abs(float(inputs["x"].min()) + 1), 2)
        return {"y": np.asarray([[1 - doubt, doubt]])}

    certainty = Certainty("x", run, None)
    for index in range(20):
        pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2) ^ np.uint8(index)
        inputs = {"x": given.normalize(pixels, (1, 3, 16, 16), np.dtype("f4"))}
        certainty.observe(inputs, run(inputs))
    found = certainty.warnings()
    assert ["surer with units=-1-1" in each for each in found] == [True] * is_told


@pytest.mark.parametrize(("gain", "is_told"), [(0.1, True), (1.0, False)])
def test_extreme_outputs_are_no_sign_of_larger_units(rng: np.random.Generator, gain: float, is_told: bool) -> None:
    """What tells classes of pixels up to 255 has doubts of them; what is unsure of smaller ones has none of these."""
    weights = rng.normal(0, gain / math.sqrt(768), (768, 10))
    weights -= weights.mean(0)

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": inputs["x"].reshape(1, -1) @ weights}

    certainty = Certainty("x", run, None)
    for _ in range(20):
        inputs = {"x": rng.uniform(-1, 1, (1, 3, 16, 16))}
        certainty.observe(inputs, run(inputs))
    assert ("surer with units=0-255" in " ".join(certainty.warnings())) == is_told


@pytest.mark.parametrize(("classes", "is_told"), [(10, True), (1, False)])
def test_a_network_that_gives_all_samples_one_class_is_no_judge_of_units(classes: int, is_told: bool) -> None:
    """As random weights do, which are the surer the larger the numbers are."""

    def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        x = inputs["x"]
        scores = np.zeros((1, 10))
        scores[0, x[0, 0].argmax() % classes] = 8 * float(x.max())
        return {"y": scores}

    certainty = Certainty("x", run, None)
    for index in range(20):
        pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2) ^ np.uint8(index)
        inputs = {"x": Preprocessing.of("mean=100,std=300").normalize(pixels, (1, 3, 16, 16), np.dtype("f4"))}
        certainty.observe(inputs, run(inputs))
    assert bool(certainty.warnings()) == is_told


@pytest.mark.parametrize("number", [300.0, float("inf")])
@pytest.mark.filterwarnings("error")
def test_samples_of_one_number_have_no_steps(number: float) -> None:
    outputs = {"y": np.asarray([[0.9, 0.1]])}
    certainty = Certainty("x", lambda inputs: outputs, None)
    inputs = {"x": np.full((1, 3, 16, 16), number, np.float32)}
    inputs["x"][0, 0, 0, 0] = 300
    certainty.observe(inputs, outputs)
    assert certainty.warnings() == []
