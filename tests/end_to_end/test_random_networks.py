"""Random networks from ONNX file to arrays: export, import, passes, kernels, artifact, session."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_close, random_inputs
from random_graphs import random_graph
from random_seeds import seeds

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.ir import interp
from tilewright.runtime.session import load


def check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    module = random_graph(rng, groups=10)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    artifact = compile_to_memory(export_onnx(module).SerializeToString(), CompileOptions())
    with load(artifact, engine="float") as session:
        found = session.run(inputs)
    for name, array in expected.items():
        assert_close(found[name], array, 1e-4, name)


@pytest.mark.parametrize("seed", seeds(6, 12))
def test_compiled_networks_compute_what_the_interpreter_does(seed: int) -> None:
    check(seed)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_more(seed: int) -> None:
    check(seed)
