"""Conv, ConvTranspose and Col2Im of ONNX: attributes that may be absent, and automatic padding, made explicit."""

from typing import Any, TypeVar

import onnx

from tilewright.limits import RANK

from ......ir.core import Op, Value
from ......ir.ops.convolution import Col2Im, Conv, ConvTranspose, NarrowConv
from ......ir.ops.integer_products import ConvInteger
from ....movement import transpose
from ....shape import reshape
from ....windows import Integers, halved, same_pads
from ...exporter import Exporter, exports
from ...importer import Importer, Node, imports
from ...one_to_one import exports_as
from ..activation import export_activation

exports_as("ConvTranspose", ConvTranspose)
exports_as("Col2Im", Col2Im, "dilations", "pads", "strides", inputs=("image", "block"))


@imports("Col2Im")
def import_col2im(node: Node, importer: Importer) -> Value:
    x, image, block = node.input(0), node.integers(1, "the shape of the image"), node.integers(2, "the shape of blocks")
    spatial = len(image)
    strides, dilations = (node.ints(name, (1,) * spatial) for name in ("strides", "dilations"))
    fold = Col2Im(image, block, dilations, node.ints("pads", (0,) * 2 * spatial), strides)
    batch, channels, *_ = fold.result_types([x.type], (node.name,))[0].shape
    extents = [(side, axis.output) for side, axis in zip(block, fold.windows(), strict=True)]
    is_whole = all(side * count == extent for (side, count), extent in zip(extents, image, strict=True))
    is_apart = block == strides and max(dilations) == 1 and not any(fold.pads) and is_whole
    if not is_apart or 1 + 2 * spatial > RANK or importer.open.axes(x):
        return importer.emit_one(fold, x)
    # They lie beside each other.
    order = (0, *(axis for d in range(spatial) for axis in (1 + spatial + d, 1 + d)))
    parts = reshape(importer, x, (batch * channels, *block, *(count for _, count in extents)))
    return reshape(importer, transpose(importer, parts, order), (batch, channels, *image))


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
