"""Programs in the style of the application's own, run as they are: their results are those of `tilewright.load`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from script_runs import COMPAT, run

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.weights import last_layer
from tilewright.runtime.artifact.artifact import Artifact

from .conftest import Task

PROGRAMS = Path(__file__).parents[1] / "programs" / "pynq"


def write_weights(file: Path, integers: np.ndarray) -> Path:
    file.write_text("".join(f"{each}," for each in integers.reshape(-1)) + "\n")
    return file


@pytest.fixture(scope="module")
def weights(task: Task, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return last_layer(Artifact.open(task.artifact), "software").weights


def threaded(task: Task, weights: Path, *words: str, **environment: str) -> tuple[dict[str, list[int]], str, str]:
    """The classes that the program prints, what else it prints, and what it says on stderr."""
    arguments = [*task.words, "--fcweights", weights, "--size", "8", "--labels", task.labels, *words]
    result = run(COMPAT, PROGRAMS / "threaded.py", *arguments, folder=weights.parent, **environment)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    images = [line.split() for line in lines if ".png " in line]
    classes = {name: [*map(int, best)] for name, *best in images}
    assert [*classes] == [*task.classes]
    return classes, "\n".join(line for line in lines if ".png " not in line), result.stderr


@pytest.mark.parametrize("words", [(), ("--max_bs", "5", "--preprocess_workers", "3"), ("--max_bs", "100")])
def test_the_threaded_program(task: Task, weights: np.ndarray, tmp_path: Path, words: tuple[str, ...]) -> None:
    """With a short last batch, with all images in one, and the network's own weights."""
    classes, text, said = threaded(task, write_weights(tmp_path / "weights.csv", weights), *words)
    assert classes == task.classes
    assert said == ""
    labels = dict(line.split() for line in task.labels.read_text().splitlines())
    top1 = sum(int(label) == classes[name][0] for name, label in labels.items()) / len(labels)
    assert f"Top-1 Accuracy: {top1}\n" in text
    assert re.search(r"^Duration for  23  images:  [0-9.]+$", text, re.MULTILINE)
    assert re.search(r"^FPS:  [0-9.]+$", text, re.MULTILINE)


def test_other_weights_are_those_of_the_command(
    task: Task, weights: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_weights(tmp_path / "weights.csv", np.roll(weights, 3, 0))
    classes, _, said = threaded(task, file, "--max_bs", "4")
    assert said == ""
    assert classes != task.classes
    assert main(["classify", *task.words, "--fcweights", str(file)]) == 0
    shown = re.findall(r"(\d+\.png)\s+\[([\d ]+)\]", capsys.readouterr().out)
    assert {name: [*map(int, best.split())] for name, best in shown} == classes


def test_weights_of_another_network_are_left_out(task: Task, weights: np.ndarray, tmp_path: Path) -> None:
    classes, _, said = threaded(task, write_weights(tmp_path / "weights.csv", np.arange(100)))
    assert classes == task.classes
    assert said.count("WeightsWarning") == 1
    what = f"expected {weights.size} for layer 'dense' of 10 outputs"
    assert "the network keeps the weights of its last layer: the buffer of weights is for another network" in said
    assert what.split(" for layer")[0] in said
    assert "int8[100]" in said


def test_the_environment_says_how_images_are_prepared(task: Task, weights: np.ndarray, tmp_path: Path) -> None:
    file = write_weights(tmp_path / "weights.csv", weights)
    classes, _, _ = threaded(task, file, TILEWRIGHT_PREPROCESS="mean=0,scale=-1")
    assert classes != task.classes


def test_a_real_network(data_folder: Path, mobilenet: Path, tmp_path: Path) -> None:
    """Images of 224x224 in blue, green, red, which the artifact wants in red, green, blue and from -1 to 1."""
    folder = tmp_path / "images"
    folder.mkdir()
    for file in sorted((data_folder / "images" / "imagenet500").iterdir())[:10]:
        shutil.copy(file, folder)
    (tmp_path / "weights.csv").write_text("0,")
    words = ["--xclbin", mobilenet, "--img_path", folder, "--fcweights", tmp_path / "weights.csv", "--max_bs", "4"]
    prepared = "mean=127.5,scale=1/127.5"
    result = run(COMPAT, PROGRAMS / "threaded.py", *words, folder=tmp_path, TILEWRIGHT_PREPROCESS=prepared)
    assert result.returncode == 0, result.stderr
    with tilewright.load(mobilenet, engine="software") as session:
        for name, *best in (line.split() for line in result.stdout.splitlines() if ".JPEG " in line):
            picture = Image.open(folder / name).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
            image = (np.asarray(picture, np.float32) - np.float32(127.5)) * np.float32(1 / 127.5)
            (scores,) = session.run({"input": image.transpose(2, 0, 1)[None]}).values()
            order = sorted(range(1000), key=lambda each: (-scores[0, each + 1], each))
            assert [*map(int, best)] == order[:5]
