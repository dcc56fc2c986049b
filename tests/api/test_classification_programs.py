"""The classification application: programs over ``pynq`` and ``tilewright classify``, latency and throughput settings.

Predictions must be the five best outputs of `tilewright.load` on the same pixels, whatever the batch.
"""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from compat_programs import Programs, draw_pictures, lay_out, outputs_of, picture_model
from PIL import Image

import tilewright

BYTES = {"resize": "stretch", "colour": "bgr", "mean": 0, "scale": 1}
"""Pixels as ResNet50-PYNQ has them: blue, green, red, from 0 to 255."""

PICTURES = 7


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_pictures(tmp_path_factory.mktemp("pictures") / "images", PICTURES, (250, 230))[0].parent


def compiled(folder: Path, pictures: Path, classes: int) -> Path:
    model = picture_model(folder / "network.onnx", size=(224, 224), classes=classes, stride=8)
    artifact = folder / "network.twa"
    tilewright.compile(model, output=artifact, calibration=pictures, preprocessing=BYTES)
    return artifact


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    return compiled(tmp_path_factory.mktemp("artifact"), pictures, 1000)


@pytest.fixture(scope="module")
def predictions(artifact: Path, pictures: Path) -> dict[str, list[int]]:
    return best_five(artifact, pictures)


def best_five(artifact: Path, pictures: Path, offset: int = 0) -> dict[str, list[int]]:
    found = {}
    with tilewright.load(artifact, engine="software") as session:
        for file in sorted(pictures.iterdir()):
            with Image.open(file) as picture:
                pixels = np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
            image = np.ascontiguousarray(pixels[:, :, ::-1].transpose(2, 0, 1), np.float32)
            scores = outputs_of(session, image)[0].ravel()[offset:]
            found[file.name] = [int(each) for each in np.argsort(-scores, kind="stable")[:5]]
    return found


@pytest.fixture(scope="module")
def weights(artifact: Path) -> Path:
    """The integers of the last layer, as the compiler makes them, with a comma at the end."""
    initializers = onnx.load(artifact.with_name("network.onnx")).graph.initializer
    (values,) = (onnx.numpy_helper.to_array(each) for each in initializers if each.name == "w3")
    rows = values.reshape(len(values), -1)
    integers = np.rint(rows / (np.abs(rows).max(axis=1, keepdims=True) / np.float32(127))).astype(int)
    file = artifact.with_name("fcweights.csv")
    file.write_text(",".join(map(str, integers.ravel())) + ",")
    return file


@pytest.fixture(scope="module")
def labels(artifact: Path, predictions: dict[str, list[int]]) -> Path:
    """The first three pictures are right, the fourth is among the best five, the rest are wrong or have no label."""
    places = [0, 0, 0, 3]
    lines = [f"{name} {best[place]}" for (name, best), place in zip(predictions.items(), places, strict=False)]
    wrong = list(predictions)[4]
    absent = next(label for label in range(1000) if label not in predictions[wrong])
    file = artifact.with_name("labels.txt")
    file.write_text("\n".join([*lines, f"{wrong} {absent}", "elsewhere.jpg 3"]) + "\n")
    return file


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return lay_out("classification", tmp_path)


def predictions_of(table: Path) -> dict[str, list[int]]:
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row[""] for row in rows] == [str(index) for index in range(len(rows))]
    return {Path(row["File Name"]).name: [int(each) for each in re.findall(r"\d+", row["Prediction"])] for row in rows}


@pytest.mark.parametrize(("batch", "workers"), [(1, 4), (3, 2), (100, 16)])
def test_threaded_classification(
    batch: int,
    workers: int,
    programs: Programs,
    artifact: Path,
    weights: Path,
    labels: Path,
    pictures: Path,
    predictions: dict[str, list[int]],
    tmp_path: Path,
) -> None:
    options = ("--xclbin", artifact, "--fcweights", weights, "--img_path", pictures, "--labels", labels)
    more = ("--max_bs", batch, "--preprocess_workers", workers, "--outfile", tmp_path / "table.csv")
    shown = programs.run("threaded_classification.py", *options, *more)
    assert predictions_of(tmp_path / "table.csv") == predictions
    assert f"Duration for  {PICTURES}  images: " in shown
    assert "Top-1 Accuracy: 0.6\n" in shown
    assert "Top-5 Accuracy: 0.8\n" in shown


@pytest.mark.parametrize("batch", [1, 100])
def test_synthetic_benchmark(batch: int, programs: Programs, artifact: Path, weights: Path) -> None:
    options = ("--xclbin", artifact, "--fcweights", weights, "--bs", batch, "--reps", 300 // batch)
    shown = programs.run("synthetic_benchmark.py", *options)
    for title in ("Throughput: ", "Latency: ", "FPGA power: ", "Board power: "):
        (line,) = (line for line in shown.splitlines() if line.startswith(title))
        assert float(line.split()[-2]) > 0, line


def classify(*words: object, status: int = 0) -> str:
    command = [sys.executable, "-m", "tilewright", "classify", *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == status, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.parametrize(("batch", "workers"), [(1, 4), (100, 16)])
def test_the_application(
    batch: int,
    workers: int,
    artifact: Path,
    weights: Path,
    labels: Path,
    pictures: Path,
    predictions: dict[str, list[int]],
    tmp_path: Path,
) -> None:
    options = ("--xclbin", artifact, "--fcweights", weights, "--img_path", pictures, "--labels", labels, "--profile")
    more = ("--max_bs", batch, "--preprocess_workers", workers, "--outfile", tmp_path / "table.csv")
    shown = classify(*options, *more)
    assert predictions_of(tmp_path / "table.csv") == predictions
    assert f"Duration for  {PICTURES}  images:  " in shown
    assert re.search(r"^FPS:  [0-9.]+$", shown, re.MULTILINE)
    assert "Top-1 Accuracy: 0.6\n" in shown
    assert "Top-5 Accuracy: 0.8\n" in shown
    header = (tmp_path / "table.csv").read_text().splitlines()[0].split(",")
    assert len(header) == 3 + 7 + 6


def test_a_background_class_is_left_out(pictures: Path, tmp_path: Path) -> None:
    artifact = compiled(tmp_path, pictures, 1001)
    shown = classify("--xclbin", artifact, "--img_path", pictures, "--outfile", tmp_path / "table.csv")
    assert "background" in shown
    assert predictions_of(tmp_path / "table.csv") == best_five(artifact, pictures, offset=1)
    classify("--xclbin", artifact, "--img_path", pictures, "--outfile", tmp_path / "all.csv", "--label-offset", 0)
    assert predictions_of(tmp_path / "all.csv") == best_five(artifact, pictures)
