"""Networks whose converter wrote the batch into shapes, for another batch."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np

from .document import Document, Edge, Layer, Port


def with_batch_kept(document: Document) -> Document:
    """The document with every ``Reshape`` that states the first dimension of what it reads taking it from there.

    That is the same network as long as the batch is that of the file. Layers and edges that differ are new ones; the
    document that is given stays as it is.
    """
    result = replace(document, layers=dict(document.layers), edges=list(document.edges))
    places = {edge.target: place for place, edge in enumerate(document.edges)}
    names = {layer.name for layer in document.layers.values()}
    free = count(max(document.layers, default=0) + 1)
    for layer in document.layers.values():
        if layer.type != "Reshape" or not _keeps_batch(layer):
            continue
        batch = layer.outputs[0].shape[0]
        if len(layer.inputs) > 1:
            place = places.get((layer.id, layer.inputs[1].id))
            source = None if place is None else document.layers[document.edges[place].source[0]]
            shape = None if source is None else _copying(source, batch)
            if place is None or source is None or shape is None:
                continue
            ports = [Port(port.id, port.shape, port.precision) for port in source.outputs]
            # Others may read the constant as it is.
            own = replace(source, id=next(free), name=_free_name(layer, names), outputs=ports, blobs={"custom": shape})
            result.layers[own.id] = own
            edge = document.edges[place]
            result.edges[place] = Edge((own.id, edge.source[1]), edge.target)
            attributes = {} if document.is_legacy else {"special_zero": "true"}
        else:
            first, *others = (part.strip() for part in layer.attributes.get("dim", "").split(","))
            if first != str(batch) or layer.attributes.get("axis", "0").strip() != "0":
                continue
            attributes = {"dim": ",".join(["0", *others])}
        result.layers[layer.id] = replace(layer, attributes={**layer.attributes, **attributes})
    return result


def _keeps_batch(layer: Layer) -> bool:
    """Whether the first dimension is the same before and after a layer."""
    before, after = ([port.shape for port in ports[:1]] for ports in (layer.inputs, layer.outputs))
    return bool(before and after and before[0] and after[0]) and before[0][0] == after[0][0] > 0


def _copying(constant: Layer, batch: int) -> np.ndarray | None:
    """The shape that a constant holds, 0 in place of the batch; ``None`` where it does not begin with the batch."""
    shape = constant.blobs.get("custom") if constant.type == "Const" else None
    if shape is None or shape.dtype.kind not in "iu" or not shape.size or shape[0] != batch or not shape.all():
        return None
    copying = shape.copy()
    copying[0] = 0
    return copying


def _free_name(layer: Layer, names: set[str]) -> str:
    name = f"{layer.name}/shape"
    while name in names:
        name += "_"
    names.add(name)
    return name
