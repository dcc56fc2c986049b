"""Operators that ONNX had for a while, of its domain and version 1, and that converters of WinML and Core ML still
write: arithmetic by numbers in attributes, and a part of an image."""

import numpy as np

from .....ir.core import Value
from .....ir.ops import activation
from .....ir.ops.movement import Slice
from ...expression import Expression
from ..importer import Importer, Node, imports


def _floats(node: Node, importer: Importer) -> Expression:
    """Input 0, which numbers in attributes have the type of: as an integer, half would be nothing."""
    x = node.input(0)
    if not x.type.dtype.is_float:
        raise node.model_error("factors in attributes are those of floats", found=x.type.dtype.value)
    return Expression(importer, x)


@imports("Affine", "Scale")
def import_affine(node: Node, importer: Importer) -> Value:
    factor = node.float("scale" if node.op_type == "Scale" else "alpha", 1.0)
    return (_floats(node, importer) * factor + node.float("beta", 0.0)).value


@imports("ImageScaler")
def import_image_scaler(node: Node, importer: Importer) -> Value:
    x, type, bias = _floats(node, importer), node.input(0).type, np.array(node.floats("bias", ()))
    if type.rank != 4 or bias.size not in (0, type.shape[1]):
        raise node.model_error("a bias for each channel of images", found=f"{bias.size} for {list(type.shape)}")
    scaled = x * node.float("scale", 1.0)
    return (scaled + bias.reshape(-1, 1, 1) if bias.size else scaled).value


@imports("ParametricSoftplus", "ScaledTanh")
def import_scaled_activation(node: Node, importer: Importer) -> Value:
    operator = activation.Tanh() if node.op_type == "ScaledTanh" else activation.Softplus()
    inner = (_floats(node, importer) * node.float("beta", 1.0)).apply(operator)
    return (inner * node.float("alpha", 1.0)).value


@imports("Crop")
def import_crop(node: Node, importer: Importer) -> Value:
    x, border, size = node.input(0), node.ints("border"), node.ints("scale", ())
    if x.type.rank != 4 or len(border) != 4 or len(size) not in (0, 2):
        found = f"border {list(border)} and scale {list(size)} of {list(x.type.shape)}"
        raise node.model_error("borders on the left, top, right and bottom of images", found=found)
    left, top, right, bottom = border
    images, channels, height, width = x.type.shape
    extent = (images, channels, *(size or (height - top - bottom, width - left - right)))
    return importer.emit_one(Slice((0, 0, top, left), extent, (1,) * 4), x)
