"""Weights and biases of layers: blobs of the file, or, in version 7, inputs."""

from __future__ import annotations

from collections.abc import Sequence

from .....ir.core import Value
from ...shape import reshape
from ..importer import IrImporter, IrNode


def weights(node: IrNode, importer: IrImporter, shape: Sequence[int], name: str = "weights", index: int = 1) -> Value:
    """The blob ``name``, or input ``index`` where there is no such blob.

    Raises:
        ModelError: there is neither, or it does not fill the shape.
    """
    if name in node.layer.blobs or node.optional(index) is None:
        return importer.array(node, name, shape)
    given = node.input(index)
    wanted = tuple(shape)
    if given.type.elements != given.type.with_shape(wanted).elements:
        raise node.model_error(
            f"input {index} does not fill the shape of the {name}", expected=wanted, found=given.type
        )
    return reshape(importer, given, wanted)


def biases(node: IrNode, importer: IrImporter, count: int) -> Value | None:
    """The blob ``biases``, or input 2; ``None`` where there is neither."""
    if "biases" not in node.layer.blobs and node.optional(2) is None:
        return None
    return weights(node, importer, (count,), "biases", 2)
