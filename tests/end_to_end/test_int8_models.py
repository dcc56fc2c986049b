"""Whole networks in 8-bit integers: every engine, the reference interpreter and onnxruntime.

`benchmarks/accuracy.py` and `benchmarks/light_integer.py` measure the same networks at length.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from accuracy import BROUGHT, FLOATING, LARGEST_LOSS, LEAST_AGREEMENT, LEAST_SHARE, chosen_samples, top1
from integer_networks import (
    IntegerNetwork,
    compile_integer,
    equal_bytes,
    first,
    last,
    output_scales,
    same_meaning,
    signal_to_noise,
    steps_apart,
    with_logits,
)
from light_models import light_models, with_random_weights
from network_files import graph_model
from onnxruntime_oracle import Oracle
from real_inputs import Sample

import tilewright
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.report.summary import summarize

COMPARED = 20
"""Samples: where a sum lies next to a tie, most of the outputs of a sample may differ."""

CALIBRATED = 16
"""Samples: enough to find what is broken, too few for the best accuracy."""

QUICK = (
    "kws_float",
    "resnet8_float",
    "kws_int8_qdq",
    "resnet8_int8_qdq",
    "mobilenet_v1_0.25_128_qdq",
    "ad01_int8_qdq",
)


def quick_first(names: list[str], quick: tuple[str, ...]) -> list:
    """Test parameters; those that take long run with `pytest -m sweep` only."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.sweep) for name in names]


def check_engines(network: IntegerNetwork, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of the device, which those of the software and the reference must be equal to."""
    found = {}
    for engine in ("device", "software"):
        with tilewright.load(network.artifact, engine=engine) as session:
            found[engine] = session.run(inputs)
    assert equal_bytes(found["software"], found["device"])
    assert same_meaning(network.reference(inputs), found["device"])
    return found["device"]


def test_digits_keep_their_accuracy_on_the_device() -> None:
    digits = load_digits()
    images = digits.prepare(digits.images)
    model = with_logits(onnx.load(MODEL))
    (name,) = (value.name for value in model.graph.input)
    calibration = [Sample({name: image[np.newaxis]}) for image in digits.prepare(digits.calibration_images)]
    network = compile_integer(model, calibration)
    assert network.device_share >= LEAST_SHARE
    check_engines(network, {name: images[:1]})
    answers: dict[str, list] = {}
    for engine in ("device", "software", "float"):
        with tilewright.load(network.artifact, engine=engine) as session:
            answers[engine] = [session.run({name: image[np.newaxis]}) for image in images]
    assert all(map(equal_bytes, answers["software"], answers["device"]))
    labels = digits.labels.tolist()
    accuracy = {engine: top1([first(each) for each in outputs], labels) for engine, outputs in answers.items()}
    assert accuracy["float"] > 90
    assert accuracy["float"] - accuracy["device"] <= LARGEST_LOSS


@pytest.mark.parametrize("name", quick_first([case.name for case in FLOATING], QUICK))
def test_networks_quantised_after_training(name: str, data_folder: Path) -> None:
    model = with_logits(onnx.load(data_folder / "models" / f"{name}.onnx"))
    chosen = chosen_samples(name, model, data_folder, CALIBRATED + 1)
    network = compile_integer(model, chosen[:CALIBRATED])
    assert network.device_share >= LEAST_SHARE
    assert summarize(network.artifact).engines["device"].reference == {}
    inputs = chosen[CALIBRATED].inputs
    found = check_engines(network, inputs)
    with tilewright.load(network.artifact, engine="float") as session:
        expected = session.run(inputs)
    assert signal_to_noise(last(expected), last(found)) > 15, "dB; 22 and more are measured over many samples"


@pytest.mark.parametrize("name", quick_first([case.name for case in BROUGHT], QUICK))
def test_networks_that_bring_their_quantisation(name: str, data_folder: Path) -> None:
    model = onnx.load(data_folder / "models" / f"{name}.onnx")
    chosen = chosen_samples(name, model, data_folder, COMPARED)
    network = compile_integer(model, ())
    assert network.device_share >= LEAST_SHARE
    assert summarize(network.artifact).engines["device"].reference == {}
    (scale,) = output_scales(model).values()
    check_engines(network, chosen[0].inputs)
    with tilewright.load(network.artifact, engine="device") as session:
        found = [first(session.run(sample.inputs)) for sample in chosen]
    near: list[float] = []
    for integers in (True, False):
        oracle = Oracle(model, integers=integers)
        expected = [first(oracle.run(sample.inputs)) for sample in chosen]
        near.append(float(np.mean(steps_apart(np.stack(found), np.stack(expected), scale) <= 1)))
    assert max(near) >= LEAST_AGREEMENT, "of one of the two ways in which onnxruntime computes"


@pytest.mark.parametrize(("rows", "inner"), [(1, 9), (1, 12), (3, 17), (5, 8), (None, 9)])
def test_one_number_of_a_row(rows: int | None, inner: int) -> None:
    """As a head that predicts one number: its weights have a scale by column, of which there is one."""
    rng = np.random.default_rng(inner)
    shape, weights = ((inner,), (inner,)) if rows is None else ((rows, inner), (inner, 1))
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])]
    arrays = {"w": rng.standard_normal(weights).astype(np.float32)}
    model = graph_model(nodes, [("x", onnx.TensorProto.FLOAT, shape)], initializers=arrays)
    samples = [Sample({"x": rng.standard_normal(shape).astype(np.float32)}) for _ in range(8)]
    network = compile_integer(model, samples)
    found = check_engines(network, samples[0].inputs)["y"]
    assert signal_to_noise(samples[0].inputs["x"] @ arrays["w"], found) > 25


@pytest.mark.sweep
@pytest.mark.parametrize("name", [file.stem for file in light_models()])
def test_light_networks_run_on_the_device(name: str) -> None:
    (file,) = (file for file in light_models() if file.stem == name)
    model = with_random_weights(onnx.load(file))
    artifact = compile_to_memory(
        model.SerializeToString(),
        CompileOptions(
            precision="int8", engines="device,software,float", calibration="random", calibration_limit=1, effort="quick"
        ),
    )
    summary = summarize(artifact).engines["device"]
    assert summary.reference == {}
    assert summary.device_macs_share >= LEAST_SHARE
    found: dict[str, dict[str, np.ndarray]] = {}
    for engine in ("device", "software", "float"):
        with tilewright.load(artifact, engine=engine) as session:
            inputs = {
                spec.name: np.random.default_rng(0).standard_normal(spec.shape).astype(np.float32)
                for spec in session.inputs
            }
            found[engine] = session.run(inputs)
    assert equal_bytes(found["software"], found["device"])
    assert signal_to_noise(first(found["float"]), first(found["device"])) > 15
