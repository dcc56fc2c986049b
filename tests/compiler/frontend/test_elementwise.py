"""Import of elementwise and activation nodes: forms that differ between versions of the operator set."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

from tilewright.errors import IRError, ModelError
from tilewright.ir.core import Module
from tilewright.ir.ops.activation import Clip


def floats(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def names(module: Module) -> list[str]:
    return [op.name for op in module.main.ops]


@pytest.mark.parametrize(
    ("op_type", "expected"),
    [("Sum", ["add", "add"]), ("Mean", ["add", "add", "div"]), ("Max", ["max", "max"]), ("Min", ["min", "min"])],
)
def test_variadic_nodes_become_chains(op_type: str, expected: list[str], rng: np.random.Generator) -> None:
    x = floats(rng, (2, 3), (3,), (2, 1))
    assert names(assert_imports_like_onnxruntime(node_model(op_type, x), x)) == expected
    assert names(assert_imports_like_onnxruntime(node_model(op_type, x[:1]), x[:1])) == []


@pytest.mark.parametrize("opset", [7, 10])
def test_old_clip_has_attributes(opset: int, rng: np.random.Generator) -> None:
    x = floats(rng, (4, 5))
    (op,) = import_checked(node_model("Clip", x, opset=opset, min=-0.5)).main.ops
    assert op.operator == Clip(-0.5, math.inf)
    assert_imports_like_onnxruntime(node_model("Clip", x, opset=opset, min=-0.5, max=0.25), x)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize(
    ("low", "high", "constants", "expected"),
    [
        (-0.5, 0.5, (1, 2), ["clip"]),
        (-0.5, None, (1,), ["clip"]),
        (None, 0.5, (2,), ["clip"]),
        (None, None, (), ["clip"]),
        (-0.5, 0.5, (), ["max", "min"]),
        (-0.5, 0.5, (1,), ["max", "min"]),
        (None, 0.5, (), ["min"]),
    ],
)
def test_clip_has_inputs(
    opset: int,
    low: float | None,
    high: float | None,
    constants: tuple[int, ...],
    expected: list[str],
    rng: np.random.Generator,
) -> None:
    x = [*floats(rng, (4, 5)), *(np.array(b, np.float32) if b is not None else None for b in (low, high))]
    module = assert_imports_like_onnxruntime(node_model("Clip", x, opset=opset, constants=constants), x)
    assert names(module) == expected


def test_integer_bounds_that_no_float_holds_stay_exact() -> None:
    x = [np.array([2**60 + 3, -5]), np.array(0), np.array(2**60 + 1)]
    module = assert_imports_like_onnxruntime(node_model("Clip", x, constants=(1, 2)), x)
    assert names(module) == ["max", "min"]


@pytest.mark.parametrize(
    ("op_type", "attributes", "expected"),
    [
        ("Gelu", {}, "gelu"),
        ("Gelu", {"approximate": "tanh"}, "gelu_tanh"),
        ("LeakyRelu", {}, "leaky_relu"),
        ("Elu", {}, "elu"),
        ("Selu", {}, "selu"),
        ("Celu", {}, "celu"),
        ("HardSigmoid", {}, "hard_sigmoid"),
        ("ThresholdedRelu", {}, "thresholded_relu"),
    ],
)
def test_defaults_of_activations(op_type: str, attributes: dict, expected: str, rng: np.random.Generator) -> None:
    x = floats(rng, (4, 5))
    assert names(assert_imports_like_onnxruntime(node_model(op_type, x, **attributes), x)) == [expected]


def test_activations_of_onnxruntime(rng: np.random.Generator) -> None:
    x = floats(rng, (4, 5))
    assert_imports_like_onnxruntime(node_model("Gelu", x, domain="com.microsoft"), x)
    assert_imports_like_onnxruntime(node_model("QuickGelu", x, domain="com.microsoft"), x)
    assert_imports_like_onnxruntime(node_model("QuickGelu", x, domain="com.microsoft", alpha=1.0), x)


def test_swish_of_the_standard(rng: np.random.Generator) -> None:
    x = floats(rng, (4, 5))
    assert names(import_checked(node_model("Swish", x, opset=24))) == ["swish"]
    assert names(import_checked(node_model("Swish", x, opset=24, alpha=2.0))) == ["mul", "sigmoid", "mul"]


def test_integer_division_goes_toward_zero() -> None:
    x = [np.array([7, -7, 7, -7, 6]), np.array([2, 2, -2, -2, 3])]
    assert_imports_like_onnxruntime(node_model("Div", x), x)


@pytest.mark.parametrize("fmod", [0, 1])
def test_remainders(fmod: int) -> None:
    x = [np.array([7, -7, 7, -7, 6]), np.array([2, 2, -2, -2, 3])]
    assert_imports_like_onnxruntime(node_model("Mod", x, fmod=fmod), x)


def test_bad_nodes_are_refused(rng: np.random.Generator) -> None:
    x = floats(rng, (4, 5), (3,))
    with pytest.raises(IRError, match=r"node 'Add_0'.*the shapes do not broadcast.*found \[4, 5\] and \[3\]"):
        import_checked(node_model("Add", x))
    with pytest.raises(ModelError, match=r"node 'Add_0'.*input 1 is missing"):
        import_checked(node_model("Add", x[:1]))
    with pytest.raises(ModelError, match="unknown approximation; expected none or tanh, found best"):
        import_checked(node_model("Gelu", x[:1], approximate="best"))
    with pytest.raises(IRError, match=r"element type is not allowed; expected f16, f32, f64, found i64"):
        import_checked(node_model("Sqrt", [np.array([4])]))
    with pytest.raises(IRError, match="the element types differ; expected f32, found f64"):
        import_checked(node_model("Add", [x[0], x[0].astype(np.float64)]))
