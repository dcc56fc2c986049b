"""Other input shapes for a document: every port's shape anew, by what its layers compute."""

from __future__ import annotations

import numpy as np

from ....ir.core import Module
from ..input_shapes import InputShapes
from . import families as _families
from .batch import with_batch_kept
from .document import OPEN, Document
from .importer import IrImporter

assert _families.OPSET


def reshape(document: Document, input_shapes: InputShapes, *, keeps_batch: bool = False) -> None:
    """Change a document to other shapes of its inputs; where that fails, it stays as it was.

    Args:
        input_shapes: a full shape for inputs, by the names of their layers; others keep theirs.
        keeps_batch: let ``Reshape`` layers that state the batch follow that of the inputs. So a network can have
            another batch in which a converter wrote the old one.

    Raises:
        ModelError: there is no such input, or a layer does not fit the new shapes.
        UnsupportedError: a layer or a feature is not implemented, so that nothing tells its shapes.
    """
    batch = _batch(document, input_shapes)
    changed = with_batch_kept(document, batch) if keeps_batch else document
    found = _shapes(changed, input_shapes)
    document.layers, document.edges = changed.layers, changed.edges
    document.batch = document.batch if batch is None else batch[1]
    sources = document.sources()
    for layer in document.layers.values():
        for port in layer.outputs:
            port.shape = found.get((layer.id, port.id), port.shape)
        for port in layer.inputs:
            source = sources.get((layer.id, port.id))
            if source is not None:
                port.shape = found.get(source, port.shape)
    for layer in document.inputs():
        if not document.is_legacy and layer.outputs:
            layer.attributes["shape"] = ",".join(map(str, layer.outputs[0].shape))


def _batch(document: Document, input_shapes: InputShapes) -> tuple[int, int] | None:
    """The first extent of all inputs, before and after; ``None`` where they have none in common."""
    found: set[tuple[int, int]] = set()
    for layer in document.inputs():
        before = layer.outputs[0].shape if layer.outputs else ()
        after = input_shapes.get(layer.name, before)
        found |= {(before[0], after[0])} if before and len(after) else set()
    return found.pop() if len(found) == 1 else None


@np.errstate(all="ignore")
def _shapes(document: Document, input_shapes: InputShapes) -> dict[tuple[int, int], tuple[int, ...]]:
    """The shapes of what layers give, by (layer id, port id)."""
    given = {layer.name: layer.outputs[0].shape for layer in document.inputs() if layer.outputs}
    # With all of them given, what the file says of shapes is no longer compared with what layers compute.
    shapes = {name: shape for name, shape in given.items() if OPEN not in shape} | dict(input_shapes)
    importer = IrImporter(document, Module("shapes"), shapes)
    importer.run()
    return {end: value.type.shape for end, value in importer.values.items()}
