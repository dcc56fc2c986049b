"""The demo's network for digits, calibrated with images, and images of digits to classify."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

import tilewright
from tilewright.compiler.demo import MODEL, load_digits

DIGITS = load_digits()
PIXEL = 15
"""What a pixel of 0 to 16 is multiplied with in the files."""

PREPROCESSING = {"resize": "stretch", "mean": 0, "scale": float(DIGITS.scale) / PIXEL}


class Task(NamedTuple):
    """Files and what is known of them.

    Attributes:
        labels: the digit that each file of the folder shows.
    """

    artifact: Path
    folder: Path
    labels: dict[str, int]

    @property
    def words(self) -> list[str]:
        return ["classify", "--xclbin", str(self.artifact), "--img_path", str(self.folder)]


def save_images(folder: Path, images: np.ndarray) -> None:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image[0] * PIXEL).save(folder / f"{index}.png")


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    base = tmp_path_factory.mktemp("classify")
    save_images(base / "samples", DIGITS.calibration_images[:20])
    tilewright.compile(
        MODEL,
        output=base / "digits.twa",
        engines="device,software,float",
        calibration=base / "samples",
        preprocessing=PREPROCESSING,
    )
    save_images(base / "images", DIGITS.images[:23])
    labels = {f"{index}.png": int(label) for index, label in enumerate(DIGITS.labels[:23])}
    (base / "labels.txt").write_text("".join(f"{name} {label}\n" for name, label in labels.items()))
    return Task(base / "digits.twa", base / "images", labels)


@pytest.fixture(scope="session")
def expected(task: Task) -> list[tuple[str, list[int]]]:
    """The path of each image in the order of the folder, and its five best classes by `run`."""
    found = []
    with tilewright.load(task.artifact, engine="software") as session:
        for name in os.listdir(task.folder):
            pixels = np.asarray(Image.open(task.folder / name), np.float32)
            image = (pixels * np.float32(PREPROCESSING["scale"]))[None, None]
            (scores,) = session.run({"image": image}).values()
            order = sorted(range(10), key=lambda index: (-scores[0, index], index))
            found.append((os.path.join(task.folder, name), order[:5]))
    return found
