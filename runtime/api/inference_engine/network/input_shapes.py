"""Shapes that programs give inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral

from ..errors import InferenceEngineError, WrongAttributeError, WrongTypeError
from ..layouts import layout_of


def checked_shapes(input_shapes: object, inputs: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """The shapes as lists.

    Args:
        inputs: the shapes that inputs have, by name.

    Raises:
        AttributeError: a name is none of an input.
        RuntimeError: a shape has another number of dimensions, or an extent that is not positive.
        TypeError: a shape is no sequence of integers.
    """
    if not isinstance(input_shapes, Mapping):
        raise WrongTypeError("shapes are given by the names of inputs", expected="a dict", found=_shown(input_shapes))
    shapes: dict[str, list[int]] = {}
    for name, shape in input_shapes.items():
        if name not in inputs:
            expected = ", ".join(inputs) or "no inputs"
            raise WrongAttributeError(f"the network has no input {_shown(name)}", expected=expected)
        if not isinstance(shape, Iterable) or not all(map(_is_whole, shape)):
            raise WrongTypeError(f"wrong shape for input {name!r}", expected="whole numbers", found=_shown(shape))
        extents = [int(extent) for extent in shape]
        if len(extents) != len(inputs[name]) or not all(extent > 0 for extent in extents):
            raise InferenceEngineError(
                f"wrong shape for input {name!r}",
                expected=f"{len(inputs[name])} positive extents, as in {list(inputs[name])}",
                found=_shown(shape),
            )
        shapes[name] = extents
    return shapes


def has_batch(shape: Sequence[int]) -> bool:
    """Whether the first dimension is N in the layout that goes with a shape."""
    return layout_of(len(shape)).startswith("N")


def with_batch(inputs: Mapping[str, Sequence[int]], old: int, new: int) -> dict[str, list[int]]:
    """The inputs that have a batch, with another one: each keeps as many rows an item as it had.

    Raises:
        RuntimeError: no input has one, or the rows of one are no multiple of the old batch.
    """
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


def _is_whole(extent: object) -> bool:
    return isinstance(extent, Integral) and not isinstance(extent, bool)


def _shown(value: object) -> str:
    return f"{value!r:.60}"
