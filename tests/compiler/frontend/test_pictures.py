"""ImageDecoder: pictures that a model holds become constants, others are refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from onnx_nodes import import_checked, node_model
from PIL import Image

from tilewright.errors import ModelError, UnsupportedError
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
