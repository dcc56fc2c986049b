"""The option accuracy: Winograd's algorithm by default, sums of products alone when asked for."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_nodes import node_model

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.weights import Parameters, layers_of, with_parameters
from tilewright.ir.ops.convolution import Conv
from tilewright.runtime.artifact.artifact import Artifact


def compiled(x: np.ndarray, w: np.ndarray, accuracy: str) -> Artifact:
    model = node_model("Conv", [x, w], constants=[1], pads=[1, 1, 1, 1])
    return compile_to_memory(model.SerializeToString(), CompileOptions(precision="fp32", accuracy=accuracy))


def run(artifact: Artifact, x: np.ndarray) -> np.ndarray:
    with tilewright.load(artifact) as session:
        (y,) = session.run({session.inputs[0].name: x}).values()
        return np.array(y)


@pytest.fixture
def arrays(rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    x = rng.standard_normal((1, 24, 36, 36)).astype(np.float32)
    return x, *(rng.standard_normal((40, 24, 3, 3)).astype(np.float32) for _ in range(2))


def test_both_are_close_and_exact_is_closer(arrays: tuple[np.ndarray, ...]) -> None:
    x, w, _ = arrays
    operator = Conv((1, 1), (1, 1, 1, 1), (1, 1))
    y = operator.reference(x.astype(np.float64), w.astype(np.float64), None, None)
    normal, exact = (np.abs(run(compiled(x, w, accuracy), x) - y).max() for accuracy in ("normal", "exact"))
    assert exact < normal < 1e-5 * np.abs(y).max()


def test_other_weights_go_into_transformed_ones(arrays: tuple[np.ndarray, ...]) -> None:
    x, w, others = arrays
    artifact = compiled(x, w, "normal")
    (layer,) = layers_of(artifact, "float")
    np.testing.assert_array_equal(layer.weights, w)
    again = with_parameters(artifact, "float", {layer.name: Parameters(others)})
    assert run(again, x).tobytes() == run(compiled(x, others, "normal"), x).tobytes()
