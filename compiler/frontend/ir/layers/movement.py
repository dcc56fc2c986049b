"""Transposes, joins, cuts, crops, slices, tiles and paddings of IR."""

from collections.abc import Mapping, Sequence

import numpy as np

from .....ir.core import Op, Value
from .....ir.ops.indexing import Gather
from .....ir.ops.movement import Concat, Pad, Slice, Split, Tile, Transpose, Trilu
from .....ir.types import DType
from ...movement import BEFORE_THE_FIRST, join, padded, reversed_along, slice_of, sliced, split, transpose
from ...shape import reshape
from ..exporter import IrExporter, Tensor, exports, exports_as
from ..importer import IrImporter, IrNode, legacy, opset


@opset("Transpose")
def import_transpose(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    order = node.integers(1, "the order") or tuple(reversed(range(x.type.rank)))
    return transpose(importer, x, order)


exports_as(Transpose, "Transpose", inputs={"perm": "order"})
exports_as(Concat, "Concat")
exports_as(Split, "VariadicSplit", inputs={"axis": "axis", "sizes": "sizes"})
exports_as(Tile, "Tile", inputs={"repeats": "repeats"})


@opset("Concat")
@legacy("Concat")
def import_concat(node: IrNode, importer: IrImporter) -> Value:
    parts = node.all_inputs()
    if not parts:
        raise node.model_error("there is nothing to join")
    axis = node.from_front(node.int("axis", 1 if node.is_legacy else None), parts[0].type.rank)
    return join(importer, parts, axis) if len(parts) > 1 else importer.emit_one(Concat(axis), *parts)


def only_axis(node: IrNode, index: int, rank: int) -> int:
    """Input ``index``, which is one axis, counted from the front."""
    axes = node.integers(index, "the axis")
    if len(axes) != 1:
        raise node.model_error("there must be one axis", found=list(axes))
    return node.from_front(axes[0], rank)


@opset("Split")
def import_split(node: IrNode, importer: IrImporter) -> list[Value]:
    x = node.input(0)
    axis, parts = only_axis(node, 1, x.type.rank), node.int("num_splits")
    extent = x.type.shape[axis]
    # Of as many parts as it has outputs, or a file could ask for any number.
    if parts != len(node.layer.outputs) or parts < 1 or extent % parts:
        expected = f"equal parts of {extent}, one for each of {len(node.layer.outputs)} outputs"
        raise node.model_error("the extent does not split into these parts", expected=expected, found=parts)
    return split(importer, x, axis, (extent // parts,) * parts)


@opset("VariadicSplit")
def import_variadic_split(node: IrNode, importer: IrImporter) -> list[Value]:
    x = node.input(0)
    axis, sizes = only_axis(node, 1, x.type.rank), node.integers(2, "the sizes")
    if sizes.count(-1) == 1:
        rest = x.type.shape[axis] - sum(size for size in sizes if size != -1)
        sizes = tuple(rest if size == -1 else size for size in sizes)
    return split(importer, x, axis, sizes)


@opset("Slice")
def import_slice(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    lists = [node.integers(i, what) for i, what in enumerate(("the starts", "the ends", "the steps"), start=1)]
    axes = node.integers(4, "the axes") if node.optional(4) is not None else range(len(lists[0]))
    return sliced(node, importer, x, lists[0], lists[1], axes, lists[2])


@exports(Slice)
def export_slice(op: Op[Slice], exporter: IrExporter) -> None:
    part = op.operator
    ends = [b + e * s for b, e, s in zip(part.begin, part.extent, part.step, strict=True)]
    ends = [BEFORE_THE_FIRST if end < 0 else end for end in ends]
    lists = {"begin": part.begin, "end": ends, "step": part.step, "axes": range(len(ends))}
    inputs = [exporter.integers(list(values), name) for name, values in lists.items()]
    exporter.write_as(op, "Slice", [op.operands.x, *inputs], opset=8)


@opset("StridedSlice")
@legacy("StridedSlice")
def import_strided_slice(node: IrNode, importer: IrImporter) -> Value:
    """Masks say for each position whether its begin or end counts, and whether it takes, drops or adds a dimension.

    Bits of begins and ends say which of them do not count; in versions 2 to 7 they say which do."""
    starts, ends = node.integers(1, "the begins"), node.integers(2, "the ends")
    steps = node.integers(3, "the strides") if node.optional(3) is not None else (1,) * len(starts)
    masks = {name: mask(node, f"{name}_mask", len(starts)) for name in MASKS}
    for name in ("begin", "end") if node.is_legacy else ():
        masks[name] = [not counts for counts in mask(node, f"{name}_mask", len(starts), default=True)]
    return _strided_slice(node, importer, node.input(0), starts, ends, steps, masks)


MASKS = ("begin", "end", "new_axis", "shrink_axis", "ellipsis")


def _strided_slice(
    node: IrNode,
    importer: IrImporter,
    x: Value,
    starts: Sequence[int],
    ends: Sequence[int],
    steps: Sequence[int],
    masks: Mapping[str, Sequence[bool]],
) -> Value:
    """A part of ``x`` as a slice of NumPy takes it.
    ``masks``: by the names of `MASKS`, for each position: its begin, its end does not count; it adds, drops a
    dimension; it stands for all that others leave."""
    if not len(starts) == len(ends) == len(steps):
        found = f"{len(starts)}, {len(ends)} and {len(steps)}"
        raise node.model_error("begins, ends and strides have different lengths", found=found)
    ellipses = masks["ellipsis"]
    if sum(ellipses) > 1:
        raise node.model_error("there can be one ellipsis", found=sum(ellipses))
    taking = sum(not (e or n) for e, n in zip(ellipses, masks["new_axis"], strict=True))
    if taking > x.type.rank:
        raise node.model_error("there are more begins than dimensions", expected=x.type.rank, found=taking)
    ranges: list[range] = []
    shape: list[int] = []
    for position, (start, end, step) in enumerate(zip(starts, ends, steps, strict=True)):
        if ellipses[position]:
            whole = [range(e) for e in x.type.shape[len(ranges) : len(ranges) + x.type.rank - taking]]
            ranges += whole
            shape += map(len, whole)
        elif masks["new_axis"][position]:
            shape.append(1)
        elif masks["shrink_axis"][position]:
            at = node.from_front(start, x.type.shape[len(ranges)])
            ranges.append(range(at, at + 1))
        else:
            if step == 0:
                raise node.model_error("the step of a slice must not be 0")
            part = slice(None if masks["begin"][position] else start, None if masks["end"][position] else end, step)
            ranges.append(range(*part.indices(x.type.shape[len(ranges)])))
            shape.append(len(ranges[-1]))
    whole = [range(e) for e in x.type.shape[len(ranges) :]]
    ranges, shape = [*ranges, *whole], [*shape, *map(len, whole)]
    begins = [each[0] if each else 0 for each in ranges]
    part = slice_of(importer, x, begins, [len(each) for each in ranges], [each.step for each in ranges])
    return reshape(importer, part, tuple(shape))


def mask(node: IrNode, name: str, length: int, *, default: bool = False) -> list[bool]:
    """An attribute with one bit a position; those it does not say are the default."""
    bits = [bit != 0 for bit in node.ints(name, ())][:length]
    return bits + [default] * (length - len(bits))


@opset("Pad")
def import_pad(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    before, after = node.integers(1, "the pads before"), node.integers(2, "the pads after")
    mode = node.word("pad_mode")
    value = node.optional_constant(3, "the padding value") if mode == "constant" else None
    return surrounded(node, importer, x, before, after, mode, value)


def surrounded(
    node: IrNode,
    importer: IrImporter,
    x: Value,
    before: Sequence[int],
    after: Sequence[int],
    mode: str,
    value: np.ndarray | None,
) -> Value:
    """``x`` with further elements around it, in one of the modes that layers name."""
    if not len(before) == len(after) == x.type.rank:
        found = f"{len(before)} and {len(after)}"
        raise node.model_error("the pads need one number a dimension", expected=x.type.rank, found=found)
    if mode not in ("constant", "edge", "reflect", "symmetric"):
        raise node.model_error("unknown mode", expected="constant, edge, reflect or symmetric", found=mode)
    if mode != "symmetric":
        return padded(node, importer, x, before, after, mode, value)
    if min((*before, *after), default=0) < 0:
        raise node.unsupported("negative pads beside symmetric ones", found=[*before, *after])
    for axis, pads in enumerate(zip(before, after, strict=True)):
        if any(pads) and x.type.shape[axis]:
            x = importer.emit_one(Gather(axis), x, _mirrored(node, importer, x.type.shape[axis], pads))
    return x


def _mirrored(node: IrNode, importer: IrImporter, extent: int, pads: tuple[int, int]) -> Value:
    """The indices of a dimension that is mirrored at its ends, which come twice."""
    return importer.described(
        node, (extent + sum(pads),), DType.I64, lambda: np.pad(np.arange(extent), pads, mode="symmetric"), "_indices"
    )


@exports(Pad)
def export_pad(op: Op[Pad], exporter: IrExporter) -> None:
    pad, x = op.operator, exporter.tensor(op.operands.x)
    rank = op.result.type.rank
    before, after = pad.pads[:rank], pad.pads[rank:]
    if pad.mode == "wrap":
        exporter.define(op, _wrapped(exporter, x, list(zip(before, after, strict=True))))
        return
    inputs = [x, exporter.integers(before, "pads_begin"), exporter.integers(after, "pads_end")]
    if pad.mode == "constant":
        inputs.append(exporter.constant(np.asarray(pad.value).astype(x.type.dtype.numpy)))
    exporter.write_as(op, "Pad", inputs, pad_mode=pad.mode)


def _wrapped(exporter: IrExporter, x: Tensor, pads: Sequence[tuple[int, int]]) -> Tensor:
    """IR has no such mode, but it can pick elements by index."""
    for axis, pair in enumerate(pads):
        if any(pair):
            extents = list(x.type.shape)
            indices = np.pad(np.arange(extents[axis]), pair, mode="wrap")
            extents[axis] = len(indices)
            inputs = [x, exporter.integers(indices, "indices"), exporter.integers(axis, "axis")]
            x = exporter.layer("Gather", inputs, x.type.with_shape(extents), opset=8, batch_dims=0)
    return x


@opset("Tile")
def import_tile(node: IrNode, importer: IrImporter) -> Value:
    """Ranks that differ are made equal by ones in front."""
    x, repeats = node.input(0), node.integers(1, "the repeats")
    rank = max(x.type.rank, len(repeats))
    repeats = (1,) * (rank - len(repeats)) + repeats
    x = reshape(importer, x, (1,) * (rank - x.type.rank) + x.type.shape)
    return x if all(r == 1 for r in repeats) else importer.emit_one(Tile(repeats), x)


@exports(Trilu)
def export_trilu(op: Op[Trilu], exporter: IrExporter) -> None:
    """IR has no such operator; which elements stay is known."""
    x, type = op.operands.x, op.result.type
    ones = np.ones(type.shape[-2:], np.bool_)
    diagonal = op.operator.diagonal(type)
    kept = np.triu(ones, diagonal) if op.operator.upper else np.tril(ones, diagonal)
    zero = exporter.constant(np.zeros((), type.dtype.numpy))
    exporter.write_as(op, "Select", [exporter.constant(kept), x, zero], auto_broadcast="numpy")


@opset("Reverse")
def import_reverse(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    given = node.constant(1, "the axes").reshape(-1).tolist()
    axes = given if node.word("mode") == "index" else [axis for axis, is_taken in enumerate(given) if is_taken]
    for axis in axes:
        x = reversed_along(importer, x, node.from_front(int(axis), x.type.rank))
    return x


@opset("Roll")
def import_roll(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    shifts, axes = node.integers(1, "the shifts"), node.integers(2, "the axes")
    shifts = shifts * len(axes) if len(shifts) == 1 else shifts
    for shift, axis in zip(shifts, axes, strict=True):
        d = node.from_front(axis, x.type.rank)
        extent = x.type.shape[d]
        first = -shift % extent if extent else 0
        if first:
            head, tail = split(importer, x, d, (first, extent - first))
            x = join(importer, [tail, head], d)
    return x


@legacy("Split", "Slice")
def import_legacy_split(node: IrNode, importer: IrImporter) -> list[Value]:
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


legacy("Permute")(lambda node, importer: transpose(importer, node.input(0), node.ints("order")))


@legacy("Crop")
def import_legacy_crop(node: IrNode, importer: IrImporter) -> Value:
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
def import_legacy_tile(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    repeats = [1] * x.type.rank
    repeats[node.from_front(node.int("axis"), x.type.rank)] = node.int("tiles")
    return x if max(repeats) == min(repeats) == 1 else importer.emit_one(Tile(tuple(repeats)), x)


@legacy("Pad")
def import_legacy_pad(node: IrNode, importer: IrImporter) -> Value:
    value = np.array(node.float("pad_value", 0.0))
    begins, ends = node.ints("pads_begin"), node.ints("pads_end")
    return surrounded(node, importer, node.input(0), begins, ends, node.word("pad_mode", "constant"), value)
