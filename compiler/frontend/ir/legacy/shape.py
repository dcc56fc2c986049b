"""Shapes of IR of versions 2 to 7: what attributes or a second input state, for a batch that the file may fix."""

from __future__ import annotations

import numpy as np

from .....ir.core import Value
from ...shape import expand, filled_in, flatten, reshape, squeeze, unsqueeze
from ..importer import IrImporter, IrNode, legacy

_BATCH = "Only 0 and -1 follow another batch; give inputs the batch of the file."


def _axes(node: IrNode, name: str) -> tuple[int, ...] | None:
    """Dimensions of the second input, or of an attribute; ``None`` where neither names any."""
    if node.optional(1) is not None:
        return node.integers(1, "the dimensions")
    return node.ints(name) if node.has(name) and node.text(name).strip() else None


@legacy("Reshape")
def import_reshape(node: IrNode, importer: IrImporter) -> Value:
    """x under the shape ``dim``, in place of its dimensions ``axis`` to ``axis + num_axes``."""
    x = node.input(0)
    wanted = _axes(node, "dim")
    if wanted is None:
        wanted = node.output_shape()
    axis = node.int("axis", 0)
    # An axis counts from the front, or from behind the last dimension.
    first = axis if axis >= 0 else axis + x.type.rank + 1
    count = node.int("num_axes", -1)
    last = x.type.rank if count == -1 else first + count
    if not 0 <= first <= last <= x.type.rank:
        raise node.model_error(
            "axis and num_axes leave the input", expected=f"0 to {x.type.rank}", found=f"{axis} and {count}"
        )
    full = (*x.type.shape[:first], *_absolute(wanted, x, first), *x.type.shape[last:])
    _check_batch(node, x, full if first else wanted)
    shape = filled_in(node, x.type, full)
    if x.type.elements != x.type.with_shape(shape).elements:
        raise node.model_error(
            "the shape does not hold the elements of the input", expected=x.type, found=list(shape), hint=_BATCH
        )
    return reshape(importer, x, shape)


def _absolute(wanted: tuple[int, ...], x: Value, first: int) -> tuple[int, ...]:
    """The extents, 0 replaced by the one that is there."""
    rank = x.type.rank
    return tuple(
        x.type.shape[first + d] if extent == 0 and first + d < rank else extent for d, extent in enumerate(wanted)
    )


def _check_batch(node: IrNode, x: Value, wanted: tuple[int, ...]) -> None:
    """Raise ModelError where the shape fixes the batch of the file, and -1 would mix images of another one."""
    stated = node.layer.inputs[0].shape
    if not (stated and wanted and x.type.rank == len(stated)) or wanted[0] < 1:
        return
    if wanted[0] == stated[0] != x.type.shape[0]:
        raise node.model_error(
            "the shape fixes the batch", expected=f"a batch of {wanted[0]}", found=x.type, hint=_BATCH
        )


@legacy("Flatten")
def import_flatten(node: IrNode, importer: IrImporter) -> Value:
    x = node.input(0)
    first, last = (node.from_front(node.int(name, each), x.type.rank) for name, each in (("axis", 1), ("end_axis", -1)))
    if first > last:
        raise node.model_error("axis is behind end_axis", found=f"{first} and {last}")
    return flatten(importer, x, first, last)


@legacy("Squeeze")
def import_squeeze(node: IrNode, importer: IrImporter) -> Value:
    return squeeze(node, importer, node.input(0), _axes(node, "axes") or None)


@legacy("Unsqueeze")
def import_unsqueeze(node: IrNode, importer: IrImporter) -> Value:
    return unsqueeze(node, importer, node.input(0), _axes(node, "axes") or ())


@legacy("Broadcast")
def import_broadcast(node: IrNode, importer: IrImporter) -> Value:
    return expand(node, importer, node.input(0), node.integers(1, "the shape"))


@legacy("Shape", "ShapeOf")
def import_shape(node: IrNode, importer: IrImporter) -> Value:
    return importer.constant(np.asarray(node.input(0).type.shape, np.int32), f"{node.name}_shape")
