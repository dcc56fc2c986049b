"""Interpolate of IR, in three versions: what it has exactly as `Resize` has it; Interp and Resample."""

import math

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.matmul import MatMul
from .....ir.ops.resize import COORDINATES, NEAREST, Resize
from ...movement import padded, slice_of
from ...resize import ratios, resize, resize_by_direction, scaled
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, legacy, opset
from .elementwise import combined

MODES = {"nearest": "nearest", "linear": "linear", "linear_onnx": "linear", "cubic": "cubic"}
"""What ours are called. Without antialiasing, ``linear`` and ``linear_onnx`` are the same."""

SHARED = tuple(name for name in COORDINATES if name not in ("half_pixel_symmetric", "tf_crop_and_resize"))
"""Ways to find coordinates that IR has, too."""


@opset("Interpolate")
def import_interpolate(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    rank = x.type.rank
    mode = node.word("mode")
    if mode not in MODES:
        raise node.unsupported("this mode is not supported", expected=", ".join(MODES), found=mode)
    before, after = _pads(node, rank, "pads_begin"), _pads(node, rank, "pads_end")
    x = padded(node, importer, x, before, after, "constant", None)
    extents, scales = _target(node, x)
    if node.bool("antialias", False) and mode != "nearest" and min(scales, default=1) < 1:
        raise node.unsupported("antialiasing is not supported where dimensions shrink")
    if node.opset < 4:
        coordinates = "align_corners" if node.bool("align_corners", True) else "asymmetric"
        nearest = "simple"
    else:
        coordinates = node.word("coordinate_transformation_mode", "half_pixel")
        nearest = node.word("nearest_mode", "round_prefer_floor")
    if coordinates not in SHARED or nearest not in (*NEAREST, "simple"):
        found = f"{coordinates} and {nearest}"
        raise node.unsupported("these coordinates are not supported", expected=", ".join(SHARED), found=found)
    coefficient = float(np.float32(node.float("cube_coeff", -0.75)))
    is_simple = nearest == "simple"
    operator = Resize(extents, scales, MODES[mode], coordinates, NEAREST[0] if is_simple else nearest, coefficient)
    if mode == "nearest" and is_simple:
        return resize_by_direction(importer, x, operator)
    return resize(importer, x, operator)


def _pads(node: IrNode, rank: int, name: str) -> list[int]:
    """Pads of all dimensions; those that are not said are 0."""
    given = node.ints(name, ())
    if len(given) > rank:
        raise node.model_error("there are more pads than dimensions", expected=rank, found=len(given))
    return [*given, *[0] * (rank - len(given))]


def _target(node: IrNode, x: Value) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Extents and scales of all dimensions."""
    shape, rank = x.type.shape, x.type.rank
    version = node.opset
    if version < 4:
        axes = node.ints("axes")
    else:
        index = 3 if version < 11 else 2
        axes = node.integers(index, "the axes") if node.optional(index) is not None else tuple(range(rank))
    axes = [node.from_front(axis, rank) for axis in axes]
    by_scales = version >= 4 and node.word("shape_calculation_mode") == "scales"
    extents, scales = list(shape), [1.0] * rank
    given = node.constant(2 if by_scales and version < 11 else 1, "the scales" if by_scales else "the sizes").reshape(
        -1
    )
    if len(given) != len(axes):
        raise node.model_error("each axis needs a scale or size", expected=len(axes), found=len(given))
    if by_scales:
        for axis, scale in zip(axes, given.tolist(), strict=True):
            scales[axis] = float(np.float32(scale))
        return scaled(shape, scales), tuple(scales)
    for axis, size in zip(axes, given.tolist(), strict=True):
        extents[axis] = int(size)
    return tuple(extents), ratios(shape, extents)


@exports(Resize)
def export_resize(op: Op[Resize], exporter: IrExporter) -> None:
    operator, x = op.operator, op.operands.x
    changed = [d for d, extent in enumerate(x.type.shape) if not operator.keeps(d, extent)]
    is_exact = operator.scales == ratios(x.type.shape, operator.extents)
    if is_exact:
        target = exporter.integers([operator.extents[d] for d in changed], "sizes")
    else:
        target = exporter.constant(np.asarray([operator.scales[d] for d in changed], np.float32))
    is_scaled = scaled(x.type.shape, operator.scales) == operator.extents
    is_shared = operator.coordinates in SHARED and not operator.exclude_outside and len(changed) <= 3
    if not is_shared or not (is_exact or is_scaled) or not changed:
        exporter.define(op, _weighted(op, exporter))
        return
    exporter.write_as(
        op,
        "Interpolate",
        [x, target, exporter.integers(changed, "axes")],
        opset=11,
        mode="linear_onnx" if operator.mode == "linear" else operator.mode,
        shape_calculation_mode="sizes" if is_exact else "scales",
        coordinate_transformation_mode=operator.coordinates,
        nearest_mode=operator.nearest_mode,
        antialias=False,
        pads_begin=[0] * x.type.rank,
        pads_end=[0] * x.type.rank,
        cube_coeff=operator.cubic_coeff_a,
    )


def _weighted(op: Op[Resize], exporter: IrExporter) -> Tensor:
    """Sums of elements picked by index, for what Interpolate has no form: their weights are known."""
    operator, x = op.operator, exporter.tensor(op.operands.x)
    shape = x.type.shape
    for d, extent in enumerate(shape):
        if operator.is_identity(d, extent):
            continue
        indices, weights = operator.taps(d, extent)
        type = x.type.with_shape((*x.type.shape[:d], len(indices), *x.type.shape[d + 1 :]))
        terms: list[Tensor] = []
        for tap in range(indices.shape[1]):
            inputs = [x, exporter.integers(indices[:, tap], "indices"), exporter.integers(d, "axis")]
            terms.append(exporter.layer("Gather", inputs, type, opset=8, batch_dims=0))
            if operator.mode != "nearest":
                along = exporter.constant(
                    weights[:, tap].reshape(-1, *[1] * (type.rank - 1 - d)).astype(type.dtype.numpy)
                )
                terms[-1] = combined(exporter, "Multiply", terms[-1], along)
        x = terms[0]
        for term in terms[1:]:
            x = combined(exporter, "Add", x, term)
    if operator.coordinates != "tf_crop_and_resize":
        return exporter.identity(x) if x.layer == exporter.tensor(op.operands.x).layer else x
    inside = np.ones(operator.extents, np.bool_)
    for d, extent in enumerate(shape):
        point = operator.source_coordinates(d, extent)
        inside[(slice(None),) * d + ((point < 0) | (point > extent - 1),)] = False
    outside = exporter.constant(np.asarray(operator.extrapolation_value).astype(x.type.dtype.numpy))
    return exporter.layer("Select", [exporter.constant(inside), x, outside], x.type, auto_broadcast="numpy")


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
def import_legacy_interp(node: IrNode, importer: IrImporter) -> Value:
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
    extents = (*x.type.shape[:2], *sides)
    # Nearest rounds halves up, as the layer did.
    return resize(importer, x, Resize(extents, ratios(x.type.shape, extents), mode, coordinates, "round_prefer_ceil"))


@legacy("Resample")
def import_legacy_resample(node: IrNode, importer: IrImporter) -> Value:
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
