"""Networks whose activations are spelled as arithmetic, as onnxruntime quantises them: a pair at every value."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from exact_onnxruntime import qdq_session
from integer_networks import IntegerNetwork, compile_integer, equal_bytes, same_meaning
from network_files import graph_model
from onnx import TensorProto, helper

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.passes.named_ops import find_named
from tilewright.runtime.report.details import details_of

ACTIVATIONS = {
    "silu": ["s = Sigmoid(x)", "y = Mul(x, s)"],
    "silu_of_the_other_order": ["s = Sigmoid(x)", "y = Mul(s, x)"],
    "hard_swish": ["a = Add(x, three)", "b = Clip(a, zero, six)", "c = Mul(x, b)", "y = Div(c, six)"],
    "mish": ["a = Softplus(x)", "b = Tanh(a)", "y = Mul(x, b)"],
    "gelu": ["a = Div(x, root)", "b = Erf(a)", "c = Add(b, one)", "d = Mul(x, c)", "y = Mul(d, half)"],
    "gate": ["s = Sigmoid(x)", "t = Tanh(x)", "y = Mul(s, t)"],
}
NUMBERS = {"zero": 0.0, "half": 0.5, "one": 1.0, "three": 3.0, "six": 6.0, "root": math.sqrt(2)}


def network(rng: np.random.Generator) -> onnx.ModelProto:
    """A block for each of the activations: a convolution, the activation, and from the second on a sum with the block
    before.
    """
    nodes = [helper.make_node("Conv", ["image", "stem"], ["block0"], name="stem", pads=[1] * 4)]
    arrays = {name: np.asarray(number, np.float32) for name, number in NUMBERS.items()}
    arrays["stem"] = rng.uniform(-0.5, 0.5, (8, 3, 3, 3)).astype(np.float32)
    for index, (name, lines) in enumerate(ACTIVATIONS.items()):
        local = {"x": f"{name}_x", "y": f"{name}_y"}
        arrays[f"{name}_w"] = rng.uniform(-0.4, 0.4, (8, 8, 3, 3)).astype(np.float32)
        nodes.append(helper.make_node("Conv", [f"block{index}", f"{name}_w"], [local["x"]], name=name, pads=[1] * 4))
        for line in lines:
            result, kind, operands = line.replace(" = ", "(").rstrip(")").split("(")
            inputs = [each if each in NUMBERS else local.get(each, f"{name}_{each}") for each in operands.split(", ")]
            output = local.get(result, f"{name}_{result}")
            nodes.append(helper.make_node(kind, inputs, [output], name=output))
        nodes.append(helper.make_node("Add", [f"block{index}", local["y"]], [f"block{index + 1}"], name=f"sum{index}"))
    last = f"block{len(ACTIVATIONS)}"
    return graph_model(nodes, [("image", TensorProto.FLOAT, [1, 3, 10, 12])], [last], arrays)


def check_names(compiled: IntegerNetwork, model: onnx.ModelProto) -> None:
    """Reports call layers as what computes them is called, by names that affinity files take."""
    placement = details_of(compiled.artifact).placement
    reported = {op.name for op in placement if op.op not in ("quantize", "dequantize")}
    assert {"silu_x", "silu_s", "silu_y", "mish_y", "block1", "block5"} <= reported
    assert not [name for name in reported if "QuantizeLinear_Output" in name]
    for ops in (import_model(model).ops, compiled.quantized.ops):
        assert set(find_named(ops, ["silu_x", "silu_y", "mish_y", "block5"], "the affinity", "test"))


@pytest.mark.parametrize("integers", ["QUInt8", pytest.param("QInt8", marks=pytest.mark.sweep)])
def test_every_engine_computes_activations_that_arithmetic_spells(
    integers: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    image = rng.standard_normal((1, 3, 10, 12)).astype(np.float32)
    onnx.save(network(rng), tmp_path / "float.onnx")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [image]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"image": self.left.pop()} if self.left else None

    quantization.quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "int8.onnx",
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        weight_type=quantization.QuantType.QInt8,
        activation_type=quantization.QuantType[integers],
    )
    model = onnx.load(tmp_path / "int8.onnx")
    compiled = compile_integer(model, [])
    check_names(compiled, model)
    found = {}
    for engine in ("device", "software"):
        with tilewright.load(compiled.artifact, engine=engine) as session:
            found[engine] = session.run({"image": image})
    assert equal_bytes(found["software"], found["device"])
    assert same_meaning(compiled.reference({"image": image}), found["device"])
    (expected,), (array,) = qdq_session(tmp_path / "int8.onnx").run(None, {"image": image}), found["device"].values()
    # A few steps of 255 apart where sums lie next to ties.
    assert np.abs(array - np.asarray(expected)).max() < 0.02 * np.abs(np.asarray(expected)).max()
