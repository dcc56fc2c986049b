"""Transpose, Concat, Split, Slice, Tile, Pad and their like of ONNX: attributes and inputs of all versions."""

from __future__ import annotations

import numpy as np

from ...ir.core import Op, Value
from ...ir.ops.movement import Concat, DepthToSpace, Pad, Slice, SpaceToDepth, Split, Tile, Transpose, Trilu
from .onnx.exporter import Exporter, exports
from .onnx.importer import Importer, Node, imports
from .shape import attribute_or_input, normalize_axis

BEFORE_THE_FIRST = np.iinfo(np.int64).min
"""As end of a slice with a negative step: index 0 is taken too."""


@imports("Transpose")
def import_transpose(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    perm = node.ints("perm", tuple(reversed(range(x.type.rank))))
    return x if perm == tuple(range(x.type.rank)) else importer.emit_one(Transpose(perm), x)


@exports(Transpose)
def export_transpose(op: Op, exporter: Exporter) -> None:
    transpose = op.operator
    assert isinstance(transpose, Transpose)
    exporter.define(op, exporter.node("Transpose", op.operands, perm=transpose.perm))


@imports("Concat")
def import_concat(node: Node, importer: Importer) -> Value:
    parts = [node.input(i) for i in range(len(node.inputs))]
    if not parts:
        raise node.model_error("there is nothing to join")
    axis = normalize_axis(node, node.int("axis"), parts[0].type.rank)
    return importer.emit_one(Concat(axis), *parts) if len(parts) > 1 else parts[0]


@exports(Concat)
def export_concat(op: Op, exporter: Exporter) -> None:
    concat = op.operator
    assert isinstance(concat, Concat)
    exporter.define(op, exporter.node("Concat", op.operands, axis=concat.axis))


@imports("Split")
def import_split(node: Node, importer: Importer) -> list[Value]:
    x = node.input(0)
    axis = normalize_axis(node, node.int("axis", 0), x.type.rank)
    sizes = attribute_or_input(node, "split", 1)
    if sizes is None:
        # Parts are equal; only with num_outputs (from version 18) may the last be smaller.
        extent, parts = x.type.shape[axis], node.int("num_outputs", node.output_count)
        if parts != node.output_count:
            raise node.model_error("num_outputs is wrong", expected=node.output_count, found=parts)
        size = -(-extent // parts)
        if extent % parts and not node.has("num_outputs"):
            raise node.model_error(f"the extent does not split into {parts} equal parts", found=extent)
        sizes = (*(size,) * (parts - 1), extent - size * (parts - 1))
    return list(importer.emit(Split(axis, sizes), x))


@exports(Split)
def export_split(op: Op, exporter: Exporter) -> None:
    split = op.operator
    assert isinstance(split, Split)
    sizes = exporter.integers(split.sizes, "sizes")
    exporter.define(op, *exporter.nodes_of("Split", [op.operands[0], sizes], len(split.sizes), axis=split.axis))


@imports("Slice")
def import_slice(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    starts, ends = attribute_or_input(node, "starts", 1) or (), attribute_or_input(node, "ends", 2) or ()
    axes = attribute_or_input(node, "axes", 3)
    axes = axes if axes is not None else tuple(range(len(starts)))
    given_steps = node.optional_constant(4, "the steps")
    steps = [1] * len(starts) if given_steps is None else [int(s) for s in given_steps.reshape(-1)]
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.model_error(
            "starts, ends, axes and steps have different lengths",
            found=f"{len(starts)}, {len(ends)}, {len(axes)} and {len(steps)}",
        )
    begin, extent, step = [0] * x.type.rank, list(x.type.shape), [1] * x.type.rank
    for first, end, axis, distance in zip(starts, ends, axes, steps, strict=True):
        if distance == 0:
            raise node.model_error("the step of a slice must not be 0")
        d = normalize_axis(node, axis, x.type.rank)
        indices = range(*slice(first, end, distance).indices(x.type.shape[d]))
        begin[d], extent[d], step[d] = (indices[0] if indices else 0), len(indices), distance
    return slice_of(importer, x, begin, extent, step)


def slice_of(importer: Importer, x: Value, begin: list[int], extent: list[int], step: list[int]) -> Value:
    """A part of ``x``; ``x`` itself where the part is all of it, in order."""
    step = [s if e > 1 else 1 for s, e in zip(step, extent, strict=True)]
    if tuple(extent) == x.type.shape and all(s == 1 for s in step):
        return x
    return importer.emit_one(Slice(tuple(begin), tuple(extent), tuple(step)), x)


@exports(Slice)
def export_slice(op: Op, exporter: Exporter) -> None:
    part = op.operator
    assert isinstance(part, Slice)
    ends = [b + e * s for b, e, s in zip(part.begin, part.extent, part.step, strict=True)]
    ends = [BEFORE_THE_FIRST if end < 0 else end for end in ends]
    lists = (part.begin, ends, range(len(ends)), part.step)
    inputs = [exporter.integers(values, "slice") for values in lists]
    exporter.define(op, exporter.node("Slice", [op.operands[0], *inputs]))


@imports("Tile")
def import_tile(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    repeats = tuple(int(r) for r in node.constant(1, "the repeats").reshape(-1))
    return x if all(r == 1 for r in repeats) else importer.emit_one(Tile(repeats), x)


@exports(Tile)
def export_tile(op: Op, exporter: Exporter) -> None:
    tile = op.operator
    assert isinstance(tile, Tile)
    repeats = exporter.integers(tile.repeats, "repeats")
    exporter.define(op, exporter.node("Tile", [op.operands[0], repeats]))


@imports("Pad")
def import_pad(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    given = attribute_or_input(node, "pads", 1)
    if given is None:
        raise node.model_error("the pads are missing")
    axes = attribute_or_input(node, "axes", 3)
    axes = [normalize_axis(node, a, x.type.rank) for a in (axes if axes is not None else range(x.type.rank))]
    if len(given) != 2 * len(axes):
        raise node.model_error("wrong number of pads", expected=2 * len(axes), found=len(given))
    pads = [0] * (2 * x.type.rank)
    for position, axis in enumerate(axes):
        pads[axis], pads[x.type.rank + axis] = given[position], given[len(axes) + position]
    mode = node.string("mode", "constant")
    value = node.optional_constant(2, "the padding value") if not node.has("value") else node.attributes["value"]
    filler = np.asarray(value).reshape(-1)[0] if value is not None and np.asarray(value).size else 0
    if float(filler) != filler and not np.isnan(filler):
        raise node.unsupported("a padding value beyond the integers of double precision", found=filler)
    # Negative pads remove elements, before anything is added.
    before, after = pads[: x.type.rank], pads[x.type.rank :]
    begin = [max(0, -p) for p in before]
    extent = [e - b - max(0, -a) for e, b, a in zip(x.type.shape, begin, after, strict=True)]
    if min(extent, default=0) < 0:
        raise node.model_error("negative pads remove more than there is", found=list(given))
    x = slice_of(importer, x, begin, extent, [1] * x.type.rank)
    if max(pads, default=0) <= 0:
        return x
    return importer.emit_one(Pad(tuple(max(0, p) for p in pads), mode, float(filler)), x)


@exports(Pad)
def export_pad(op: Op, exporter: Exporter) -> None:
    pad = op.operator
    assert isinstance(pad, Pad)
    pads = exporter.integers(pad.pads, "pads")
    filler = np.asarray(pad.value).astype(op.result.type.dtype.numpy)
    value = exporter.constant(filler, "value") if pad.mode == "constant" else None
    exporter.define(op, exporter.node("Pad", [op.operands[0], pads, value], mode=pad.mode))


@imports("DepthToSpace")
def import_depth_to_space(node: Node, importer: Importer) -> Value:
    return importer.emit_one(DepthToSpace(node.int("blocksize"), node.string("mode", "DCR")), node.input(0))


@exports(DepthToSpace)
def export_depth_to_space(op: Op, exporter: Exporter) -> None:
    move = op.operator
    assert isinstance(move, DepthToSpace)
    exporter.define(op, exporter.node("DepthToSpace", op.operands, blocksize=move.blocksize, mode=move.mode))


@imports("SpaceToDepth")
def import_space_to_depth(node: Node, importer: Importer) -> Value:
    return importer.emit_one(SpaceToDepth(node.int("blocksize")), node.input(0))


@exports(SpaceToDepth)
def export_space_to_depth(op: Op, exporter: Exporter) -> None:
    move = op.operator
    assert isinstance(move, SpaceToDepth)
    exporter.define(op, exporter.node("SpaceToDepth", op.operands, blocksize=move.blocksize))


@imports("Trilu")
def import_trilu(node: Node, importer: Importer) -> Value:
    k = node.optional_constant(1, "the diagonal")
    return importer.emit_one(
        Trilu(bool(node.int("upper", 1)), int(k.reshape(-1)[0]) if k is not None else 0), node.input(0)
    )


@exports(Trilu)
def export_trilu(op: Op, exporter: Exporter) -> None:
    trilu = op.operator
    assert isinstance(trilu, Trilu)
    k = exporter.constant(np.asarray(trilu.k, np.int64), "k")
    exporter.define(op, exporter.node("Trilu", [op.operands[0], k], upper=int(trilu.upper)))
