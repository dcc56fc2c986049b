"""Small networks as files, for the tests that go through the whole program."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from tilewright.compiler.demo.digits import MODEL
from tilewright.compiler.driver import CompileOptions, compile_to_file

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
    return helper.make_model(graph, opset_imports=opsets)
