"""GridSample, AffineGrid and DeformConv of ONNX."""

import math
from functools import partial

import numpy as np

from ......ir.core import Op, Value
from ......ir.ops.elementwise import Add, Mul
from ......ir.ops.indexing import Gather
from ......ir.ops.matmul import MatMul
from ......ir.ops.sampling import GridSample
from ......ir.ops.unary import Floor
from ......ir.types import DType, TensorType
from ....expression import Expression
from ....movement import join, reversed_along, split, transpose
from ....shape import cast, expand, reshape
from ...exporter import MICROSOFT, Exporter, exports
from ...importer import Importer, Node, imports
from .convolution import window

_MODES = {"bilinear": "linear", "bicubic": "cubic"}
"""What modes were called until version 20."""


@imports("GridSample")
@imports("GridSample", domain=MICROSOFT)
def import_grid_sample(node: Node, importer: Importer) -> Value:
    mode = node.string("mode", "linear")
    coordinates = "centres" if node.bool("align_corners", 0) else "edges"
    operator = GridSample(_MODES.get(mode, mode), node.string("padding_mode", "zeros"), coordinates)
    return importer.emit_one(operator, node.input(0), node.input(1))


@imports("CropAndResize", domain=MICROSOFT)
def import_crop_and_resize(node: Node, importer: Importer) -> Value:
    """Regions of images, corners [y, x, y, x] from 0 to 1 between the centres of the outermost pixels, at one size."""
    x, regions, images, size = *(node.input(index) for index in range(3)), node.integers(3, "the size of crops")
    mode, outside = node.string("mode", "bilinear"), node.float("extrapolation_value", 0.0)
    if mode not in ("bilinear", "nearest"):
        raise node.model_error("unknown mode", expected="bilinear or nearest", found=mode)
    fits = x.type.rank == 4 and regions.type == TensorType((*regions.type.shape[:1], 4), x.type.dtype)
    if not fits or len(size) != 2 or min(size) < 1:
        raise node.model_error("images, regions and size do not fit", found=f"{x.type}, {regions.type}, {list(size)}")
    count = regions.type.shape[0]
    corners = [Expression(importer, corner) for corner in split(importer, regions, 1, (1, 1, 1, 1))]
    rows, is_inside = list[Value](), list[Expression]()
    for axis, length in enumerate(size):
        start, end, last = corners[axis], corners[axis + 2], x.type.shape[axis + 2] - 1
        if length > 1:
            places = start * last + (end - start) * last / (length - 1) * np.arange(length)
        else:
            places = (start + end) * 0.5 * last
        places = places.reshape((count, length, 1) if axis == 0 else (count, 1, length))
        is_inside.append((places >= 0) & (places <= last))
        if mode == "nearest":
            # Halves away from 0.
            places = (places + 0.5).apply(Floor())
        rows.append(reshape(importer, expand(node, importer, places.value, (count, *size)), (count, *size, 1)))
    picked = importer.emit_one(Gather(0), x, cast(importer, images, DType.I64))
    sample = GridSample("linear" if mode == "bilinear" else mode, "border", "pixels")
    crops = Expression(importer, importer.emit_one(sample, picked, join(importer, rows[::-1], 3)))
    is_there = (is_inside[0] & is_inside[1]).reshape((count, 1, *size))
    return crops.where(is_there, crops, outside).value


@exports(GridSample)
def export_grid_sample(op: Op[GridSample], exporter: Exporter) -> None:
    operator, (x, grid) = op.operator, op.operands
    written, dtype = exporter.name(grid), grid.type.dtype.numpy
    if operator.coordinates == "pixels":
        # The pixel p of n is at (2 p + 1) / n - 1 between the edges.
        extents = np.asarray(x.type.shape[:1:-1], np.float64)
        factors, offsets = (exporter.constant(each.astype(dtype)) for each in (2 / extents, 1 / extents - 1))
        written = exporter.node("Add", [exporter.node("Mul", [written, factors]), offsets])
    centres = int(operator.coordinates == "centres")
    attributes = {"mode": operator.mode, "padding_mode": operator.padding_mode, "align_corners": centres}
    if grid.type.rank == x.type.rank:
        exporter.write_as(op, "GridSample", [x, written], **attributes)
        return
    # In ONNX points have as many dimensions as images.
    batch, *points, rank = grid.type.shape
    line = exporter.integers([batch, math.prod(points), *[1] * (rank - 1), rank], "line")
    y = exporter.node("GridSample", [x, exporter.node("Reshape", [written, line], allowzero=1)], **attributes)
    exporter.write_as(op, "Reshape", [y, exporter.integers(op.result.type.shape, "shape")], allowzero=1)


@imports("AffineGrid")
def import_affine_grid(node: Node, importer: Importer) -> Value:
    """A sum of what each dimension adds, so that places are stored by dimension alone."""
    theta, size = node.input(0), node.integers(1, "the size")
    extents, rank, centres = size[2:], len(size) - 2, node.bool("align_corners", 0)
    if rank not in (2, 3) or min(extents) < 1 or theta.type.shape != (size[0], rank, rank + 1):
        raise node.model_error("theta and the size do not fit", found=f"{theta.type}, {list(size)}")

    def places(n: int, *ones: int) -> np.ndarray:
        """Coordinates from -1 to 1; a corner of one place alone is at -1, as in the standard."""
        found = np.linspace(-1, 1, n) if centres else (2 * np.arange(n) + 1) / n - 1
        return found.astype(theta.type.dtype.numpy).reshape(n, *ones)

    columns = split(importer, theta, 2, (1,) * (rank + 1))
    y, *columns = (reshape(importer, each, (size[0], *[1] * rank, rank)) for each in reversed(columns))
    for d, (n, column) in enumerate(zip(extents, columns, strict=True)):
        shape = (n, *[1] * (rank - d))
        fixed = importer.described(node, shape, theta.type.dtype, partial(places, *shape), "_places")
        y = importer.emit_one(Add(), y, importer.emit_one(Mul(), fixed, column))
    return y


@imports("DeformConv")
def import_deform_conv(node: Node, importer: Importer) -> Value:
    """A product of the kernels with what lies at the taps of each window, moved by the offsets."""
    x, w, offset, mask = node.input(0), node.input(1), node.input(2), node.optional(4)
    (batch, channels, *extents), (outputs, _, *kernel) = x.type.shape, w.type.shape
    strides, pads, dilations = window(node, tuple(extents), tuple(kernel))
    groups, apart = node.int("group", 1), node.int("offset_group", 1)
    rank, taps, result = len(extents), math.prod(kernel), offset.type.shape[2:]
    if rank not in (1, 2, 3) or offset.type.shape[:2] != (batch, apart * taps * rank) or channels % apart:
        raise node.model_error("x, kernels and offsets do not fit", found=f"{x.type}, {w.type}, {offset.type}")

    def places() -> np.ndarray:
        """Where the taps lie without an offset, coordinates from the last to the first: [taps, *result, rank]."""
        tap, position = np.indices(kernel).reshape(rank, taps, *[1] * rank), np.indices(result)[:, None]
        moved = [position[d] * strides[d] - pads[d] + tap[d] * dilations[d] for d in reversed(range(rank))]
        return np.stack(moved, -1).astype(offset.type.dtype.numpy)

    grid = reshape(importer, offset, (batch * apart, taps, rank, *result))
    grid = transpose(importer, reversed_along(importer, grid, 2), (0, 1, *range(3, 3 + rank), 2))
    fixed = importer.described(node, (taps, *result, rank), offset.type.dtype, places, "_taps")
    images = reshape(importer, x, (batch * apart, channels // apart, *extents))
    sampler = GridSample("linear", "zeros", "pixels")
    seen = importer.emit_one(sampler, images, importer.emit_one(Add(), grid, fixed))
    if mask is not None:
        seen = importer.emit_one(Mul(), seen, reshape(importer, mask, (batch * apart, 1, taps, *result)))
    inner = channels // groups * taps
    columns = reshape(importer, seen, (batch, groups, inner, math.prod(result)))
    y = importer.emit_one(MatMul(), reshape(importer, w, (groups, outputs // groups, inner)), columns)
    y = reshape(importer, y, (batch, outputs, *result))
    bias = node.optional(3)
    return y if bias is None else importer.emit_one(Add(), y, reshape(importer, bias, (outputs, *[1] * rank)))
