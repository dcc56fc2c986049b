"""Requests that are computed together: laid behind one another along the first extent, as far as a shape holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.errors import InputError, UsageError

from ..artifact.manifest import TensorSpec
from ..execution.shapes import shape_text

Ends = tuple[Sequence[TensorSpec], Sequence[TensorSpec]]
"""Inputs and outputs of a network in one of its shapes."""

_Item = tuple[tuple[int, ...], ...]
"""The shapes of the inputs for one item of a batch."""


class Batching:
    """How many items can be computed together, which the network has to compute each by itself.

    Args:
        name: of the network.
        shapes: its inputs and outputs in each shape.

    Attributes:
        largest: items that can be computed together.

    Raises:
        UsageError: it has no batch, or one of 1.
    """

    def __init__(self, name: str, shapes: Sequence[Ends]) -> None:
        self._sizes: dict[_Item, list[int]] = {}
        results: dict[_Item, _Item] = {}
        for inputs, outputs in shapes:
            tensors = [*inputs, *outputs]
            sizes = {spec.shape[:1] for spec in tensors}
            item, result = (tuple(spec.shape[1:] for spec in specs) for specs in (inputs, outputs))
            if () in sizes or len(sizes) != 1 or any(spec.counts for spec in tensors) or not inputs:
                raise _without_batch(name, "a first extent that all its inputs and outputs share", tensors)
            if results.setdefault(item, result) != result:
                raise _without_batch(name, "outputs that the batch changes in the first extent alone", tensors)
            self._sizes.setdefault(item, []).append(sizes.pop()[0])
        self.largest = max(map(max, self._sizes.values()))
        if self.largest < 2:
            raise UsageError(
                f"model {name!r} has no batch but 1",
                hint="Compile it for several, such as --input-shape batch=1,4,8, or leave --batch out.",
            )

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise InputError for shapes of inputs that no batch holds."""
        sizes = self._sizes.get(tuple(shape[1:] for shape in shapes.values()), [0])
        counts = {shape[:1] for shape in shapes.values()}
        if len(counts) != 1 or not (counts := counts.pop()) or not 1 <= counts[0] <= max(sizes):
            known = (
                shape_text({name: (-1, *rest) for name, rest in zip(shapes, item, strict=True)}) for item in self._sizes
            )
            raise InputError(
                "the network has no shape that fits the inputs",
                expected=f"{' or '.join(known)}, with at most {self.largest} for -1",
                found=shape_text(shapes),
            )

    def room(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Items that can be computed together with one of these inputs, itself included."""
        return max(self._sizes[_item(inputs)])

    def alike(self, some: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]) -> bool:
        """Whether items of the two fit into one batch."""
        return _item(some) == _item(others)

    def joined(self, parts: Sequence[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        """The inputs of several requests behind one another, and zeros up to the next batch that there is."""
        count = sum(len(next(iter(part.values()))) for part in parts)
        size = min(each for each in self._sizes[_item(parts[0])] if each >= count)
        if len(parts) == 1 and count == size:
            return parts[0]
        found: dict[str, np.ndarray] = {}
        for name, first in parts[0].items():
            rest = np.zeros((size - count, *first.shape[1:]), first.dtype)
            found[name] = np.concatenate([*(part[name] for part in parts), rest])
        return found


def _item(inputs: Mapping[str, np.ndarray]) -> _Item:
    return tuple(array.shape[1:] for array in inputs.values())


def _without_batch(name: str, expected: str, tensors: Sequence[TensorSpec]) -> UsageError:
    return UsageError(
        f"requests for {name!r} cannot be computed together",
        expected=expected,
        found=" and ".join(map(str, tensors)),
        hint="Leave --batch out.",
    )
