"""Random networks as branches and as steps of loops: what is compiled computes what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import assert_close
from control_flow_graphs import as_branches, as_steps
from onnxruntime_oracle import Oracle
from random_graphs import random_graph

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.session import load


def check(seed: int) -> None:
    rng = np.random.default_rng(seed)
    module = random_graph(rng, groups=6)
    plain = export_onnx(module)
    if any(value.type.dtype.numpy != np.float32 for value in module.main.results):
        return
    owns, kind = bool(rng.integers(2)), seed % 3
    # Few enough to be unrolled, or more.
    steps = int(rng.integers(1, 4)) if kind == 1 else 300 // max(1, len(plain.graph.node)) + 3
    model = as_branches(plain, owns) if kind == 0 else as_steps(plain, owns, steps)
    inputs = {p.name: rng.uniform(-1, 1, p.type.shape).astype(np.float32) for p in module.main.parameters}
    oracle = Oracle(model, optimize=False)
    with load(compile_to_memory(model.SerializeToString(), CompileOptions())) as session:
        for condition in (True, False) if kind == 0 else (True,):
            given = {**inputs, **({"is_then": np.array(condition)} if kind == 0 else {})}
            found, expected = session.run(given), oracle.run(given)
            for name, array in expected.items():
                assert_close(found[name], array, 1e-4, name)


@pytest.mark.parametrize("seed", range(8000, 8003))
def test_random_networks(seed: int) -> None:
    check(seed)


@pytest.mark.sweep
@pytest.mark.parametrize("seed", [*range(8003, 8006), *range(8100, 8300)])
def test_many_more(seed: int) -> None:
    check(seed)
