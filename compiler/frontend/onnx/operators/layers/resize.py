"""Resize of ONNX from version 10 on, and Upsample before it: scales or sizes, of all axes or some."""

from functools import reduce
from operator import add, and_

import numpy as np

from tilewright.errors import UnsupportedError

from ......ir.core import Constant, Op, Value
from ......ir.ops.activation import Clip
from ......ir.ops.elementwise import Min
from ......ir.ops.indexing import Gather
from ......ir.ops.resize import Resize
from ......ir.ops.unary import Ceil, Floor
from ......ir.types import DType
from ....expression import Expression
from ....movement import part_of
from ....resize import antialiased, ratios, resize, resize_by_direction, scaled
from ....shape import cast
from ...exporter import Exporter, exports
from ...importer import Importer, Node, imports
from ...open_extents import open_operators
from ...open_extents.intervals import UNKNOWN, Extent, room, span
from ...open_extents.open_shapes import OPEN_HINT


def floats(array: np.ndarray) -> list[float]:
    return [float(np.float32(v)) for v in array.reshape(-1)]


@imports("Upsample")
def import_upsample(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    scales = node.attributes["scales"] if node.has("scales") else node.constant(1, "the scales")
    return import_simple(node, importer, x, floats(np.asarray(scales)))


def import_simple(node: Node, importer: Importer, x: Value, scales: list[float]) -> Value:
    """What resampling meant before version 11: no offset, and ``nearest`` rounds down, or up when shrinking."""
    if len(scales) != x.type.rank:
        raise node.model_error("the scales do not match the dimensions", expected=x.type.rank, found=len(scales))
    mode = node.string("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear"):
        raise node.unsupported("unknown mode", expected="nearest or linear", found=mode)
    operator = Resize(scaled(x.type.shape, scales), tuple(scales), "linear", "asymmetric")
    return (resize_by_direction if mode == "nearest" else resize)(importer, x, operator)


@imports("Resize")
def import_resize(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    if node.opset < 11:
        return import_simple(node, importer, x, floats(node.constant(1, "the scales")))
    shape = x.type.shape
    axes = [node.from_front(a, len(shape)) for a in node.ints("axes", range(len(shape)))]
    extents, scales = list(shape), [1.0] * len(shape)
    given_scales = node.optional_constant(2, "the scales")
    if any(axis > 0 for axis in importer.open.axes(x)) or importer.open.decides(node.optional(3)):
        return _resized(node, importer, x, axes, given_scales)
    given_sizes = node.attribute_or_input("sizes", 3)
    if given_scales is not None and given_scales.size:
        if given_scales.size != len(axes):
            raise node.model_error("wrong number of scales", expected=len(axes), found=given_scales.size)
        for axis, scale in zip(axes, floats(given_scales), strict=True):
            scales[axis] = scale
        extents = list(scaled(shape, scales))
    elif given_sizes:
        if len(given_sizes) != len(axes):
            raise node.model_error("wrong number of sizes", expected=len(axes), found=len(given_sizes))
        factors = [np.float32(size) / np.float32(shape[axis]) for axis, size in zip(axes, given_sizes, strict=True)]
        policy = node.string("keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            common = min(factors) if policy == "not_larger" else max(factors)
            factors = [common] * len(axes)
            given_sizes = [int(np.floor(np.float32(common * np.float32(shape[a])) + 0.5)) for a in axes]
        for axis, size, ratio in zip(axes, given_sizes, factors, strict=True):
            extents[axis], scales[axis] = size, float(ratio)
    else:
        raise node.model_error("neither scales nor sizes are given")
    coordinates = node.string("coordinate_transformation_mode", "half_pixel")
    region = node.optional(1) if coordinates == "tf_crop_and_resize" else None
    computed, roi = None if isinstance(region, Constant) else region, ()
    if computed is not None:
        roi = (0.0,) * len(shape) + (1.0,) * len(shape)
    elif coordinates == "tf_crop_and_resize":
        roi = _region(node, axes, len(shape))
    operator = Resize(
        tuple(extents),
        tuple(scales),
        node.string("mode", "nearest"),
        coordinates,
        node.string("nearest_mode", "round_prefer_floor"),
        float(np.float32(node.float("cubic_coeff_a", -0.75))),
        node.bool("exclude_outside", 0),
        float(np.float32(node.float("extrapolation_value", 0.0))),
        roi,
    )
    if computed is not None:
        return _cropped(node, importer, x, computed, axes, operator)
    if node.bool("antialias", 0) and operator.mode in ("linear", "cubic"):
        return antialiased(node, importer, x, operator)
    return resize(importer, x, operator)


def _cropped(node: Node, importer: Importer, x: Value, region: Value, axes: list[int], operator: Resize) -> Value:
    """A computed region of the last two dimensions, linear along each; what is outside of x is one number.
    ``operator``: what it would be of the whole."""
    extents = operator.infer(x.type).shape
    rank, moved = x.type.rank, [axis for axis, extent in enumerate(extents) if extent != x.type.shape[axis]]
    if operator.mode != "linear" or node.bool("antialias", 0) or min(moved, default=rank) < rank - 2:
        raise node.unsupported(
            "a region that is computed must be one of the last two dimensions, and linear",
            found=f"{operator.mode}, {x.type} to {list(extents)}",
            hint="Make the region of interest a constant.",
        )
    if region.type.shape != (2 * len(axes),):
        raise node.model_error("the region needs two numbers an axis", expected=2 * len(axes), found=region.type)
    region = cast(importer, region, DType.F32)
    inside: list[Expression] = []
    for axis in sorted({*axes} & {rank - 2, rank - 1}):
        last, extent = x.type.shape[axis] - 1, extents[axis]
        begin, end = (
            Expression(importer, part_of(importer, region, 0, axes.index(axis) + half)) for half in (0, len(axes))
        )
        if extent > 1:
            places = begin * last + np.arange(extent) * ((end - begin) * last) / (extent - 1)
        else:
            places = ((begin + end) * (last / 2)).reshape((1,))
        along, kept = (extent, *(1,) * (rank - 1 - axis)), places.apply(Clip(0.0, float(last)))
        inside.append(kept.equals(places).reshape(along))
        x = _between(x, axis, kept)
    return Expression(importer, x).where(reduce(and_, inside), x, operator.extrapolation_value).value if inside else x


def _between(x: Value, axis: int, points: Expression) -> Value:
    """What is at points, f32[…], between the elements of a dimension."""
    elements = Expression(points.importer, x)
    below, above = (points.apply(operator) for operator in (Floor(), Ceil()))
    near, far = (elements.apply(Gather(axis), each.cast(DType.I64)) for each in (below, above))
    share = (points - below).cast(x.type.dtype)
    return (near + (far - near) * share.reshape((*share.value.type.shape, *(1,) * (x.type.rank - 1 - axis)))).value


def _resized(node: Node, importer: Importer, x: Value, axes: list[int], scales: np.ndarray | None) -> Value:
    """Of or to extents that the data decide: elements are looked up at points that are computed."""
    open, shape = importer.open, importer.open.shape(x)
    mode, coordinates = node.string("mode", "nearest"), node.string("coordinate_transformation_mode", "half_pixel")
    is_known = coordinates in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    is_plain = is_known and not node.bool("antialias", 0) and not node.has("keep_aspect_ratio_policy")
    if scales is not None and not (np.isfinite(scales) & (scales > 0)).all():
        raise node.model_error("scales must be positive numbers", found=floats(scales))
    if not is_plain or not (mode == "nearest" or (mode in ("linear", "cubic") and x.type.dtype.is_float)):
        raise node.unsupported(
            "the data decide extents of what is resized",
            expected="nearest, or linear or cubic of floats, without cropping, antialiasing and policy",
            found=f"{mode}, {coordinates}, {x.type.dtype.value}",
            hint=OPEN_HINT,
        )
    factors = floats(scales) if scales is not None else []
    sizes = open_operators.extents_of(node, open, 3, "the sizes") if not factors else []
    if len(factors or sizes) != len(axes):
        what = f"wrong number of {'scales' if factors else 'sizes'}"
        raise node.model_error(what, expected=len(axes), found=len(factors or sizes))
    sizes = sizes or [_scaled(importer, shape[axis], scale) for axis, scale in zip(axes, factors, strict=True)]
    sizes = [open.larger(size, 0) for size in open_operators.bounded(node, open, sizes, "a size")]
    for axis, size, factor in zip(axes, sizes, factors or [None] * len(axes), strict=True):
        if factor == 1 or (factor is None and (size is shape[axis] or size == shape[axis])):
            continue
        extent = Expression(importer, open.value(shape[axis])).cast(DType.F32)
        points = _points(importer, extent, size, factor, coordinates)
        if mode == "nearest":
            points = _rounded(points, node.string("nearest_mode", "round_prefer_floor"))
        if mode == "cubic":
            x = _cubic(node, x, axis, points, extent)
            continue
        points = points.apply(Min(), extent - 1).apply(Clip(0.0, np.inf))
        if mode == "nearest":
            x = importer.emit_one(Gather(axis), x, points.cast(DType.I64).value)
        else:
            x = _between(x, axis, points)
    return x


def _cubic(node: Node, x: Value, axis: int, points: Expression, extent: Expression) -> Value:
    """What is at points, f32[…], by Keys' kernel over the four elements around each."""
    a, is_inside = float(np.float32(node.float("cubic_coeff_a", -0.75))), node.bool("exclude_outside", 0)
    below, last = points.apply(Floor()), extent - 1
    share = points - below
    beyond = share * -1 + 1
    inner, outer = (-(a + 3), 0.0, 1.0), (-5 * a, 8 * a, -4 * a)
    weights: list[Expression] = []
    places: list[Expression] = []
    for step, distance in zip((-1, 0, 1, 2), (share + 1, share, beyond, beyond + 1), strict=True):
        leading, rest = (a + 2, inner) if step in (0, 1) else (a, outer)
        weight = distance * leading + rest[0]
        for number in rest[1:]:
            weight = weight * distance + number
        place = below + step
        places.append(place.apply(Min(), last).apply(Clip(0.0, np.inf)))
        weights.append(weight * place.equals(places[-1]).cast(DType.F32) if is_inside else weight)
    if is_inside:
        whole = reduce(add, weights)
        weights = [weight / whole for weight in weights]
    elements, terms = Expression(points.importer, x), list[Expression]()
    for place, weight in zip(places, weights, strict=True):
        along = (*weight.value.type.shape, *(1,) * (x.type.rank - 1 - axis))
        terms.append(elements.apply(Gather(axis), place.cast(DType.I64)) * weight.cast(x.type.dtype).reshape(along))
    return reduce(add, terms).value


def _scaled(importer: Importer, extent: Extent, scale: float) -> Extent:
    """An extent after scaling, rounded down."""
    open = importer.open
    if scale == int(scale) and scale < UNKNOWN:
        return open.product([extent, int(scale)])
    (least,), (most,) = (scaled([each], [scale]) for each in span(extent))
    whole = (Expression(importer, open.value(extent)).cast(DType.F32) * scale).apply(Floor()).cast(DType.I64)
    return open.count(whole.value, least, most)


def _points(
    importer: Importer, extent: Expression, wanted: Extent, factor: float | None, coordinates: str
) -> Expression:
    """The points among so many elements that those of the result are at, f32[wanted], as onnxruntime computes them."""
    open = importer.open
    index = importer.constant(np.arange(room(wanted), dtype=np.float32), "index")
    places, count = (Expression(importer, each) for each in (open.opened(index, [wanted]), open.value(wanted)))
    count = count.cast(DType.F32)
    if coordinates == "align_corners":
        return places * (extent - 1) / (count - 1).apply(Clip(1.0, np.inf))
    ratio = count / extent if factor is None else factor
    if coordinates == "asymmetric":
        return places / ratio
    points = (places + 0.5) / ratio - 0.5
    return points.where(count.equals(1), 0, points) if coordinates == "pytorch_half_pixel" else points


def _rounded(points: Expression, mode: str) -> Expression:
    moved = {"round_prefer_floor": -0.5, "round_prefer_ceil": 0.5}.get(mode, 0.0)
    return (points + moved if moved else points).apply(Ceil() if mode in ("ceil", "round_prefer_floor") else Floor())


def _region(node: Node, axes: list[int], rank: int) -> tuple[float, ...]:
    given = floats(node.constant(1, "the region of interest"))
    if len(given) != 2 * len(axes):
        raise node.model_error("the region needs two numbers an axis", expected=2 * len(axes), found=len(given))
    begins, ends = [0.0] * rank, [1.0] * rank
    for position, axis in enumerate(axes):
        begins[axis], ends[axis] = given[position], given[len(axes) + position]
    return (*begins, *ends)


@exports(Resize)
def export_resize(op: Op[Resize], exporter: Exporter) -> None:
    operator, x = op.operator, op.operands.x
    scales, sizes = None, None
    if operator.scales == ratios(x.type.shape, operator.extents):
        sizes = exporter.integers(operator.extents, "sizes")
    elif scaled(x.type.shape, operator.scales) == operator.extents:
        scales = exporter.constant(np.asarray(operator.scales, np.float32), "scales")
    else:
        raise UnsupportedError(
            "the extents follow neither from the scales nor the scales from the extents",
            stage="export",
            op=op.name,
            node=op.node,
            found=f"{list(x.type.shape)} by {list(operator.scales)} to {list(operator.extents)}",
        )
    crops = operator.coordinates == "tf_crop_and_resize"
    exporter.write_as(
        op,
        "Resize",
        [x, exporter.constant(np.asarray(operator.roi, np.float32), "roi") if crops else None, scales, sizes],
        mode=operator.mode,
        coordinate_transformation_mode=operator.coordinates,
        nearest_mode=operator.nearest_mode,
        cubic_coeff_a=operator.cubic_coeff_a,
        exclude_outside=int(operator.exclude_outside),
        extrapolation_value=operator.extrapolation_value,
    )


@exports(Resize, quantized=True)
def export_quantized_resize(op: Op[Resize], exporter: Exporter) -> None:
    """ONNX leaves open how integers that lie between others are rounded."""
    if op.operator.mode == "nearest":
        export_resize(op, exporter)
    else:
        exporter.write_between_conversions(op, export_resize)
