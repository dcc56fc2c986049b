"""What tests of networks of the Inference Engine API share: networks as ONNX, and what a snapshot computes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tilewright.compiler.frontend.formats import import_model
from tilewright.ir import interp
from tilewright.runtime.api.inference_engine import IENetwork


def results(network: IENetwork, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What a network computes, by the reference."""
    module = import_model(network.snapshot().document)  # pyright: ignore[reportArgumentType]
    return dict(interp.run(module, inputs))


def small_onnx(
    folder: Path, shape: Sequence[int | str | None] = (1, 3, 6, 6), *, states_batch: bool = False, name: str = "small"
) -> Path:
    """A convolution, ReLU, the mean of each plane, and rows of two items each: input ``x``, output ``y``.

    Args:
        states_batch: whether the last shape states that there is one item, instead of leaving it open.
    """
    rng = np.random.default_rng(3)
    weights = rng.standard_normal((4, 3, 3, 3)).astype(np.float32)
    constants = {"weights": weights, "bias": np.arange(4, dtype=np.float32)}
    constants["shape"] = np.array([1, -1, 2] if states_batch else [-1, 2, 2], np.int64)
    nodes = [
        helper.make_node("Conv", ["x", "weights", "bias"], ["conv_out"], name="conv"),
        helper.make_node("Relu", ["conv_out"], ["relu_out"], name="relu"),
        helper.make_node("GlobalAveragePool", ["relu_out"], ["mean_out"], name="mean"),
        helper.make_node("Reshape", ["mean_out", "shape"], ["y"], name="rows"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, key) for key, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path
