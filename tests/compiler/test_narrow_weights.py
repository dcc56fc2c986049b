"""Weights of 4 bits: rounded as is learnt, layer after layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.layer_walk import convolved
from tilewright.compiler.quantization.learn_rounding import Problem, best_steps
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.ir import interp
from tilewright.ir.core import Constant, Module, is_op
from tilewright.ir.ops.convolution import Conv

F32 = onnx.TensorProto.FLOAT
LIMITS = (-8, 7)


@pytest.mark.parametrize(
    ("channels", "outputs", "group", "strides", "pads", "dilations"),
    [
        (6, 4, 1, (1, 1), (0, 0, 0, 0), (1, 1)),
        (6, 12, 6, (2, 1), (1, 0, 2, 1), (1, 1)),
        (6, 4, 2, (1, 3), (1, 2, 1, 2), (2, 1)),
    ],
)
def test_a_convolution_in_single_precision_is_the_reference(
    rng: np.random.Generator,
    channels: int,
    outputs: int,
    group: int,
    strides: tuple[int, ...],
    pads: tuple[int, ...],
    dilations: tuple[int, ...],
) -> None:
    conv = Conv(strides, pads, dilations, group)
    x = rng.standard_normal((2, channels, 9, 11)).astype(np.float32)
    w = rng.standard_normal((outputs, channels // group, 3, 2)).astype(np.float32)
    b = rng.standard_normal(outputs).astype(np.float32)
    np.testing.assert_allclose(convolved(conv, x, w, b), conv.reference(x, w, b, None), rtol=0, atol=2e-5)


def test_learnt_rounding_is_better_than_to_the_nearest(rng: np.random.Generator) -> None:
    inputs = (rng.standard_normal((1, 2000, 24)) @ rng.standard_normal((24, 24))).astype(np.float32)
    weights = rng.standard_normal((1, 8, 24)).astype(np.float32)
    steps = best_steps(weights, *LIMITS)
    wanted, bias = inputs @ np.swapaxes(weights, 1, 2), np.zeros((1, 1, 8), np.float32)
    problem = Problem(inputs, wanted, weights, steps, bias, LIMITS, (0.0, np.inf))
    found, shift = problem.solved(np.random.default_rng(0))
    again, _ = problem.solved(np.random.default_rng(0))
    assert found.tobytes() == again.tobytes()
    assert (found == np.rint(found)).all() and LIMITS[0] <= found.min() and found.max() <= LIMITS[1]
    nearest = np.clip(np.rint(weights / steps), *LIMITS)
    assert np.abs(found - weights / steps).max() < 2

    def error(integers: np.ndarray, bias: np.ndarray) -> float:
        results = inputs @ np.swapaxes(integers * steps, 1, 2) + bias
        return float(np.square(np.maximum(results, 0) - np.maximum(wanted, 0)).sum())

    assert error(found, shift) < 0.6 * error(nearest, bias)


def chain() -> bytes:
    """Six convolutions, depthwise ones among them, behind each other."""
    rng = np.random.default_rng(0)
    nodes, arrays, before = [], [], "x"
    for index, (inputs, outputs, group, size) in enumerate(
        [(3, 16, 1, 3), (16, 16, 16, 3), (16, 16, 1, 1), (16, 16, 16, 3), (16, 16, 1, 1), (16, 4, 1, 1)]
    ):
        weights = rng.standard_normal((outputs, inputs // group, size, size)) / (inputs // group * size**2) ** 0.5
        arrays.append(onnx.numpy_helper.from_array((1.5 * weights).astype(np.float32), f"w{index}"))
        attributes = {"pads": [size // 2] * 4, "group": group}
        nodes.append(onnx.helper.make_node("Conv", [before, f"w{index}"], [f"c{index}"], **attributes))
        before = f"c{index}"
        if index < 5:
            nodes.append(onnx.helper.make_node("Relu", [before], [f"r{index}"]))
            before = f"r{index}"
    ends = [onnx.helper.make_tensor_value_info(name, F32, [1, c, 8, 8]) for name, c in (("x", 3), (before, 4))]
    graph = onnx.helper.make_graph(nodes, "chain", ends[:1], ends[1:], arrays)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


SAMPLES = np.random.default_rng(1).standard_normal((40, 3, 8, 8)).astype(np.float32)


def decibels(expected: Module, found: Module) -> float:
    signal = wrong = 0.0
    for x in SAMPLES[30:, None]:
        a, b = (next(iter(interp.run(each, {"x": x}).values())) for each in (expected, found))
        signal, wrong = signal + float((a**2).sum()), wrong + float(((b - a) ** 2).sum())
    return 10 * float(np.log10(signal / wrong))


def rounded_to_nearest(module: Module) -> Module:
    """The module in floating point with the same weights as the nearest of 4 bits."""
    found = import_model(chain())
    layers = [op for op in found.main.ops if is_op(op, Conv)]
    for op in (layers[2], layers[4]):
        w = op.operands.w
        assert isinstance(w, Constant)
        rows = w.array.reshape(1, len(w.array), -1)
        steps = best_steps(rows, *LIMITS)
        nearest = (np.clip(np.rint(rows / steps), *LIMITS) * steps).reshape(w.array.shape)
        op.set_operand(1, found.add_constant(w.name, nearest.astype(np.float32)))
    return found


def test_layers_but_the_first_the_last_and_those_of_short_sums_have_4_bits_on_every_engine(tmp_path: Path) -> None:
    module = import_model(chain())
    options = {"calibration": SAMPLES[:30], "weights_bits": 4}
    quantized = quantize_module(module, CompileOptions(**options))
    weights = [op.operands.w for op in quantized.main.ops if is_op(op, Conv)]
    assert all(isinstance(w, Constant) for w in weights)
    largest = [int(np.abs(w.array.astype(int)).max()) for w in weights if isinstance(w, Constant)]
    assert [most > 8 for most in largest] == [True, True, False, True, False, True]
    # Activations of 8 bits as well, against weights alone that are rounded to the nearest.
    assert decibels(module, quantized) > decibels(module, rounded_to_nearest(module)) + 1.5
    expected = interp.run(quantized, {"x": SAMPLES[35][None]})
    artifact = tilewright.compile(chain(), output=tmp_path / "chain.twa", engines="device,software", **options)
    assert artifact.packed and (tmp_path / "chain.twa").stat().st_size < artifact.length / 2
    for engine in ("device", "software"):
        with tilewright.load(artifact, engine=engine) as session:
            assert session.run({"x": SAMPLES[35][None]})["c5"].tobytes() == expected["c5"].tobytes()


def test_quantize_learns_them_once_with_all_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = load_digits()
    np.save(tmp_path / "digits.npy", data.prepare(data.images[:30]))
    words = ["quantize", str(MODEL), "--calibration", str(tmp_path / "digits.npy"), "-o", str(tmp_path / "digits.onnx")]
    assert main([*words, "--weights-bits", "4"]) == 0
    assert "all methods, weights of 4 bits" in capsys.readouterr().out
    assert main([*words, "--weights-bits", "3"]) == 2
    assert "Invalid value for '--weights-bits': 3 is none of 4, 8, 16." in capsys.readouterr().err
