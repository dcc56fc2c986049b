"""Quant and BipolarQuant of QONNX against what its documents say, and that networks of them are integer networks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from network_files import graph_model
from onnx import helper, numpy_helper
from onnx_nodes import import_checked
from onnx_nodes import node_model as any_node_model

import tilewright
from tilewright.errors import ModelError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.ops.quantization import DequantizeLinear, QuantizeLinear

DOMAIN = "qonnx.custom_op.general"

node_model = partial(any_node_model, constants=(1, 2, 3))


def quant(
    x: np.ndarray, scale: np.ndarray, zero: np.ndarray, bits: float, *, signed: int, narrow: int, rounding_mode: str
) -> np.ndarray:
    """What an element of the result is, one element after the other."""
    count = 2 ** int(bits)
    low, high = (narrow - count // 2, count // 2 - 1) if signed else (0, count - 1 - narrow)
    roundings = {
        "ROUND": round,
        "CEIL": np.ceil,
        "FLOOR": np.floor,
        "UP": lambda q: np.copysign(np.ceil(abs(q)), q),
        "DOWN": np.trunc,
        "HALF_UP": lambda q: np.copysign(np.floor(abs(q) + 0.5), q),
        "HALF_DOWN": lambda q: np.copysign(np.ceil(abs(q) - 0.5), q),
    }

    def one(x: np.float32, scale: np.float32, zero: np.float32) -> np.float32:
        quotient = x / scale + zero
        if bits == 1 and signed:
            whole = 1 if quotient >= 0 else -1
        else:
            whole = roundings[rounding_mode](min(max(quotient, low), high))
        return (np.float32(whole) - zero) * scale

    return np.vectorize(one, otypes=[np.float32])(x, scale, zero)


def values(rng: np.random.Generator) -> np.ndarray:
    """Numbers about multiples of a half, some of them exactly, and some beyond every bound of 4 bits."""
    return np.concatenate([rng.normal(0, 4, 90), np.arange(-15, 15) / 2]).astype(np.float32).reshape(2, 3, 20)


@pytest.mark.parametrize("domain", [DOMAIN, "finn.custom_op.general", "onnx.brevitas"])
@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "mode", "zero"),
    [
        (8, 1, 1, "ROUND", 0),
        (8, 0, 0, "ROUND", 128),
        (4, 1, 0, "ROUND", 2),
        (4, 0, 1, "round", 0),
        (2, 1, 1, "HALF_EVEN", 0),
        (1, 0, 0, "ROUND", 0),
        (1, 1, 0, "ROUND", 0),
        (16, 1, 0, "ROUND", 0),
        (24, 1, 0, "ROUND", 0),
        (4, 1, 0, "CEIL", 0),
        (4, 0, 0, "FLOOR", 3),
        (8, 1, 0, "UP", 0),
        (8, 1, 0, "DOWN", 0),
        (4, 1, 0, "HALF_UP", 0),
        (4, 1, 0, "HALF_DOWN", 0),
        (4, 1, 0, "ROUND", 0.25),
    ],
)
def test_quant(
    domain: str, bits: int, signed: int, narrow: int, mode: str, zero: float, rng: np.random.Generator
) -> None:
    x, scale = values(rng), np.float32(0.5).reshape(())
    inputs = [x, scale, np.float32(zero).reshape(()), np.float32(bits).reshape(())]
    attributes: dict[str, Any] = {"signed": signed, "narrow": narrow, "rounding_mode": mode}
    module = import_checked(node_model("Quant", inputs, domain=domain, **attributes))
    mode = {"round": "ROUND", "HALF_EVEN": "ROUND"}.get(mode, mode)
    expected = quant(x, inputs[1], inputs[2], bits, signed=signed, narrow=narrow, rounding_mode=mode)
    np.testing.assert_array_equal(interp.run(module, {"x0": x})["y0"], expected)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3, 1), (20,), (2, 1, 1), (3, 20)])
def test_scales_of_channels(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x, scale = values(rng), rng.uniform(0.1, 0.5, shape).astype(np.float32)
    inputs = [x, scale, np.zeros(1, np.float32), np.float32(4).reshape(())]
    module = import_checked(node_model("IntQuant", inputs, domain=DOMAIN, signed=1, narrow=1))
    expected = quant(x, inputs[1], inputs[2], 4, signed=1, narrow=1, rounding_mode="ROUND")
    np.testing.assert_array_equal(interp.run(module, {"x0": x})["y0"], expected)
    kinds = [type(op.operator) for op in module.main.ops]
    assert (QuantizeLinear in kinds and DequantizeLinear in kinds) == (shape != (3, 20))


@pytest.mark.parametrize("shape", [(), (3, 1), (3, 20)])
def test_bipolar(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x, scale = values(rng), rng.uniform(0.1, 0.5, shape).astype(np.float32)
    module = import_checked(any_node_model("BipolarQuant", [x, scale], domain=DOMAIN, constants=(1,)))
    np.testing.assert_array_equal(interp.run(module, {"x0": x})["y0"], np.where(x >= 0, scale, -scale))


def test_one_bit_with_a_sign_is_bipolar(rng: np.random.Generator) -> None:
    """Brevitas wrote binary weights as Quant, too; they stay integers."""
    x, one = values(rng), np.ones((), np.float32)
    inputs = [x, np.array([[0.5], [1], [2]], np.float32), one * 0, one]
    module = import_checked(node_model("Quant", inputs, domain=DOMAIN, signed=1, narrow=1))
    assert [type(op.operator) for op in module.main.ops][-1] is DequantizeLinear
    np.testing.assert_array_equal(interp.run(module, {"x0": x})["y0"], np.where(x >= 0, inputs[1], -inputs[1]))


def test_bipolar_activations_run_in_onnxruntime(tmp_path: Path, rng: np.random.Generator) -> None:
    """It chooses between no integers of 8 bits."""
    x, scale = values(rng), np.float32(0.5).reshape(())
    model = any_node_model("BipolarQuant", [x, scale], domain=DOMAIN, constants=(1,))
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    tilewright.export(model, tmp_path / "bipolar.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "bipolar.onnx")
    np.testing.assert_array_equal(session.run(None, {"x0": x})[0], np.where(x >= 0, scale, -scale))


@pytest.mark.parametrize("quantized", [None, "qdq", "qlinear"])
@pytest.mark.parametrize("bits", [12, 16])
def test_integers_of_more_than_8_bits_run_in_onnxruntime(
    tmp_path: Path, rng: np.random.Generator, bits: int, quantized: str | None
) -> None:
    """It clips and pools no integers of 16 bits."""
    weights = {"scale": np.float32(4 / 2**bits), "zero": np.float32(0), "bits": np.float32(bits)}
    rounded = {"domain": DOMAIN, "signed": 1, "narrow": 0}
    nodes = [
        helper.make_node("Quant", ["x", "scale", "zero", "bits"], ["q"], **rounded),
        helper.make_node("MaxPool", ["q"], ["m"], kernel_shape=[2, 2]),
        helper.make_node("Quant", ["m", "scale", "zero", "bits"], ["y"], **rounded),
    ]
    constants = {name: np.asarray(value) for name, value in weights.items()}
    model = graph_model(nodes, [("x", onnx.TensorProto.FLOAT, [1, 2, 4, 4])], ["y"], constants)
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    tilewright.export(model, tmp_path / "words.onnx", quantized=quantized)
    x = rng.normal(0, 2, (1, 2, 4, 4)).astype(np.float32)
    found = onnxruntime.InferenceSession(tmp_path / "words.onnx").run(None, {"x": x})[0]
    np.testing.assert_array_equal(found, interp.run(import_checked(model), {"x": x})["y"])


def test_what_it_is_not(rng: np.random.Generator) -> None:
    x, one = values(rng), np.ones((), np.float32)
    zero = np.zeros((), np.float32)
    attributes: dict[str, Any] = {"signed": 1, "narrow": 0}
    for bits in (0, 2.5, 33, np.nan):
        model = node_model("Quant", [x, one, zero, np.float32(bits).reshape(())], domain=DOMAIN, **attributes)
        with pytest.raises(UnsupportedError, match="no integers of so many bits; expected 1 to 32, found"):
            import_checked(model)
    eight = np.float32(8).reshape(())
    model = node_model("Quant", [x, one, zero, eight], domain=DOMAIN, rounding_mode="NEAREST", **attributes)
    with pytest.raises(UnsupportedError, match=r"unknown rounding mode; expected ROUND, HALF_EVEN, CEIL, .* NEAREST"):
        import_checked(model)
    with pytest.raises(ModelError, match="'signed' is missing"):
        import_checked(node_model("Quant", [x, one, zero, eight], domain=DOMAIN, narrow=0))
    for scale, mode in ((-1, "ROUND"), (0, "FLOOR"), (np.nan, "CEIL")):
        inputs = [x, one * np.float32(scale), zero, eight]
        model = node_model("Quant", inputs, domain=DOMAIN, rounding_mode=mode, **attributes)
        with pytest.raises(ModelError, match="scale 'x1' is not positive and finite"):
            import_checked(model)


@pytest.mark.parametrize("weight_bits", [8, 4, 1])
def test_a_network_of_them_is_one_of_integers(weight_bits: int, tmp_path: Path, rng: np.random.Generator) -> None:
    """As Brevitas exports a convolution: pixels, weights and results have nodes of their own."""
    numbers = {
        "one": np.ones((), np.float32),
        "zero": np.zeros((), np.float32),
        "pixel": np.float32(1 / 128).reshape(()),
        "eight": np.float32(8).reshape(()),
        "w": rng.normal(0, 0.1, (16, 3, 3, 3)).astype(np.float32),
        "w_scale": rng.uniform(0.01, 0.02, (16, 1, 1, 1)).astype(np.float32),
        "w_bits": np.float32(weight_bits).reshape(()),
        "y_scale": np.float32(0.02).reshape(()),
    }
    weights = helper.make_node("Quant", ["w", "w_scale", "zero", "w_bits"], ["wq"], domain=DOMAIN, signed=1, narrow=1)
    if weight_bits == 1:
        weights = helper.make_node("BipolarQuant", ["w", "w_scale"], ["wq"], domain=DOMAIN)
    nodes = [
        helper.make_node("Quant", ["x", "pixel", "zero", "eight"], ["xq"], domain=DOMAIN, signed=1, narrow=0),
        weights,
        helper.make_node("Conv", ["xq", "wq"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Quant", ["r", "y_scale", "zero", "eight"], ["y"], domain=DOMAIN, signed=0, narrow=0),
    ]
    image = rng.uniform(-1, 1, (1, 3, 8, 8)).astype(np.float32)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, image.shape)],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (1, 16, 8, 8))],
        [numpy_helper.from_array(array, name) for name, array in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid(DOMAIN, 1)])
    module = import_checked(model)
    expected = interp.run(module, {"x": image})["y"]
    onnx.save(model, tmp_path / "network.onnx")
    tilewright.compile(tmp_path / "network.onnx", output=tmp_path / "network.twa")
    found = {}
    for engine in ("device", "software"):
        with tilewright.load(tmp_path / "network.twa", engine=engine) as session:
            found[engine] = session.run({"x": image})["y"]
    np.testing.assert_array_equal(found["device"], found["software"])
    # Requantisation rounds once where real numbers round twice.
    assert np.abs(found["device"] - expected).max() <= 0.02 * 1.001
    assert (found["device"] != expected).mean() < 0.01
