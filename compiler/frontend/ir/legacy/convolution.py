"""Convolution and Deconvolution of IR of versions 2 to 7.

Weights are flat in the file: [outputs, inputs / group, *kernel] of a convolution, [inputs, outputs / group, *kernel] of
a deconvolution.
"""

from __future__ import annotations

from .....ir.core import Value
from .....ir.ops.convolution import Conv, ConvTranspose
from ...windows import Integers, halved
from ..importer import IrImporter, IrNode, legacy
from .weights import biases, weights
from .windows import auto_pad, check_positive, explicit_pads, numbers, spatial_extents, window


def _channels(node: IrNode) -> tuple[int, int, int]:
    """Inputs, outputs and groups.

    Raises:
        ModelError: channels do not divide into the groups.
    """
    inputs, outputs, group = node.input(0).type.shape[1], node.int("output"), node.int("group", 1)
    if group < 1 or outputs < 1 or inputs % group or outputs % group:
        raise node.model_error(
            "the channels do not divide into groups", expected=f"{group} groups", found=f"{inputs} to {outputs}"
        )
    return inputs, outputs, group


@legacy("Convolution")
def import_convolution(node: IrNode, importer: IrImporter) -> Value:
    extents = spatial_extents(node)
    inputs, outputs, group = _channels(node)
    kernel, strides, pads, dilations = window(node, extents, numbers(node, "kernel", "kernel", len(extents)))
    w = weights(node, importer, (outputs, inputs // group, *kernel))
    b = biases(node, importer, outputs)
    return importer.emit_one(Conv(strides, pads, dilations, group), node.input(0), w, b)


@legacy("Deconvolution")
def import_deconvolution(node: IrNode, importer: IrImporter) -> Value:
    extents = spatial_extents(node)
    spatial = len(extents)
    inputs, outputs, group = _channels(node)
    kernel = numbers(node, "kernel", "kernel", spatial)
    strides = numbers(node, "strides", "stride", spatial, 1)
    dilations = numbers(node, "dilations", "dilation", spatial, 1)
    pads, extra = _cut(node, extents, kernel, strides, dilations)
    w = weights(node, importer, (inputs, outputs // group, *kernel))
    b = biases(node, importer, outputs)
    return importer.emit_one(ConvTranspose(strides, pads, dilations, extra, group), node.input(0), w, b)


def _cut(
    node: IrNode, extents: Integers, kernel: Integers, strides: Integers, dilations: Integers
) -> tuple[Integers, Integers]:
    """What is cut off the result of a deconvolution, begins then ends, and what is added behind it."""
    mode = auto_pad(node)
    zeros = (0,) * len(extents)
    if mode == "explicit":
        return explicit_pads(node, len(extents)), zeros
    if mode == "valid":
        return zeros * 2, zeros
    check_positive(node, strides)
    stated = node.output_shape()[2:]
    if len(stated) != len(extents):
        stated = extents
    totals, extra = [], []
    for extent, taps, stride, dilation, result in zip(extents, kernel, strides, dilations, stated, strict=True):
        # Several extents shrink to the same one; where the file's is one of them, it is the one.
        wanted = result if -(-result // stride) == extent else extent * stride
        full = stride * (extent - 1) + dilation * (taps - 1) + 1
        totals.append(max(0, full - wanted))
        extra.append(max(0, wanted - full))
    return halved(totals, lower=mode == "same_lower"), tuple(extra)
