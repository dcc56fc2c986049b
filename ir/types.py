"""Element types, quantisation parameters and tensor types."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tilewright.blocks import cached_property
from tilewright.errors import IRError
from tilewright.limits import ELEMENTS, RANK

from .text.literals import INLINE_ELEMENTS, digest_of, print_float


class DType(enum.Enum):
    """An element type; the value is its name in the textual form."""

    F16 = "f16"
    F32 = "f32"
    F64 = "f64"
    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    BOOL = "bool"

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype of the elements."""
        return _NUMPY[self]

    @property
    def bytes(self) -> int:
        """Size of an element in bytes."""
        return self.numpy.itemsize

    @property
    def is_float(self) -> bool:
        return self in (DType.F16, DType.F32, DType.F64)

    @property
    def is_integer(self) -> bool:
        return not self.is_float and self is not DType.BOOL

    @staticmethod
    def of(dtype: np.dtype | type) -> DType:
        """The element type of a NumPy dtype.
        Raises IRError: the dtype has no counterpart, such as strings or complex numbers."""
        found = _BY_NUMPY.get(np.dtype(dtype))
        if found is None:
            raise IRError("no such element type", expected=", ".join(d.value for d in DType), found=np.dtype(dtype))
        return found


_KINDS = {"f": "float", "i": "int", "u": "uint"}
_NUMPY = {d: np.dtype("bool" if d is DType.BOOL else _KINDS[d.value[0]] + d.value[1:]) for d in DType}
_BY_NUMPY = {numpy: dtype for dtype, numpy in _NUMPY.items()}


_ABOVE, _BELOW = 2.0**-150, 2.0**128 - 2.0**103
"""Between these lie the numbers that are neither 0 nor infinite in single precision, as which scales are used."""


@dataclass(frozen=True)
class Quantization:
    """Affine quantisation: real value = scale * (stored integer - zero point).
    ``scale``: one scale for the tensor, or one for each index along ``axis``; positive and finite.
    ``zero_point``: as many integers as scales.
    ``axis``: the dimension that the scales run along, ``None`` for the whole tensor."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point) or not self.scale:
            raise IRError(
                "a quantisation needs as many zero points as scales",
                expected=f"{len(self.scale)} zero points",
                found=len(self.zero_point),
            )
        if self.axis is None and len(self.scale) != 1:
            raise IRError("a quantisation of several scales needs an axis", found=f"{len(self.scale)} scales")
        wrong = [scale for scale in self.scale if not _ABOVE < scale < _BELOW]
        if wrong:
            raise IRError("a quantisation scale must be positive and finite in single precision", found=wrong[0])

    @cached_property
    def zero_points(self) -> tuple[int, int]:
        """The smallest and the largest zero point."""
        return min(self.zero_point), max(self.zero_point)

    @staticmethod
    def per_tensor(scale: float, zero_point: int = 0) -> Quantization:
        return Quantization((float(scale),), (int(zero_point),))

    @staticmethod
    def per_channel(
        scale: Sequence[float] | np.ndarray, axis: int, zero_point: Sequence[int] | None = None
    ) -> Quantization:
        scales = tuple(float(s) for s in scale)
        zeros = tuple(int(z) for z in zero_point) if zero_point is not None else (0,) * len(scales)
        return Quantization(scales, zeros, axis)

    def of_channels(self, channels: Iterable[int]) -> Quantization:
        """Of these indices along ``axis`` alone, in their order; itself for a whole tensor."""
        if self.axis is None:
            return self
        indices = [*channels]
        return Quantization(
            tuple(self.scale[c] for c in indices), tuple(self.zero_point[c] for c in indices), self.axis
        )

    def broadcast(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """Scales (float32) and zero points (int64), shaped to broadcast against a tensor of ``rank`` dimensions."""
        shape = [1] * rank
        if self.axis is not None:
            shape[self.axis] = len(self.scale)
        elif rank == 0:
            shape = []
        return np.asarray(self.scale, np.float32).reshape(shape), np.asarray(self.zero_point, np.int64).reshape(shape)

    @property
    def array(self) -> np.ndarray:
        """Scales and zero points as one float64 array [2, channels], the form that blobs use."""
        return np.array([self.scale, self.zero_point], np.float64)

    def __str__(self) -> str:
        if self.axis is None:
            return f"<s={print_float(self.scale[0])}, z={self.zero_point[0]}>"
        if len(self.scale) > INLINE_ELEMENTS:
            return f'<axis={self.axis}, blob "sha256:{digest_of(self.array)}">'
        scales = ", ".join(map(print_float, self.scale))
        return f"<axis={self.axis}, s=[{scales}], z=[{', '.join(map(str, self.zero_point))}]>"


@dataclass(frozen=True)
class TensorType:
    """Type of a value: static shape, element type, quantisation and physical layout.

    Attributes:
        shape: logical extents, every one known; ``()`` is a scalar.
        quant: how stored integers map to real values; ``None`` where they mean themselves.
        layout: name of the physical order in memory (see :mod:`tilewright.ir.layout`); ``""`` is row-major.
            It never changes what a value means, so references ignore it.

    Raises:
        IRError: an extent is negative, or rank or number of elements pass their limits.
    """

    shape: tuple[int, ...]
    dtype: DType
    quant: Quantization | None = None
    layout: str = ""

    def __post_init__(self) -> None:
        if min(self.shape, default=0) < 0:
            raise IRError("a shape has a negative extent", found=list(self.shape))
        if len(self.shape) > RANK:
            raise IRError(
                "a tensor has too many dimensions", expected=f"at most {RANK} {RANK.what}", found=len(self.shape)
            )
        # NumPy multiplies the extents of an empty tensor as if none were 0. Not `elements`: to fill a cached property
        # takes longer than all of this, and most types are never asked for it.
        if (math.prod(self.shape) or math.prod(extent or 1 for extent in self.shape)) > ELEMENTS:
            raise IRError(
                "a tensor is too large", expected=f"at most {ELEMENTS} {ELEMENTS.what}", found=list(self.shape)
            )
        if self.quant is not None:
            axis = self.quant.axis
            if axis is not None and not (0 <= axis < len(self.shape) and self.shape[axis] == len(self.quant.scale)):
                raise IRError(
                    "per-channel scales do not match the shape",
                    expected=f"{len(self.quant.scale)} channels on axis {axis}",
                    found=list(self.shape),
                )
            if not self.dtype.is_integer:
                raise IRError("only integers can be quantised", found=self.dtype.value)
            (low, high), span = self.quant.zero_points, np.iinfo(self.dtype.numpy)
            if low < span.min or high > span.max:
                raise IRError(
                    "a zero point does not fit the element type",
                    expected=f"{span.min} to {span.max}",
                    found=low if low < span.min else high,
                )

    @staticmethod
    def of(array: np.ndarray) -> TensorType:
        return TensorType(tuple(array.shape), DType.of(array.dtype))

    @property
    def rank(self) -> int:
        return len(self.shape)

    @cached_property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def place(self) -> str:
        """Where the value of a tile program lies, in the textual form; ``""`` for tensors, which lie nowhere yet."""
        return ""

    @property
    def has_one_scale(self) -> bool:
        """Whether stored integers have one scale and zero point, and not those of channels."""
        return self.quant is not None and self.quant.axis is None

    @property
    def plain(self) -> TensorType:
        """The same type in row-major layout."""
        return replace(self, layout="") if self.layout else self

    def with_shape(self, shape: Sequence[int]) -> TensorType:
        """The same element type and quantisation over another shape, row-major."""
        return TensorType(tuple(int(extent) for extent in shape), self.dtype, self.quant)

    def with_dtype(self, dtype: DType) -> TensorType:
        """The same shape with another element type, not quantised, row-major."""
        return TensorType(self.shape, dtype)

    def with_quant(self, quant: Quantization | None) -> TensorType:
        return replace(self, quant=quant)

    def with_layout(self, layout: str) -> TensorType:
        return replace(self, layout=layout)

    def __str__(self) -> str:
        layout = f"#{self.layout}" if self.layout else ""
        return f"{self.dtype.value}[{','.join(map(str, self.shape))}]{layout}{self.quant or ''}"


Types = Sequence[TensorType | None]
"""Types of operands; ``None`` where an optional one is absent."""

ResultTypes = Sequence[TensorType]
"""Types of results."""

Arrays = Sequence[np.ndarray | None]
"""Elements of operands; ``None`` where an optional operand is absent."""
