"""What programs ask for besides the outputs of a network."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TypeGuard

from ..errors import InferenceEngineError, WrongTypeError
from ..status import StatusCode
from .document import Layer
from .graph import Graph

Item = str | tuple[str, int]
"""A layer by its name, or one output of a layer by its name and position."""


def items_of(outputs: Item | Iterable[Item]) -> list[Item]:
    """What was asked for, as a list.

    Raises:
        TypeError: something is neither a name nor a pair of a name and a position.
    """
    if isinstance(outputs, str) or _is_pair(outputs):
        return [outputs]
    if not isinstance(outputs, Iterable):
        raise _wrong_type(outputs)
    items: list[Item] = []
    for item in outputs:
        if not isinstance(item, str) and not _is_pair(item):
            raise _wrong_type(item)
        items.append(item)
    return items


def found_output(graph: Graph, item: Item) -> tuple[Layer, int] | None:
    """What a layer gives; ``None``, with a line on standard output, where a name leaves open which of several.

    Raises:
        RuntimeError: there is no such layer, or no such output of it.
    """
    name, position = (item, None) if isinstance(item, str) else item
    layer = graph.layers.get(name)
    if layer is None:
        end = graph.ends().get(name) if position is None else None
        if end is None:
            raise InferenceEngineError(
                f"the network has no layer {name!r:.80}",
                StatusCode.NOT_FOUND,
                hint="net.layers has the names of all of them.",
            )
        return end
    count = len(layer.outputs)
    if position is None and count == 1:
        position = 0
    if position is None:
        names = ", ".join(map(repr, graph.output_names(layer))) or "nothing"
        print(f"Layer {name!r} gives {names}, and is not added to the outputs as a whole")
        return None
    if not 0 <= position < count:
        raise InferenceEngineError(
            f"layer {name!r:.80} has no such output",
            StatusCode.OUT_OF_BOUNDS,
            expected=f"0 to {count - 1}" if count else "none",
            found=position,
        )
    return layer, int(position)


def _is_pair(item: object) -> TypeGuard[tuple[str, int]]:
    return (
        isinstance(item, tuple)
        and len(item) == 2
        and isinstance(item[0], str)
        and isinstance(item[1], Integral)
        and not isinstance(item[1], bool)
    )


def _wrong_type(item: object) -> WrongTypeError:
    return WrongTypeError(
        "an output is added by the name of a layer, or by a tuple of its name and the position of the output",
        found=f"{item!r:.60}",
    )
