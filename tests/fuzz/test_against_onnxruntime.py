"""Random networks: what is compiled computes what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_close, random_inputs
from onnxruntime_oracle import Oracle
from random_graphs import CONVOLUTIONAL, random_graph
from random_seeds import seeds

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.session import load


def check(seed: int, convolutional: bool) -> None:
    rng = np.random.default_rng(seed)
    module = random_graph(rng, groups=14, makers=CONVOLUTIONAL) if convolutional else random_graph(rng, groups=9)
    inputs = random_inputs(module, rng)
    model = export_onnx(module)
    expected = Oracle(model, optimize=False).run(inputs)
    with load(compile_to_memory(model.SerializeToString(), CompileOptions())) as session:
        found = session.run(inputs)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert_close(found[name], array, 1e-4, name)


@pytest.mark.parametrize("seed", seeds(4, 6))
def test_random_networks(seed: int) -> None:
    check(5000 + seed, convolutional=False)


@pytest.mark.parametrize("seed", seeds(2, 3))
def test_random_classifiers(seed: int) -> None:
    check(6000 + seed, convolutional=True)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", range(7000, 7200))
def test_many_more(seed: int) -> None:
    check(seed, convolutional=seed % 2 == 0)
