"""What is said of values that come with the inputs and are out of range: which, where, and what would be right."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import onnx
import pytest

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.errors import InputError
from tilewright.runtime.session import load

X = np.arange(15, dtype=np.float32).reshape(5, 3)
HEAD = '<ir_version: 8, opset_import: ["" : 18]> '
INDICES = "Look for indices that are out of range in the inputs."
EXTENT = "An extent that follows from the data has another value than the node, or --bound, allows."

CASES: dict[str, tuple[str, dict[str, Any], str]] = {
    "gather": (
        "g (float[5,3] x, int64[2] i) => (float[2,3] y) { y = Gather(x, i) }",
        {"i": [1, 9]},
        f"expected -5 to 4, found 9 at [1]. {INDICES}",
    ),
    "of an inner axis": (
        "g (float[5,3] x, int64 i) => (float[5] y) { y = Gather<axis = 1>(x, i) }",
        {"i": -4},
        f"expected -3 to 2, found -4. {INDICES}",
    ),
    "gather_elements": (
        "g (float[5,3] x, int64[2,3] i) => (float[2,3] y) { y = GatherElements<axis = 0>(x, i) }",
        {"i": [[0, 1, 2], [4, 5, 0]]},
        f"expected -5 to 4, found 5 at [1, 1]. {INDICES}",
    ),
    "gather_nd": (
        "g (float[5,3] x, int64[2,2] i) => (float[2] y) { y = GatherND(x, i) }",
        {"i": [[4, 2], [2, 4]]},
        f"expected -3 to 2, found 4 at [1, 1]. {INDICES}",
    ),
    "scatter_nd": (
        "g (float[5,3] x, int64[2,1] i, float[2,3] u) => (float[5,3] y) { j = Neg(i) y = ScatterND(x, j, u) }",
        {"i": [[1], [6]], "u": np.zeros((2, 3), np.float32)},
        f"expected -5 to 4, found -6 at [1, 0]. {INDICES}",
    ),
    "bounded": (
        "g (float[5,3] x, int64[1] k) => (float[5,n] v, int64[5,n] i) { v, i = TopK(x, k) }",
        {"k": [4]},
        f"expected 0 to 3, found 4. {EXTENT}",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_value_out_of_range_is_said_with_its_place(name: str) -> None:
    text, values, said = CASES[name]
    model = onnx.parser.parse_model(HEAD + text)
    given = {"x": X, **{key: np.asarray(value) for key, value in values.items()}}
    with load(compile_to_memory(model, CompileOptions())) as session, pytest.raises(InputError) as caught:
        session.run(given)
    assert str(caught.value).endswith(f": the values that reach it are out of its range; {said}")


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory": "output", "position": 7},
        {"memory": "arena", "position": 2**40},
        {"shape": [2**20, 2**20]},
        {"dtype": "f128"},
        {"memory": "input", "position": 0},
    ],
)
def test_what_nobody_checked_is_not_believed(wrong: dict[str, Any]) -> None:
    artifact = compile_to_memory(onnx.parser.parse_model(HEAD + CASES["gather"][0]), CompileOptions())
    checked = json.loads(json.dumps(artifact.manifest.details["checked"]))
    (entries,) = checked.values()
    entries[0]["values"] |= wrong
    cast("dict[str, object]", artifact.manifest.details)["checked"] = checked
    with load(artifact) as session, pytest.raises(InputError) as caught:
        session.run({"x": X, "i": np.array([1, 9])})
    assert str(caught.value).endswith(f"the values that reach it are out of its range. {INDICES}")
