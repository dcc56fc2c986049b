"""Physical layouts: how a tensor's elements are ordered in memory.

A layout changes addresses, never values. Here, and only here, stands what each name means.

========== ==========================================================================================
``""``     row-major, the logical order
``c16``    activations ``[N, C, *spatial]`` as ``[N, ceil(C/16), *spatial, 16]``; absent channels hold zero, those of
           8-bit tensors anything
``o16i16`` weights ``[O, I, *kernel]`` as ``[ceil(O/16), ceil(I/16), *kernel, 16 (I), 16 (O)]``, zero-filled
``o16``    weights ``[O, I, *kernel]`` as ``[ceil(O/16), I, *kernel, 16]``, zero-filled: depthwise (I = 1), first layers
``o16i4``  weights ``[O, I, *kernel]`` as ``[ceil(O/16), ceil(I/16), *kernel, 4, 16 (O), 4 (I)]``, for dot products of
           four bytes: each 64 bytes hold four inputs of 16 outputs
``i4o16``  matrices ``[I, O]`` as ``o16i4`` of ``[O, I]``
``o16k4``  weights ``[O, I, *outer, K]`` as ``[ceil(O/16), I, *outer, ceil(K/4), 16 (O), 4 (K)]``, the same with four
           neighbours of the last kernel dimension instead of four inputs: depthwise (I = 1), first layers
========== ==========================================================================================

The blocked orders are those known from oneDNN as nChw16c, OIhw16i16o, Oihw16o and OIhw4i16o4i. Where layouts of dot
products are filled, they are filled with the middle of the element type, 0 or 128, which counts as zero once unsigned
weights are made signed by flipping their highest bit.
"""

from __future__ import annotations

import math

import numpy as np

from tilewright.errors import IRError

from .types import TensorType

BLOCK = 16
"""Channels in a block: one 512-bit vector of float32."""

QUAD = 4
"""Bytes that a dot product sums up."""

LAYOUTS = ("", "c16", "o16i16", "o16", "o16i4", "i4o16", "o16k4")


def _blocks(extent: int) -> int:
    return -(-extent // BLOCK)


def physical_shape(type: TensorType) -> tuple[int, ...]:
    """Shape of the array as it lies in memory.

    Raises:
        IRError: the layout is unknown or the rank too small for it.
    """
    shape = type.shape
    if type.layout == "":
        return shape
    if type.layout not in LAYOUTS:
        raise IRError("unknown layout", expected=" or ".join(LAYOUTS[1:]), found=type.layout)
    least = 3 if type.layout == "o16k4" else 2
    if len(shape) < least:
        raise IRError(f"layout {type.layout} needs at least {least} dimensions", found=list(shape))
    if type.layout == "c16":
        return (shape[0], _blocks(shape[1]), *shape[2:], BLOCK)
    if type.layout == "o16i16":
        return (_blocks(shape[0]), _blocks(shape[1]), *shape[2:], BLOCK, BLOCK)
    if type.layout == "o16i4":
        return (_blocks(shape[0]), _blocks(shape[1]), *shape[2:], BLOCK // QUAD, BLOCK, QUAD)
    if type.layout == "i4o16":
        if len(shape) != 2:
            raise IRError("layout i4o16 needs 2 dimensions", found=list(shape))
        return (_blocks(shape[1]), _blocks(shape[0]), BLOCK // QUAD, BLOCK, QUAD)
    if type.layout == "o16k4":
        return (_blocks(shape[0]), *shape[1:-1], -(-shape[-1] // QUAD), BLOCK, QUAD)
    return (_blocks(shape[0]), *shape[1:], BLOCK)


def bytes_of(type: TensorType) -> int:
    """Bytes that a value of this type takes in memory, padding included."""
    return math.prod(physical_shape(type)) * type.dtype.bytes


def _padded(array: np.ndarray, multiples: dict[int, int], fill: int = 0) -> np.ndarray:
    """``array`` with the extents of some axes brought up to multiples."""
    widths = [(0, -n % multiples.get(axis, 1)) for axis, n in enumerate(array.shape)]
    return np.pad(array, widths, constant_values=fill) if any(after for _, after in widths) else array


def _middle(dtype: np.dtype) -> int:
    return 128 if dtype == np.uint8 else 0


def pack(array: np.ndarray, layout: str) -> np.ndarray:
    """The logical ``array`` as a C-contiguous array in physical order."""
    if layout == "":
        return np.ascontiguousarray(array)
    if layout == "i4o16":
        return pack(array.T, "o16i4")
    physical = physical_shape(TensorType.of(array).with_layout(layout))
    if layout == "c16":
        padded = _padded(array, {1: BLOCK})
        split = padded.reshape(array.shape[0], physical[1], BLOCK, *array.shape[2:])
        return np.ascontiguousarray(np.moveaxis(split, 2, -1))
    if layout == "o16i16":
        padded = _padded(array, {0: BLOCK, 1: BLOCK})
        split = padded.reshape(physical[0], BLOCK, physical[1], BLOCK, *array.shape[2:])
        return np.ascontiguousarray(np.moveaxis(split, (3, 1), (-2, -1)))
    if layout == "o16i4":
        padded = _padded(array, {0: BLOCK, 1: BLOCK}, _middle(array.dtype))
        split = padded.reshape(physical[0], BLOCK, physical[1], BLOCK // QUAD, QUAD, *array.shape[2:])
        return np.ascontiguousarray(np.moveaxis(split, (3, 1, 4), (-3, -2, -1)))
    if layout == "o16k4":
        padded = _padded(array, {0: BLOCK, array.ndim - 1: QUAD}, _middle(array.dtype))
        split = padded.reshape(physical[0], BLOCK, *array.shape[1:-1], -1, QUAD)
        return np.ascontiguousarray(np.moveaxis(split, 1, -2))
    padded = _padded(array, {0: BLOCK})
    split = padded.reshape(physical[0], BLOCK, *array.shape[1:])
    return np.ascontiguousarray(np.moveaxis(split, 1, -1))


def unpack(array: np.ndarray, type: TensorType) -> np.ndarray:
    """The logical array of ``type`` from its physical form."""
    if type.layout == "":
        return array.reshape(type.shape)
    if type.layout == "i4o16":
        transposed = TensorType(type.shape[::-1], type.dtype, layout="o16i4")
        return np.ascontiguousarray(unpack(array, transposed).T)
    array = array.reshape(physical_shape(type))
    shape = type.shape
    if type.layout == "c16":
        merged = np.moveaxis(array, -1, 2).reshape(shape[0], -1, *shape[2:])
        return np.ascontiguousarray(merged[:, : shape[1]])
    if type.layout == "o16i16":
        merged = np.moveaxis(array, (-2, -1), (3, 1)).reshape(array.shape[0] * BLOCK, -1, *shape[2:])
        return np.ascontiguousarray(merged[: shape[0], : shape[1]])
    if type.layout == "o16i4":
        split = np.moveaxis(array, (-3, -2, -1), (3, 1, 4))
        merged = split.reshape(array.shape[0] * BLOCK, array.shape[1] * BLOCK, *shape[2:])
        return np.ascontiguousarray(merged[: shape[0], : shape[1]])
    if type.layout == "o16k4":
        merged = np.moveaxis(array, -2, 1).reshape(array.shape[0] * BLOCK, *shape[1:-1], -1)
        return np.ascontiguousarray(merged[: shape[0], ..., : shape[-1]])
    merged = np.moveaxis(array, -1, 1).reshape(-1, *shape[1:])
    return np.ascontiguousarray(merged[: shape[0]])


def is_same_order(a: TensorType, b: TensorType) -> bool:
    """Whether both types, of one shape, put every element at the same address, without padding of their own.

    Blocked order is row-major order where there is one position and whole blocks.
    """
    if a.layout == b.layout:
        return True
    return {a.layout, b.layout} == {"", "c16"} and math.prod(a.shape[2:]) == 1 and a.shape[1] % BLOCK == 0
