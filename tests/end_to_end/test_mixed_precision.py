"""A model of which only a part is quantised: the rest stays in floating point, in every engine."""

from __future__ import annotations

import numpy as np
import pytest
from network_files import partly_quantized_model
from onnxruntime_oracle import Oracle

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.artifact.artifact import Artifact


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return compile_to_memory(partly_quantized_model().SerializeToString(), CompileOptions(precision="int8"))


def test_engines_agree_with_onnxruntime(artifact: Artifact, rng: np.random.Generator) -> None:
    image = {"x": rng.standard_normal((1, 3, 6, 6)).astype(np.float32)}
    expected = Oracle(partly_quantized_model()).run(image)
    results = {}
    for engine in ("device", "software"):
        with tilewright.load(artifact, engine=engine) as session:
            results[engine] = session.run(image)
        np.testing.assert_allclose(results[engine]["y"], expected["y"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(results[engine]["v"], expected["v"], rtol=0, atol=1e-5)
    for name in expected:
        assert results["device"][name].tobytes() == results["software"][name].tobytes()


def test_the_float_part_has_a_kernel_on_the_cpu(artifact: Artifact) -> None:
    engine = artifact.manifest.engines["device"]
    assert engine.cpu_program is not None
    steps = artifact.manifest.cpu_programs[engine.cpu_program].steps
    (conv,) = (step for step in steps if "c" in step.loc and step.op == "conv")
    assert conv.kernel is not None
