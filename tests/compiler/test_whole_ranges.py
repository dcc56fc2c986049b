"""Ranges that are not cut off, where outputs rest on what the least error of a value leaves out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

import tilewright
from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.calibration.sample_sets import hold
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.progress import silent
from tilewright.compiler.quantization.ladder.output_noise import output_noise, whole_ranges
from tilewright.compiler.quantization.methods import Choices, Prepared
from tilewright.compiler.quantization.quantize import quantize_module

F32 = onnx.TensorProto.FLOAT
CHANNELS = 24


def samples() -> np.ndarray:
    """Small numbers, and rare large ones in the first channel."""
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, (24, CHANNELS, 32, 32))
    x[:, 0] = rng.uniform(14, 16, x[:, 0].shape) * (rng.uniform(size=x[:, 0].shape) < 1e-3)
    return x.astype(np.float32)


SAMPLES = samples()


def heads(outputs: Sequence[str] = "yz") -> bytes:
    """One that reads the first channel, one that reads the others, or a half of each."""
    rng = np.random.default_rng(0)
    rare, common = np.zeros((2, 4, CHANNELS, 1, 1), np.float32)
    rare[:, 0, 0, 0] = rng.uniform(0.5, 1, 4)
    common[:, 1:] = rng.standard_normal((4, CHANNELS - 1, 1, 1))
    weights = {"y": rare, "z": common}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Conv", ["x", f"w{name}"], [name], name=name) for name in outputs],
        "heads",
        [onnx.helper.make_tensor_value_info("x", F32, [1, CHANNELS, 32, 32])],
        [onnx.helper.make_tensor_value_info(name, F32, [1, 4, 32, 32]) for name in outputs],
        [onnx.numpy_helper.from_array(weights[name], f"w{name}") for name in outputs],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


def prepared(model: bytes, method: str = "mse", whole: tuple[str, ...] = ()) -> tuple[Prepared, Choices]:
    """The network, calibrated on half of the samples, which are held."""
    module = import_model(model)
    held = hold(open_calibration_set(SAMPLES, {each.name: each.type for each in module.main.parameters}), range(12))
    choices = Choices(whole=whole)
    options = CompileOptions(calibration=held, calibration_method=method, methods="outputs")
    quantize_module(module, options, None, choices)
    assert choices.prepared is not None
    return choices.prepared, choices


def chosen(model: bytes, method: str = "mse") -> tuple[str, ...]:
    found, choices = prepared(model, method)
    return whole_ranges(found, choices.extremes, [{"x": x} for x in SAMPLES[12:16, None]], silent)


def test_what_one_output_rests_on_is_not_cut_off() -> None:
    assert chosen(heads()) == ("x",)
    # The other has it finer, and alone no reason for the whole range.
    assert chosen(heads("y")) == ("x",)
    assert chosen(heads("z")) == ()
    # Nothing is cut off already.
    assert chosen(heads(), "minmax") == ()


def test_layers_that_give_real_numbers_say_so() -> None:
    details: Any = tilewright.compile(heads(), calibration=SAMPLES, methods="outputs").manifest.details
    reasons = {each["op"]: each["why"] for each in details["placement"]}
    assert "as the method outputs has the last layers" in reasons["conv_integer"]


def test_whole_ranges_are_the_extremes_of_the_samples() -> None:
    cut, choices = prepared(heads())
    assert choices.extremes["x"] == (float(SAMPLES[:12].min()), float(SAMPLES[:12].max()))
    assert cut.ranges["x"][1] < choices.extremes["x"][1]
    whole, _ = prepared(heads(), whole=("x",))
    assert whole.ranges["x"] == choices.extremes["x"]


def test_noise_is_that_of_each_output() -> None:
    inputs = [{"x": x} for x in SAMPLES[12:14, None]]
    cut, choices = prepared(heads())
    before = output_noise(cut, inputs, silent)
    np.testing.assert_allclose(before.by_output.sum(1), [*before.values.values(), *before.weights.values()])
    whole = replace(cut, ranges={**cut.ranges, "x": choices.extremes["x"]})
    after = output_noise(whole, inputs, silent, of_weights=False)
    assert not after.weights and after.by_output.shape == (1, 2)
    y, z = after.by_output[0] / before.by_output[0]
    assert y < 1 / 4 and 1 < z < 4


def test_networks_of_one_output_are_left_as_they_are(tmp_path: Path) -> None:
    found = tilewright.quantize(heads("y"), tmp_path / "y.twa", calibration=SAMPLES, engines="software")
    assert not any(rung.what.startswith("+ ranges") for rung in found.rungs)


def test_the_ladder_writes_them_into_every_kind_of_file(tmp_path: Path) -> None:
    written: list[float] = []
    for name, engines in (("heads.twa", "software"), ("heads.onnx", None)):
        ranges = tmp_path / "ranges"
        options = {"calibration": SAMPLES, "written_encodings": ranges, "engines": engines}
        found = tilewright.quantize(heads(), tmp_path / name, **options)  # pyright: ignore
        last = found.rungs[-1]
        assert last.what == "+ ranges: from the smallest to the largest number for 1 of them, by each output's error"
        assert found.chosen == len(found.rungs) - 1 and not last.rejected
        before, after = found.rungs[-2].score.outputs, last.score.outputs
        assert after["y"] > before["y"] + 6 and before["z"] - 6 < after["z"] < before["z"]
        # All outputs together are better without.
        assert last.score.sqnr < found.rungs[-2].score.sqnr and last.choice > found.rungs[-2].choice
        text = " ".join(found.to_text().split())
        assert " choice: SQNR of the 4 samples that choose, mean of the outputs; the rest is of those " in text
        written += json.loads(ranges.read_text())["activation_encodings"][0]["scale"]
    model = onnx.load(tmp_path / "heads.onnx")
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    written += [float(constants[node.input[1]]) for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(written) == 3 and len({*written}) == 1
    # What is cut off by the least error is less.
    assert 255 * written[0] > 1.05 * prepared(heads())[0].ranges["x"][1]
