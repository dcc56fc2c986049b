"""Networks whose converter wrote the batch into shapes, for another batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import numpy as np

from .document import Document, Layer, Port

_COPY = 0
"""Where ``Reshape`` is asked for it, an extent is that of its input."""

_SHAPES = ("ShapeOf", "Shape")
"""Layers whose outputs say how large their input is, and do not have a batch themselves."""


def with_batch_kept(document: Document, batch: tuple[int, int] | None = None) -> Document:
    """The document with every ``Reshape`` that states the first dimension of what it reads taking it from there.

    What states the batch although it reads something with another first dimension, such as rows of all items, states
    the new batch. The result is the same network as long as the batch is that of the file. Layers and edges that differ
    are new ones; the document that is given stays as it is.

    Args:
        batch: of the document as it is, and the new one; ``None`` where inputs have no batch in common.
    """
    result = replace(document, layers=dict(document.layers), edges=list(document.edges))
    places = {edge.target: place for place, edge in enumerate(document.edges)}
    names = {layer.name for layer in document.layers.values()}
    free = count(max(document.layers, default=0) + 1)
    for layer, stated, extent in _stated(document, batch):
        if len(layer.inputs) > 1:
            place = places.get((layer.id, layer.inputs[1].id))
            edge = None if place is None else document.edges[place]
            source = None if edge is None else document.layers[edge.source[0]]
            shape = None if source is None else _with_first(source, stated, extent)
            if place is None or edge is None or source is None or shape is None:
                continue
            ports = [Port(port.id, port.shape, port.precision) for port in source.outputs]
            # Others may read the constant as it is.
            own = replace(source, id=next(free), name=_free_name(layer, names), outputs=ports, blobs={"custom": shape})
            result.layers[own.id] = own
            result.edges[place] = replace(edge, source=(own.id, edge.source[1]))
            attributes = {} if document.is_legacy or extent != _COPY else {"special_zero": "true"}
        else:
            first, *others = (part.strip() for part in layer.attributes.get("dim", "").split(","))
            if first != str(stated) or layer.attributes.get("axis", "0").strip() != "0":
                continue
            attributes = {"dim": ",".join([str(extent), *others])}
        result.layers[layer.id] = replace(layer, attributes={**layer.attributes, **attributes})
    return result


def _stated(document: Document, batch: tuple[int, int] | None) -> Iterator[tuple[Layer, int, int]]:
    """Layers that may state the batch, the first extent of what they give, and what they are to state instead."""
    varying = _varying(document)
    for layer in document.layers.values():
        before, after = ([port.shape for port in ports[:1]] for ports in (layer.inputs, layer.outputs))
        if layer.type != "Reshape" or layer.id not in varying or not before or not after or not after[0]:
            continue
        first = after[0][0]
        if before[0] and before[0][0] == first > 0:
            yield layer, first, _COPY
        elif batch is not None and first == batch[0]:
            yield layer, first, batch[1]


def _varying(document: Document) -> set[int]:
    """The ids of the layers that compute something of the inputs, other than their sizes."""
    readers: dict[int, list[int]] = {}
    for edge in document.edges:
        readers.setdefault(edge.source[0], []).append(edge.target[0])
    ready = [layer.id for layer in document.inputs()]
    found = set(ready)
    while ready:
        for reader in readers.get(ready.pop(), ()):
            if reader not in found and document.layers[reader].type not in _SHAPES:
                found.add(reader)
                ready.append(reader)
    return found


def _with_first(constant: Layer, stated: int, extent: int) -> np.ndarray | None:
    """The shape that a constant holds, with another first extent; ``None`` where it does not begin with the stated."""
    shape = constant.blobs.get("custom") if constant.type == "Const" else None
    if shape is None or shape.dtype.kind not in "iu" or not shape.size or shape[0] != stated or not shape.all():
        return None
    result = shape.copy()
    result[0] = extent
    return result


def _free_name(layer: Layer, names: set[str]) -> str:
    name = f"{layer.name}/shape"
    while name in names:
        name += "_"
    names.add(name)
    return name
