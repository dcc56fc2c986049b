"""Layers of IR of versions 2 to 7 that move elements: joins, cuts, crops, transposes, tiles and pads."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from .....ir.ops.movement import DepthToSpace, SpaceToDepth, Tile
from ...movement import join, slice_of, split, transpose
from ..importer import IrImporter, IrNode, legacy
from ..opset.blocks import import_shuffle_channels
from ..opset.movement import MASKS, import_reverse_sequence, mask, strided_slice, surrounded


@legacy("Concat")
def import_concat(node: IrNode, importer: IrImporter) -> Value:
    parts = [node.input(index) for index in range(len(node.inputs))]
    if not parts:
        raise node.model_error("there is nothing to join")
    return join(importer, parts, node.from_front(node.int("axis", 1), parts[0].type.rank))


@legacy("Split", "Slice")
def import_split(node: IrNode, importer: IrImporter) -> list[Value]:
    """Parts along ``axis`` of the extents that the file gives the outputs; equal ones follow another input."""
    x = node.input(0)
    axis = node.from_front(node.int("axis", 1), x.type.rank)
    shapes = [port.shape for port in node.layer.outputs]
    if not shapes or any(len(shape) != x.type.rank for shape in shapes):
        raise node.model_error("outputs have another rank than the input", expected=x.type, found=shapes[:4])
    sizes = tuple(shape[axis] for shape in shapes)
    extent = x.type.shape[axis]
    if sum(sizes) != extent and len(set(sizes)) == 1 and not extent % len(sizes):
        sizes = (extent // len(sizes),) * len(sizes)
    return split(importer, x, axis, sizes)


@legacy("Permute")
def import_permute(node: IrNode, importer: IrImporter) -> Value:
    return transpose(importer, node.input(0), node.ints("order"))


@legacy("Crop")
def import_crop(node: IrNode, importer: IrImporter) -> Value:
    """A part of the first input, as large as the second one along ``axis``, as ``dim``, or what crops leave."""
    x = node.input(0)
    axes = [node.from_front(axis, x.type.rank) for axis in node.ints("axis")]
    if len(set(axes)) < len(axes):
        raise node.model_error("an axis is given twice", found=axes)
    begin, extent = [0] * x.type.rank, list(x.type.shape)
    begins = node.ints("crop_begin" if node.has("crop_begin") else "offset", (0,) * len(axes))
    lengths = _lengths(node, x, axes, begins)
    if not len(begins) == len(lengths) == len(axes):
        raise node.model_error(
            "axis, offset and dim have different lengths", found=f"{len(axes)}, {len(begins)} and {len(lengths)}"
        )
    for axis, first, length in zip(axes, begins, lengths, strict=True):
        if first < 0 or length < 1 or first + length > x.type.shape[axis]:
            raise node.model_error(
                f"the crop leaves dimension {axis}",
                expected=f"within {x.type.shape[axis]}",
                found=f"{length} from {first}",
            )
        begin[axis], extent[axis] = first, length
    return slice_of(importer, x, begin, extent, (1,) * x.type.rank)


def _lengths(node: IrNode, x: Value, axes: list[int], begins: tuple[int, ...]) -> tuple[int, ...]:
    """How much a crop leaves along each axis."""
    reference = node.optional(1)
    if reference is not None:
        if reference.type.rank != x.type.rank:
            raise node.model_error("the inputs have different ranks", expected=x.type, found=reference.type)
        return tuple(reference.type.shape[axis] for axis in axes)
    if node.has("crop_end"):
        ends = node.ints("crop_end")
        return tuple(x.type.shape[a] - b - e for a, b, e in zip(axes, begins, ends, strict=True))
    stated = node.layer.inputs[0].shape
    lengths = node.ints("dim")
    if len(stated) != x.type.rank or not len(lengths) == len(begins) == len(axes):
        return lengths
    # What is whole in the file is whole for other shapes of the input, too.
    return tuple(
        x.type.shape[axis] if not begin and length == stated[axis] else length
        for axis, begin, length in zip(axes, begins, lengths, strict=True)
    )


@legacy("Tile")
def import_tile(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    repeats = [1] * x.type.rank
    repeats[node.from_front(node.int("axis"), x.type.rank)] = node.int("tiles")
    return x if max(repeats) == min(repeats) == 1 else importer.emit_one(Tile(tuple(repeats)), x)


@legacy("Pad")
def import_pad(node: IrNode, importer: IrImporter) -> Value:
    value = np.array(node.float("pad_value", 0.0))
    begins, ends = node.ints("pads_begin"), node.ints("pads_end")
    return surrounded(node, importer, node.input(0), begins, ends, node.word("pad_mode", "constant"), value)


@legacy("StridedSlice")
def import_strided_slice(node: IrNode, importer: IrImporter) -> Value:
    """Bits of the masks of begins and ends say which of them count, where later versions say which do not."""
    starts, ends = node.integers(1, "the begins"), node.integers(2, "the ends")
    steps = node.integers(3, "the strides") if node.optional(3) is not None else (1,) * len(starts)
    masks = {name: mask(node, f"{name}_mask", len(starts)) for name in MASKS}
    for name in ("begin", "end"):
        masks[name] = [not counts for counts in mask(node, f"{name}_mask", len(starts), default=True)]
    return strided_slice(node, importer, node.input(0), starts, ends, steps, masks)


@legacy("DepthToSpace")
def import_depth_to_space(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(DepthToSpace(node.int("block_size", 1)), node.input(0))


@legacy("SpaceToDepth")
def import_space_to_depth(node: IrNode, importer: IrImporter) -> Value:
    return importer.emit_one(SpaceToDepth(node.int("block_size", 1)), node.input(0))


legacy("ShuffleChannels")(import_shuffle_channels)
legacy("ReverseSequence")(import_reverse_sequence)
