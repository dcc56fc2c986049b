"""Resampling, as the importers of all formats emit it: nothing where nothing changes."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tilewright.limits import RESAMPLED

from ...ir.core import Value
from ...ir.ops.matmul import MatMul
from ...ir.ops.resize import Resize
from ...ir.types import DType
from .builder import ModuleBuilder, SourceNode
from .movement import cut, join, transpose
from .shape import cast, reshape

_BANDWIDTHS = 4
"""Of the elements that one of the result is made of by antialiasing: a product takes so many times as many, or more."""

_MOST_PARTS = 16
"""Products along a dimension."""


def scaled(shape: Sequence[int], scales: Sequence[float]) -> tuple[int, ...]:
    """Extents after scaling, rounded down; the product is formed in float32, as onnxruntime does."""
    return tuple(int(np.float32(e) * np.float32(s)) for e, s in zip(shape, scales, strict=True))


def ratios(shape: Sequence[int], extents: Sequence[int]) -> tuple[float, ...]:
    """Scales that these extents are, in float32."""
    return tuple(float(np.float32(e) / np.float32(s)) for e, s in zip(extents, shape, strict=True))


def resize(importer: ModuleBuilder, x: Value, operator: Resize) -> Value:
    """``x`` resampled; ``x`` itself where every scale is 1. What lies between integers loses its fraction."""
    if all(s == 1 for s in operator.scales) and operator.coordinates != "tf_crop_and_resize":
        return x
    dtype = x.type.dtype
    if operator.mode != "nearest" and dtype.is_integer:
        return cast(importer, importer.emit_one(operator, cast(importer, x, DType.F32)), dtype)
    return importer.emit_one(operator, x)


def resize_by_direction(importer: ModuleBuilder, x: Value, operator: Resize) -> Value:
    """``x`` resampled by elements at the next index downward, or upward along dimensions that shrink."""
    for rounding, chosen in (("ceil", [s < 1 for s in operator.scales]), ("floor", [s > 1 for s in operator.scales])):
        pairs = zip(operator.extents, x.type.shape, chosen, strict=True)
        extents = tuple(new if is_chosen else old for new, old, is_chosen in pairs)
        scales = tuple(s if is_chosen else 1.0 for s, is_chosen in zip(operator.scales, chosen, strict=True))
        part = replace(operator, extents=extents, scales=scales, mode="nearest", nearest_mode=rounding)
        x = resize(importer, x, part)
    return x


def antialiased(node: SourceNode, importer: ModuleBuilder, x: Value, operator: Resize) -> Value:
    """``x`` resampled by kernels as wide as elements of the result are apart: a matrix product along each dimension.
    Raises UnsupportedError: there is no such product of what x holds; ResourceError: a dimension is too long."""
    if not x.type.dtype.is_float or operator.coordinates == "tf_crop_and_resize":
        found = f"{x.type}, {operator.coordinates}"
        raise node.unsupported("antialiasing is of floats, and without cropping", found=found)
    operator.infer(x.type)
    for d in range(x.type.rank):
        extent, wanted = x.type.shape[d], operator.extents[d]
        if operator.keeps(d, extent):
            continue
        if extent > RESAMPLED:
            expected = f"at most {RESAMPLED} positions, for antialiasing"
            raise node.resource_error("a dimension is too long to be resampled", expected=expected, found=extent)
        indices, weights = _antialiasing(operator, d, extent)
        band = int(np.count_nonzero(weights, axis=1).max())
        rows = max(_BANDWIDTHS * -(-band * wanted // extent), -(-wanted // _MOST_PARTS))
        parts = [slice(first, first + rows) for first in range(0, wanted, rows)]
        x = join(importer, [_weighed(node, importer, x, d, indices[part], weights[part]) for part in parts], d)
    return x


def _weighed(
    node: SourceNode, importer: ModuleBuilder, x: Value, d: int, indices: np.ndarray, weights: np.ndarray
) -> Value:
    """Some elements of the result along a dimension: sums of those of ``x`` at ``indices``, times ``weights``."""
    dtype, rank, wanted = x.type.dtype, x.type.rank, len(indices)
    seen = indices[weights != 0]
    begin, end = int(seen.min()), int(seen.max()) + 1

    def matrix() -> np.ndarray:
        made = np.zeros((wanted, end - begin))
        np.add.at(made, (np.arange(wanted)[:, None], np.clip(indices - begin, 0, end - begin - 1)), weights)
        return made.astype(dtype.numpy)

    x = cut(importer, x, d, begin, end - begin)
    factor = importer.described(node, (wanted, end - begin), dtype, matrix, f"_weights{d}")
    if d == rank - 2:
        return importer.emit_one(MatMul(), factor, x)
    last = (*(each for each in range(rank) if each != d), d)
    rows = transpose(importer, x, last)
    flat = reshape(importer, rows, (x.type.elements // (end - begin), end - begin))
    y = importer.emit_one(MatMul(transpose_b=True), flat, factor)
    y = reshape(importer, y, (*rows.type.shape[:-1], wanted))
    return transpose(importer, y, tuple(last.index(each) for each in range(rank)))


def _antialiasing(operator: Resize, d: int, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """The elements along a dimension of x that each of the result is made of, and what they are weighed by: by their
    distance from its point."""
    points, scale = operator.source_coordinates(d, extent).astype(np.float64)[:, None], min(1.0, operator.scales[d])
    reach = math.ceil(2 / scale) + 1
    indices = np.floor(points).astype(np.int64) + np.arange(-reach, reach + 1)
    t, a = np.abs(indices - points) * scale, operator.cubic_coeff_a
    if operator.mode == "linear":
        weights = np.maximum(1 - t, 0)
    else:
        # Keys' kernel, which is 0 from 2 on.
        outer = (((a * t - 5 * a) * t + 8 * a) * t - 4 * a) * (t < 2)
        weights = np.where(t <= 1, ((a + 2) * t - (a + 3)) * t * t + 1, outer)
    if operator.exclude_outside:
        weights = weights * ((indices >= 0) & (indices < extent))
    weights /= weights.sum(1, keepdims=True)
    return np.clip(indices, 0, extent - 1), weights
