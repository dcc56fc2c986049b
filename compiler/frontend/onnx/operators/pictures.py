"""ImageDecoder of ONNX: the shape of what it makes follows from bytes, which therefore have to be known."""

import numpy as np

from tilewright import limits
from tilewright.errors import InputError

from .....ir.core import Value
from .....ir.types import DType
from .....runtime.compiler import NotInstalledError
from ..importer import Importer, Node, imports

_FORMATS = {"RGB": ("RGB", 1), "BGR": ("RGB", -1), "Grayscale": ("L", 1)}
"""Pillow's mode of each pixel format, and in which order its channels stand."""


@imports("ImageDecoder")
def import_image_decoder(node: Node, importer: Importer) -> Value:
    content, pixels = node.constant(0, "the picture"), node.string("pixel_format", "RGB")
    if pixels not in _FORMATS:
        raise node.model_error("unknown pixel format", expected=", ".join(_FORMATS), found=pixels)
    if content.dtype != np.uint8 or content.ndim != 1 or content.size > limits.IMAGE_FILE:
        raise node.model_error("a picture is a row of bytes", found=f"{content.dtype} {list(content.shape)}")
    mode, order = _FORMATS[pixels]
    try:
        from .....runtime.pictures.image_file import FORMATS, image_of
    except ModuleNotFoundError as error:
        if error.name != "PIL":
            raise
        raise NotInstalledError("decoding the picture of a model", "PIL") from None
    try:
        image = image_of(content.tobytes(), node.name, mode, (*FORMATS, "JPEG2000"))
    except InputError as error:
        raise node.model_error(f"the picture cannot be decoded: {error.message}") from None
    shape = image.height, image.width, len(mode)
    return importer.described(
        node, shape, DType.U8, lambda: np.ascontiguousarray(np.asarray(image).reshape(shape)[..., ::order])
    )
