"""Convolution, transposed convolution and blocks of images over any number of spatial dimensions."""

import itertools
import math
from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from ..activation import activate, check_activation
from ..arithmetic import rounded_to_bfloat16
from ..core import Value
from ..layout import CHANNEL_BLOCK
from ..op import LinearOperands, Operator, QuantizationRule, UnaryOperands, operator
from ..quantized import centred, check_accumulating, check_residual, requantized
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from ..windows import WindowAxis, transposed_axes, window_axes
from .elementwise import FLOATS, check_dtype

_MOST_JOINED = 16
"""Groups, and so products with zero for each with a weight; as many make whole blocks of any number of channels."""


class _Convolution(Operator[LinearOperands]):
    """What convolutions have in common: their attributes, which :class:`Conv` explains."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    group: int = 1
    act: str = "none"
    act_args: tuple[float, ...] = ()


@operator("conv")
class Conv(_Convolution):
    """Convolution (correlation, as in ONNX), then bias, residual and activation.

    Operands: x [N, C, *spatial]; w [O, C/group, *kernel]; b [O]; residual, of the result's type, added before the
    activation. Result [N, O, *output]. Padding counts as zeros (on quantised tensors: as the zero point).
    Engines differ in whether padding times an infinite weight is NaN, and in what becomes of sums that leave the range
    on the way.

    Quantised: x is 8-bit or 16-bit, w 8-bit per tensor or along axis 0, b int32 at the scale of x times that of w;
    accumulators are exact. The result is 8-bit or 16-bit, requantised as :func:`tilewright.ir.arithmetic.requantize`
    states, or with a residual, which is so with a scale of its own, as
    :func:`tilewright.ir.arithmetic.requantize_sum`; fused activations clamp, or multiply negative numbers before
    they are rounded. Or it is f32, the accumulators times the
    scales of x and w, without residual and activation.

    Attributes:
        strides, dilations: one for each spatial dimension.
        pads: begins of all spatial dimensions, then ends, as in ONNX; explicit, never automatic.
        group: channels are split into so many independent convolutions.
        act, act_args: fused activation, see :mod:`tilewright.ir.activation`.
    """

    QUANTIZATION = QuantizationRule.ACCUMULATE

    def windows(self, x: tuple[int, ...], w: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        """The windows over the first of operands of these shapes."""
        return window_axes(x[2:], w[2:], self.strides, self.dilations, self.pads)

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None, residual: TensorType | None) -> TensorType:
        check_activation(self.act, self.act_args, x)
        _check_operands(self, x, w, b, residual)
        if x.shape[1] != w.shape[1] * self.group or w.shape[0] % self.group:
            raise IRError(
                "channels of x and w do not match",
                expected=f"{w.shape[1]} x {self.group} channels",
                found=f"{x.shape[1]} channels, {w.shape[0]} outputs",
            )
        if w.shape[1] == 0:
            raise IRError("x has no channels", expected="at least 1", found=list(x.shape))
        axes = self.windows(x.shape, w.shape)
        shape = (x.shape[0], w.shape[0], *(axis.output for axis in axes))
        if b is not None and b.shape != (w.shape[0],):
            raise IRError("b needs one element for each output channel", expected=[w.shape[0]], found=list(b.shape))
        if residual is not None and residual.shape != shape:
            raise IRError("residual needs the shape of the result", expected=list(shape), found=list(residual.shape))
        return TensorType(shape, x.dtype if x.quant is None else DType.F32)

    def reference(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, residual: np.ndarray | None) -> np.ndarray:
        # In float64, so that channels with equal weights get equal results however the sums are blocked.
        wide = (x.astype(np.float64), w.astype(np.float64))
        y = accumulate(*wide, self)
        if b is not None:
            y += b.reshape(-1, *[1] * (x.ndim - 2))
        if residual is not None:
            y += residual
        return activate(y.astype(x.dtype), self.act, self.act_args)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        (x, w, b, residual), (x_type, w_type, _, residual_type) = arrays, operand_types
        assert x is not None and w is not None and x_type is not None and w_type is not None
        y = accumulate(centred(x, x_type), centred(w, w_type), self)
        if b is not None:
            y += b.reshape(-1, *[1] * (x.ndim - 2))
        added = (residual, residual_type) if residual is not None and residual_type is not None else None
        act = {"act": self.act, "act_args": self.act_args}
        return requantized(y, x_type, w_type, result_types[0], channel_axis=1, residual=added, **act)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        *operands, residual = (*operand_types, None)[:4]
        problem = check_accumulating(operands, result_types, channel_axis=0, act=self.act, act_args=self.act_args)
        return problem or check_residual(residual, result_types[0])

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        w = operand_types[1]
        return result_types[0].elements * math.prod(w.shape[1:]) if w is not None else 0


@operator("narrow_conv")
class NarrowConv(_Convolution):
    """Convolution of numbers that are rounded to bfloat16 before (to nearest, ties to even), then bias, residual and
    activation in single precision. The attributes are those of ``conv``.

    Operands and result are those of ``conv`` in single precision. Engines differ in whether a residual is rounded as
    well, in the order of sums, which are single precision, and may take factors and sums below 2^-126 as zero, and in
    whether infinities of one group make NaN of others: such may be multiplied with zero."""

    @property
    def conv(self) -> Conv:
        """The convolution of the numbers as they are."""
        return Conv(**vars(self))

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None, residual: TensorType | None) -> TensorType:
        check_dtype(x, (DType.F32,))
        return self.conv.infer(x, w, b, residual)

    def reference(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None, residual: np.ndarray | None) -> np.ndarray:
        return self.conv.reference(rounded_to_bfloat16(x), rounded_to_bfloat16(w), b, residual)

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        return self.conv.macs(operand_types, result_types)


def joined_groups(group: int, channels: int, outputs: int) -> int | None:
    """How many neighbouring groups make whole blocks of channels together; all if none do so, ``None`` for too many.

    Kernels that multiply blocks compute so many as one, with weights of zero between them."""
    inputs, results = channels // group, outputs // group
    counts = (count for count in range(1, group) if group % count == 0)
    found = next((n for n in counts if not (n * inputs % CHANNEL_BLOCK or n * results % CHANNEL_BLOCK)), group)
    return found if found <= _MOST_JOINED else None


MOST_COPIED = 1 << 25
"""Bytes that kernels copy of an image at most at once, where they do: beyond, far taps would make it mostly padding."""


def copied_bytes(conv: Conv, x: tuple[int, ...], w: tuple[int, ...]) -> int:
    """Bytes of what a row of results sees of x at most, in bfloat16, channels brought up to whole pairs of blocks."""
    axes = conv.windows(x, w)
    *rows, columns = axes[::-1] if axes[1:] == (WindowAxis(1, 1, 1, 1, 1, 0),) else axes
    joined = joined_groups(conv.group, x[1], w[0]) or conv.group
    pixels = (columns.output - 1) * columns.stride + (columns.kernel - 1) * columns.dilation + 1
    # Of short rows, each tap may have a copy.
    pixels = max(pixels, columns.kernel * min(columns.output, CHANNEL_BLOCK // 2))
    height = math.prod((axis.kernel - 1) * axis.dilation + 1 for axis in rows)
    return height * pixels * 4 * CHANNEL_BLOCK * -(-joined * w[1] // (2 * CHANNEL_BLOCK))


def accumulate(x: np.ndarray, w: np.ndarray, conv: Conv) -> np.ndarray:
    """Sums of products of a convolution without bias, [N, O, *output], in the dtype of the operands.

    One matrix product for each kernel tap; pads with zeros, so quantised callers subtract zero points first."""
    axes = conv.windows(x.shape, w.shape)
    outputs, channels = w.shape[0] // conv.group, w.shape[1]
    y = np.zeros((x.shape[0], w.shape[0], *(axis.output for axis in axes)), np.result_type(x, w))
    for tap in itertools.product(*map(range, w.shape[2:])):
        seen, places = zip(*(axis.seen(t) for axis, t in zip(axes, tap, strict=True)), strict=True)
        elements = x[(..., *places)]
        # Padding counts where a weight is not finite.
        if not elements.size and np.isfinite(w[(..., *tap)]).all():
            continue
        if elements.shape[2:] != y.shape[2:]:
            padded = np.zeros((*x.shape[:2], *y.shape[2:]), x.dtype)
            padded[(..., *seen)] = elements
            elements = padded
        for g in range(conv.group):
            part = elements[:, g * channels : (g + 1) * channels]
            rows = w[(slice(g * outputs, (g + 1) * outputs), slice(None), *tap)]
            y[:, g * outputs : (g + 1) * outputs] += np.moveaxis(np.tensordot(rows, part, ([1], [1])), 0, 1)
    return y


def _check_operands(conv: "Conv | ConvTranspose", x: TensorType, w: TensorType, *others: TensorType | None) -> None:
    """Raise IRError unless x and w have spatial dimensions, all operands are floats of one type or some are quantised,
    and there is a group at least."""
    types = [type for type in (x, w, *others) if type is not None]
    if all(type.quant is None for type in types):
        check_dtype(x, FLOATS)
        mixed = next((type for type in types if type.dtype is not x.dtype), None)
        if mixed is not None:
            raise IRError("the element types of the operands differ", expected=x.dtype.value, found=mixed.dtype.value)
    if x.rank < 3 or w.rank != x.rank:
        raise IRError("x and w need equal ranks of at least 3", found=f"{list(x.shape)} and {list(w.shape)}")
    if conv.group < 1:
        raise IRError("group must be at least 1", found=conv.group)


class ConvTransposeOperands(NamedTuple):
    x: Value
    w: Value
    b: Value | None = None


@operator("conv_transpose")
class ConvTranspose(Operator[ConvTransposeOperands]):
    """Transposed convolution: the gradient of a convolution with respect to its input.

    Operands: x [N, C, *spatial]; w [C, O/group, *kernel]; b [O]. Result [N, O, *output] with
    output = stride * (extent - 1) + output_padding + dilation * (kernel - 1) + 1 - pad_begin - pad_end.

    There is no form on quantised tensors: quantisation makes ordinary convolutions of it, one for each phase."""

    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    output_padding: tuple[int, ...]
    group: int = 1

    def windows(self, x: tuple[int, ...], w: tuple[int, ...]) -> tuple[WindowAxis, ...]:
        """The windows over the result, for operands of these shapes."""
        return transposed_axes(x[2:], w[2:], self.strides, self.dilations, self.pads, self.output_padding)

    def infer(self, x: TensorType, w: TensorType, b: TensorType | None) -> TensorType:
        _check_operands(self, x, w, b)
        if x.shape[1] != w.shape[0] or x.shape[1] % self.group:
            raise IRError(
                "channels of x and w do not match",
                expected=f"{w.shape[0]} channels, a multiple of {self.group} groups",
                found=x.shape[1],
            )
        axes = self.windows(x.shape, w.shape)
        outputs = w.shape[1] * self.group
        if b is not None and b.shape != (outputs,):
            raise IRError("b needs one element for each output channel", expected=[outputs], found=list(b.shape))
        return TensorType((x.shape[0], outputs, *(axis.input for axis in axes)), x.dtype)

    def reference(self, x: np.ndarray, w: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        axes = self.windows(x.shape, w.shape)
        outputs, channels = w.shape[1], x.shape[1] // self.group
        y = np.zeros((x.shape[0], outputs * self.group, *(axis.input for axis in axes)), x.dtype)
        for tap in itertools.product(*map(range, w.shape[2:])):
            seen, places = zip(*(axis.seen(t) for axis, t in zip(axes, tap, strict=True)), strict=True)
            for g in range(self.group):
                rows = w[(slice(g * channels, (g + 1) * channels), slice(None), *tap)]
                part = np.moveaxis(np.tensordot(rows, x[:, g * channels : (g + 1) * channels], ([0], [1])), 0, 1)
                y[(slice(None), slice(g * outputs, (g + 1) * outputs), *places)] += part[(..., *seen)]
        return y + b.reshape(-1, *[1] * (x.ndim - 2)) if b is not None else y

    def macs(self, operand_types: Types, result_types: ResultTypes) -> int:
        x, w = operand_types[:2]
        return x.elements * math.prod(w.shape[1:]) if x is not None and w is not None else 0


@operator("col2im")
class Col2Im(Operator[UnaryOperands]):
    """Blocks of images, added up where they lie: the gradient of taking an image apart into the windows over it.

    Operands: x [N, C * elements of a block, blocks of an image], as of ONNX. Result [N, C, *image].

    Attributes:
        image, block: spatial extents.
        dilations, pads, strides: of the windows, as in ONNX; what lies in the padding counts nowhere."""

    image: tuple[int, ...]
    block: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    strides: tuple[int, ...]

    def windows(self) -> tuple[WindowAxis, ...]:
        """The windows over an image, one for each block."""
        return window_axes(self.image, self.block, self.strides, self.dilations, self.pads)

    def infer(self, x: TensorType) -> TensorType:
        check_dtype(x, FLOATS)
        counts, taps = [axis.output for axis in self.windows()], math.prod(self.block)
        if min(self.image) < 1:
            raise IRError("the image is empty", found=list(self.image))
        if x.rank != 3 or x.shape[1] % taps or x.shape[2] != math.prod(counts):
            raise IRError("x does not fit", expected=f"[N, C * {taps}, {math.prod(counts)}]", found=x)
        return TensorType((x.shape[0], x.shape[1] // taps, *self.image), x.dtype)

    def reference(self, x: np.ndarray) -> np.ndarray:
        axes = self.windows()
        y = np.zeros((x.shape[0], x.shape[1] // math.prod(self.block), *self.image), x.dtype)
        blocks = x.reshape(*y.shape[:2], *self.block, *(axis.output for axis in axes))
        for tap in itertools.product(*map(range, self.block)) if x.size else ():
            seen, places = zip(*(axis.seen(t) for axis, t in zip(axes, tap, strict=True)), strict=True)
            y[(..., *places)] += blocks[(slice(None), slice(None), *tap, *seen)]
        return y
