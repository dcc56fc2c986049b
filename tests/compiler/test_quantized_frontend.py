"""Quantised models as other tools write them: single scales with any axis, onnxruntime's own operators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest

from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.ir import interp
from tilewright.passes.quantization.import_quantization import ImportQuantization

MICROSOFT = "com.microsoft"


def model_of(nodes: list[onnx.NodeProto], x: np.ndarray, constants: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A model from input ``x`` to output ``y``."""
    element = onnx.helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", element, x.shape)],
        [onnx.helper.make_tensor_value_info("y", element, None)],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(MICROSOFT, 1)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9)


def check(model: onnx.ModelProto, x: np.ndarray) -> list[str]:
    """Compare with onnxruntime, before and after the quantisation is recognised; the names of the ops left."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = map(np.asarray, session.run(None, {"x": x}))
    module = import_onnx(model)
    np.testing.assert_array_equal(interp.run(module, {"x": x})["y"], expected)
    ImportQuantization().run(module)
    np.testing.assert_array_equal(interp.run(module, {"x": x})["y"], expected)
    return [op.name for op in module.ops]


def every_integer(dtype: type, *shape: int) -> np.ndarray:
    limits = np.iinfo(dtype)
    return np.resize(np.arange(limits.min, limits.max + 1), shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_concat_of_integers(dtype: type) -> None:
    x = every_integer(dtype, 2, 3, 64)
    constants = {
        "ys": np.float32(0.07),
        "yz": dtype(11),
        "as": np.float32(0.05),
        "az": dtype(100),
        "b": every_integer(dtype, 2, 2, 64),
        "bs": np.float32(0.11),
        "bz": dtype(0),
    }
    node = onnx.helper.make_node(
        "QLinearConcat", ["ys", "yz", "x", "as", "az", "b", "bs", "bz"], ["y"], domain=MICROSOFT, axis=1
    )
    model = model_of([node], x, {name: np.asarray(array) for name, array in constants.items()})
    assert check(model, x) == ["requantize", "concat"]


def test_softmax_of_integers_stays_real() -> None:
    x = every_integer(np.int8, 16, 16)
    constants = {"xs": np.float32(0.05), "xz": np.int8(3), "ys": np.float32(1 / 256), "yz": np.int8(-128)}
    node = onnx.helper.make_node(
        "QLinearSoftmax", ["x", "xs", "xz", "ys", "yz"], ["y"], domain=MICROSOFT, axis=-1, opset=13
    )
    module = import_onnx(model_of([node], x, {name: np.asarray(array) for name, array in constants.items()}))
    ImportQuantization().run(module)
    assert [op.name for op in module.ops] == ["dequantize", "softmax", "quantize"]


def test_softmax_of_old_operator_sets_is_of_all_dimensions_from_its_axis() -> None:
    x = every_integer(np.int8, 4, 4, 16)
    constants = {"s": np.asarray(np.float32(0.05)), "z": np.asarray(np.int8(3))}
    inputs = ["x", "s", "z", "s", "z"]
    node = onnx.helper.make_node("QLinearSoftmax", inputs, ["y"], domain=MICROSOFT, axis=1, opset=11)
    module = import_onnx(model_of([node], x, constants))
    ImportQuantization().run(module)
    assert [op.name for op in module.ops] == ["reshape", "dequantize", "softmax", "reshape", "quantize"]


@pytest.mark.parametrize(("op_type", "attributes"), [("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2})])
def test_tables_of_onnxruntime(op_type: str, attributes: dict[str, Any]) -> None:
    x = every_integer(np.uint8, 256)
    constants = {"xs": np.float32(0.05), "xz": np.uint8(130), "ys": np.float32(0.031), "yz": np.uint8(20)}
    node = onnx.helper.make_node(op_type, ["x", "xs", "xz", "ys", "yz"], ["y"], domain=MICROSOFT, **attributes)
    model = model_of([node], x, {name: np.asarray(array) for name, array in constants.items()})
    assert check(model, x) == [{"QLinearSigmoid": "sigmoid", "QLinearLeakyRelu": "leaky_relu"}[op_type]]


def test_a_single_scale_of_rank_1_has_no_axis(rng: np.random.Generator) -> None:
    x = rng.standard_normal(5).astype(np.float32)
    constants = {"s": np.array([0.05], np.float32), "z": np.array([3], np.int8)}
    nodes = [
        onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    assert check(model_of(nodes, x, constants), x) == ["quantize", "dequantize"]


def test_movement_of_plain_integers_between_integer_operators() -> None:
    x = every_integer(np.int8, 1, 4, 8, 8)
    constants = {
        "s": np.asarray(np.float32(0.05)),
        "z": np.asarray(np.int8(-7)),
        "one": np.ones((4, 1, 1, 1), np.int8),
        "ws": np.asarray(np.float32(0.5)),
        "wz": np.asarray(np.int8(0)),
        "pads": np.array([0, 0, 1, 0, 0, 0, 0, 1]),
        "fill": np.asarray(np.int8(-7)),
    }
    nodes = [
        onnx.helper.make_node("QLinearConv", ["x", "s", "z", "one", "ws", "wz", "s", "z"], ["a"], group=4),
        onnx.helper.make_node("MaxPool", ["a"], ["m"], kernel_shape=[2, 2]),
        onnx.helper.make_node("Pad", ["m", "pads", "fill"], ["p"]),
        onnx.helper.make_node("Concat", ["p", "p"], ["c"], axis=0),
        onnx.helper.make_node("QLinearConv", ["c", "s", "z", "one", "ws", "wz", "s", "z"], ["y"], group=4),
    ]
    assert check(model_of(nodes, x, constants), x) == ["conv", "max_pool", "pad", "concat", "conv"]


@pytest.mark.parametrize("quantised_format", ["QDQ", "QOperator"])
def test_what_onnxruntime_s_quantiser_writes(quantised_format: str, tmp_path: Path, rng: np.random.Generator) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    x = rng.standard_normal((1, 3, 8, 8)).astype(np.float32)
    constants = {
        "w": (rng.standard_normal((4, 3, 3, 3)) / 4).astype(np.float32),
        "b": rng.standard_normal(4).astype(np.float32),
        "f": (rng.standard_normal((5, 4)) / 2).astype(np.float32),
        "g": rng.standard_normal(5).astype(np.float32),
    }
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], name="conv"),
        onnx.helper.make_node("Relu", ["c"], ["r"], name="relu"),
        onnx.helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
        onnx.helper.make_node("Flatten", ["p"], ["flat"], name="flatten"),
        onnx.helper.make_node("Gemm", ["flat", "f", "g"], ["y"], transB=1, name="gemm"),
    ]
    onnx.save(model_of(nodes, x, constants), tmp_path / "float.onnx")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [x]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"x": self.left.pop()} if self.left else None

    quantization.quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        Reader(),
        quant_format=quantization.QuantFormat[quantised_format],
        weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType.QInt8,
    )
    model = onnx.load(tmp_path / "int8.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = map(np.asarray, session.run(None, {"x": x}))
    module = import_onnx(model)
    ImportQuantization().run(module)
    found = ["quantize", "conv", "global_average_pool", "reshape", "matmul", "dequantize"]
    assert [op.name for op in module.ops] == found
    np.testing.assert_allclose(interp.run(module, {"x": x})["y"], expected, atol=1e-6)
