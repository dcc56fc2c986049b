"""Loops that join a piece to a state in each step: the pieces are stacked, and joined once behind it."""

from collections import Counter
from collections.abc import Callable, Sequence

import onnx

from tilewright.errors import IRError

from ....ir.core import Value
from ..movement import join, transpose
from ..shape import reshape
from .importer import Importer
from .tensors import graphs_in

Given = tuple[int, tuple[int, ...]]
"""An axis along which a state grows, and the shape that it begins with."""

Looped = Callable[[onnx.GraphProto, list[Value], tuple[Given, ...]], list[Value] | None]
"""What a loop with this body leaves of the states given: they, stacked pieces, and last the pieces of what grew."""


def with_growing_states(
    importer: Importer, graph: onnx.GraphProto, states: Sequence[Value], looped: Looped
) -> list[Value] | None:
    """States at the end and stacked pieces of a loop with the body ``graph``; ``None`` where no state only grows, or
    another one changes its type."""
    if len(graph.input) < len(states) + 2 or len(graph.output) <= len(states):
        return None
    read = Counter(name for each in graphs_in(graph) for node in each.node for name in node.input)
    read.update(info.name for info in graph.output)
    makers = {name: node for node in graph.node for name in node.output}
    edited = onnx.GraphProto()
    edited.CopyFrom(graph)
    grown: dict[int, Given] = {}
    for index, state in reversed([*enumerate(states)]):
        before, after = graph.input[index + 2].name, graph.output[index + 1].name
        maker = makers.get(after)
        if maker is None or maker.op_type != "Concat" or len(maker.input) != 2:
            continue
        cast, joined = makers.get(maker.input[0]), maker.input[0]
        if cast is not None and cast.op_type == "Cast" and read[joined] == 1:
            # PyTorch's exporter casts a list to the type that it has.
            is_same = any(each.name == "to" and each.i == importer.code_of(state) for each in cast.attribute)
            joined = cast.input[0] if is_same else joined
        if joined != before or read[before] > 1 or read[after] > 1:
            continue
        axis, rank = next((each.i for each in maker.attribute if each.name == "axis"), None), state.type.rank
        if axis is None or not -rank <= axis < rank:
            continue
        grown[index] = axis % rank, state.type.shape
        del edited.input[index + 2], edited.output[index + 1]
        edited.node.remove(maker)
        if cast is not None:
            edited.node.remove(cast)
        edited.output.append(onnx.ValueInfoProto(name=maker.input[1]))
    found = looped(edited, [x for i, x in enumerate(states) if i not in grown], (*grown.values(),)) if grown else None
    if found is None:
        return None
    for index in reversed(grown):
        found.insert(index, _joined(importer, states[index], found.pop(), grown[index][0]))
    return found


def closed_pieces(importer: Importer, pieces: Sequence[Value], grown: Sequence[Given]) -> list[Value]:
    """The pieces, of which the last have the shape of what they are joined to: the run ends where they have another."""
    first = len(pieces) - len(grown)
    for piece, (_, shape) in zip(pieces[first:], grown, strict=True):
        if piece.type.rank != len(shape):
            raise IRError("a loop joins tensors of different ranks", expected=len(shape), found=piece.type)
    shapes = (
        (*s[:axis], x.type.shape[axis], *s[axis + 1 :]) for x, (axis, s) in zip(pieces[first:], grown, strict=True)
    )
    return [*pieces[:first], *map(importer.open.closed, pieces[first:], shapes)]


def _joined(importer: Importer, state: Value, pieces: Value, axis: int) -> Value:
    """A state with pieces, stacked along a first dimension, behind it."""
    shape = list(pieces.type.shape[1:])
    shape[axis] *= pieces.type.shape[0]
    perm = (*range(1, axis + 1), 0, *range(axis + 1, pieces.type.rank))
    behind = reshape(importer, transpose(importer, pieces, perm), tuple(shape))
    is_joined = state.type.shape[axis] or state.type.dtype is not behind.type.dtype
    return join(importer, [state, behind], axis) if is_joined else behind
