"""Real networks from file to outputs, against onnxruntime; `benchmarks/models.py` measures the same at length."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from light_models import light_models, ramp, stored_outputs, with_random_weights
from models import FLOAT, TOLERANCE, open_shapes
from onnxruntime_oracle import Oracle, real_meaning, relative_difference
from real_inputs import samples

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.runtime.report.summary import summarize

DATA = os.environ.get("TILEWRIGHT_DATA")
MODELS = sorted(file.name for file in (Path(DATA) / "models").glob("*.onnx")) if DATA else ["every model"]

QUICK = ("light_inception_v1",)
"""Of those whose outputs are stored; with random weights three others run each time."""


@pytest.mark.parametrize(
    "file",
    [pytest.param(each, marks=() if each.stem in QUICK else pytest.mark.sweep) for each in light_models()],
    ids=lambda file: file.stem,
)
def test_light_networks_reproduce_their_stored_outputs(file: Path) -> None:
    artifact = compile_to_memory(file, FLOAT)
    assert summarize(artifact).engines["float"].reference == {}, "every op of these networks has a kernel"
    with tilewright.load(artifact) as session:
        found = session.run(ramp(session.inputs))
        # The tolerances of the onnx package's own test runner.
        for name, expected in stored_outputs(file, session.outputs).items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", pytest.param("resnet50", marks=pytest.mark.sweep)])
def test_light_networks_with_random_weights(name: str, rng: np.random.Generator) -> None:
    """The stored outputs are all equal numbers; these depend on every weight and pixel."""
    (file,) = (file for file in light_models() if file.stem == f"light_{name}")
    model = with_random_weights(onnx.load(file))
    with tilewright.load(compile_to_memory(model.SerializeToString(), FLOAT)) as session:
        inputs = {spec.name: rng.standard_normal(spec.shape).astype(np.float32) for spec in session.inputs}
        found = session.run(inputs)
    expected = Oracle(model).run(inputs)
    assert all(array.std() > 1e-3 * np.abs(array).max() for array in expected.values()), "the network answers nothing"
    assert relative_difference(found, expected) <= TOLERANCE


@pytest.mark.parametrize("name", MODELS)
def test_models_agree_with_onnxruntime(name: str, data_folder: Path) -> None:
    file = data_folder / "models" / name
    model = onnx.load(file)
    artifact = compile_to_memory(file, replace(FLOAT, input_shapes=open_shapes(model)))
    assert summarize(artifact).engines["float"].reference == {}, "every op of these networks has a kernel"
    oracle = Oracle(real_meaning(model))
    with tilewright.load(artifact) as session:
        for sample in itertools.islice(samples(file.stem, data_folder, session.inputs), 2):
            assert relative_difference(session.run(sample.inputs), oracle.run(sample.inputs)) <= TOLERANCE
