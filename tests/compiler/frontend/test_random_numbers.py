"""Random numbers of models: drawn once, from seeds; and dropout in training mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx_nodes import import_checked, node_model

from tilewright.errors import ModelError
from tilewright.ir import interp

COUNT = 10_000


def numbers(op_type: str, **attributes: Any) -> np.ndarray:
    (found,) = interp.run(import_checked(node_model(op_type, [], shape=[COUNT], **attributes)), {}).values()
    return found


def test_numbers_are_distributed_as_asked() -> None:
    uniform, normal = (
        numbers("RandomUniform", low=-1.0, high=3.0),
        numbers("RandomNormal", mean=2.0, scale=0.5, dtype=11),
    )
    assert uniform.dtype == np.float32
    assert normal.dtype == np.float64
    assert -1 <= uniform.min() < -0.99 < 2.99 < uniform.max() <= 3
    assert abs(uniform.mean() - 1) < 0.1
    assert abs(normal.mean() - 2) < 0.05
    assert abs(normal.std() - 0.5) < 0.05


def test_a_seed_says_all() -> None:
    first, second = (numbers("RandomNormal", seed=3.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, numbers("RandomNormal", seed=4.0))


def test_nodes_without_a_seed_differ() -> None:
    nodes = [onnx.helper.make_node("RandomUniformLike", ["x"], [name], name=name) for name in "yz"]
    like = onnx.helper.make_tensor_value_info("x", 1, [2, 3])
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in "yz"]
    graph = onnx.helper.make_graph(nodes, "two", [like], outputs)
    module = import_checked(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)]))
    y, z = interp.run(module, {"x": np.zeros((2, 3), np.float32)}).values()
    assert y.shape == z.shape == (2, 3)
    assert not np.array_equal(y, z)


@pytest.mark.parametrize("ratio", [0.0, 0.25, None])
def test_dropout_in_training_mode(ratio: float | None, rng: np.random.Generator) -> None:
    x = 1 + rng.random((50, 40)).astype(np.float32)
    inputs = [x, np.array(ratio, np.float32) if ratio is not None else None, np.array(True)]
    model = node_model("Dropout", inputs, constants=(1, 2), outputs=2, seed=7)
    y, mask = interp.run(import_checked(model), {"x0": x}).values()
    share = 0.5 if ratio is None else ratio
    np.testing.assert_allclose(y, np.where(mask, x / (1 - share), 0), rtol=1e-6)
    assert mask.dtype == np.bool_
    assert abs(mask.mean() - (1 - share)) < 0.05


def test_everything_cannot_be_dropped() -> None:
    inputs = [np.zeros(3, np.float32), np.array(1, np.float32), np.array(True)]
    with pytest.raises(ModelError, match="the ratio is out of range"):
        import_checked(node_model("Dropout", inputs, constants=(1, 2)))
