"""Convolution operators on activations in blocks of 16 channels."""

from __future__ import annotations

import math

from ....ir.core import Op
from ....ir.layout import BLOCK
from ....ir.ops.convolution import Conv
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..registry import lowers
from ..tensors import is_float, layouts
from .activation import Activation
from .direct_convolution import Convolution
from .row_major_convolution import GenericConvolution
from .window import Axis
from .windowed import Depthwise


def image_axes(
    image: tuple[int, ...],
    output: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
    before: tuple[int, ...],
) -> tuple[Axis, Axis] | None:
    """Rows and columns of an operator over one or two spatial dimensions, ``None`` for more of them."""
    axes = [Axis(*fields) for fields in zip(image, output, kernel, strides, dilations, before, strict=True)]
    if len(axes) == 1:
        return Axis(1, 1, 1, 1, 1, 0), axes[0]
    return (axes[0], axes[1]) if len(axes) == 2 else None


@lowers(Conv)
def convolution(op: Op, target: TargetDescription) -> Kernel | None:
    """Direct or depthwise convolution; x, residual and result in layout ``c16``."""
    conv = op.operator
    assert isinstance(conv, Conv)
    x, w, bias, residual = (*op.operands, None, None)[:4]
    assert x is not None
    assert w is not None
    if not is_float(op) or op.result.type.layout != "c16" or (residual is not None and residual.type.layout != "c16"):
        return None
    axes = image_axes(
        x.type.shape[2:],
        op.result.type.shape[2:],
        w.type.shape[2:],
        conv.strides,
        conv.dilations,
        conv.pads[: x.type.rank - 2],
    )
    if axes is None:
        return None
    batch, channels = x.type.shape[:2]
    outputs = w.type.shape[0]
    activation = Activation(conv.act, conv.act_args)
    has_bias, has_residual = bias is not None, residual is not None
    kinds = (x.type.layout, w.type.layout)
    if kinds == ("c16", "o16") and conv.group == channels == outputs:
        spec = Depthwise(batch, channels, *axes, has_bias=has_bias, has_residual=has_residual, activation=activation)
        return spec.kernel(target)
    is_plain = kinds == ("", "o16") and conv.group == 1
    whole = conv.group == 1 or (channels // conv.group % BLOCK == 0 and outputs // conv.group % BLOCK == 0)
    if not is_plain and (kinds != ("c16", "o16i16") or not whole):
        return None
    spec = Convolution(
        batch,
        channels,
        outputs,
        *axes,
        conv.group,
        is_plain,
        has_bias=has_bias,
        has_residual=has_residual,
        activation=activation,
    )
    return spec.kernel(target)


@lowers(Conv)
def plain_convolution(op: Op, target: TargetDescription) -> Kernel | None:
    """Any convolution whose tensors are all row-major."""
    conv = op.operator
    assert isinstance(conv, Conv)
    x, w, bias, residual = (*op.operands, None, None)[:4]
    assert x is not None
    assert w is not None
    if not is_float(op) or any(layouts(op)):
        return None
    spatial = x.type.rank - 2
    geometry = (x.type.shape[2:], op.result.type.shape[2:], w.type.shape[2:], conv.strides, conv.dilations)
    axes = tuple(Axis(*fields) for fields in zip(*geometry, conv.pads[:spatial], strict=True))
    if all(a.kernel == a.stride == 1 and not a.is_padded and a.input == a.output for a in axes):
        pixels = math.prod(x.type.shape[2:])
        axes = (Axis(pixels, pixels, 1, 1, 1, 0),)
    spec = GenericConvolution(
        x.type.shape[0],
        x.type.shape[1],
        w.type.shape[0],
        axes,
        conv.group,
        has_bias=bias is not None,
        has_residual=residual is not None,
        activation=Activation(conv.act, conv.act_args),
    )
    return spec.kernel(target)
