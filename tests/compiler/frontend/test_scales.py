"""Scales and zero points that mean nothing are refused as the model is read, with node and value."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
from network_files import graph_model
from onnx import NodeProto, TensorProto, helper

import tilewright
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import ModelError, UnsupportedError
from tilewright.ir import interp

MICROSOFT = "com.microsoft"
STANDARD = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul")
U8, I8 = TensorProto.UINT8, TensorProto.INT8

NODES: dict[str, tuple[NodeProto, int]] = {
    "QuantizeLinear": (helper.make_node("QuantizeLinear", ["x", "bad", "z"], ["y"]), TensorProto.FLOAT),
    "DequantizeLinear": (helper.make_node("DequantizeLinear", ["x", "bad", "z"], ["y"]), U8),
    "QLinearConv, x": (helper.make_node("QLinearConv", ["x", "bad", "z", "w", "s", "z", "s", "z"], ["y"]), U8),
    "QLinearConv, w": (helper.make_node("QLinearConv", ["x", "s", "z", "w", "bad", "z", "s", "z"], ["y"]), U8),
    "QLinearConv, y": (helper.make_node("QLinearConv", ["x", "s", "z", "w", "s", "z", "bad", "z"], ["y"]), U8),
    "QLinearMatMul": (helper.make_node("QLinearMatMul", ["x", "s", "z", "x", "bad", "z", "s", "z"], ["y"]), U8),
    "QLinearAdd, a": (helper.make_node("QLinearAdd", ["x", "bad", "z", "x", "s", "z", "s", "z"], ["y"]), U8),
    "QLinearMul, y": (helper.make_node("QLinearMul", ["x", "s", "z", "x", "s", "z", "bad", "z"], ["y"]), U8),
    "QLinearSigmoid": (helper.make_node("QLinearSigmoid", ["x", "s", "z", "bad", "z"], ["y"]), U8),
    "QLinearConcat": (helper.make_node("QLinearConcat", ["bad", "z", "x", "s", "z"], ["y"], axis=1), U8),
    "QLinearSoftmax": (helper.make_node("QLinearSoftmax", ["x", "s", "z", "bad", "z"], ["y"]), U8),
    "QLinearGlobalAveragePool": (helper.make_node("QLinearGlobalAveragePool", ["x", "bad", "z", "s", "z"], ["y"]), U8),
    "QGemm": (helper.make_node("QGemm", ["m", "s", "z", "m", "bad", "z", "", "s", "z"], ["y"]), U8),
}


def model_of(name: str, **constants: np.ndarray) -> onnx.ModelProto:
    node, code = NODES[name]
    node.name = "q"
    node.domain = "" if node.op_type in STANDARD else MICROSOFT
    arrays = {
        "s": np.array(0.5, np.float32),
        "z": np.array(3, np.uint8),
        "w": np.ones((2, 2, 1, 1), np.uint8),
        "m": np.ones((2, 2), np.uint8),
        **constants,
    }
    return graph_model([node], [("x", code, [1, 2, 4, 4])], initializers=arrays, domains=[MICROSOFT])


@pytest.mark.parametrize("scale", [math.nan, 0.0, -1.0, math.inf, -math.inf, -0.0])
@pytest.mark.parametrize("name", NODES)
def test_scales_that_are_not_positive_and_finite(name: str, scale: float) -> None:
    model = model_of(name, bad=np.array(scale, np.float32))
    with pytest.raises(ModelError) as caught:
        tilewright.compile(model.SerializeToString())
    operator = name.split(",")[0]
    assert str(caught.value) == f"import: {operator}: node 'q': scale 'bad' is not positive and finite; found {scale}"


@pytest.mark.parametrize("name", NODES)
@pytest.mark.filterwarnings("error")
def test_the_smallest_and_the_largest_scale(name: str) -> None:
    for scale in (np.float32(1e-45), np.finfo(np.float32).max):
        import_onnx(model_of(name, bad=np.array(scale)))


def test_one_scale_among_many() -> None:
    node = helper.make_node("DequantizeLinear", ["x", "bad"], ["y"], name="d", axis=1)
    scales = {"bad": np.array([1, 0.5, 0, np.nan], np.float32)}
    with pytest.raises(ModelError) as caught:
        import_onnx(graph_model([node], [("x", I8, [1, 4])], initializers=scales))
    assert str(caught.value) == (
        "import: DequantizeLinear: node 'd': scale 'bad' is not positive and finite; found 0.0 for channel 2"
    )


def test_scales_of_weights_may_have_signs() -> None:
    """As NNCF writes them, where the integers have no counterpart of -128."""
    weights, scales = np.array([[-128, 5, 7], [3, -128, 127]], np.int8), np.array([-0.5, 0.25, -2], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["real"], axis=-1),
        helper.make_node("MatMul", ["x", "real"], ["y"]),
    ]
    x = np.array([[1, 2]], np.float32)
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 2])], initializers={"w": weights, "s": scales})
    (found,) = interp.run(import_onnx(model), {"x": x}).values()
    np.testing.assert_array_equal(found, x @ (weights * scales))
    scales[1] = np.inf
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 2])], initializers={"w": weights, "s": scales})
    with pytest.raises(ModelError, match=r"scale 's' is not positive and finite; found -0\.5 for channel 0"):
        import_onnx(model)


def test_a_scale_that_float32_does_not_hold() -> None:
    nodes = [helper.make_node("QuantizeLinear", ["x", "bad"], ["y"], name="q")]
    for scale in (1e-60, 1e60):
        model = graph_model(nodes, [("x", TensorProto.DOUBLE, [2])], initializers={"bad": np.array(scale)})
        with pytest.raises(
            ModelError, match=f"scale 'bad' is not positive and finite; found {scale}".replace("+", r"\+")
        ):
            import_onnx(model)


@pytest.mark.parametrize("name", [name for name in NODES if name not in ("QuantizeLinear", "QLinearConv, y")])
def test_zero_points_of_another_type(name: str) -> None:
    """Such a zero point may be none of the integers: -1 of u8, 200 of i8."""
    model = model_of(name, bad=np.array(0.5, np.float32), other=np.array(-1, np.int8))
    names = model.graph.node[0].input
    names[list(names).index("bad") + 1] = "other"
    with pytest.raises(UnsupportedError) as caught:
        import_onnx(model)
    assert str(caught.value) == (
        f"import: {name.split(',')[0]}: node 'q': zero point 'other' is of another type than the integers; "
        "expected u8, found i8"
    )
