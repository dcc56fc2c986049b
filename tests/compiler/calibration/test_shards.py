"""Calibration over shards: what is seen of pieces is exactly what is seen of the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tilewright
from tilewright.compiler.calibration import observation
from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.calibration.ranges import BINS, METHODS, Histogram, make_statistics
from tilewright.compiler.calibration.sample_sets import CalibrationSet, RandomSet, SideBySide, between, files_of
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.cluster.job import Job, as_text, of_text

SCALES = (0.0, 1e-30, 0.25, 0.5, 1.0, 3.0, 64.0)


def pieces(rng: np.random.Generator) -> list[np.ndarray]:
    """Of all magnitudes, zeros, ends of bins, numbers next to zero, and powers of two, which limits are."""
    found = []
    for _ in range(8):
        scale = rng.choice(SCALES)
        values = rng.standard_normal(64) * scale
        values[::7] = rng.choice([-scale, scale, 0.0, -0.0, scale / BINS, -scale / BINS, -1e-22, 1e-22], 10)
        found.append(values.astype(np.float32))
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(8))
def test_statistics_merge_exactly_in_any_grouping_and_order(method: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = pieces(rng)
    whole = make_statistics(method)
    for piece in values:
        whole.observe(piece)
    for _ in range(4):
        order = rng.permutation(len(values))
        merged = make_statistics(method)
        for group in np.array_split(order, rng.integers(1, 6)):
            part = make_statistics(method)
            for index in group:
                part.observe(values[index])
            merged.include(part)
        assert repr(merged.range()) == repr(whole.range())
        if isinstance(merged, Histogram) and isinstance(whole, Histogram):
            np.testing.assert_array_equal(merged.counts, whole.counts)
            assert (merged.limit, merged.zeros) == (whole.limit, whole.zeros)


def test_bins_are_those_of_the_numbers(rng: np.random.Generator) -> None:
    values = np.concatenate(pieces(rng))
    statistics = make_statistics("mse")
    assert isinstance(statistics, Histogram)
    for value in values:
        statistics.observe(value[None])
    edges = np.linspace(-statistics.limit, statistics.limit, BINS + 1)
    expected, _ = np.histogram(values.astype(np.float64), edges)
    np.testing.assert_array_equal(statistics.in_bins(), expected)


def digits() -> dict[str, TensorType]:
    return {"image": TensorType((1, 1, 8, 8), DType.F32)}


def test_pieces_of_samples_are_the_samples(tmp_path: Path, rng: np.random.Generator) -> None:
    for index in range(7):
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(tmp_path / f"{index}.png")
    array = rng.standard_normal((7, 1, 8, 8)).astype(np.float32)
    np.save(tmp_path / "array.npy", array)
    threes = {"image": TensorType((3, 1, 8, 8), DType.F32)}
    images = open_calibration_set(tmp_path, threes)
    stored = open_calibration_set(tmp_path / "array.npy", digits())
    sets: list[CalibrationSet] = [
        images,
        stored,
        open_calibration_set(array, digits()),
        open_calibration_set(list(array), digits()),
        RandomSet(digits(), 7),
        SideBySide((stored, RandomSet({"other": TensorType((2,), DType.F32)}, 7))),
    ]
    for samples in sets:
        whole = list(samples)
        for size in (1, 2, 5):
            found = [
                sample
                for first in range(0, len(samples), size)
                for sample in between(samples, first, min(first + size, len(samples)))
            ]
            assert len(found) == len(whole)
            for one, other in zip(found, whole, strict=True):
                assert one.keys() == other.keys()
                assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    assert len(files_of(images)) == 7
    assert files_of(sets[-1]) == [str(tmp_path / "array.npy")]


def pictures(folder: Path) -> Path:
    folder.mkdir()
    for index, image in enumerate(load_digits().calibration_images[:40]):
        Image.fromarray(image[0] * 15).save(folder / f"{index:02}.png")
    return folder


def compiled(folder: Path, **options: Any) -> bytes:
    """The artifact of the digits network."""
    tilewright.compile(MODEL, output=folder / "digits.twa", **options)
    return (folder / "digits.twa").read_bytes()


@pytest.mark.parametrize("method", ["mse", "percentile", "minmax"])
def test_an_artifact_is_the_same_in_every_byte(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pictures(tmp_path / "pictures")
    options: dict[str, Any] = {
        "calibration": folder,
        "calibration_method": method,
        "preprocessing": {"resize": "stretch", "mean": 0, "scale": 1 / 240},
        "engines": "software",
    }
    sizes = []

    def shares(function: Any, shards: Any, files: Any) -> list[Any]:
        sizes.append(len(shards))
        assert len(files) == 40
        parts = [function(shard) for shard in reversed(shards)]
        return [of_text(as_text(part)) for part in reversed(parts)]

    expected = compiled(tmp_path, **options)
    for size in (1, 7) if method == "mse" else (7,):
        monkeypatch.setattr(observation, "SHARD", size)
        assert compiled(tmp_path, **options, shares=shares) == expected
    assert sizes == ([40, 6] if method == "mse" else [6])


def test_other_processes_calibrate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(observation, "SHARD", 16)
    samples = tmp_path / "samples.npy"
    np.save(samples, load_digits().prepare(load_digits().calibration_images[:40]))
    options: dict[str, Any] = {"calibration": samples, "engines": "software"}
    expected = compiled(tmp_path, **options)
    assert compiled(tmp_path, **options, shares=Job("calibrate", workers=2)) == expected
