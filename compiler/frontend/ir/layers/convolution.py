"""Convolutions of IR and their gradients, plain and in groups: automatic padding made explicit, groups merged.

In versions 2 to 7 kernels, strides, pads and dilations are lists from version 3 on, numbers before; weights and biases
are blobs of the file, or, in version 7, inputs. Weights are flat in the file: [outputs, inputs / group, *kernel] of a
convolution, [inputs, outputs / group, *kernel] of a deconvolution.
"""

from collections.abc import Sequence
from typing import Any

from .....ir.core import Op, Value
from .....ir.ops.convolution import Conv, ConvTranspose
from .....ir.ops.integer_products import ConvInteger
from .....ir.types import TensorType
from ...shape import reshape
from ...windows import Integers, Window, halved, same_pads
from ..exporter import IrExporter, Tensor, exports
from ..importer import IrImporter, IrNode, biases, legacy, opset, weights
from .activation import activated
from .elementwise import combined
from .shape import reshaped

_EXPLICIT = ("explicit", "notset")
_AUTOMATIC = ("same_upper", "same_lower", "valid")


def explicit_pads(
    node: IrNode, extents: Integers, kernel: Integers, strides: Integers, dilations: Integers
) -> Integers:
    """Pads, begins of all spatial dimensions and then ends, of a layer with windows."""
    mode, none = auto_pad(node), (0,) * len(extents)
    if mode in ("same_upper", "same_lower"):
        return same_pads(extents, kernel, strides, dilations, lower=mode == "same_lower")
    if mode == "valid":
        return none * 2
    return node.ints("pads_begin", none) + node.ints("pads_end", none)


def auto_pad(node: IrNode) -> str:
    """How a layer is padded, in lower case."""
    return node.choice("auto_pad", _EXPLICIT + _AUTOMATIC, "explicit")


def _merged_groups(node: IrNode, importer: IrImporter, x: Value, w: Value, *, is_transposed: bool) -> tuple[Value, int]:
    """Weights [groups, a, b, *kernel] as operators take them, and how many groups there are.

    Convolutions take [groups * a, b, *kernel] with a the outputs of a group; their gradients take the same with a its
    inputs."""
    if not node.op_type.startswith("Group"):
        if w.type.rank != x.type.rank:
            raise node.model_error(
                "the ranks of data and weights differ", expected=x.type.rank, found=list(w.type.shape)
            )
        return w, 1
    if w.type.rank != x.type.rank + 1:
        raise node.model_error(
            "weights in groups need a rank more than the data", expected=x.type.rank + 1, found=list(w.type.shape)
        )
    groups, first, *rest = w.type.shape
    if not groups or x.type.shape[1] != groups * (first if is_transposed else rest[0]):
        raise node.model_error(
            "channels of data and weights do not match", expected=x.type.shape[1], found=list(w.type.shape)
        )
    return reshape(importer, w, (groups * first, *rest)), groups


@opset("Convolution", "GroupConvolution")
def import_convolution(node: IrNode, importer: IrImporter) -> Value:
    x, given = node.input(0), node.input(1)
    w, groups = _merged_groups(node, importer, x, given, is_transposed=False)
    extents, kernel = x.type.shape[2:], w.type.shape[2:]
    strides, dilations = (node.ints(name, (1,) * len(extents)) for name in ("strides", "dilations"))
    pads = explicit_pads(node, extents, kernel, strides, dilations)
    return importer.emit_one(Conv(strides, pads, dilations, groups), x, w)


@opset("ConvolutionBackpropData", "GroupConvolutionBackpropData")
def import_convolution_gradient(node: IrNode, importer: IrImporter) -> Value:
    x, given = node.input(0), node.input(1)
    w, groups = _merged_groups(node, importer, x, given, is_transposed=True)
    spatial = x.type.rank - 2
    none = (0,) * spatial
    strides, dilations = (node.ints(name, (1,) * spatial) for name in ("strides", "dilations"))
    extra = node.ints("output_padding", none)
    mode = auto_pad(node)
    begin, end = (node.ints(name, none) if mode in _EXPLICIT else none for name in ("pads_begin", "pads_end"))
    pads = begin + end
    if node.optional(2) is not None:
        wanted = node.integers(2, "the output shape")
        windows = zip(x.type.shape[2:], w.type.shape[2:], strides, dilations, strict=True)
        full = [stride * (extent - 1) + dilation * (taps - 1) + 1 for extent, taps, stride, dilation in windows]
        if mode in _EXPLICIT or mode == "valid":
            # What is too much behind the given padding is cut off.
            pads = (*begin, *(max(0, f - b - e) for f, b, e in zip(full, begin, wanted, strict=True)))
        else:
            # Unlike padding of convolutions, an odd one goes to the beginning for "upper".
            over = [max(0, f + o - e) for f, o, e in zip(full, extra, wanted, strict=True)]
            pads = halved(over, lower=mode == "same_upper")
        extra = tuple(e - f + b + a for e, f, b, a in zip(wanted, full, pads[:spatial], pads[spatial:], strict=True))
    return importer.emit_one(ConvTranspose(strides, pads, dilations, extra, groups), x, w)


def _in_groups(exporter: IrExporter, w: Value | Tensor, groups: int) -> Tensor:
    """Weights as layers take them; see :func:`_merged_groups`."""
    first, *rest = w.type.shape
    return exporter.tensor(w) if groups == 1 else reshaped(exporter, w, (groups, first // groups, *rest))


def shifted(exporter: IrExporter, y: Tensor, b: Value | None) -> Tensor:
    """Feature maps [N, C, ...] plus a number for each channel."""
    if b is None:
        return y
    return combined(exporter, "Add", y, reshaped(exporter, b, (1, *b.type.shape, *(1,) * (y.type.rank - 2))))


def pad_attributes(pads: Integers) -> dict[str, Any]:
    """How layers with windows spell pads, begins then ends."""
    spatial = len(pads) // 2
    return {"pads_begin": pads[:spatial], "pads_end": pads[spatial:], "auto_pad": "explicit"}


def convolved(
    exporter: IrExporter,
    conv: Conv | ConvInteger | ConvTranspose,
    x: Value | Tensor,
    w: Value | Tensor,
    type: TensorType,
) -> Tensor:
    """The layer of a convolution or its gradient, without anything added."""
    kind = "Convolution" if isinstance(conv, (Conv, ConvInteger)) else "ConvolutionBackpropData"
    attributes = {"strides": conv.strides, "dilations": conv.dilations, **pad_attributes(conv.pads)}
    if isinstance(conv, ConvTranspose):
        attributes["output_padding"] = conv.output_padding
    groups = _in_groups(exporter, w, conv.group)
    return exporter.layer(kind if conv.group == 1 else f"Group{kind}", [x, groups], type, **attributes)


@exports(Conv)
def export_convolution(op: Op[Conv], exporter: IrExporter) -> None:
    conv = op.operator
    x, w, b, residual = op.operands
    y = shifted(exporter, convolved(exporter, conv, x, w, op.result.type), b)
    y = combined(exporter, "Add", y, residual) if residual is not None else y
    exporter.define(op, activated(exporter, y, conv.act, conv.act_args))


@exports(ConvTranspose)
def export_convolution_gradient(op: Op[ConvTranspose], exporter: IrExporter) -> None:
    x, w, b = op.operands
    exporter.define(op, shifted(exporter, convolved(exporter, op.operator, x, w, op.result.type), b))


_AXES = (("x", "w"), ("y", "h"), ("z", "d"))
"""Endings of attributes in version 2, from the last dimension on: those of the IR, then those of Caffe."""

_ENDS = ("pad-r", "pad-b")
"""What version 2 calls the pads behind the last and the last but one dimension."""


def numbers(node: IrNode, name: str, old: str, spatial: int, default: int | None = None) -> Integers:
    """One number for each spatial dimension.
    ``name``: of the list, since version 3.
    ``old``: what the attributes of single dimensions begin with, and in Caffe that of all of them.
    Raises ModelError: there is another number of them, or none and no default."""
    if node.has(name):
        values = node.ints(name)
        if len(values) != spatial:
            raise node.model_error(
                f"attribute {name!r} does not match the input", expected=f"{spatial} numbers", found=list(values)
            )
        return values
    common = next((node.int(each) for each in (f"{old}_size", old) if node.has(each)), default)
    result: list[int] = []
    for ir, caffe in reversed(_AXES[:spatial]):
        spelling = next((each for each in (f"{old}-{ir}", f"{old}_{caffe}") if node.has(each)), None)
        if spelling is None and common is None:
            raise node.model_error(f"attribute {name!r} is missing", expected=f"{name}, or {old}-{ir} before version 3")
        result.append(node.int(spelling) if spelling is not None else common or 0)
    return tuple(result)


def legacy_explicit_pads(node: IrNode, spatial: int) -> Integers:
    """Pads as the attributes state them, begins then ends; ends are as begins where there are none."""
    begins = numbers(node, "pads_begin", "pad", spatial, 0)
    if node.has("pads_end"):
        return (*begins, *numbers(node, "pads_end", "pad", spatial, 0))
    ends = list(begins)
    for position, name in enumerate(_ENDS[:spatial]):
        ends[-1 - position] = node.int(name, ends[-1 - position])
    return (*begins, *ends)


def legacy_auto_pad(node: IrNode) -> str:
    """How pads are found: ``same_upper`` | ``same_lower`` | ``valid``, or ``explicit``."""
    mode = node.choice("auto_pad", ("", *_EXPLICIT, *_AUTOMATIC), "explicit")
    return mode if mode in _AUTOMATIC else "explicit"


def window(node: IrNode, extents: Sequence[int], kernel: Integers) -> Window:
    """The window of a layer on these spatial extents, its padding explicit."""
    spatial = len(extents)
    strides, dilations = (numbers(node, f"{name}s", name, spatial, 1) for name in ("stride", "dilation"))
    mode = legacy_auto_pad(node)
    if mode == "explicit":
        pads = legacy_explicit_pads(node, spatial)
    elif mode == "valid":
        pads = (0,) * 2 * spatial
    else:
        check_positive(node, strides)
        pads = same_pads(extents, kernel, strides, dilations, lower=mode == "same_lower")
    return kernel, strides, pads, dilations


def check_positive(node: IrNode, strides: Sequence[int]) -> None:
    """Raise ModelError unless one can divide by each of them."""
    if min(strides, default=1) < 1:
        raise node.model_error("strides are at least 1", found=list(strides))


def spatial_extents(node: IrNode) -> Integers:
    """The spatial extents of the first input. Raises ModelError: it has none."""
    x = node.input(0).type
    if x.rank < 3:
        raise node.model_error("the input needs spatial dimensions", expected="rank of at least 3", found=x)
    return x.shape[2:]


def _channels(node: IrNode) -> tuple[int, int, int]:
    """Inputs, outputs and groups."""
    inputs, outputs, group = node.input(0).type.shape[1], node.int("output"), node.int("group", 1)
    if group < 1 or outputs < 1 or inputs % group or outputs % group:
        raise node.model_error(
            "the channels do not divide into groups", expected=f"{group} groups", found=f"{inputs} to {outputs}"
        )
    return inputs, outputs, group


@legacy("Convolution")
def import_legacy_convolution(node: IrNode, importer: IrImporter) -> Value:
    extents = spatial_extents(node)
    inputs, outputs, group = _channels(node)
    kernel, strides, pads, dilations = window(node, extents, numbers(node, "kernel", "kernel", len(extents)))
    w = weights(node, importer, (outputs, inputs // group, *kernel))
    b = biases(node, importer, outputs)
    return importer.emit_one(Conv(strides, pads, dilations, group), node.input(0), w, b)


@legacy("Deconvolution")
def import_legacy_deconvolution(node: IrNode, importer: IrImporter) -> Value:
    extents = spatial_extents(node)
    spatial = len(extents)
    inputs, outputs, group = _channels(node)
    kernel = numbers(node, "kernel", "kernel", spatial)
    strides, dilations = (numbers(node, f"{name}s", name, spatial, 1) for name in ("stride", "dilation"))
    pads, extra = _cut(node, extents, kernel, strides, dilations)
    w = weights(node, importer, (inputs, outputs // group, *kernel))
    b = biases(node, importer, outputs)
    return importer.emit_one(ConvTranspose(strides, pads, dilations, extra, group), node.input(0), w, b)


def _cut(
    node: IrNode, extents: Integers, kernel: Integers, strides: Integers, dilations: Integers
) -> tuple[Integers, Integers]:
    """What is cut off the result of a deconvolution, begins then ends, and what is added behind it."""
    mode = legacy_auto_pad(node)
    zeros = (0,) * len(extents)
    if mode == "explicit":
        return legacy_explicit_pads(node, len(extents)), zeros
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
