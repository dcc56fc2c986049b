"""Interpolate of IR in its three versions."""

from __future__ import annotations

import numpy as np
import pytest
from opset_documents import Known, computed, document_of, known

from tilewright.compiler.frontend.formats import import_model
from tilewright.errors import TilewrightError

X = np.arange(2 * 4 * 3, dtype=np.float32).reshape(1, 2, 4, 3)


def test_the_first_version_states_axes_and_corners() -> None:
    (found,) = computed(
        "Interpolate", [X, known((7, 5))], [(1, 2, 7, 5)], mode="linear", axes=(2, 3), align_corners=True
    )
    rows, columns = np.linspace(0, 3, 7), np.linspace(0, 2, 5)
    # X is a plane: between its points it goes on as it does at them.
    expected = X[:, :, :1, :1] + 3 * rows.reshape(-1, 1) + columns
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("opset", "mode"), [(4, "sizes"), (4, "scales"), (11, "sizes"), (11, "scales")])
def test_simple_rounding_is_down_where_it_grows_and_up_where_it_shrinks(opset: int, mode: str) -> None:
    sizes, scales, axes = known((8, 2)), Known(np.array([2, 2 / 3], np.float32)), known((2, 3))
    inputs = [X, sizes, scales, axes] if opset == 4 else [X, sizes if mode == "sizes" else scales, axes]
    rules = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "simple"}
    (found,) = computed(
        "Interpolate",
        inputs,
        [(1, 2, 8, 2)],
        opset=opset,
        element="f32",
        mode="nearest",
        shape_calculation_mode=mode,
        **rules,
    )
    np.testing.assert_array_equal(found, X[:, :, np.arange(8) // 2][..., [0, 2]])


def test_zeros_around_come_first() -> None:
    inputs = [X, known((5, 4)), known((2, 3))]
    (found,) = computed(
        "Interpolate",
        inputs,
        [(1, 2, 5, 4)],
        opset=11,
        mode="nearest",
        shape_calculation_mode="sizes",
        pads_begin=(0, 0, 1),
        pads_end=(0, 0, 0, 1),
    )
    np.testing.assert_array_equal(found, np.pad(X, ((0, 0), (0, 0), (1, 0), (0, 1))))


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "antialias": ({"mode": "linear", "antialias": "true"}, "antialiasing is not supported where dimensions shrink"),
    "mode": ({"mode": "bicubic_pillow"}, "this mode is not supported"),
    "coordinates": (
        {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
        "these coordinates are not supported",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_supported(name: str) -> None:
    attributes, message = WRONG[name]
    inputs = [X, known((2, 2)), known((2, 3))]
    document = document_of(
        "Interpolate", inputs, [(1, 2, 2, 2)], opset=11, element="f32", shape_calculation_mode="sizes", **attributes
    )
    with pytest.raises(TilewrightError, match=message):
        import_model(document)
