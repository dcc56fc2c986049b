"""Documents with other input shapes: every port's shape anew, by what its layers compute, or from an ONNX model."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np

from tilewright.errors import ModelError

from ....ir.core import Module
from ..input_shapes import InputShapes
from ..onnx.reader import extents, import_onnx, load_model
from ..onnx.tensors import inputs_of
from . import families as _families
from .document import OPEN, Document, Layer, Port
from .exporter import export_document
from .importer import IrImporter

assert _families.OPSET


def reshape(document: Document, input_shapes: InputShapes, *, keeps_batch: bool = False) -> None:
    """Change a document to other shapes of its inputs; where that fails, it stays as it was.
    ``input_shapes``: a full shape for inputs, by the names of their layers; others keep theirs.
    ``keeps_batch``: let ``Reshape`` layers that state the batch follow that of the inputs. So a network can have
    another batch in which a converter wrote the old one."""
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


_COPY = 0
"""Where ``Reshape`` is asked for it, an extent is that of its input."""

_SHAPES = ("ShapeOf", "Shape")
"""Layers whose outputs say how large their input is, and do not have a batch themselves."""


def with_batch_kept(document: Document, batch: tuple[int, int] | None = None) -> Document:
    """The document with every ``Reshape`` that states the first dimension of what it reads taking it from there.

    What states the batch although it reads something with another first dimension, such as rows of all items, states
    the new batch. The result is the same network as long as the batch is that of the file. Layers and edges that differ
    are new ones; the document that is given stays as it is.
    ``batch``: of the document as it is, and the new one; ``None`` where inputs have no batch in common."""
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


assert _families.OPSET


class OnnxSource:
    """An ONNX model that documents are made of.
    ``name``: of the networks: that of the file without its ending, or that of the graph.
    ``inputs``: the shapes that the model says, by name; `OPEN` where it leaves an extent open.
    Raises ModelError: it is damaged, or says nothing of the dimensions of an input."""

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        self._model, self._digest = load_model(source)
        graph = self._model.graph
        is_file = not isinstance(source, bytes)
        self._folder = Path(source).parent if is_file else None
        self.name = (Path(source).stem if is_file else graph.name) or "network"
        self.inputs: dict[str, tuple[int, ...]] = {}
        for info, tensor in ((info, info.type.tensor_type) for info in inputs_of(graph)):
            if not info.type.HasField("tensor_type"):
                continue
            if not tensor.HasField("shape"):
                raise ModelError(f"the model says nothing of the dimensions of input {info.name!r}", stage="import")
            self.inputs[info.name] = tuple(d if isinstance(d, int) else OPEN for d in extents(tensor))
            for dimension in tensor.shape.dim:
                # What is fixed may be reshaped as well.
                dimension.ClearField("dim_value")

    def document(self, input_shapes: Mapping[str, Sequence[int]]) -> Document:
        """The network with these shapes of all its inputs."""
        document = export_document(import_onnx(self._model, input_shapes, self._folder))
        document.name, document.digest = self.name, self._digest
        return document

    def inputs_alone(self) -> Document:
        """A document that has nothing but the inputs, for a network whose shapes are yet to be given."""
        document = Document(self.name, 11, digest=self._digest)
        for index, (name, shape) in enumerate(self.inputs.items()):
            document.layers[index] = Layer(index, name, "Parameter", "opset1", outputs=[Port(0, shape, "FP32")])
        return document
