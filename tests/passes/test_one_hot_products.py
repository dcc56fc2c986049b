"""Products with one-hot matrices become choices of rows."""

from __future__ import annotations

import numpy as np
import pytest
from before_after import parse, run_pass

from tilewright.ir import interp
from tilewright.ir.core import Module

WEIGHTS = np.arange(20, dtype=np.float32).reshape(5, 4) - 7
PRODUCT = '{transpose_a=false, transpose_b=false, act="none", act_args=[]}'


def network(one_hot: str, *, weights: np.ndarray = WEIGHTS, parameter: str = "i32[2,3,1]") -> Module:
    text = f"""
      const @levels : i32[5] = [0, 1, 2, 3, 4]
      const @others : i32[5] = [0, 1, 2, 3, 5]
      const @values : f32[2] = [0x0.0p0, 0x1.0p0]
      const @w : f32[5,4] = blob "w"
      const @b : f32[4] = [0x1.0p0, 0x1.0p1, 0x1.0p2, 0x1.0p3]
      func @main(%x: {parameter}) -> (%y: f32[2,3,4]) {{
        {one_hot}
        %y = matmul(%h, @w, @b) {PRODUCT} : f32[2,3,4] loc("dense")
        return %y
      }}"""
    return parse(text, {"w": weights})


COMPARED = """
        %e = equal(%x, @levels) : bool[2,3,5]
        %h = cast(%e) {to=f32} : f32[2,3,5]"""
CHOSEN = "%h = one_hot(%x, @values) {depth=5, axis=2} : f32[2,3,5]"


@pytest.mark.parametrize(("one_hot", "shape"), [(COMPARED, [2, 3, 1]), (CHOSEN, [2, 3])], ids=["equal", "one_hot"])
def test_rows_are_chosen(one_hot: str, shape: list[int]) -> None:
    """Also by indices beyond the rows, which those of ``one_hot`` are from -depth on only."""
    module = network(one_hot, parameter=f"i32{shape}")
    inputs = {"x": np.array([0, 4, 5, -1, -5, -2147483648], np.int32).reshape(shape)}
    expected = interp.run(module, inputs)["y"]
    run_pass("one_hot_products", module)
    run_pass("eliminate_dead_code", module)
    names = [op.name for op in module.ops]
    assert "gather" in names
    assert not {"matmul", "equal", "one_hot"} & {*names}
    np.testing.assert_array_equal(interp.run(module, inputs)["y"], expected)


@pytest.mark.parametrize(
    ("one_hot", "weights"),
    [
        pytest.param(COMPARED.replace("@levels", "@others"), WEIGHTS, id="other numbers"),
        pytest.param(COMPARED, np.full_like(WEIGHTS, np.inf), id="infinite weights reach every result"),
    ],
)
def test_others_stay(one_hot: str, weights: np.ndarray) -> None:
    module = network(one_hot, weights=weights)
    run_pass("one_hot_products", module)
    assert "matmul" in [op.name for op in module.ops]
