"""Sequences and optionals of ONNX: what they hold is known when importing, and the module has none of them."""

import numpy as np

from .....ir.core import Value
from ...builder import SequenceValue
from ...movement import join, split
from ...shape import squeeze, unsqueeze
from ..importer import Importer, Node, imports


def _items(node: Node) -> tuple[Value, ...]:
    """The tensors of the sequence that is the first input."""
    value = node.input(0)
    if not isinstance(value, SequenceValue) or value.is_absent:
        raise node.model_error("the first input is no sequence", found=f"%{value.name}: {value.type}")
    return value.items


def _tensor(node: Node, value: Value) -> Value:
    """A value that becomes part of a sequence."""
    if isinstance(value, SequenceValue):
        raise node.unsupported(f"%{value.name} is a sequence or optional: a sequence holds tensors alone")
    return value


def _position(node: Node, index: int, count: int) -> int:
    """Input ``index`` as a position among so many, counted from the front."""
    position = node.scalar(index, "the position in a sequence")
    if not -count <= position < count:
        expected = f"{-count} to {count - 1}" if count else "one that is not empty"
        raise node.model_error("the sequence has no such position", expected=expected, found=position)
    return position % count


imports("SequenceEmpty")(lambda node, importer: SequenceValue(node.name, ()))


@imports("SequenceConstruct")
def import_sequence_construct(node: Node, importer: Importer) -> Value:
    return SequenceValue(node.name, [_tensor(node, value) for value in node.all_inputs()])


@imports("SequenceInsert")
def import_sequence_insert(node: Node, importer: Importer) -> Value:
    items = _items(node)
    # A new sequence each time: many of them would take the square of their number.
    importer.unroll(node, 1)
    position = _position(node, 2, len(items) + 1) if node.optional(2) is not None else len(items)
    if node.optional(2) is not None and node.scalar(2, "the position in a sequence") < 0:
        position -= 1
    return SequenceValue(node.name, (*items[:position], _tensor(node, node.input(1)), *items[position:]))


@imports("SequenceErase")
def import_sequence_erase(node: Node, importer: Importer) -> Value:
    items = _items(node)
    importer.unroll(node, 1)
    position = _position(node, 1, len(items)) if node.optional(1) is not None else len(items) - 1
    return SequenceValue(node.name, (*items[:position], *items[position + 1 :]))


@imports("SequenceAt")
def import_sequence_at(node: Node, importer: Importer) -> Value:
    items = _items(node)
    return items[_position(node, 1, len(items))]


@imports("SequenceLength")
def import_sequence_length(node: Node, importer: Importer) -> Value:
    return importer.constant(np.asarray(len(_items(node)), np.int64), f"{node.name}_length")


@imports("SplitToSequence")
def import_split_to_sequence(node: Node, importer: Importer) -> Value:
    """Parts of one size, the last of which may be smaller, or of the sizes that a list gives; by default of 1."""
    x = node.input(0)
    axis = node.axis(x.type.rank, 0)
    extent = x.type.shape[axis]
    given = node.optional_constant(1, "the sizes of the parts")
    size = 1 if given is None else given.item() if not given.ndim else 0
    if given is not None and given.ndim:
        sizes = node.integers(1, "the sizes of the parts")
    elif size < 1:
        raise node.model_error("parts must not be empty", found=size)
    else:
        importer.unroll(node, -(-extent // size))
        sizes = tuple(min(size, extent - begin) for begin in range(0, extent, size))
    parts = split(importer, x, axis, sizes) if sizes or extent else []
    if given is None and not node.bool("keepdims", 1):
        parts = [squeeze(node, importer, part, [axis]) for part in parts]
    code = importer.narrow.get(x)
    return SequenceValue(node.name, parts if code is None else [importer.stored_as(code, part) for part in parts])


@imports("ConcatFromSequence")
def import_concat_from_sequence(node: Node, importer: Importer) -> Value:
    items = [*_items(node)]
    if not items:
        raise node.model_error("there is nothing to join")
    code, *others = {importer.narrow.get(item) for item in items}
    if others:
        raise node.model_error("the tensors of the sequence are of several element types")
    is_new = node.bool("new_axis", 0)
    axis = node.axis(items[0].type.rank + is_new)
    if is_new:
        items = [unsqueeze(node, importer, item, [axis]) for item in items]
    joined = join(importer, items, axis)
    return joined if code is None else importer.stored_as(code, joined)


@imports("Optional")
def import_optional(node: Node, importer: Importer) -> Value:
    """What it holds, or that it holds nothing."""
    value = node.optional(0)
    return value if value is not None else SequenceValue(node.name, (), is_absent=True)


@imports("OptionalHasElement")
def import_optional_has_element(node: Node, importer: Importer) -> Value:
    value = node.optional(0)
    is_there = value is not None and not (isinstance(value, SequenceValue) and value.is_absent)
    return importer.constant(np.asarray(is_there), f"{node.name}_is_there")


@imports("OptionalGetElement")
def import_optional_get_element(node: Node, importer: Importer) -> Value:
    value = node.input(0)
    if isinstance(value, SequenceValue) and value.is_absent:
        raise node.model_error("the optional holds nothing")
    return value
