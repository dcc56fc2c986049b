"""Operators that ONNX had once, as converters still write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

from tilewright.errors import TilewrightError


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("Affine", {"alpha": 2.0, "beta": -0.5}),
        ("ImageScaler", {"scale": 0.5, "bias": [1.0, -2.0, 0.25]}),
        ("ParametricSoftplus", {"alpha": 1.5, "beta": 0.5}),
        ("ScaledTanh", {"alpha": 1.7159, "beta": 0.6667}),
        ("Crop", {"border": [1, 2, 2, 1]}),
        ("Crop", {"border": [1, 2, 0, 0], "scale": [3, 4]}),
    ],
)
def test_means_what_onnxruntime_makes_of_it(
    operator: str, attributes: dict[str, Any], rng: np.random.Generator
) -> None:
    x = [rng.uniform(-2, 2, (2, 3, 6, 7)).astype(np.float32)]
    assert_imports_like_onnxruntime(node_model(operator, x, opset=7, **attributes), x)


def test_a_factor_alone(rng: np.random.Generator) -> None:
    module = import_checked(node_model("ImageScaler", [rng.uniform(size=(1, 3, 2, 2)).astype(np.float32)], scale=2.0))
    assert [op.name for op in module.main.ops] == ["mul"]


@pytest.mark.parametrize(
    ("operator", "attributes", "message"),
    [
        ("ImageScaler", {"bias": [1.0, 2.0]}, r"a bias for each channel of images; found 2 for \[1, 3, 4, 4\]"),
        ("Crop", {"border": [1, 2]}, r"borders on the left, .*; found border \[1, 2\] and scale \[\]"),
        ("Crop", {"border": [3, 0, 3, 0]}, "the slice leaves dimension 3"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(operator: str, attributes: dict[str, Any], message: str) -> None:
    model = node_model(operator, [np.zeros((1, 3, 4, 4), np.float32)], opset=7, **attributes)
    with pytest.raises(TilewrightError, match=message):
        import_checked(model)


@pytest.mark.parametrize("operator", ["Affine", "Scale", "ImageScaler", "ParametricSoftplus", "ScaledTanh"])
def test_integers_have_no_such_factors(operator: str) -> None:
    """Half of an integer would have become 0 times."""
    factor: dict[str, Any] = {"scale" if operator in ("Scale", "ImageScaler") else "alpha": 0.5}
    model = node_model(operator, [np.ones((1, 3, 4, 4), np.int32)], opset=7, **factor)
    with pytest.raises(TilewrightError, match=f"{operator}_0.*factors in attributes are those of floats; found i32"):
        import_checked(model)
