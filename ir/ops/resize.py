"""Resampling of images and other grids."""

import numpy as np

from tilewright.errors import IRError
from tilewright.limits import RESAMPLED

from .. import arithmetic
from ..op import Operator, QuantizationRule, UnaryOperands, operator
from ..quantized import check_elementwise, only_operand
from ..types import Arrays, ResultTypes, TensorType, Types
from .shape import moved

TAPS = {"nearest": 1, "linear": 2, "cubic": 4}
"""Elements that an index of the result is made of along each dimension, by mode."""

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "tf_half_pixel_for_nn",
    "align_corners",
    "asymmetric",
    "tf_crop_and_resize",
)
MOST_SAMPLED = 4
"""Dimensions along which quantised tensors are interpolated, so that exact sums fit 64 bits."""

NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def cubic_weights(s: np.ndarray, a: np.floating) -> np.ndarray:
    """Keys' kernel with the coefficient ``a`` for the two elements before a point and the two behind it: [..., 4].
    ``s``: how far the point lies behind the second, from 0 to 1."""
    inner = [((a + 2) * t - (a + 3)) * t * t + 1 for t in (s, 1 - s)]
    outer = [((a * t - 5 * a) * t + 8 * a) * t - 4 * a for t in (s + 1, 2 - s)]
    return np.stack([outer[0], inner[0], inner[1], outer[1]], -1)


@operator("resize")
class Resize(Operator[UnaryOperands]):
    """Resample x on a finer or coarser grid, each dimension on its own.

    Operands: x. Result: same dtype, shape ``extents``. Coordinates are computed in float32, as onnxruntime does.
    Interpolation is defined on floats; ``nearest`` moves elements of any dtype. Quantised, ``linear`` interpolates
    stored integers at points of 11 fractional bits with one rounding, as :func:`tilewright.ir.arithmetic.interpolate`
    states, along at most four dimensions. A dimension whose indices stay as they
    are is not interpolated; along the others a neighbour of weight 0 makes NaN of infinity.

    Attributes:
        extents: shape of the result.
        scales: for each dimension, grid points of the result over those of x; not always the ratio of the extents,
            which are rounded.
        mode: ``nearest`` | ``linear`` | ``cubic`` (Keys' kernel with ``cubic_coeff_a``).
        coordinates: which point of x an index of the result looks at; the ``coordinate_transformation_mode`` of ONNX.
        nearest_mode: which way ``nearest`` rounds.
        exclude_outside: ``cubic`` weighs only what lies inside x, scaled up to 1; otherwise the border repeats.
        extrapolation_value: result outside x, for ``tf_crop_and_resize``.
        roi: the part of x that ``tf_crop_and_resize`` takes: begins of all dimensions, then ends, 0 to 1.
    """

    QUANTIZATION = QuantizationRule.PRESERVE

    extents: tuple[int, ...]
    scales: tuple[float, ...]
    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest_mode: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    extrapolation_value: float = 0.0
    roi: tuple[float, ...] = ()

    def infer(self, x: TensorType) -> TensorType:
        for what, allowed, found in (
            ("mode", TAPS, self.mode),
            ("coordinates", COORDINATES, self.coordinates),
            ("nearest_mode", NEAREST, self.nearest_mode),
        ):
            if found not in allowed:
                raise IRError(f"unknown {what}", expected=", ".join(allowed), found=found)
        with np.errstate(over="ignore"):
            scales, roi = (np.asarray(numbers, np.float32) for numbers in (self.scales, self.roi))
        if not len(self.extents) == len(self.scales) == x.rank or not ((scales > 0) & np.isfinite(scales)).all():
            raise IRError(
                "extents and scales need one positive number a dimension",
                expected=x.rank,
                found=f"{list(self.extents)} and {list(self.scales)}",
            )
        if self.coordinates == "tf_crop_and_resize" and len(self.roi) != 2 * x.rank:
            raise IRError("roi needs two numbers a dimension", expected=2 * x.rank, found=len(self.roi))
        if not np.isfinite(roi).all():
            raise IRError("roi needs numbers", found=list(self.roi))
        if min(x.shape, default=1) < 1 or min(self.extents, default=1) < 1:
            raise IRError("an empty tensor cannot be resampled", found=f"{list(x.shape)} to {list(self.extents)}")
        if self.mode != "nearest" and not x.dtype.is_float and (self.mode != "linear" or x.quant is None):
            raise IRError(f"{self.mode} interpolation is defined on floats only", found=x)
        longest = max((e for d, e in enumerate(self.extents) if not self.keeps(d, x.shape[d])), default=0)
        if longest * TAPS[self.mode] > RESAMPLED:
            expected = f"at most {RESAMPLED // TAPS[self.mode]} positions, for {self.mode}"
            raise IRError("a resampled dimension is too long", expected=expected, found=longest)
        return moved(x, self.extents)

    def keeps(self, d: int, extent: int) -> bool:
        """Whether every index along dimension d, of which x has ``extent``, looks at itself."""
        return self.extents[d] == extent and self.scales[d] == 1 and self.coordinates != "tf_crop_and_resize"

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        if self.mode == "cubic" or self.coordinates == "tf_crop_and_resize":
            return "only nearest and linear resampling without cropping works on quantised tensors"
        problem = super().check_quantized(operand_types, result_types)
        if problem is not None or self.mode == "nearest":
            return problem
        x = operand_types[0]
        if x is not None and sum(not self.keeps(d, extent) for d, extent in enumerate(x.shape)) > MOST_SAMPLED:
            return f"linear resampling of quantised tensors is along at most {MOST_SAMPLED} dimensions"
        return check_elementwise(operand_types, result_types)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        x, type = only_operand(arrays, operand_types)
        if self.mode == "nearest":
            return self.reference(x)
        axes = [
            (d, arithmetic.neighbours(self.fixed_points(d, extent), extent))
            for d, extent in enumerate(type.shape)
            if not self.keeps(d, extent)
        ]
        return arithmetic.interpolate(x, axes).astype(x.dtype)

    def fixed_points(self, d: int, extent: int) -> np.ndarray:
        """The points of ``source_coordinates`` in units of 2^-11, int64; not yet moved into x."""
        return arithmetic.fixed_points(self.source_coordinates(d, extent))

    def source_coordinates(self, d: int, extent: int) -> np.ndarray:
        """For each index of the result along dimension d, a point of x (of ``extent`` there); float32."""
        out, scale, one = self.extents[d], np.float32(self.scales[d]), np.float32(1)
        index = np.arange(out, dtype=np.float32)
        half = np.float32(0.5)
        if self.coordinates == "asymmetric" or (scale == 1 and self.coordinates != "tf_crop_and_resize"):
            return index / scale
        if self.coordinates == "tf_half_pixel_for_nn":
            return (index + half) / scale
        if self.coordinates == "align_corners":
            return index * np.float32(extent - 1) / np.float32(out - 1) if out > 1 else np.zeros(1, np.float32)
        if self.coordinates == "tf_crop_and_resize":
            start, end = np.float32(self.roi[d]), np.float32(self.roi[len(self.roi) // 2 + d])
            last = np.float32(extent - 1)
            if out == 1:
                return np.full(1, half * (start + end) * last, np.float32)
            return start * last + index * (end - start) * last / np.float32(out - 1)
        centred = (index + half) / scale - half
        if self.coordinates == "pytorch_half_pixel":
            return centred if out > 1 else np.zeros(1, np.float32)
        if self.coordinates == "half_pixel_symmetric":
            adjustment = np.float32(out) / (scale * np.float32(extent))
            return np.float32(extent) / np.float32(2) * (one - adjustment) + centred
        return centred

    def taps(self, d: int, extent: int) -> tuple[np.ndarray, np.ndarray]:
        """For each index of the result along dimension d: indices into x and their float32 weights, [out, taps]."""
        point = self.source_coordinates(d, extent)
        if self.mode == "nearest":
            exact = point.astype(np.float64)  # halves are added without rounding
            rounded = {
                "round_prefer_floor": np.ceil(exact - 0.5),
                "round_prefer_ceil": np.floor(exact + 0.5),
                "floor": np.floor(exact),
                "ceil": np.ceil(exact),
            }[self.nearest_mode]
            indices = np.clip(rounded.astype(np.int64), 0, extent - 1)[:, None]
            return indices, np.ones(indices.shape, np.float32)
        if self.mode == "linear":
            point = np.clip(point, 0, extent - 1)
            low = point.astype(np.int64)
            indices = np.clip(np.stack([low, low + 1], 1), 0, extent - 1)
            fraction = point - low.astype(np.float32)
            return indices, np.stack([1 - fraction, fraction], 1).astype(np.float32)
        a = np.float32(self.cubic_coeff_a)
        low = np.floor(point).astype(np.int64)
        weights = cubic_weights(point - low.astype(np.float32), a).astype(np.float32)
        indices = low[:, None] + np.arange(-1, 3)
        if self.exclude_outside:
            weights = np.where((indices >= 0) & (indices < extent), weights, np.float32(0))
            # Of a point that is wholly outside nothing is known: NaN.
            with np.errstate(invalid="ignore"):
                weights = weights / weights.sum(1, keepdims=True)
        return np.clip(indices, 0, extent - 1), weights

    def is_identity(self, d: int, extent: int) -> bool:
        """Whether each index of the result along dimension d takes that of x alone, if only by the rounding of taps."""
        if self.keeps(d, extent):
            return True
        if self.extents[d] != extent or self.coordinates == "tf_crop_and_resize":
            return False
        indices, weights = self.taps(d, extent)
        chosen = indices[np.arange(len(indices)), weights.argmax(1)]
        return bool((weights.max(1) == 1).all() and (chosen == np.arange(extent)).all())

    def reference(self, x: np.ndarray) -> np.ndarray:
        y = x if self.mode == "nearest" else x.astype(np.float64)
        for d, extent in enumerate(x.shape):
            if self.is_identity(d, extent):
                continue
            indices, weights = self.taps(d, extent)
            if self.mode == "nearest":
                y = np.take(y, indices[:, 0], d)
            else:
                along = [-1] + [1] * (x.ndim - 1 - d)
                y = sum(np.take(y, i, d) * w.reshape(along) for i, w in zip(indices.T, weights.T, strict=True))
        y = np.asarray(y).astype(x.dtype)
        if self.coordinates == "tf_crop_and_resize":
            for d, extent in enumerate(x.shape):
                point = self.source_coordinates(d, extent)
                outside = (point < 0) | (point > extent - 1)
                y[(slice(None),) * d + (outside,)] = np.asarray(self.extrapolation_value).astype(x.dtype)
        return y
