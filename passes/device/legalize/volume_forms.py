"""Maps of three dimensions as such of two: a row for each plane, or an image. All rules are exact."""

import math
from dataclasses import replace

from ....ir.core import Value, is_op
from ....ir.ops.convolution import Conv
from ....ir.ops.movement import Transpose
from ....ir.ops.pooling import AveragePool, GlobalAveragePool, GlobalMaxPool, MaxPool
from ....ir.ops.quantization import Requantize
from ....ir.ops.shape import Reshape
from ...pattern import Match, Rule, node, on_quantized
from .movement_forms import is_quantized
from .row_forms import BY_ELEMENT

_SWAPPED = (0, 2, 1, 3, 4)


def _rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a map with a row for each plane."""
    return (*shape[:3], math.prod(shape[3:]))


def _on_rows(found: Match) -> Value | None:
    """What works element by element, or on all elements, does so on rows as well; on images if planes are such."""
    y = found.root.result.type
    if any(value.type.rank != 5 for value in found.root.inputs):
        return None
    images = (y.shape[0] * y.shape[1], *y.shape[2:])
    sources = [value.producer.inputs[0] if is_op(value.producer, Reshape) else value for value in found.root.inputs]
    are_images = any(is_op(value.producer, Conv, *BY_ELEMENT) for value in sources)
    if are_images and all(value.type.shape == images for value in sources):
        made = found.emit(found.root.operator, *sources, result_types=[y.with_shape(images)])
        return found.emit(Reshape(y.shape), made)
    # Rows repeat one element or none: along one dimension of planes they cannot tell which it is.
    if len({value.type.shape[3:] for value in found.root.inputs} - {(1, 1)}) > 1:
        return None
    operands = [found.moved(Reshape(_rows(value.type.shape)), value) for value in found.root.inputs]
    result = found.emit(found.root.operator, *operands, result_types=[y.with_shape(_rows(y.shape))])
    return found.emit(Reshape(y.shape), result)


def _part(pool: MaxPool | AveragePool, *axes: int, drop: bool) -> MaxPool | AveragePool:
    """The windows of a pool along some of its three dimensions, of one pixel along others, or without these."""
    kept = [axis for axis in range(3) if axis in axes or not drop]

    def along(numbers: tuple[int, ...], other: int) -> tuple[int, ...]:
        return tuple(numbers[axis] if axis in axes else other for axis in kept)

    pads = (*along(pool.pads[:3], 0), *along(pool.pads[3:], 0))
    kernel, strides, dilations = (along(numbers, 1) for numbers in (pool.kernel, pool.strides, pool.dilations))
    part = replace(pool, kernel=kernel, strides=strides, pads=pads, dilations=dilations)
    return replace(part, overhang=(0,) * len(kept)) if isinstance(part, AveragePool) else part


def _pool_of_volume(found: Match[MaxPool | AveragePool]) -> Value | None:
    """Windows in planes are those of images, windows of one pixel in each plane those of rows; maxima of others are
    taken in planes first."""
    pool, x, y = found.root.operator, found.root.inputs[0], found.root.result.type
    if x.type.rank != 5 or any(getattr(pool, "overhang", ())):
        return None
    batch, channels, planes, *extents = x.type.shape
    if _part(pool, 0, drop=False) == pool:
        rows = _part(pool, 0, 1, drop=True)
        flat = found.emit(Reshape(_rows(x.type.shape)), x)
        return found.emit(Reshape(y.shape), found.emit(rows, flat, result_types=[y.with_shape(_rows(y.shape))]))
    if _part(pool, 1, 2, drop=False) == pool:
        images = found.emit(Reshape((batch * planes, channels, *extents)), found.emit(Transpose(_SWAPPED), x))
        type = y.with_shape((batch * planes, channels, *y.shape[3:]))
        pooled = found.emit(_part(pool, 1, 2, drop=True), images, result_types=[type])
        return found.emit(Transpose(_SWAPPED), found.emit(Reshape((batch, planes, channels, *y.shape[3:])), pooled))
    if not isinstance(pool, MaxPool):
        return None
    return found.emit(_part(pool, 0, drop=False), found.emit(_part(pool, 1, 2, drop=False), x))


RULES: tuple[Rule, ...] = on_quantized(
    Rule(
        "volume_on_rows",
        node((*BY_ELEMENT, Requantize, GlobalAveragePool, GlobalMaxPool), where=is_quantized),
        _on_rows,
    ),
    Rule("pool_of_volume", node((MaxPool, AveragePool), where=is_quantized), _pool_of_volume),
)
