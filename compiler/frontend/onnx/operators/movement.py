"""Transpose, Concat, Split, Slice, Tile, Pad and their like of ONNX: attributes and inputs of all versions."""

import functools
from collections.abc import Sequence

import numpy as np

from .....ir.core import Constant, Op, Value
from .....ir.ops import movement
from .....ir.ops.comparison import Where
from .....ir.quantized import stored
from ...movement import BEFORE_THE_FIRST, join, padded, sliced, space_to_depth, split, transpose
from ...shape import reshape
from ..exporter import MICROSOFT, Exporter, exports
from ..importer import Importer, Node, imports
from ..one_to_one import exports_as, one_to_one
from ..open_extents import open_operators
from ..open_extents.intervals import Extent, room

one_to_one("DepthToSpace", movement.DepthToSpace, blocksize=None, mode="DCR")
exports_as("SpaceToDepth", movement.SpaceToDepth)
exports_as("Transpose", movement.Transpose)
exports_as("Concat", movement.Concat)
exports_as("Split", movement.Split, inputs=("sizes",))
exports_as("Tile", movement.Tile, inputs=("repeats",))
exports_as("Trilu", movement.Trilu, inputs=("k",))


@imports("SpaceToDepth")
def import_space_to_depth(node: Node, importer: Importer) -> Value:
    x, mode = node.input(0), node.string("mode", "DCR")
    if mode == "DCR":
        return importer.emit_one(movement.SpaceToDepth(node.int("blocksize")), x)
    if mode != "CRD" or x.type.rank != 4:
        raise node.model_error("no such blocks", expected="mode DCR or CRD of an image", found=f"{mode} of {x.type}")
    return space_to_depth(importer, x, node.int("blocksize"), depth_first=True)


@imports("Transpose")
def import_transpose(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    perm = node.ints("perm", tuple(reversed(range(x.type.rank))))
    return transpose(importer, x, perm)


@imports("Concat")
def import_concat(node: Node, importer: Importer) -> Value:
    parts = node.all_inputs()
    if not parts:
        raise node.model_error("there is nothing to join")
    axis = node.axis(parts[0].type.rank)
    return join(importer, parts, axis) if len(parts) > 1 else importer.emit_one(movement.Concat(axis), *parts)


@imports("Split")
def import_split(node: Node, importer: Importer) -> list[Value]:
    x = node.input(0)
    axis = node.axis(x.type.rank, 0)
    given = node.optional(1)
    if given is not None and (not isinstance(given, Constant) or axis in importer.open.axes(x)):
        wanted, open = open_operators.extents_of(node, importer.open, 1, "the sizes"), importer.open
        known = [size for size in wanted if isinstance(size, int)]
        if len(known) == len(wanted) and sum(known) < 2:
            # Nothing is cut to one element: no more than that, or the run ends.
            shape = [open.at_most(e, sum(known)) if d == axis else e for d, e in enumerate(open.shape(x))]
            x = open.opened(open.cut(x, [*map(room, shape)]), shape)
        if len(known) < len(wanted) or sum(known) < 2:
            return open_operators.split_into(node, open, x, axis, wanted)
        # There are as many as the sizes add up to, or the run ends.
        x = open.closed(x, [sum(known) if d == axis else e for d, e in enumerate(open.shape(x))])
        return split(importer, x, axis, (*known,))
    sizes = node.attribute_or_input("split", 1)
    if sizes is None:
        # Parts are equal; only with num_outputs (from version 18) may the last be smaller.
        extent, parts = x.type.shape[axis], node.int("num_outputs", node.output_count)
        if parts != node.output_count:
            raise node.model_error("num_outputs is wrong", expected=node.output_count, found=parts)
        size = -(-extent // parts)
        if extent % parts and not node.has("num_outputs"):
            raise node.model_error(f"the extent does not split into {parts} equal parts", found=extent)
        sizes = (*(size,) * (parts - 1), extent - size * (parts - 1))
    return split(importer, x, axis, sizes)


@imports("Slice")
def import_slice(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    if importer.open.is_open(x) or importer.open.decides(*node.inputs[1:3]):
        return _open_slice(node, importer)
    starts, ends = node.attribute_or_input("starts", 1) or (), node.attribute_or_input("ends", 2) or ()
    axes = node.attribute_or_input("axes", 3)
    axes = axes if axes is not None else tuple(range(len(starts)))
    steps = node.integers(4, "the steps") if node.optional(4) is not None else (1,) * len(starts)
    return sliced(node, importer, x, starts, ends, axes, steps)


def _open_slice(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    starts, ends = (
        node.ints(name) if node.has(name) else open_operators.extents_of(node, importer.open, index, f"the {name}")
        for index, name in ((1, "starts"), (2, "ends"))
    )
    axes = node.attribute_or_input("axes", 3) or tuple(range(len(starts)))
    steps = node.integers(4, "the steps") if node.optional(4) is not None else (1,) * len(axes)
    return open_operators.slices(node, importer.open, x, starts, ends, axes, steps)


@exports(movement.Slice)
def export_slice(op: Op[movement.Slice], exporter: Exporter) -> None:
    part = op.operator
    ends = [b + e * s for b, e, s in zip(part.begin, part.extent, part.step, strict=True)]
    ends = [BEFORE_THE_FIRST if end < 0 else end for end in ends]
    lists = (part.begin, ends, range(len(ends)), part.step)
    inputs = [exporter.integers(values, "slice") for values in lists]
    exporter.write_as(op, "Slice", [op.operands.x, *inputs])


@imports("Tile")
def import_tile(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    repeats = node.integers(1, "the repeats")
    return x if all(r == 1 for r in repeats) else importer.emit_one(movement.Tile(repeats), x)


@imports("Pad")
@imports("Pad", domain=MICROSOFT)
def import_pad(node: Node, importer: Importer) -> Value:
    x, open, rank = node.input(0), importer.open, node.input(0).type.rank
    mode = node.string("mode", "constant")
    counts = node.optional(1) if not node.has("pads") else None
    is_open = mode == "constant" and (open.is_open(x) or (counts is not None and open.decides(counts)))
    given: Sequence[Extent] | None = node.attribute_or_input("pads", 1) if counts is None or not is_open else None
    if counts is not None and is_open:
        given = open_operators.extents_of(node, open, 1, "the pads")
    if given is None:
        raise node.model_error("the pads are missing")
    axes = node.attribute_or_input("axes", 3)
    axes = [node.from_front(axis, rank) for axis in (axes if axes is not None else range(rank))]
    if len(given) != 2 * len(axes):
        raise node.model_error("wrong number of pads", expected=2 * len(axes), found=len(given))
    pads = list[Extent]([0] * (2 * rank))
    for position, axis in enumerate(axes):
        pads[axis], pads[rank + axis] = given[position], given[len(axes) + position]
    numbers = [pad for pad in pads if isinstance(pad, int)]
    padding = functools.partial(padded, node, importer, before=numbers[:rank], after=numbers[rank:], mode=mode)
    filler = None if is_open or mode != "constant" or node.has("value") else node.optional(2)
    if filler is not None and not isinstance(filler, Constant):
        inside = padding(importer.constant(np.ones(x.type.shape, np.bool_), f"{node.name}_inside"), value=None)
        return importer.emit_one(Where(), inside, padding(x, value=None), reshape(importer, filler, ()))
    value = node.optional_constant(2, "the padding value") if not node.has("value") else node.attributes["value"]
    if is_open:
        return open_operators.padded(node, open, x, pads[:rank], pads[rank:], value)
    return padding(x, value=value)


@exports(movement.Pad)
def export_pad(op: Op[movement.Pad], exporter: Exporter) -> None:
    pad, type, value = op.operator, op.result.type, None
    pads = exporter.integers(pad.pads, "pads")
    if pad.mode == "constant":
        filler = pad.value if type.quant is None else stored(pad.value, type)
        value = exporter.constant(np.asarray(filler).astype(type.dtype.numpy), "value")
    exporter.write_as(op, "Pad", [op.operands.x, pads, value], mode=pad.mode)


@imports("Trilu")
@imports("Trilu", domain=MICROSOFT)
def import_trilu(node: Node, importer: Importer) -> Value:
    (k,) = node.integers(1, "the diagonal") if node.optional(1) is not None else (0,)
    return importer.emit_one(movement.Trilu(node.bool("upper", 1), k), node.input(0))


exports(movement.Reorder)(lambda op, exporter: exporter.write_as(op, "Identity", op.operands))


@exports(movement.Interleave)
def export_interleave(op: Op[movement.Interleave], exporter: Exporter) -> None:
    interleave, (batch, _, *extents) = op.operator, op.inputs[0].type.shape
    count, channels = len(extents), op.result.type.shape[1]
    split = exporter.integers((batch, *interleave.strides, channels, *extents), "shape")
    perm = (0, 1 + count, *(axis for d in range(count) for axis in (2 + count + d, 1 + d)))
    parts = exporter.node("Transpose", [exporter.node("Reshape", [op.inputs[0], split])], perm=perm)
    whole = (batch, channels, *(s * e for s, e in zip(interleave.strides, extents, strict=True)))
    joined = exporter.node("Reshape", [parts, exporter.integers(whole, "shape")])
    ends = [b + e for b, e in zip(interleave.begin, interleave.shape, strict=True)]
    lists = (interleave.begin, ends, range(2, 2 + count))
    exporter.write_as(op, "Slice", [joined, *(exporter.integers([*each], "slice") for each in lists)])
