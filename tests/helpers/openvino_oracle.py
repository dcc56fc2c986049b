"""Networks built and run by openvino, where it is installed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import openvino_movement_layers as _movement
import pytest
from openvino_layers import MAKERS, Layers

assert _movement.maker
ov: Any = pytest.importorskip("openvino")


def _opset(version: int) -> Any:
    return importlib.import_module(f"openvino.opset{version}")


def _parameter(shape: list[int], dtype: type) -> Any:
    return _opset(1).parameter(shape, np.dtype(dtype))


def layer(name: str, rng: np.random.Generator) -> tuple[Any, list[np.ndarray]]:
    """A network of the layers that a maker makes, and elements for its inputs in order."""
    layers = Layers(rng, _opset, _parameter)
    results = MAKERS[name](layers)
    outputs = [result if isinstance(result, ov.Output) else result.output(0) for result in results]
    return ov.Model(outputs, layers.parameters, name), layers.arrays


def run(model: Any, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """Its outputs in order, computed in single precision; skips the test where openvino has no kernel of this layer for
    the processor at hand, as of some transposed convolutions on one with AVX-512."""
    try:
        compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    except RuntimeError as error:
        if "could not create a primitive descriptor" not in str(error):
            raise
        pytest.skip("openvino has no kernel of this layer for this processor")
    results = compiled(inputs)
    return [np.array(results[output]) for output in compiled.outputs]


def save(model: Any, path: Path, *, half: bool = False) -> Path:
    """Its .xml file, with the .bin file beside it.

    Args:
        half: weights become half precision.
    """
    ov.save_model(model, path, compress_to_fp16=half)
    return path
