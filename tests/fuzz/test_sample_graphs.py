"""Random networks of any operators, plain, as branches, as steps of loops, and with outputs that the data shorten:
compiled, they compute what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import pytest
from control_flow_graphs import as_branches, as_steps
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidGraph, NotImplemented
from onnxruntime_oracle import Oracle
from sample_graphs import sample_graph
from selection_graphs import as_selections

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.session import load

TOLERANCE = {2: 2e-2, 4: 1e-3, 8: 1e-3}
"""By the bytes of a float: what networks may differ by, relative to the largest magnitude. Each sample alone is held to
much less; here errors of one go through others."""


def assert_close(found: np.ndarray, expected: np.ndarray, name: str) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
    if found.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, name)
        return
    largest = float(np.abs(expected[np.isfinite(expected)].astype(np.float64)).max(initial=1e-3))
    tolerance = TOLERANCE[found.dtype.itemsize] * largest
    np.testing.assert_allclose(
        found.astype(np.float64), expected.astype(np.float64), rtol=0, atol=tolerance, err_msg=name
    )


def check(seed: int) -> bool:
    """Whether onnxruntime knew the network; fails where results differ."""
    rng = np.random.default_rng(seed)
    kind = ("plain", "plain", "branches", "steps", "selections")[seed % 5]
    module, inputs = sample_graph(rng, int(rng.integers(2, 8)), only_floats=kind != "plain")
    model = export_onnx(module)
    given = [inputs]
    if kind == "branches":
        model = as_branches(model, owns=bool(rng.integers(2)))
        given = [{**inputs, "is_then": np.array(is_then)} for is_then in (True, False)]
    elif kind == "steps":
        model = as_steps(model, owns=bool(rng.integers(2)), steps=int(rng.integers(1, 12)))
    elif kind == "selections":
        model, counts = as_selections(model, rng)
        shares = (0.4, 0.0, 1.0)
        given = [{**inputs, **{name: rng.random(n) < share for name, n in counts.items()}} for share in shares]
    try:
        oracle = Oracle(model, optimize=False)
    except (NotImplemented, InvalidGraph):
        return False
    with load(compile_to_memory(model, CompileOptions())) as session:
        for arrays in given:
            found, expected = session.run(arrays), oracle.run(arrays)
            assert found.keys() == expected.keys()
            for name, array in expected.items():
                assert_close(found[name], array, name)
    return True


def test_random_networks() -> None:
    assert sum(check(seed) for seed in range(5)) > 2


@pytest.mark.sweep
@pytest.mark.parametrize("first", [5, 55, 105, *range(1000, 4000, 50)])
def test_many_more(first: int) -> None:
    assert sum(check(seed) for seed in range(first, first + 50)) > 35
