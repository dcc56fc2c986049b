"""What convolutions and products multiply with their weights, at some places of each sample."""

from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from ...ir.core import Op, is_op
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.matmul import MatMul

Product = Op[Conv] | Op[MatMul]

Place = tuple[np.ndarray, Sequence[np.ndarray]]
"""Of results of a convolution: which images they are of, and their coordinates in the maps of these."""

PLACES, WINDOWS = 64, 6400
"""Of each sample, at most so many results of a layer are looked at, or more where so many of all samples need it."""


def is_product(op: Op[Conv | ConvTranspose | MatMul]) -> TypeGuard[Product]:
    """Whether the weights of an anchor meet windows as :func:`windows` gives them: not if it is transposed."""
    return is_op(op, Conv, MatMul)


def places_of(samples: int) -> int:
    """How many results of each of so many samples are looked at."""
    return max(PLACES, -(-WINDOWS // max(samples, 1)))


def windows(op: Product, x: np.ndarray, index: int, places: int = PLACES) -> np.ndarray:
    """Elements of x that results are made of: [places, groups, inner], in the order of :func:`rows_of_weights`.
    ``index``: of the sample; places are drawn anew for each, the same ones every time.
    ``places``: at most so many, all if there are fewer."""
    if is_op(op, MatMul):
        return some_rows(np.swapaxes(x, -1, -2) if op.operator.transpose_a else x, index, places)[:, None]
    rng = np.random.default_rng(index)
    image, *at = _places(rng, (x.shape[0], *op.result.type.shape[2:]), places)
    return windows_at(op, x, (image, at))


def some_rows(x: np.ndarray, index: int, places: int = PLACES) -> np.ndarray:
    """Rows along the last dimension of x, [places, channels]; arguments as of :func:`windows`."""
    rows = x.reshape(-1, x.shape[-1])
    return rows[_some(np.random.default_rng(index), len(rows), places)]


def windows_at(op: Product, x: np.ndarray, place: Place) -> np.ndarray:
    """Elements of x that results of a convolution at these places are made of, as :func:`windows` gives them."""
    assert is_op(op, Conv)
    conv, w, (image, at) = op.operator, op.operands.w.type, place
    spatial = len(at)
    padded = np.pad(x, [(0, 0), (0, 0), *zip(conv.pads[:spatial], conv.pads[spatial:], strict=True)])
    taps: list[np.ndarray] = []
    for d, places_along in enumerate(at):
        along = places_along[:, None] * conv.strides[d] + np.arange(w.shape[2 + d]) * conv.dilations[d]
        taps.append(along.reshape(len(along), *(-1 if e == d else 1 for e in range(spatial))))
    # The dimension of the places first, then the window's, then that of the channels between the two slices.
    found = padded[(image.reshape(-1, *[1] * spatial), slice(None), *taps)]
    return np.moveaxis(found, -1, 1).reshape(len(image), conv.group, -1)


def at_windows(op: Product, y: np.ndarray, index: int, places: int = PLACES) -> np.ndarray:
    """Results of these windows: [places, groups, outputs of a group]; arguments as of :func:`windows`."""
    rng = np.random.default_rng(index)
    if is_op(op, MatMul):
        rows = y.reshape(-1, 1, y.shape[-1])
        return rows[_some(rng, len(rows), places)]
    assert is_op(op, Conv)
    image, *at = _places(rng, (y.shape[0], *y.shape[2:]), places)
    return results_at(y, (image, at)).reshape(len(image), op.operator.group, -1)


def results_at(y: np.ndarray, place: Place) -> np.ndarray:
    """Results of a convolution at these places: [places, channels]."""
    image, at = place
    return y[(image, slice(None), *at)]


def _places(rng: np.random.Generator, extents: tuple[int, ...], most: int) -> tuple[np.ndarray, ...]:
    """Coordinates of some results of a map."""
    return np.unravel_index(_some(rng, int(np.prod(extents)), most), extents)


def _some(rng: np.random.Generator, count: int, most: int) -> np.ndarray:
    return np.sort(rng.choice(count, most, replace=False)) if count > most else np.arange(count)


def rows_of_weights(op: Product, weights: np.ndarray) -> np.ndarray:
    """Weights by output channel: [groups, outputs of a group, inner]."""
    if is_op(op, MatMul):
        return (weights if op.operator.transpose_b else weights.T)[None]
    assert is_op(op, Conv)
    return weights.reshape(op.operator.group, weights.shape[0] // op.operator.group, -1)


def inner_axis(op: Product) -> int:
    """The dimension of the weights along which the channels lie that they are multiplied with."""
    return int(not is_op(op, MatMul) or op.operator.transpose_b)


def weights_of_channels(op: Product, weights: np.ndarray) -> np.ndarray:
    """Weights by what they multiply, each place of a window in a row of its own: [rows, channels]."""
    along = np.moveaxis(weights, inner_axis(op), -1)
    return along.reshape(-1, along.shape[-1])


def weights_of_rows(op: Product, rows: np.ndarray) -> np.ndarray:
    """The reverse of :func:`rows_of_weights`."""
    if is_op(op, MatMul):
        return rows[0] if op.operator.transpose_b else rows[0].T
    assert is_op(op, Conv)
    return rows.reshape(op.operands.w.type.shape)
