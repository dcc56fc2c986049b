"""A small network, one with other weights, and encodings for both."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from network_files import graph_model, write_model
from onnx import TensorProto, helper


@pytest.fixture
def network(tmp_path: Path) -> Callable[..., str]:
    """``network(name, noise=0.0, prefix="", …)``: noise is added to the weights, the prefix put before each name.

    It writes a model of three operators, ``x`` [1, 3] to ``y`` and ``z``, and returns its path.
    """

    def write(
        name: str = "model",
        noise: float = 0.0,
        prefix: str = "",
        batch: int | str = 1,
        type: int = TensorProto.FLOAT,
        outputs: tuple[str, ...] = ("y", "z"),
    ) -> str:
        rng = np.random.default_rng(1)
        weights = rng.standard_normal((3, 4)) + noise * rng.standard_normal((3, 4))
        nodes = [
            helper.make_node("MatMul", [f"{prefix}x", f"{prefix}w"], [f"{prefix}h"]),
            helper.make_node("Relu", [f"{prefix}h"], [f"{prefix}y"]),
            helper.make_node("Transpose", [f"{prefix}y"], [f"{prefix}z"]),
        ]
        dtype = helper.tensor_dtype_to_np_dtype(type)
        model = graph_model(
            nodes,
            [(f"{prefix}x", type, [batch, 3])],
            [f"{prefix}{output}" for output in outputs],
            {f"{prefix}w": weights.astype(dtype)},
        )
        for output in model.graph.output:
            output.type.tensor_type.elem_type = type
        return str(write_model(tmp_path / f"{name}.onnx", model))

    return write


@pytest.fixture
def encodings(tmp_path: Path) -> str:
    """Encodings for ``x`` and ``h`` in 8 bits of step 1/16."""
    entry = {"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "scale": 1 / 16, "offset": -128}
    entry |= {"min": -8.0, "max": 127 / 16}
    document = {"version": "0.6.1", "activation_encodings": {"x": [entry], "h": [entry]}, "param_encodings": {}}
    path = tmp_path / "model.encodings"
    path.write_text(json.dumps(document))
    return str(path)


@pytest.fixture
def samples(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder of a sample and a stack of two."""
    folder = tmp_path / "DATA"
    folder.mkdir()
    np.savez(folder / "first.npz", x=rng.standard_normal((1, 3)).astype(np.float32))
    np.savez(folder / "more.npz", x=rng.standard_normal((2, 3)).astype(np.float32))
    return folder
