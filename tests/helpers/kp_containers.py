"""Containers of models for the kp API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from compat_programs import picture_model

from tilewright.compiler.containers.container import compile_container
from tilewright.runtime.containers.records import Container

PICTURE_ID = 32769


def picture_samples(count: int = 4, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Inputs of the picture network as KP_NORMALIZE_KNERON makes them."""
    return (np.random.default_rng(0).integers(0, 256, (count, 3, *size)) / 256 - 0.5).astype(np.float32)


def picture_container(folder: Path) -> Container:
    """The network of `picture_model` for a KL520, in the file ``pictures.nef`` of a folder."""
    model = picture_model(folder / "pictures.onnx")
    return compile_container(model, PICTURE_ID, calibration=picture_samples(), output=folder / "pictures.nef")
