"""Makers of the quantised samples that several operator families need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..op import Operator, Sample
from ..types import DType, Quantization, TensorType


def stored_array(rng: np.random.Generator, dtype: DType, shape: Sequence[int]) -> np.ndarray:
    """Integers over the whole range of ``dtype``."""
    limits = np.iinfo(dtype.numpy)
    return rng.integers(limits.min, limits.max + 1, tuple(shape)).astype(dtype.numpy)


def weight_array(rng: np.random.Generator, dtype: DType, shape: Sequence[int]) -> np.ndarray:
    """Weights small enough that no processor saturates the sum of two products with 8-bit activations.

    x86 processors without VNNI do so in onnxruntime's kernels, which then would not be an oracle.
    """
    low, high = (-64, 64) if dtype is DType.I8 else (0, 64)
    return rng.integers(low, high + 1, tuple(shape)).astype(dtype.numpy)


def quantized_type(dtype: DType, shape: Sequence[int], scale: float, zero_point: int = 0) -> TensorType:
    """An 8-bit type; the scale is rounded to float32, as models store it."""
    return TensorType(tuple(shape), dtype, Quantization.per_tensor(float(np.float32(scale)), zero_point))


def channel_type(
    rng: np.random.Generator, dtype: DType, shape: Sequence[int], axis: int, zero_points: Sequence[int] | None = None
) -> TensorType:
    """A type of weights with a random scale for each channel."""
    scales = rng.uniform(0.002, 0.02, shape[axis]).astype(np.float32)
    return TensorType(tuple(shape), dtype, Quantization.per_channel(scales, axis, zero_points))


def unary_samples(rng: np.random.Generator, operator: Operator, range: tuple[float, float]) -> Iterator[Sample]:
    """All 256 values of an operator of one 8-bit tensor, signed and unsigned, its input over ``range``.

    Values that the function takes to no number are left out: each executor may do with them as it likes.
    """
    low, high = min(range[0], 0.0), max(range[1], 0.0)
    scale = (high - low) / 255
    for dtype, zero_y in ((DType.I8, -11), (DType.U8, 100)):
        limits = np.iinfo(dtype.numpy)
        zero_x = int(np.clip(round(limits.min - low / scale), limits.min, limits.max))
        x = np.arange(limits.min, limits.max + 1)
        with np.errstate(all="ignore"):
            is_number = ~np.isnan(operator.reference(((x - zero_x) * scale).astype(np.float32)))
        x = rng.permutation(np.resize(x[is_number], 256)).astype(dtype.numpy).reshape(4, 64)
        yield Sample(
            operator,
            (x,),
            types=(quantized_type(dtype, x.shape, scale, zero_x),),
            result_types=(quantized_type(dtype, x.shape, 0.03, zero_y),),
        )


def binary_samples(rng: np.random.Generator, operator: Operator, *, is_product: bool = False) -> Iterator[Sample]:
    """Two 8-bit tensors of unlike scales, broadcast and not; scales that are powers of two, which give exact ties."""
    cases = (
        (DType.U8, (1, 17, 5, 6), (1, 17, 5, 6), (0.021, 0.034, 0.05), (128, 103, 77)),
        (DType.I8, (2, 3, 4, 5), (3, 1, 1), (0.021, 0.0034, 0.02), (-5, 17, 0)),
        (DType.I8, (4, 33), (4, 33), (0.5, 0.25, 1.0), (0, -128, 1)),
        (DType.U8, (64,), (64,), (1.0, 1.0, 2.0), (128, 128, 128)),
    )
    for dtype, left, right, scales, zeros in cases:
        if is_product:
            scales = (*scales[:2], scales[0] * scales[1] * 128)
        yield Sample(
            operator,
            (stored_array(rng, dtype, left), stored_array(rng, dtype, right)),
            types=(
                quantized_type(dtype, left, scales[0], zeros[0]),
                quantized_type(dtype, right, scales[1], zeros[1]),
            ),
            result_types=(quantized_type(dtype, np.broadcast_shapes(left, right), scales[2], zeros[2]),),
        )


def moved_sample(rng: np.random.Generator, operator: Operator, *shapes: Sequence[int]) -> Sample:
    """An operator that treats stored integers like any others, on 8-bit tensors of equal parameters."""
    types = tuple(quantized_type(DType.I8, shape, 0.07, -9) for shape in shapes)
    arrays = tuple(stored_array(rng, DType.I8, shape) for shape in shapes)
    return Sample(operator, arrays, types=types, result_types=operator.result_types(types))
