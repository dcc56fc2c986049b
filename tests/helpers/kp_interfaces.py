"""What networks with an interface of integers compute, on each engine and by what they were made of."""

from __future__ import annotations

import numpy as np

import tilewright
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.containers.records import ContainedModel


def runs(model: ContainedModel, seed: int = 0) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
    """Random integers, and what each engine makes of them."""
    artifact = Artifact.open(model.artifact)
    node = model.inputs[0]
    image = np.random.default_rng(seed).integers(-128, 128, node.shape).astype(np.int8)
    found = {}
    for engine in ("device", "software", "float"):
        with tilewright.load(artifact, engine=engine) as session:
            found[engine] = session.run({node.name: image})
    return image, found


def check_engines(
    model: ContainedModel, tolerance: int = 3, spread: int = 20
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Device and processor agree in every byte, and floating point is near; the input and the outputs.

    Args:
        spread: how far the integers of an output must lie apart for that to mean something.
    """
    image, found = runs(model)
    for node in model.outputs:
        device, software, real = (found[engine][node.name] for engine in ("device", "software", "float"))
        assert device.dtype == np.int8
        assert device.shape == node.shape
        assert np.array_equal(device, software)
        assert np.abs(real.astype(int) - device).max() <= tolerance
        assert np.ptp(device.astype(int)) >= spread
    return image, found["software"]


def real(fixed: np.ndarray, model: ContainedModel, index: int = 0) -> np.ndarray:
    """What the integers of an output stand for."""
    node = model.outputs[index]
    return fixed / (node.scale * 2.0**node.radix)


def expected_integers(values: np.ndarray, model: ContainedModel, index: int = 0) -> np.ndarray:
    """What real outputs are as integers, in single precision as quantising is."""
    node = model.outputs[index]
    step = np.float32(1 / (np.float64(node.scale) * 2.0**node.radix))
    return np.clip(np.rint(values.astype(np.float32) / step), -128, 127).astype(np.int8).reshape(node.shape)
