"""The demo's network for digits, which reads grey images of 8x8, and images of digits."""

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


class Task(NamedTuple):
    """An artifact, a folder of images, a file of their labels, and the five best classes of each by `run`."""

    artifact: Path
    folder: Path
    labels: Path
    classes: dict[str, list[int]]

    @property
    def words(self) -> list[str]:
        return ["--xclbin", str(self.artifact), "--img_path", str(self.folder)]


def save_images(folder: Path, images: np.ndarray) -> None:
    folder.mkdir()
    for index, image in enumerate(images):
        Image.fromarray(image[0] * PIXEL).save(folder / f"{index}.png")


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    base = tmp_path_factory.mktemp("pynq")
    save_images(base / "samples", DIGITS.calibration_images[:20])
    save_images(base / "images", DIGITS.images[:23])
    preprocessing = {"resize": "stretch", "mean": 0, "scale": float(DIGITS.scale) / PIXEL}
    artifact = base / "digits.twa"
    tilewright.compile(MODEL, output=artifact, calibration=base / "samples", preprocessing=preprocessing)
    (base / "labels.txt").write_text(
        "".join(f"{index}.png {label}\n" for index, label in enumerate(DIGITS.labels[:23]))
    )
    classes = {}
    with tilewright.load(artifact, engine="software") as session:
        for name in os.listdir(base / "images"):
            pixels = np.asarray(Image.open(base / "images" / name), np.float32)
            (scores,) = session.run({"image": (pixels * np.float32(preprocessing["scale"]))[None, None]}).values()
            classes[name] = sorted(range(10), key=lambda each: (-scores[0, each], each))[:5]
    return Task(artifact, base / "images", base / "labels.txt", classes)
