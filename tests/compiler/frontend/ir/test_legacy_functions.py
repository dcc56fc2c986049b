"""Activations, arithmetic and normalisations of IR of versions 2 to 7, against NumPy and nodes of onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from legacy_layer_runs import imported, layer_network, run_layer, run_node

from tilewright.errors import ModelError, UnsupportedError

RNG = np.random.default_rng(11)
X = (RNG.standard_normal((2, 3, 4, 5)) * 2).astype(np.float32)
Y = (RNG.standard_normal((2, 3, 4, 5)) * 2).astype(np.float32)
SLOPES = np.array([0.5, -0.25, 2], np.float32)
ROWS = SLOPES.reshape(3, 1, 1)

Function = Callable[[np.ndarray], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x > 0, x, alpha * np.expm1(x))


ACTIVATIONS: list[tuple[str, dict[str, object], dict[str, np.ndarray], Function]] = [
    ("ReLU", {}, {}, lambda x: np.maximum(x, 0)),
    ("ReLU", {"negative_slope": "0.125"}, {}, lambda x: np.where(x < 0, x / 8, x)),
    ("relu", {"negative_slope": "0"}, {}, lambda x: np.maximum(x, 0)),
    ("ReLU6", {}, {}, lambda x: np.clip(x, 0, 6)),
    ("Clamp", {"min": "-1", "max": "1.5"}, {}, lambda x: np.clip(x, -1, 1.5)),
    ("ELU", {"alpha": "2"}, {}, lambda x: elu(x, 2)),
    ("ELU", {}, {}, lambda x: elu(x, 1)),
    ("PReLU", {}, {"weights": SLOPES}, lambda x: np.where(x < 0, x * ROWS, x)),
    ("PReLU", {"channel_shared": "1"}, {"weights": SLOPES[:1]}, lambda x: np.where(x < 0, x / 2, x)),
    ("Sigmoid", {}, {}, sigmoid),
    ("TanH", {}, {}, np.tanh),
    ("Exp", {}, {}, np.exp),
    ("Not", {}, {}, lambda x: (np.trunc(x) == 0).astype(np.float32)),
    ("HardSigmoid", {}, {}, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    ("HardSigmoid", {"alpha": "0.5", "beta": "0"}, {}, lambda x: np.clip(0.5 * x, 0, 1)),
    ("Selu", {}, {}, lambda x: 1.0507009873554805 * elu(x, 1.6732632423543772)),
    ("Softplus", {}, {}, lambda x: np.log1p(np.exp(x))),
    ("Softsign", {}, {}, lambda x: x / (1 + np.abs(x))),
    ("Activation", {"type": "relu", "negative_slope": "0.5"}, {}, lambda x: np.where(x < 0, x / 2, x)),
    ("Activation", {"type": "prelu"}, {"weights": SLOPES}, lambda x: np.where(x < 0, x * ROWS, x)),
    ("Activation", {"type": "clamp", "min": "0", "max": "1"}, {}, lambda x: np.clip(x, 0, 1)),
    ("Activation", {"type": "elu", "alpha": "0.5"}, {}, lambda x: elu(x, 0.5)),
    ("Activation", {"type": "sigmoid"}, {}, sigmoid),
    ("Activation", {"type": "TanH"}, {}, np.tanh),
    ("Activation", {"type": "exp"}, {}, np.exp),
]


@pytest.mark.parametrize("case", ACTIVATIONS, ids=lambda case: f"{case[0]}-{case[1]}")
def test_activations(case: tuple[str, dict[str, object], dict[str, np.ndarray], Function]) -> None:
    type, attributes, blobs, function = case
    x = np.trunc(X) if type == "Not" else X
    found = run_layer(type, [x], [x.shape], attributes, blobs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, function(x), atol=1e-6, rtol=1e-6)


FUNCTIONS: dict[str, Function] = {
    "Abs": np.abs,
    "Acos": np.arccos,
    "Acosh": lambda x: np.arccosh(x + 2),
    "Asin": np.arcsin,
    "Asinh": np.arcsinh,
    "Atan": np.arctan,
    "Atanh": np.arctanh,
    "Ceil": np.ceil,
    "Cos": np.cos,
    "Cosh": np.cosh,
    "Floor": np.floor,
    "Log": lambda x: np.log(x + 2),
    "Neg": np.negative,
    "Reciprocal": lambda x: 1 / (x + 2),
    "Sign": np.sign,
    "Sin": np.sin,
    "Sinh": np.sinh,
    "Sqrt": lambda x: np.sqrt(x + 2),
    "Tan": np.tan,
}
SHIFTED = ("Acosh", "Log", "Reciprocal", "Sqrt")


@pytest.mark.parametrize("type", FUNCTIONS)
def test_functions(type: str) -> None:
    x = np.linspace(-0.9, 0.9, 24, dtype=np.float32).reshape(2, 3, 4)
    found = run_layer(type, [x + np.float32(2) if type in SHIFTED else x], [x.shape], version=6)
    np.testing.assert_allclose(found, FUNCTIONS[type](x), atol=1e-6, rtol=2e-6)


def test_error_function() -> None:
    np.testing.assert_allclose(run_layer("Erf", [X], [X.shape], version=6), run_node("Erf", [X]), atol=1e-6)


Operation = Callable[[np.ndarray, np.ndarray], np.ndarray]

OPERATIONS: dict[str, Operation] = {
    "sum": np.add,
    "mul": np.multiply,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "sub": np.subtract,
    "div": np.divide,
    "squared_diff": lambda x, y: np.square(x - y),
    "pow": np.power,
    "floor_mod": np.mod,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
}


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 3, 1, 1)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_operations(operation: str, shape: tuple[int, ...]) -> None:
    x, y = X, Y[: shape[0], :, : shape[2], : shape[3]]
    if operation == "pow":
        x = np.abs(x)
    elif operation.startswith(("logical", "equal", "not", "less", "greater")):
        x, y = np.trunc(x), np.trunc(y)
    found = run_layer("Eltwise", [x, y], [X.shape], {"operation": operation}, version=5)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, OPERATIONS[operation](x, y).astype(np.float32), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", ["BOOL", "U8", "I32"])
def test_comparisons_give_what_the_file_says(precision: str) -> None:
    found = run_layer("Eltwise", [X, Y], [X.shape], {"operation": "less"}, version=6, precision=precision)
    assert found.dtype == {"BOOL": np.bool_, "U8": np.uint8, "I32": np.int32}[precision]
    np.testing.assert_array_equal(found, (X < Y).astype(found.dtype))


def test_operations_on_integers() -> None:
    x, y = np.arange(-6, 6, dtype=np.int32), np.array([4, -5, 3] * 4, np.int32)
    found = run_layer("Eltwise", [x, y], [x.shape], {"operation": "floor_mod"}, version=6, precision="I32")
    np.testing.assert_array_equal(found, np.mod(x, y))


def test_sums_of_several_inputs() -> None:
    parts = [X, Y, X * Y]
    expected = 0.5 * X - 2 * Y + parts[2]
    found = run_layer("Eltwise", parts, [X.shape], {"operation": "sum", "coeff": "0.5,-2,1"})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    found = run_layer("Eltwise", parts, [X.shape], {"coeff": ""})
    np.testing.assert_allclose(found, X + Y + parts[2], atol=1e-5)
    found = run_layer("Eltwise", parts, [X.shape], {"operation": "max"})
    np.testing.assert_array_equal(found, np.maximum(np.maximum(X, Y), parts[2]))


def test_power() -> None:
    attributes = {"power": "3", "scale": "0.5", "shift": "-1"}
    np.testing.assert_allclose(run_layer("Power", [X], [X.shape], attributes), (0.5 * X - 1) ** 3, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(run_layer("Power", [X], [X.shape]), X)


def test_select() -> None:
    condition = (X > 0).astype(np.uint8)
    np.testing.assert_array_equal(run_layer("Select", [condition, X, Y], [X.shape], version=7), np.where(X > 0, X, Y))


def channel_norm(x: np.ndarray, axes: tuple[int, ...], *, scaled: bool) -> np.ndarray:
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axes, keepdims=True) + 1e-9) if scaled else centred


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_mean_and_variance(across: bool, scaled: bool) -> None:
    attributes = {"across_channels": int(across), "normalize_variance": int(scaled)}
    expected = channel_norm(X.astype(np.float64), (1, 2, 3) if across else (2, 3), scaled=scaled)
    np.testing.assert_allclose(run_layer("MVN", [X], [X.shape], attributes), expected, atol=1e-5)
    nothing = X[:, :0]
    assert run_layer("MVN", [nothing], [nothing.shape], attributes).shape == nothing.shape


def test_response_across_channels() -> None:
    x = np.abs(RNG.standard_normal((1, 7, 3, 4))).astype(np.float32)
    expected = run_node("LRN", [x], size=3, alpha=0.5, beta=0.75, bias=2.0)
    attributes = {"local-size": 3, "alpha": 0.5, "beta": 0.75, "k": 2, "region": "across"}
    np.testing.assert_allclose(run_layer("Norm", [x], [x.shape], attributes, version=2), expected, atol=1e-6)
    attributes["local_size"] = attributes.pop("local-size")
    np.testing.assert_allclose(run_layer("LRN", [x], [x.shape], attributes), expected, atol=1e-6)


def test_response_within_channels() -> None:
    padded = np.pad(np.square(X.astype(np.float64)), ((0, 0), (0, 0), (1, 1), (1, 1)))
    total = sum(padded[:, :, r : r + 4, c : c + 5] for r in range(3) for c in range(3))
    expected = X / (1 + 0.5 / 9 * total) ** 0.75
    attributes = {"local-size": 3, "alpha": 0.5, "beta": 0.75, "region": "same"}
    np.testing.assert_allclose(run_layer("Norm", [X], [X.shape], attributes), expected, atol=1e-6)


def test_grn() -> None:
    expected = X / np.sqrt(0.5 + np.square(X).sum(1, keepdims=True))
    np.testing.assert_allclose(run_layer("GRN", [X], [X.shape], {"bias": "0.5"}), expected, atol=1e-6)


def test_batch_normalization() -> None:
    variance, mean = np.array([0.5, 2, 1], np.float32), np.array([1, -1, 0.25], np.float32)
    expected = (X - mean.reshape(3, 1, 1)) / np.sqrt(variance.reshape(3, 1, 1) + 0.125)
    blobs = {"weights": variance, "biases": mean}
    found = run_layer("BatchNormalization", [X], [X.shape], {"epsilon": "0.125"}, blobs, version=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_scale_shift() -> None:
    shift = np.array([1, 2, -3], np.float32)
    found = run_layer("ScaleShift", [X], [X.shape], {"broadcast": 0}, {"weights": SLOPES, "biases": shift}, version=2)
    np.testing.assert_allclose(found, X * ROWS + shift.reshape(3, 1, 1), atol=1e-6)
    found = run_layer("ScaleShift", [X], [X.shape], None, {"biases": shift})
    np.testing.assert_allclose(found, X + shift.reshape(3, 1, 1), atol=1e-6)
    found = run_layer("ScaleShift", [X], [X.shape], None, {"weights": SLOPES[:1], "biases": shift[:1]})
    np.testing.assert_allclose(found, X * 0.5 + 1, atol=1e-6)
    matrix = X[:, :, 0, 0]
    found = run_layer("ScaleShift", [matrix], [matrix.shape], None, {"weights": SLOPES, "biases": shift})
    np.testing.assert_allclose(found, matrix * SLOPES + shift, atol=1e-6)


@pytest.mark.parametrize("type", ["SoftMax", "LogSoftmax"])
@pytest.mark.parametrize("attributes", [{}, {"axis": "2"}, {"axis": "-1"}])
def test_softmax(type: str, attributes: dict[str, object]) -> None:
    axis = int(str(attributes.get("axis", 1)))
    expected = run_node("Softmax" if type == "SoftMax" else "LogSoftmax", [X], axis=axis)
    np.testing.assert_allclose(run_layer(type, [X], [X.shape], attributes), expected, atol=1e-6)


@pytest.mark.parametrize("type", ["FullyConnected", "InnerProduct"])
def test_fully_connected(type: str) -> None:
    w, b = RNG.standard_normal((4, 60)).astype(np.float32), RNG.standard_normal(4).astype(np.float32)
    found = run_layer(type, [X], [(2, 4)], {"out-size": "4"}, {"weights": w, "biases": b})
    np.testing.assert_allclose(found, X.reshape(2, 60) @ w.T + b, atol=1e-5)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_gemm(transposed: bool, batch: tuple[int, ...]) -> None:
    a, b, c = (RNG.standard_normal((*batch, *shape)).astype(np.float32) for shape in ((4, 5), (5, 3), (4, 3)))
    attributes = {"alpha": "0.5", "beta": "2", "transpose_a": int(transposed), "transpose_b": int(transposed)}
    left, right = (np.swapaxes(each, -1, -2).copy() if transposed else each for each in (a, b))
    found = run_layer("Gemm", [left, right, c], [c.shape], attributes, version=6)
    np.testing.assert_allclose(found, 0.5 * (a @ b) + 2 * c, atol=1e-5)


WRONG: list[tuple[str, list[np.ndarray], dict[str, object], dict[str, np.ndarray], type[Exception], str]] = [
    ("Activation", [X], {"type": "swish"}, {}, UnsupportedError, r"activation is not supported; expected clamp, elu"),
    ("Activation", [X], {}, {}, ModelError, r"attribute 'type' is missing"),
    ("Clamp", [X], {"min": "0"}, {}, ModelError, r"attribute 'max' is missing"),
    ("Clamp", [X], {"min": "0", "max": "six"}, {}, ModelError, r"'max' is no list of numbers; found 'six'"),
    ("PReLU", [X], {}, {"weights": SLOPES[:2]}, ModelError, r"the weights do not fill their shape; expected 3 for"),
    ("Eltwise", [X, Y], {"operation": "xor"}, {}, UnsupportedError, r"operation is not supported; expected div, equal"),
    ("Eltwise", [X, Y], {"coeff": "1,2,3"}, {}, ModelError, r"each input needs a coefficient; expected 2, found 3"),
    ("Eltwise", [X], {}, {}, ModelError, r"there is nothing to combine; expected at least 2 inputs, found 1"),
    ("ScaleShift", [X], {}, {}, ModelError, r"the layer has neither 'weights' nor 'biases'"),
    (
        "ScaleShift",
        [X],
        {},
        {"weights": SLOPES[:2]},
        ModelError,
        r"the weights do not fill their shape; expected 3 for",
    ),
    ("BatchNormalization", [X], {}, {"weights": SLOPES}, ModelError, r"the layer has no 'biases'; expected biases"),
    ("Norm", [X], {"region": "all"}, {}, ModelError, r"unknown region; expected across, same or within, found 'all'"),
    (
        "Norm",
        [X],
        {"local-size": "0"},
        {},
        ModelError,
        r"size must be at least 1; found 0",
    ),
    ("SoftMax", [X], {"axis": "4"}, {}, ModelError, r"the axis is out of range; expected -4 to 3, found 4"),
    ("FullyConnected", [X], {}, {}, ModelError, r"attribute 'out-size' is missing"),
    ("FullyConnected", [X], {"out-size": "4"}, {"weights": SLOPES}, ModelError, r"fill their shape; expected 240 for"),
    ("Sigmoid", [], {}, {}, ModelError, r"input 0 is missing"),
    (
        "TensorIterator",
        [X],
        {},
        {},
        UnsupportedError,
        r"'y': layer type 'TensorIterator' \(IR version 3\) is",
    ),
    ("Sorcery", [X], {}, {}, UnsupportedError, r"node 'y': layer type 'Sorcery' \(IR version 3\) is not supported"),
]


@pytest.mark.parametrize("case", WRONG, ids=lambda case: f"{case[0]}-{case[2]}")
def test_wrong_layers(case: tuple[str, list[np.ndarray], dict[str, object], dict[str, np.ndarray], Any, str]) -> None:
    type, inputs, attributes, blobs, error, message = case
    with pytest.raises(error, match=message):
        imported(layer_network(type, inputs, [X.shape], attributes, blobs))
