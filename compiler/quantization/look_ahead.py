"""What the next product makes of a layer's results, and how errors there lead back to them.

A product of 160 results of 960 channels does not see five sixths of what rounding may do to these. So a layer with a
depthwise convolution between it and such a product is learnt from what that makes, as Li, Gong, Tan, Yang, Hu, Zhang,
Yu, Wang, Gu, "BRECQ: Pushing the Limit of Post-Training Quantization by Block Reconstruction", 2021, learn such blocks.
"""

import itertools
from collections.abc import Callable

import numpy as np

from tilewright.immutable import Immutable

from ...ir.core import Constant, Op, Value, is_op
from ...ir.ops.activation import Clip, Relu
from ...ir.ops.convolution import Conv
from ...passes.quantization.plan import Plan
from ..calibration.windows import Place, Product, places_of, rows_of_weights
from .round_weights import real_weights
from .scale_channels import is_depthwise

PATCH, PLACES, MOST_NUMBERS = 49, 4, 2**25
"""Results of a depthwise convolution, of each channel, that lie beside each other and are computed together. Those of
all patches of a sample are so many times as many as other methods look at, or the whole map where it is no larger than
a patch, fewer where more numbers would be read."""

Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-np.inf, np.inf)


class Patches(Immutable):
    """A depthwise convolution and the product behind it, on parts of maps.

    Attributes:
        product: reads what the depthwise convolution makes.
        taps: of each result of a patch, the weights of the places that it is made of, [channels, results, places].
        bias: [channels, 1, 1].
        bounds: of the activation behind the depthwise convolution.
        rows: weights of the product, [outputs, channels].
        inside: whether places are in the map, not in the padding, 1 or 0, [places, patches].
        read, made: where the places and the results of all patches are, by sample.
    """

    product: Op[Conv]
    taps: np.ndarray
    bias: np.ndarray
    bounds: Bounds
    rows: np.ndarray
    inside: np.ndarray
    read: list[Place]
    made: list[Place]


class Ahead(Immutable):
    """What is made of the results of a layer.
    ``bounds``: of the activation behind it.
    ``patches``: what reads that, where it is looked at."""

    bounds: Bounds = UNBOUNDED
    patches: Patches | None = None

    @property
    def places(self) -> int:
        """Results of the layer, of each channel, that are read together."""
        return 1 if self.patches is None else len(self.patches.inside)

    def made(self, y: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """What becomes of results, [outputs, places, units], and what makes slopes of them of its slopes.
        ``y``: results of the layer, [channels, places, units].
        ``units``: which of the patches these are."""
        clamped, is_free = _clamped(y, self.bounds)
        if self.patches is None:
            return clamped, lambda slope: slope * is_free
        patches = self.patches
        inside = patches.inside[:, units]
        middle, middle_is_free = _clamped(patches.taps @ (clamped * inside) + patches.bias, patches.bounds)
        made = patches.rows @ middle.reshape(len(middle), -1)

        def led_back(slope: np.ndarray) -> np.ndarray:
            slope = (patches.rows.T @ slope.reshape(len(slope), -1)).reshape(middle.shape) * middle_is_free
            return (np.swapaxes(patches.taps, 1, 2) @ slope) * inside * is_free

        return made.reshape(-1, *middle.shape[1:]), led_back


def _clamped(x: np.ndarray, bounds: Bounds) -> tuple[np.ndarray, np.ndarray | bool]:
    if bounds == UNBOUNDED:
        return x, True
    return np.clip(x, *bounds), (x > bounds[0]) & (x < bounds[1])


def look_ahead(op: Product, plan: Plan, samples: int) -> Ahead:
    """What is made of the results of a layer, as far as it is looked at."""
    bounds, value, depthwise = _activated(op)
    if not is_op(op, Conv) or depthwise not in plan.anchors or not is_depthwise(depthwise):
        return Ahead(bounds)
    middle, clamped, product = _activated(depthwise)
    multiplies = depthwise.operands.w.type.shape[0] != depthwise.operator.group
    if depthwise.operands.x is not value or multiplies or product not in plan.anchors or not is_op(product, Conv):
        return Ahead(bounds)
    outputs, channels, *kernel = product.operands.w.type.shape
    is_narrow = product.operator.group == 1 and {*kernel} == {1} and 2 * outputs <= channels
    is_in_place = product.result.type.shape[2:] == clamped.type.shape[2:] and not any(product.operator.pads)
    if product.operands.x is not clamped or not is_narrow or not is_in_place:
        return Ahead(bounds)
    inner = rows_of_weights(op, real_weights(op)).shape[2]
    return Ahead(bounds, _patches(depthwise, middle, product, samples, inner))


def _activated(op: Product) -> tuple[Bounds, Value, Op | None]:
    """What an activation that alone reads the results clamps them to, the value then, and what alone reads that."""
    user = op.result.only_user
    if is_op(user, Clip):
        low, high = user.operator.act_args
        return (low, high), user.result, user.result.only_user
    if is_op(user, Relu):
        return (0.0, np.inf), user.result, user.result.only_user
    return UNBOUNDED, op.result, user


def _patches(op: Op[Conv], bounds: Bounds, product: Op[Conv], samples: int, inner: int) -> Patches | None:
    """Parts of the maps of so many samples, whose places are each made of ``inner`` numbers; ``None`` where all of them
    are of padding."""
    conv, w, bias = op.operator, real_weights(op), op.operands.b
    images, _, *outputs = op.result.type.shape
    extents, spatial = op.operands.x.type.shape[2:], len(outputs)
    sides = [min(n, int(PATCH ** (1 / spatial))) for n in outputs]
    along = zip(sides, conv.strides, w.shape[2:], conv.dilations, strict=True)
    seen = tuple((n - 1) * s + (k - 1) * d + 1 for n, s, k, d in along)
    results, places = (np.indices(each).reshape(spatial, -1) for each in (sides, seen))
    taps = np.zeros((len(w), results.shape[1], places.shape[1]), np.float32)
    strides, dilations, pads = (
        np.reshape(each, (-1, 1)) for each in (conv.strides, conv.dilations, conv.pads[:spatial])
    )
    for tap in itertools.product(*map(range, w.shape[2:])):
        at = np.ravel_multi_index([*(results * strides + np.reshape(tap, (-1, 1)) * dilations)], seen)
        taps[:, np.arange(results.shape[1]), at] = w[(slice(None), 0, *tap)][:, None]
    # Dilated kernels and wide strides leave gaps.
    met = taps.any((0, 1))
    taps, places = taps[:, :, met], places[:, met]
    numbers = max(len(w), inner) * max(1, places.shape[1]) * samples
    wanted = images if sides == outputs else max(1, PLACES * places_of(samples) // PATCH)
    count = max(1, min(wanted, MOST_NUMBERS // numbers))
    image, corners = [], []
    for index in range(samples):
        rng = np.random.default_rng(index)
        image.append(np.arange(count) % images)
        corners.append(
            np.stack([rng.integers(n - side + 1, size=count) for n, side in zip(outputs, sides, strict=True)])
        )
    # [dimensions, patches, places]
    read = [each[:, :, None] * strides[:, None] - pads[:, None] + places[:, None] for each in corners]
    made = [each[:, :, None] + results[:, None] for each in corners]
    limits = np.reshape(extents, (-1, 1, 1))
    inside = np.concatenate([((each >= 0) & (each < limits)).all(0) for each in read])
    used = inside.any(0)
    if not used.any():
        return None
    read = [np.clip(each, 0, limits - 1)[:, :, used] for each in read]
    return Patches(
        product,
        np.ascontiguousarray(taps[:, :, used]),
        np.reshape(bias.array if isinstance(bias, Constant) else np.zeros(len(w), np.float32), (-1, 1, 1)),
        bounds,
        rows_of_weights(product, real_weights(product))[0],
        np.ascontiguousarray(inside[:, used].T, np.float32),
        [_place(*each) for each in zip(image, read, strict=True)],
        [_place(*each) for each in zip(image, made, strict=True)],
    )


def _place(image: np.ndarray, at: np.ndarray) -> Place:
    return np.repeat(image, at.shape[2]), [*at.reshape(len(at), -1)]
