"""ImageDecoder: pictures that a model holds become constants, others are refused; and regions that are cut out."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model
from PIL import Image

from tilewright.errors import IRError, ModelError, UnsupportedError
from tilewright.ir import interp


def encoded(pixels: np.ndarray, format: str) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return np.frombuffer(file.getvalue(), np.uint8)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM", "JPEG2000"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_a_picture_of_the_model_is_a_constant(format: str, order: str, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (8, 5, 3)).astype(np.uint8)
    model = node_model("ImageDecoder", [encoded(pixels, format)], constants=(0,), pixel_format=order)
    (found,) = interp.run(import_checked(model), {}).values()
    np.testing.assert_array_equal(found, pixels if order == "RGB" else pixels[..., ::-1])


def test_grey(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (4, 6)).astype(np.uint8)
    model = node_model("ImageDecoder", [encoded(pixels, "PNG")], constants=(0,), pixel_format="Grayscale")
    (found,) = interp.run(import_checked(model), {}).values()
    np.testing.assert_array_equal(found, pixels[..., None])


def test_pictures_that_cannot_be_decoded() -> None:
    damaged = np.arange(50, dtype=np.uint8)
    with pytest.raises(ModelError, match="the picture cannot be decoded"):
        import_checked(node_model("ImageDecoder", [damaged], constants=(0,)))
    with pytest.raises(UnsupportedError, match="the picture must be known at compile time"):
        import_checked(node_model("ImageDecoder", [damaged]))


@pytest.mark.parametrize("corners", [(0.1, -0.2, 0.8, 1.15), (0.8, 0.9, 0.1, 0.2)])
@pytest.mark.parametrize(("sizes", "attributes"), [((5, 6), {"axes": [2, 3]}), ((1, 3, 1, 14), {})])
def test_regions_that_are_computed(
    corners: tuple[float, ...], sizes: tuple[int, ...], attributes: dict[str, Any], rng: np.random.Generator
) -> None:
    x = rng.standard_normal((1, 3, 9, 11)).astype(np.float32)
    region = np.array(corners if attributes else (0, 0, *corners[:2], 1, 1, *corners[2:]), np.float32)
    attributes = attributes | {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 2.5}
    inputs = [x, region, None, np.array(sizes)]
    model = node_model("Resize", inputs, constants=(3,), mode="linear", **attributes)
    assert_imports_like_onnxruntime(model, inputs)
    with pytest.raises(UnsupportedError, match=r"one of the last two dimensions, and linear; found nearest, f32\[1,3"):
        import_checked(node_model("Resize", inputs, constants=(3,), mode="nearest", **attributes))
    with pytest.raises(IRError, match=r"Resize: node .* linear interpolation is defined on floats only; found u8\[1,3"):
        integers = [x.astype(np.uint8), *inputs[1:]]
        import_checked(node_model("Resize", integers, constants=(3,), mode="linear", **attributes))
    with pytest.raises(IRError, match=r"a resampled dimension is too long; expected at most .*, found 1099511627776"):
        inputs[3] = np.array([*sizes[:-1], 2**40])
        import_checked(node_model("Resize", inputs, constants=(3,), mode="linear", **attributes))
