"""Layers of IR that spread or gather blocks of elements: between channels, batch and space."""

import math

from .....ir.core import Op, Value
from .....ir.ops.movement import DepthToSpace, SpaceToDepth
from ...movement import padded, space_to_depth, transpose
from ...shape import reshape
from ..exporter import IrExporter, exports, exports_as
from ..importer import IrImporter, IrNode, legacy, opset

MODES = {"blocks_first": "DCR", "depth_first": "CRD"}
"""What the operator calls the ways in which a channel numbers blocks and depths."""


def block_size(node: IrNode, x: Value) -> tuple[str, int]:
    """The mode and the extent of a block along each spatial dimension."""
    mode, size = node.word("mode"), node.int("block_size", 1)
    if mode not in MODES:
        raise node.model_error("unknown mode", expected=" or ".join(MODES), found=mode)
    if x.type.rank < 3 or size < 1:
        raise node.model_error("x needs three dimensions, and blocks an extent", found=f"{x.type}, {size}")
    return mode, size


@opset("DepthToSpace")
def import_depth_to_space(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    mode, size = block_size(node, x)
    if x.type.rank == 4:
        return importer.emit_one(DepthToSpace(size, MODES[mode]), x)
    batch, channels, *spatial = x.type.shape
    count = len(spatial)
    depth = channels // size**count
    inner = (*(size,) * count, depth) if mode == "blocks_first" else (depth, *(size,) * count)
    apart = reshape(importer, x, (batch, *inner, *spatial))
    first, deep = (1, count + 1) if mode == "blocks_first" else (2, 1)
    pairs = (place for d in range(count) for place in (2 + count + d, first + d))
    moved = transpose(importer, apart, (0, deep, *pairs))
    return reshape(importer, moved, (batch, depth, *(extent * size for extent in spatial)))


@opset("SpaceToDepth")
def import_space_to_depth(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    mode, size = block_size(node, x)
    if x.type.rank == 4 and mode == "blocks_first":
        return importer.emit_one(SpaceToDepth(size), x)
    return space_to_depth(importer, x, size, depth_first=mode == "depth_first")


@exports(DepthToSpace)
def export_depth_to_space(op: Op[DepthToSpace], exporter: IrExporter) -> None:
    mode = next(name for name, ours in MODES.items() if ours == op.operator.mode)
    exporter.write_as(op, "DepthToSpace", op.operands, block_size=op.operator.blocksize, mode=mode)


exports_as(SpaceToDepth, "SpaceToDepth", "block_size", mode="blocks_first")


def block_shape(node: IrNode, x: Value) -> tuple[int, ...]:
    """Input 1, the extent of a block along each dimension; 1 along the batch."""
    blocks = node.integers(1, "the block shape")
    if len(blocks) != x.type.rank or min(blocks, default=1) < 1 or blocks[:1] != (1,):
        raise node.model_error("blocks need an extent for each dimension, 1 along the batch", found=list(blocks))
    return blocks


@opset("SpaceToBatch")
def import_space_to_batch(node: IrNode, importer: IrImporter) -> Value:
    """Zeros around x, then every block's elements become pictures of their own."""
    x = node.input(0)
    blocks = block_shape(node, x)
    before, after = node.integers(2, "the pads before"), node.integers(3, "the pads after")
    x = padded(node, importer, x, before, after, "constant", None)
    batch, *rest = x.type.shape
    outer = [extent // block for extent, block in zip(rest, blocks[1:], strict=True)]
    pairs = (part for extent, block in zip(outer, blocks[1:], strict=True) for part in (extent, block))
    apart = reshape(importer, x, (batch, *pairs))
    order = (*(2 + 2 * d for d in range(len(outer))), 0, *(1 + 2 * d for d in range(len(outer))))
    return reshape(importer, transpose(importer, apart, order), (batch * math.prod(blocks), *outer))


@opset("BatchToSpace")
def import_batch_to_space(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    blocks = block_shape(node, x)
    before, after = node.integers(2, "the crops before"), node.integers(3, "the crops after")
    all_pictures, *rest = x.type.shape
    count, batch = len(rest), all_pictures // math.prod(blocks)
    apart = reshape(importer, x, (*blocks[1:], batch, *rest))
    pairs = (place for d in range(count) for place in (count + 1 + d, d))
    together = transpose(importer, apart, (count, *pairs))
    whole = (batch, *(extent * block for extent, block in zip(rest, blocks[1:], strict=True)))
    together = reshape(importer, together, whole)
    if min((*before, *after), default=0) < 0:
        raise node.model_error("crops are never negative", found=[*before, *after])
    return padded(node, importer, together, [-c for c in before], [-c for c in after], "constant", None)


@opset("ShuffleChannels")
@legacy("ShuffleChannels")
def import_shuffle_channels(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    axis, groups = node.from_front(node.int("axis", 1), x.type.rank), node.int("group", 1)
    shape = x.type.shape
    if groups < 1 or shape[axis] % groups:
        raise node.model_error("the channels do not split into groups", expected=shape[axis], found=groups)
    # What stands before and behind the channels as one dimension each: four in all, whatever x has.
    apart = (math.prod(shape[:axis]), groups, shape[axis] // groups, math.prod(shape[axis + 1 :]))
    return reshape(importer, transpose(importer, reshape(importer, x, apart), (0, 2, 1, 3)), shape)


legacy("DepthToSpace")(lambda node, importer: importer.emit_one(DepthToSpace(node.int("block_size", 1)), node.input(0)))
legacy("SpaceToDepth")(lambda node, importer: importer.emit_one(SpaceToDepth(node.int("block_size", 1)), node.input(0)))
