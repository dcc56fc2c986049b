"""Scales at the ends of what binary32 holds: everything compiles, no warning of NumPy gets out, all engines agree."""

from __future__ import annotations

import numpy as np
import pytest
from network_files import graph_model
from onnx import NodeProto, TensorProto, helper

import tilewright

pytestmark = pytest.mark.filterwarnings("error")


def quantized(source: str, result: str, scale: str) -> list[NodeProto]:
    return [
        helper.make_node("QuantizeLinear", [source, scale, "zero"], [f"{result}_integers"]),
        helper.make_node("DequantizeLinear", [f"{result}_integers", scale, "zero"], [result]),
    ]


@pytest.mark.parametrize("op", ["Add", "Mul", "Concat", "Relu", "GlobalAveragePool"])
@pytest.mark.parametrize("scales", [(1e-45, 1e-45, 1e-45), (1e38, 1e-40, 1e-40), (3e38, 3e38, 1e-45), (1e-40, 1, 1e38)])
def test_quantised_networks(op: str, scales: tuple[float, float, float]) -> None:
    sources = ["a", "b"] if op in ("Add", "Mul", "Concat") else ["a"]
    nodes = [
        *(node for each in sources for node in quantized("x", each, f"scale_{each}")),
        helper.make_node("Concat", sources, ["r"], axis=1) if op == "Concat" else helper.make_node(op, sources, ["r"]),
        *quantized("r", "y", "scale_y"),
    ]
    names = ("scale_a", "scale_b", "scale_y")
    constants = {name: np.array(scale, np.float32) for name, scale in zip(names, scales, strict=True)}
    used = {name: array for name, array in constants.items() if name != "scale_b" or "b" in sources}
    shape = [1, 4, 8, 8]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, shape)], ["y"], {**used, "zero": np.array(0, np.int8)})
    artifact = tilewright.compile(model.SerializeToString(), precision="int8")
    x = np.linspace(-3, 3, 256, dtype=np.float32).reshape(shape)
    results = []
    for engine in ("device", "software"):
        with tilewright.load(artifact, engine=engine) as session:
            results.append(session.run({"x": x})["y"].tobytes())
    assert results[0] == results[1]


def test_outputs_that_are_not_finite_are_summarised() -> None:
    from tilewright.runtime.report.execution import results_text

    assert results_text({"y": np.array([np.inf, -np.inf], np.float32)}).startswith("y: float32[2]\n  min -inf, max inf")
