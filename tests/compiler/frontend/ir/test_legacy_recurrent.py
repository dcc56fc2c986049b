"""Recurrent and quantising layers of IR of versions 2 to 7, against onnxruntime and NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from legacy_layer_runs import imported, layer_network, run_layer, run_node

from tilewright.errors import ModelError, UnsupportedError

RNG = np.random.default_rng(17)
BATCH, STEPS, FEATURES, HIDDEN = 2, 3, 4, 5
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ORDERS = {"LSTM": (1, 3, 0, 2), "GRU": (0, 1, 2), "RNN": (0,)}
"""Where the gates of ONNX stand in the IR."""


def parameters(kind: str, *, late: bool = False) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Blobs of a layer, and W, R and B of the node that means the same."""
    gates = GATES[kind]
    both = RNG.standard_normal((gates, HIDDEN, FEATURES + HIDDEN)).astype(np.float32) * np.float32(0.5)
    bias = RNG.standard_normal((gates + late, HIDDEN)).astype(np.float32)
    order = list(ORDERS[kind])
    w, r = (each[order].reshape(1, gates * HIDDEN, -1) for each in (both[..., :FEATURES], both[..., FEATURES:]))
    of_r = np.zeros((gates, HIDDEN), np.float32)
    if late:
        of_r[-1] = bias[-1]
    b = np.concatenate([bias[:gates][order].reshape(-1), of_r.reshape(-1)])[None]
    return {"weights": both, "biases": bias}, [w, r, b]


def states(kind: str) -> list[np.ndarray]:
    return [RNG.standard_normal((BATCH, HIDDEN)).astype(np.float32) for _ in range(2 if kind == "LSTM" else 1)]


def attributes_of(kind: str, **further: object) -> dict[str, object]:
    activations = {"LSTM": "sigmoid,tanh,tanh", "GRU": "sigmoid,tanh", "RNN": "tanh"}[kind]
    return {"hidden_size": HIDDEN, "activations": activations, "clip": 0.0, **further}


def expected(kind: str, x: np.ndarray, given: list[np.ndarray], node: list[np.ndarray], **attributes: Any) -> Any:
    """Of x [steps, batch, features]: the states of all steps, and those at the end."""
    inputs = [x, *node, None, *(each[None] for each in given)]
    outputs = 1 + len(given)
    if not given:
        inputs = inputs[:4]
        outputs = 3 if kind == "LSTM" else 2
    found = run_node(kind, inputs, outputs, hidden_size=HIDDEN, **attributes)
    return [found[0][:, 0], *(each[0] for each in found[1:])]


@pytest.mark.parametrize("kind", GATES)
def test_cells(kind: str) -> None:
    blobs, node = parameters(kind)
    x, given = RNG.standard_normal((BATCH, FEATURES)).astype(np.float32), states(kind)
    wanted = expected(kind, x[None], given, node)[1:]
    shapes = [(BATCH, HIDDEN)] * len(given)
    found = run_layer(f"{kind}Cell", [x, *given], shapes, attributes_of(kind), blobs, version=5)
    for each, other in zip(found if kind == "LSTM" else [found], wanted, strict=True):
        np.testing.assert_allclose(each, other, atol=1e-6)


def test_gru_that_resets_behind_the_product() -> None:
    blobs, node = parameters("GRU", late=True)
    x, given = RNG.standard_normal((BATCH, FEATURES)).astype(np.float32), states("GRU")
    wanted = expected("GRU", x[None], given, node, linear_before_reset=1)[1]
    attributes = attributes_of("GRU", linear_before_reset="true")
    found = run_layer("GRUCell", [x, *given], [(BATCH, HIDDEN)], attributes, blobs, version=5)
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("direction", ["Forward", "Backward"])
@pytest.mark.parametrize("axis", [0, 1])
def test_sequences(kind: str, direction: str, axis: int) -> None:
    blobs, node = parameters(kind)
    x = RNG.standard_normal((STEPS, BATCH, FEATURES)).astype(np.float32)
    given = states(kind) if axis else []
    wanted = expected(kind, x, given, node, direction="forward" if direction == "Forward" else "reverse")
    turned = x.transpose(1, 0, 2).copy() if axis else x
    shape = (BATCH, STEPS, HIDDEN) if axis else (STEPS, BATCH, HIDDEN)
    attributes = attributes_of(kind, direction=direction, axis=axis)
    shapes = [shape, *[(BATCH, HIDDEN)] * (len(wanted) - 1)]
    found = run_layer(f"{kind}Sequence", [turned, *given], shapes, attributes, blobs, version=6)
    np.testing.assert_allclose(found[0], wanted[0].transpose(1, 0, 2) if axis else wanted[0], atol=1e-6)
    for each, other in zip(found[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(each, other, atol=1e-6)


def test_clipped_gates() -> None:
    blobs, _ = parameters("RNN")
    x, (h,) = RNG.standard_normal((BATCH, FEATURES)).astype(np.float32) * 4, states("RNN")
    total = np.concatenate([x, h], 1) @ blobs["weights"][0].T + blobs["biases"][0]
    attributes = attributes_of("RNN", clip="0.5")
    found = run_layer("RNNCell", [x, h], [(BATCH, HIDDEN)], attributes, blobs, version=5)
    np.testing.assert_allclose(found, np.tanh(np.clip(total, -0.5, 0.5)), atol=1e-6)


WRONG: list[tuple[str, dict[str, object], dict[str, np.ndarray], type[Exception], str]] = [
    ("LSTMSequence", {"direction": "Both"}, {}, UnsupportedError, r"direction is not supported; expected forward or"),
    ("LSTMSequence", {"axis": "2"}, {}, ModelError, r"steps in the first or second; found .*axis 2"),
    ("LSTMSequence", {}, {}, ModelError, r"the layer has no 'weights'"),
    (
        "LSTMSequence",
        {"hidden_size": "0"},
        {},
        ModelError,
        r"'hidden_size' is out of range; expected at least 1",
    ),
    (
        "LSTMSequence",
        {},
        {"weights": np.zeros(7, np.float32)},
        ModelError,
        r"weights do not fill their shape; exp",
    ),
    ("LSTMSequence", {"activations": "relu"}, parameters("LSTM")[0], UnsupportedError, r"activations are not sup"),
    ("LSTMCell", {}, {}, ModelError, r"the input must be \[batch, features\]"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}-{case[1]}")
def test_wrong_layers(case: tuple[str, dict[str, object], dict[str, np.ndarray], type[Exception], str]) -> None:
    type, attributes, blobs, error, message = case
    x = np.zeros((BATCH, STEPS, FEATURES), np.float32)
    attributes = {"hidden_size": HIDDEN, **attributes}
    with pytest.raises(error, match=message):
        imported(layer_network(type, [x], [(BATCH, STEPS, HIDDEN)], attributes, blobs, version=6))


@pytest.mark.parametrize("type", ["FakeQuantize", "Quantize"])
@pytest.mark.parametrize("levels", [2, 16, 256])
def test_fake_quantize(type: str, levels: int) -> None:
    x = (RNG.standard_normal((2, 3, 4, 4)) * 2).astype(np.float32)
    ends = [np.array(v, np.float32).reshape(1, -1, 1, 1) for v in ([-1, -2, 0], [1.5, 2, 3], [-1], [2])]
    low, high, out_low, out_high = ends
    part = np.rint((np.clip(x, low, high) - low) / (high - low) * np.float32(levels - 1)) / np.float32(levels - 1)
    wanted = part * (out_high - out_low) + out_low
    found = run_layer(type, [x, *ends], [x.shape], {"levels": levels}, version=7, constants=(1, 2, 3, 4))
    np.testing.assert_allclose(found, wanted, atol=1e-5)
