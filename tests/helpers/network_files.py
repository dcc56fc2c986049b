"""Small networks as files, for the tests that go through the whole program."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tilewright.compiler.demo import MODEL
from tilewright.compiler.driver import compile_to_file
from tilewright.compiler.options import CompileOptions

IMAGE = ("image", TensorProto.FLOAT, [1, 1, 8, 8])


def digits_model() -> onnx.ModelProto:
    """The demo's network."""
    return onnx.load(MODEL)


@cache
def digits_artifact() -> Path:
    """The demo's network, compiled once; not to be changed."""
    path = Path(tempfile.mkdtemp(prefix="tilewright-test-")) / "digits.twa"
    compile_to_file(MODEL, path, CompileOptions())
    return path


def write_model(path: Path, model: onnx.ModelProto) -> Path:
    path.write_bytes(model.SerializeToString())
    return path


def graph_model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[tuple[str, int, Sequence[int | str | None] | None]] = (("x", TensorProto.FLOAT, [2, 3]),),
    outputs: Sequence[str] = ("y",),
    initializers: dict[str, np.ndarray] | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model from nodes, not checked: it may be as wrong as a test wants."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, code, shape) for name, code, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def tiled_model(pooling: str, divisor: float = 1) -> onnx.ModelProto:
    """A convolution whose weights and maps both take several tiles on S256, global pooling, and a linear layer.

    Args:
        pooling: the operator that pools.
        divisor: what the weights of the convolution are divided by.
    """
    rng = np.random.default_rng(5)
    weights = {
        "w": (rng.standard_normal((128, 128, 3, 3)) / divisor).astype(np.float32),
        "matrix": rng.standard_normal((10, 128)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node(pooling, ["y"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "matrix"], ["classes"], "classifier", transB=1),
    ]
    return graph_model(nodes, [("x", TensorProto.FLOAT, [1, 128, 14, 14])], ["classes"], weights)


def partly_quantized_model() -> onnx.ModelProto:
    """A convolution in floating point behind a quantisation pair, and one on integers beside it."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "ws"], ["wd"], axis=0),
        helper.make_node("Conv", ["d", "wd"], ["c"], name="c", kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "ws0", "wz", "s", "z"], ["k"]),
        helper.make_node("DequantizeLinear", ["k", "s", "z"], ["y"]),
        helper.make_node("Clip", ["c", "lo", "hi"], ["v"]),
    ]
    arrays = {
        "s": np.asarray(0.05, np.float32),
        "z": np.asarray(7, np.uint8),
        "w": rng.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8),
        "ws": rng.uniform(0.01, 0.02, 4).astype(np.float32),
        "ws0": np.asarray(0.01, np.float32),
        "wz": np.asarray(0, np.int8),
        "lo": np.asarray(0, np.float32),
        "hi": np.asarray(6, np.float32),
    }
    return graph_model(nodes, [("x", TensorProto.FLOAT, [1, 3, 6, 6])], ("y", "v"), arrays)
