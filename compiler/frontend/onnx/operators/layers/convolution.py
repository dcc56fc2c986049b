"""Conv, ConvTranspose and Col2Im of ONNX: attributes that may be absent, and automatic padding, made explicit."""

import math
from typing import Any, TypeVar

import numpy as np
import onnx

from ......ir.core import Op, Value
from ......ir.ops.convolution import Conv, ConvTranspose, NarrowConv
from ......ir.ops.integer_products import ConvInteger
from ....movement import transpose
from ....shape import reshape
from ....windows import Integers, halved, same_pads
from ...exporter import Exporter, exports
from ...importer import Importer, Node, imports
from ...one_to_one import exports_as
from ..activation import export_activation

exports_as("ConvTranspose", ConvTranspose)


@imports("Col2Im")
def import_col2im(node: Node, importer: Importer) -> Value:
    """Blocks are added up where they lie, as by a transposed convolution whose every kernel is one tap."""
    x, image, block = node.input(0), node.integers(1, "the shape of the image"), node.integers(2, "the shape of blocks")
    spatial, taps = len(image), math.prod(block)
    strides, dilations = (node.ints(name, (1,) * spatial) for name in ("strides", "dilations"))
    pads = node.ints("pads", (0,) * 2 * spatial)
    if {len(block), len(strides), len(dilations), len(pads) / 2} != {spatial} or min((*block, *strides)) < 1:
        raise node.model_error("blocks and image do not fit", found=f"{list(block)}, {list(image)}")
    reach = [dilation * (side - 1) + 1 for dilation, side in zip(dilations, block, strict=True)]
    room = [image[d] + pads[d] + pads[spatial + d] - reach[d] for d in range(spatial)]
    counts = [distance // stride + 1 for distance, stride in zip(room, strides, strict=True)]
    if x.type.rank != 3 or x.type.shape[1] % taps or x.type.shape[2] != math.prod(counts):
        raise node.model_error("x does not fit", expected=f"[N, C * {taps}, {math.prod(counts)}]", found=x.type)
    batch, channels = x.type.shape[0], x.type.shape[1] // taps
    dtype = x.type.dtype
    extra = tuple(distance % stride for distance, stride in zip(room, strides, strict=True))
    if tuple(strides) == tuple(block) and not any((*extra, *pads)) and set(dilations) <= {1}:
        # They lie beside each other.
        order = (0, *(axis for d in range(spatial) for axis in (1 + spatial + d, 1 + d)))
        y = transpose(importer, reshape(importer, x, (batch * channels, *block, *counts)), order)
        return reshape(importer, y, (batch, channels, *image))

    def kernels() -> np.ndarray:
        return np.eye(taps, dtype=dtype.numpy).reshape(taps, 1, *block)

    w = importer.described(node, (taps, 1, *block), dtype, kernels, "_taps")
    planes = reshape(importer, x, (batch * channels, taps, *counts))
    y = importer.emit_one(ConvTranspose(strides, pads, dilations, extra), planes, w)
    return reshape(importer, y, (batch, channels, *image))


ConvolutionClass = TypeVar("ConvolutionClass", Conv, ConvInteger)


def window(node: Node, extents: Integers, kernel: Integers) -> tuple[Integers, Integers, Integers]:
    """Strides, explicit pads (begins then ends) and dilations of a convolution or pooling node."""
    strides, dilations = (node.ints(name, (1,) * len(extents)) for name in ("strides", "dilations"))
    return strides, _pads(node, extents, kernel, strides, dilations), dilations


def _pads(node: Node, extents: Integers, kernel: Integers, strides: Integers, dilations: Integers) -> Integers:
    mode = node.string("auto_pad", "NOTSET")
    spatial = len(extents)
    if mode in ("NOTSET", ""):
        pads = node.ints("pads", (0,) * 2 * spatial)
        if len(pads) != 2 * spatial or min(pads, default=0) < 0:
            raise node.model_error("wrong pads", expected=f"{2 * spatial} integers from 0", found=list(pads))
        return pads
    if mode == "VALID":
        return (0,) * 2 * spatial
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise node.model_error("unknown auto_pad", found=mode)
    return same_pads(extents, kernel, strides, dilations, lower=mode == "SAME_LOWER")


def convolution(node: Node, cls: type[ConvolutionClass], x: Value, w: Value) -> ConvolutionClass:
    """The operator of a convolution with the attributes of the node."""
    return cls(*window(node, x.type.shape[2:], w.type.shape[2:]), group=node.int("group", 1))


@imports("Conv")
def import_conv(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    operator = convolution(node, Conv, x, w)
    check_padding(node, importer, x, operator.strides)
    return importer.emit_one(operator, x, w, node.optional(2))


def check_padding(node: Node, importer: Importer, x: Value, strides: Integers) -> None:
    """Raise UnsupportedError where what is padded follows from extents, and the data decide these."""
    follows = node.word("auto_pad", "").startswith("same") or node.int("ceil_mode", 0)
    if follows and max(strides, default=1) > 1 and any(axis > 1 for axis in importer.open.axes(x)):
        importer.open.check_closed(f"{node.op_type}, which pads by itself,", [x])


def convolution_attributes(conv: Conv) -> dict[str, Any]:
    """What ONNX writes of a convolution."""
    return {"strides": conv.strides, "pads": conv.pads, "dilations": conv.dilations, "group": conv.group}


def rounded_to_bfloat16(exporter: Exporter, factor: str) -> str:
    """A factor as numbers of bfloat16, in single precision."""
    for dtype in (onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT):
        factor = exporter.node("Cast", [factor], to=dtype)
    return factor


@exports(Conv, NarrowConv)
def export_conv(op: Op[Conv | NarrowConv], exporter: Exporter) -> None:
    x, w, b, residual = op.operands
    conv = op.operator if isinstance(op.operator, Conv) else op.operator.conv
    factors = [exporter.name(value) for value in (x, w)]
    if isinstance(op.operator, NarrowConv):
        factors = [rounded_to_bfloat16(exporter, factor) for factor in factors]
    y = exporter.node("Conv", [*factors, b], **convolution_attributes(conv))
    if residual is not None:
        y = exporter.node("Add", [y, residual])
    exporter.define(op, export_activation(exporter, y, conv.act, conv.act_args))


@imports("ConvTranspose")
def import_conv_transpose(node: Node, importer: Importer) -> Value:
    x, w = node.input(0), node.input(1)
    spatial = x.type.rank - 2
    strides = node.ints("strides", (1,) * spatial)
    dilations = node.ints("dilations", (1,) * spatial)
    extra = node.ints("output_padding", (0,) * spatial)
    full = [
        strides[d] * (x.type.shape[2 + d] - 1) + dilations[d] * (w.type.shape[2 + d] - 1) + 1 + extra[d]
        for d in range(spatial)
    ]
    mode = node.string("auto_pad", "NOTSET")
    if node.has("output_shape"):
        importer.open.check_closed("conv_transpose of a given output_shape", [x])
    if node.has("output_shape") or mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = node.ints("output_shape", [x.type.shape[2 + d] * strides[d] for d in range(spatial)])
        total = [max(0, full[d] - wanted[-spatial:][d]) for d in range(spatial)]
        extra = tuple(extra[d] + max(0, wanted[-spatial:][d] - full[d]) for d in range(spatial))
        pads = halved(total, lower=mode != "SAME_UPPER")
    else:
        pads = node.ints("pads", (0,) * 2 * spatial) if mode in ("NOTSET", "") else (0,) * 2 * spatial
    operator = ConvTranspose(strides, pads, dilations, extra, node.int("group", 1))
    return importer.emit_one(operator, x, w, node.optional(2))
