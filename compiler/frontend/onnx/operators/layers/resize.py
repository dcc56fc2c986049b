"""Resize of ONNX from version 10 on, and Upsample before it: scales or sizes, of all axes or some."""

from functools import reduce

import numpy as np

from tilewright.errors import UnsupportedError

from ......ir.core import Constant, Op, Value
from ......ir.ops.activation import Clip
from ......ir.ops.comparison import And, Equal, Where
from ......ir.ops.elementwise import Add, Div, Min, Mul, Sub
from ......ir.ops.indexing import Gather
from ......ir.ops.resize import Resize
from ......ir.ops.unary import Ceil, Floor
from ......ir.types import DType
from ....elementwise import scaled as times
from ....movement import part_of
from ....resize import antialiased, ratios, resize, resize_by_direction, scaled
from ....shape import cast, reshape
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
    inside: list[Value] = []
    for axis in sorted({*axes} & {rank - 2, rank - 1}):
        last, extent = x.type.shape[axis] - 1, extents[axis]
        begin, end = (part_of(importer, region, 0, axes.index(axis) + half) for half in (0, len(axes)))
        if extent > 1:
            steps = importer.constant(np.arange(extent, dtype=np.float32), f"{node.name}_steps")
            length = times(importer, importer.emit_one(Sub(), end, begin), last)
            places = importer.emit_one(Mul(), steps, length)
            places = importer.emit_one(Div(), places, importer.constant(np.array(extent - 1, np.float32), "pieces"))
            places = importer.emit_one(Add(), times(importer, begin, last), places)
        else:
            places = reshape(importer, times(importer, importer.emit_one(Add(), begin, end), last / 2), (1,))
        along, kept = (extent, *(1,) * (rank - 1 - axis)), importer.emit_one(Clip(0.0, float(last)), places)
        inside.append(reshape(importer, importer.emit_one(Equal(), kept, places), along))
        x = _between(importer, x, axis, kept)
    if not inside:
        return x
    outside = importer.constant(np.array(operator.extrapolation_value, x.type.dtype.numpy), "outside")
    whole = importer.emit_one(And(), *inside) if inside[1:] else inside[0]
    return importer.emit_one(Where(), whole, x, outside)


def _between(importer: Importer, x: Value, axis: int, points: Value) -> Value:
    """What is at points, f32[…], between the elements of a dimension."""
    below, above = (importer.emit_one(operator, points) for operator in (Floor(), Ceil()))
    near, far = (importer.emit_one(Gather(axis), x, cast(importer, each, DType.I64)) for each in (below, above))
    share = cast(importer, importer.emit_one(Sub(), points, below), x.type.dtype)
    share = reshape(importer, share, (*share.type.shape, *(1,) * (x.type.rank - 1 - axis)))
    return importer.emit_one(Add(), near, importer.emit_one(Mul(), importer.emit_one(Sub(), far, near), share))


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
        extent = cast(importer, open.value(shape[axis]), DType.F32)
        points = _points(importer, extent, size, factor, coordinates)
        if mode == "nearest":
            points = _rounded(importer, points, node.string("nearest_mode", "round_prefer_floor"))
        if mode == "cubic":
            x = _cubic(node, importer, x, axis, points, extent)
            continue
        points = importer.emit_one(Min(), points, _plus(importer, extent, -1.0))
        points = importer.emit_one(Clip(0.0, np.inf), points)
        if mode == "nearest":
            x = importer.emit_one(Gather(axis), x, cast(importer, points, DType.I64))
        else:
            x = _between(importer, x, axis, points)
    return x


def _cubic(node: Node, importer: Importer, x: Value, axis: int, points: Value, extent: Value) -> Value:
    """What is at points, f32[…], by Keys' kernel over the four elements around each."""
    emit, a = importer.emit_one, float(np.float32(node.float("cubic_coeff_a", -0.75)))
    is_inside = node.bool("exclude_outside", 0)
    below, last = emit(Floor(), points), _plus(importer, extent, -1.0)
    share = emit(Sub(), points, below)
    beyond = _plus(importer, times(importer, share, -1.0), 1.0)
    inner, outer = (-(a + 3), 0.0, 1.0), (-5 * a, 8 * a, -4 * a)
    weights: list[Value] = []
    places: list[Value] = []
    for step, distance in zip(
        (-1, 0, 1, 2), (_plus(importer, share, 1.0), share, beyond, _plus(importer, beyond, 1.0)), strict=True
    ):
        leading, rest = (a + 2, inner) if step in (0, 1) else (a, outer)
        weight = _plus(importer, times(importer, distance, leading), rest[0])
        for number in rest[1:]:
            weight = _plus(importer, emit(Mul(), weight, distance), number)
        place = _plus(importer, below, float(step))
        places.append(emit(Clip(0.0, np.inf), emit(Min(), place, last)))
        if is_inside:
            weight = emit(Mul(), weight, cast(importer, emit(Equal(), place, places[-1]), DType.F32))
        weights.append(weight)
    if is_inside:
        whole = _sum(importer, weights)
        weights = [emit(Div(), weight, whole) for weight in weights]
    terms: list[Value] = []
    for place, weight in zip(places, weights, strict=True):
        near = emit(Gather(axis), x, cast(importer, place, DType.I64))
        along = (*weight.type.shape, *(1,) * (x.type.rank - 1 - axis))
        terms.append(emit(Mul(), near, reshape(importer, cast(importer, weight, x.type.dtype), along)))
    return _sum(importer, terms)


def _sum(importer: Importer, terms: list[Value]) -> Value:
    return reduce(lambda left, right: importer.emit_one(Add(), left, right), terms)


def _plus(importer: Importer, x: Value, number: float) -> Value:
    return importer.emit_one(Add(), x, importer.constant(np.asarray(number, np.float32), "number"))


def _scaled(importer: Importer, extent: Extent, scale: float) -> Extent:
    """An extent after scaling, rounded down."""
    open = importer.open
    if scale == int(scale) and scale < UNKNOWN:
        return open.product([extent, int(scale)])
    (least,), (most,) = (scaled([each], [scale]) for each in span(extent))
    number = times(importer, cast(importer, open.value(extent), DType.F32), scale)
    return open.count(cast(importer, importer.emit_one(Floor(), number), DType.I64), least, most)


def _points(importer: Importer, extent: Value, wanted: Extent, factor: float | None, coordinates: str) -> Value:
    """The points among so many elements that those of the result are at, f32[wanted], as onnxruntime computes them."""
    open, emit = importer.open, importer.emit_one
    index = open.opened(importer.constant(np.arange(room(wanted), dtype=np.float32), "index"), [wanted])
    count = cast(importer, open.value(wanted), DType.F32)
    if coordinates == "align_corners":
        steps = emit(Clip(1.0, np.inf), _plus(importer, count, -1.0))
        return emit(Div(), emit(Mul(), index, _plus(importer, extent, -1.0)), steps)
    ratio = emit(Div(), count, extent) if factor is None else importer.constant(np.asarray(factor, np.float32), "scale")
    if coordinates == "asymmetric":
        return emit(Div(), index, ratio)
    points = _plus(importer, emit(Div(), _plus(importer, index, 0.5), ratio), -0.5)
    if coordinates == "pytorch_half_pixel":
        one, zero = (importer.constant(np.asarray(number, np.float32), "number") for number in (1, 0))
        points = emit(Where(), emit(Equal(), count, one), zero, points)
    return points


def _rounded(importer: Importer, points: Value, mode: str) -> Value:
    moved = {"round_prefer_floor": -0.5, "round_prefer_ceil": 0.5}.get(mode, 0.0)
    operator = Ceil() if mode in ("ceil", "round_prefer_floor") else Floor()
    return importer.emit_one(operator, _plus(importer, points, moved) if moved else points)


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
