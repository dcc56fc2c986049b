"""Interpolate of IR, in three versions: what it has exactly as `Resize` has it."""

from __future__ import annotations

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.resize import COORDINATES, NEAREST, Resize
from ...movement import padded
from ...resize import ratios, resize, resize_by_direction, scaled
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, opset
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
