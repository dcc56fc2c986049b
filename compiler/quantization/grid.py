"""The numbers that an encoded tensor is rounded to: scales along channels or blocks, arranged as the tensor is."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tilewright.errors import InputError

from ..frontend.onnx.tensor_roles import Channels
from .encodings import Encoding


class Grid(NamedTuple):
    """Broadcasts to the shape of the tensor.

    Attributes:
        scale: float64.
        offset: int64, the lowest integer.
    """

    scale: np.ndarray
    offset: np.ndarray


def grid_of(encoding: Encoding, shape: tuple[int, ...], channels: Channels | None) -> Grid | None:
    """The grid of an encoding for a tensor of this shape; ``None`` if it stays in floating point.

    Args:
        channels: the dimensions of weights, as the operator that reads them has them.

    Raises:
        InputError: the encoding does not fit the tensor.
    """
    if encoding.scale is None or encoding.offset is None:
        return None
    grid = Grid(encoding.scale, encoding.offset)
    if encoding.block_size is not None:
        return _of_blocks(grid, encoding, encoding.block_size, shape, channels)
    if grid.scale.ndim == 0:
        return grid
    axis = encoding.axis if encoding.axis is not None else _channel_axis(shape, grid.scale.size, channels)
    if axis is None:
        found = f"{grid.scale.size} scales for {list(shape)}"
        raise InputError("its scales are along no dimension of the tensor", found=found)
    axis = _from_front(axis, shape)
    if shape[axis] != grid.scale.size:
        found = f"{grid.scale.size} scales"
        raise InputError(
            f"there are more or fewer scales than channels, axis {axis}", expected=shape[axis], found=found
        )
    return _arranged(grid, {axis: grid.scale.size}, len(shape))


def _channel_axis(shape: tuple[int, ...], count: int, channels: Channels | None) -> int | None:
    """The dimension that scales of channels run along, where the file does not say so: that of the output channels of
    weights; else the second, which is that of channels in activations; else the only one of that extent.
    """
    if channels is not None:
        return channels.axis
    if len(shape) > 1 and shape[1] == count:
        return 1
    fitting = [axis for axis, extent in enumerate(shape) if extent == count]
    return fitting[0] if len(fitting) == 1 else None


def _of_blocks(grid: Grid, encoding: Encoding, size: int, shape: tuple[int, ...], channels: Channels | None) -> Grid:
    """Files list the scales of a channel together, whatever the order of the dimensions is."""
    if encoding.axis is not None:
        blocks = _from_front(encoding.axis, shape)
    elif channels is not None:
        blocks = _from_front(channels.blocks, shape)
    else:
        raise InputError("it has blocks, but no convolution or matrix product reads the tensor")
    if shape[blocks] % size:
        raise InputError(
            f"axis {blocks} does not divide into blocks", expected=f"a multiple of {size}", found=list(shape)
        )
    if encoding.is_flat and channels is not None:
        axis = _from_front(channels.axis, shape)
        counts = (shape[axis], shape[blocks] // size)
        if grid.scale.size != counts[0] * counts[1]:
            expected = f"{counts[1]} blocks in each of {counts[0]} channels"
            raise InputError("there are more or fewer scales than blocks", expected=expected, found=grid.scale.size)
        rows = (array.reshape(counts) for array in grid)
        ordered = Grid(*(array.T if blocks < axis else array for array in rows))
        grid = _arranged(ordered, {axis: counts[0], blocks: counts[1]}, len(shape))
    elif grid.scale.ndim != len(shape):
        raise InputError("its scales have another rank than the tensor", expected=len(shape), found=grid.scale.ndim)
    if grid.scale.shape[blocks] * size != shape[blocks]:
        found = f"{grid.scale.shape[blocks]} of {size}"
        raise InputError(f"there are more or fewer blocks along axis {blocks}", expected=shape[blocks], found=found)
    others = (pair for axis, pair in enumerate(zip(grid.scale.shape, shape, strict=True)) if axis != blocks)
    if any(count not in (1, extent) for count, extent in others):
        raise InputError("its scales do not fit the tensor", expected=list(shape), found=list(grid.scale.shape))
    return Grid(*(np.repeat(array, size, blocks) for array in grid))


def _from_front(axis: int, shape: tuple[int, ...]) -> int:
    if not -len(shape) <= axis < len(shape):
        raise InputError("the tensor has no such axis", expected=f"one of {list(shape)}", found=axis)
    return axis % len(shape)


def _arranged(grid: Grid, extents: dict[int, int], rank: int) -> Grid:
    """With extents of 1 in all other dimensions."""
    shape = [extents.get(axis, 1) for axis in range(rank)]
    return Grid(*(array.reshape(shape) for array in grid))
