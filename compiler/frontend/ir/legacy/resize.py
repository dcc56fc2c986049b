"""Interp and Resample of IR of versions 2 to 7."""

from __future__ import annotations

import math

import numpy as np

from .....ir.core import Value
from .....ir.ops.matmul import MatMul
from .....ir.ops.resize import Resize
from ...movement import slice_of
from ..importer import IrImporter, IrNode, legacy


def _image(node: IrNode) -> Value:
    x = node.input(0)
    if x.type.rank != 4:
        raise node.model_error("the layer resizes images", expected="[N, C, H, W]", found=x.type)
    return x


def _sides(node: IrNode, x: Value, computed: tuple[int, int] | None) -> tuple[int, int]:
    """Extents of the result: those of the file, unless its network got another input; then those of the layer."""
    shape, given = node.output_shape(), (node.int("height", 0), node.int("width", 0))
    if len(shape) == 4 and min(shape) > 0 and node.layer.inputs[0].shape == x.type.shape:
        return shape[2:]
    if min(given) > 0 or computed is not None:
        return given if min(given) > 0 or computed is None else computed
    raise node.unsupported("the attributes do not say how large an image of another size becomes")


@legacy("Interp")
def import_interp(node: IrNode, importer: IrImporter) -> Value:
    """Linear, and from corner to corner unless ``align_corners`` is 0; a padding below 0 cuts the image first."""
    x = _image(node)
    begin, end = node.int("pad_beg", 0), node.int("pad_end", 0)
    if begin > 0 or end > 0:
        raise node.unsupported("padding of an image that is resized is not supported", found=max(begin, end))
    batch, channels, *sides = x.type.shape
    sides = [side + begin + end for side in sides]
    if min(sides) < 1:
        raise node.model_error("the padding cuts off the whole image", found=f"{begin} and {end}")
    factor = node.float("factor", 0.0)
    shrink, zoom = node.float("shrink_factor", 1.0) or 1.0, node.float("zoom_factor", 1.0) or 1.0
    if factor > 0:
        computed = [math.floor(side * factor) for side in sides]
    else:
        # Caffe counts the steps between pixels.
        computed = [math.floor((side - 1) / shrink) + 1 for side in sides]
        computed = [math.floor(side + (side - 1) * (zoom - 1)) for side in computed]
    wanted = _sides(node, x, (computed[0], computed[1]))
    x = slice_of(importer, x, [0, 0, -begin, -begin], [batch, channels, *sides], [1] * 4)
    coordinates = "align_corners" if node.bool("align_corners", True) else "asymmetric"
    return _resized(importer, x, wanted, "linear", coordinates)


def _resized(importer: IrImporter, x: Value, sides: tuple[int, int], mode: str, coordinates: str) -> Value:
    shape = x.type.shape
    extents = (*shape[:2], *sides)
    scales = tuple(float(np.float32(e) / np.float32(i)) for e, i in zip(extents, shape, strict=True))
    if extents == shape:
        return x
    # Nearest rounds halves up, as the layer did.
    return importer.emit_one(Resize(extents, scales, mode, coordinates, "round_prefer_ceil"), x)


@legacy("Resample")
def import_resample(node: IrNode, importer: IrImporter) -> Value:
    """The nearest pixel, or the mean of those around weighted by their distance; with ``antialias``, of more."""
    x = _image(node)
    factor = node.float("factor", 0.0)
    height, width = (math.floor(side * factor) for side in x.type.shape[2:])
    sides = _sides(node, x, (height, width) if factor > 0 else None)
    kind = node.word("type", "caffe.ResampleParameter.NEAREST").rpartition(".")[2]
    if kind not in ("nearest", "linear"):
        raise node.unsupported("unknown type of resampling", expected="nearest or linear", found=repr(kind[:60]))
    shrinks = any(side < extent for side, extent in zip(sides, x.type.shape[2:], strict=True))
    if kind == "linear" and shrinks and node.bool("antialias", False):
        y = importer.emit_one(MatMul(), x, _means(node, importer, x.type.shape[3], sides[1], "_columns", True))
        return importer.emit_one(MatMul(), _means(node, importer, x.type.shape[2], sides[0], "_rows", False), y)
    return _resized(importer, x, sides, kind, "half_pixel")


def _means(node: IrNode, importer: IrImporter, extent: int, side: int, suffix: str, is_last: bool) -> Value:
    """The weights of pixels in pixels of the result: a triangle as wide as two of the latter, at least two pixels."""

    def make() -> np.ndarray:
        ratio = np.float32(extent) / np.float32(side)
        centres = np.arange(side, dtype=np.float32) * ratio + ratio / 2 - np.float32(0.5)
        distances = np.abs(centres[:, None] - np.arange(extent, dtype=np.float32)) / ratio
        found = np.maximum(0, 1 - distances)
        found = (found / np.maximum(found.sum(1, keepdims=True), np.float32(1e-30))).astype(np.float32)
        return np.ascontiguousarray(found.T) if is_last else found

    shape = (extent, side) if is_last else (side, extent)
    return importer.described(node, shape, node.input(0).type.dtype, make, suffix)
