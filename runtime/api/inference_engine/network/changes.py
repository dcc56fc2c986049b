"""What programs ask of a network: outputs besides its own, other shapes, and value ranges that they keep with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tilewright import limits
from tilewright.immutable import Immutable

from ..blobs import layout_of, whole_numbers
from ..constants import StatusCode
from ..errors import InferenceEngineError, WrongAttributeError, WrongTypeError, is_whole, shown
from .graph import Graph

if TYPE_CHECKING:
    from .....compiler.frontend.ir.document import Layer

Item = str | tuple[str, int]
"""A layer by its name, or one output of a layer by its name and position."""


def items_of(outputs: Item | Iterable[Item]) -> list[Item]:
    """What was asked for, as a list.
    Raises TypeError: something is neither a name nor a pair of a name and a position."""
    is_one = isinstance(outputs, (str, np.ndarray)) or _is_pair(outputs) or not isinstance(outputs, Iterable)
    items: list[Any] = [outputs] if is_one else [*outputs]
    for item in items:
        if not isinstance(item, str) and not _is_pair(item):
            what = "an output is added by the name of a layer, or by a tuple of its name and the position of the output"
            raise WrongTypeError(what, found=shown(item))
    return items


def found_output(graph: Graph, item: Item) -> tuple[Layer, int] | None:
    """What a layer gives; ``None``, with a line on standard output, where a name leaves open which of several.
    Raises RuntimeError: there is no such layer, or no such output of it."""
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
            found=shown(position),
        )
    return layer, int(position)


def _is_pair(item: object) -> TypeGuard[tuple[str, int]]:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str) and is_whole(item[1])


def checked_shapes(input_shapes: object, inputs: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """The shapes as lists.
    ``inputs``: the shapes that inputs have, by name.
    Raises AttributeError: a name is none of an input; RuntimeError: a shape has another number of dimensions, or an
    extent that is not positive; TypeError: a shape is no sequence of integers."""
    if not isinstance(input_shapes, Mapping):
        raise WrongTypeError("shapes are given by the names of inputs", expected="a dict", found=shown(input_shapes))
    shapes: dict[str, list[int]] = {}
    for name, shape in input_shapes.items():
        if name not in inputs:
            expected = ", ".join(inputs) or "no inputs"
            raise WrongAttributeError(f"the network has no input {shown(name)}", expected=expected)
        extents = whole_numbers(shape)
        if extents is None:
            raise WrongTypeError(f"wrong shape for input {name!r}", expected="whole numbers", found=shown(shape))
        if len(extents) != len(inputs[name]) or not all(0 < extent <= limits.EXTENT for extent in extents):
            raise InferenceEngineError(
                f"wrong shape for input {name!r}",
                expected=f"{len(inputs[name])} extents from 1 to {limits.EXTENT}, as in {list(inputs[name])}",
                found=shown(shape),
            )
        shapes[name] = extents
    return shapes


def has_batch(shape: Sequence[int]) -> bool:
    """Whether the first dimension is N in the layout that goes with a shape."""
    return layout_of(len(shape)).startswith("N")


def with_batch(inputs: Mapping[str, Sequence[int]], old: int, new: int) -> dict[str, list[int]]:
    """The inputs that have a batch, with another one: each keeps as many rows an item as it had.
    Raises RuntimeError: no input has one, or the rows of one are no multiple of the old batch."""
    found = {name: list(shape) for name, shape in inputs.items() if has_batch(shape)}
    if not found:
        raise InferenceEngineError(
            "no input has a batch",
            expected="an input of 2, 4 or 5 dimensions",
            found=", ".join(f"{name} {list(shape)}" for name, shape in inputs.items()) or "no inputs",
            hint="Give whole shapes with reshape.",
        )
    for name, shape in found.items():
        if shape[0] % old:
            raise InferenceEngineError(
                f"input {name!r} does not have the batch of the others",
                expected=f"a multiple of {old} rows",
                found=shape[0],
                hint="Give whole shapes with reshape.",
            )
    return {name: [shape[0] // old * new, *shape[1:]] for name, shape in found.items()}


class LayerStats(Immutable):
    """The range of what a layer gives.

    Attributes:
        min: the smallest value of each channel.
        max: the largest value of each channel.

    Raises:
        TypeError: they are no lists.
    """

    min: Iterable[float] = ()
    max: Iterable[float] = ()

    def __post_init__(self) -> None:
        for name in ("min", "max"):
            object.__setattr__(self, name, _numbers(getattr(self, name)))


def _numbers(given: object) -> tuple[float, ...]:
    listed = given.tolist() if isinstance(given, np.ndarray) else given
    if not isinstance(listed, Iterable) or isinstance(listed, str):
        raise WrongTypeError("a range is numbers, one for each channel", expected="a list", found=shown(given))
    return tuple(listed)


class LayersStatsMap(dict[str, LayerStats]):
    """Ranges by the names of layers. They are kept, and mean nothing to what is computed."""
