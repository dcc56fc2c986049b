"""IR documents to files: the form that the Inference Engine and OpenVINO read, versions 2 to 7, 10 and 11."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from tilewright.errors import ModelError

from ....runtime.files.output_file import output_file
from .document import IMAGES, PRECISIONS, Channel, Document, Edge, Layer, Port, PreProcess

_OPSET_ATTRIBUTES = ("offset", "size")
"""Attributes of ``Const`` that say where its array lies, which is decided anew."""

_ENTITIES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\t": "&#9;", "\n": "&#10;", "\r": "&#13;"}
)


def write_document(
    document: Document, xml: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None
) -> None:
    """Write a network as an .xml file and a .bin file.

    The same document gives the same bytes, whose layers and constants come in its order. Constants that are equal share
    their place. Outputs that were added become results of versions 10 and later; versions 2 to 7 have no form for them.
    ``weights``: the path of the .bin file; by default beside the other one under its name."""
    place = weights_path(xml) if weights is None else weights
    text, arrays = content_of(document)
    # Both are complete before either gets its name; the .xml file comes last, as readers begin with it.
    with output_file(xml) as xml_file, output_file(place) as weights_file:
        xml_file.write(text)
        xml_file.flush()
        for array in arrays:
            weights_file.write(array)


def weights_path(xml: str | os.PathLike[str]) -> Path:
    """Where the .bin file of an .xml file lies."""
    return Path(xml).with_suffix(".bin")


def content_of(document: Document) -> tuple[bytes, list[bytes]]:
    """The content of the .xml file, and the pieces of that of the .bin file in order.
    Raises ModelError: a name holds characters that XML has no form for."""
    weights = _Weights()
    lines = _net(document, weights)
    try:
        return "".join(f"{line}\n" for line in lines).encode(), weights.pieces
    except UnicodeEncodeError as error:
        found = ascii(error.object[error.start : error.end])
        raise ModelError("a name cannot be written in UTF-8", stage="export", found=found) from None


class _Weights:
    """The .bin file as it grows."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self._size = 0
        self._places: dict[tuple[bytes, int], int] = {}

    def place(self, array: np.ndarray) -> tuple[int, int]:
        """Offset and size of an array, in bytes."""
        data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()
        # Elements begin at multiples of their size, which processors without unaligned access need.
        key = hashlib.sha256(data).digest(), array.itemsize
        if key not in self._places:
            gap = -self._size % array.itemsize
            self.pieces += [bytes(gap)] * bool(gap) + [data]
            self._places[key] = self._size + gap
            self._size += gap + len(data)
        return self._places[key], len(data)


def _net(document: Document, weights: _Weights) -> Iterator[str]:
    attributes: dict[str, object] = {"name": document.name, "version": document.version}
    if document.is_legacy:
        attributes |= {"precision": document.precision} if document.precision else {}
        attributes["batch"] = document.batch
    results, edges = ([], []) if document.is_legacy else _added_results(document)
    yield '<?xml version="1.0"?>'
    yield _tag("net", attributes, 0, is_open=True)
    for given in document.pre_process if document.is_legacy else ():
        yield from _pre_process(given, document.precision, weights)
    yield "\t<layers>"
    for layer in (*document.layers.values(), *results):
        yield from _layer(document, layer, weights)
    yield "\t</layers>"
    yield "\t<edges>"
    for edge in (*document.edges, *edges):
        (source, source_port), (target, target_port) = edge.source, edge.target
        ends = {"from-layer": source, "from-port": source_port, "to-layer": target, "to-port": target_port}
        yield _tag("edge", ends, 2)
    yield "\t</edges>"
    if document.images:
        yield "\t<rt_info>"
        yield _tag(IMAGES, {"value": document.images}, 2)
        yield "\t</rt_info>"
    yield "</net>"


def _added_results(document: Document) -> tuple[list[Layer], list[Edge]]:
    """What says of added outputs that they are some."""
    layers_by_id, names = document.layers, {layer.name for layer in document.layers.values()}
    own = {edge.source for edge in document.edges if layers_by_id[edge.target[0]].type == "Result"}
    layers: list[Layer] = []
    edges: list[Edge] = []
    for layer_id, position in document.added_outputs:
        source = layers_by_id[layer_id]
        port = source.outputs[position]
        name = f"{source.name}/sink_port_{position}"
        if (layer_id, port.id) in own:
            continue
        while name in names:
            name += "_"
        own.add((layer_id, port.id))
        names.add(name)
        target = Layer(max(layers_by_id) + 1 + len(layers), name, "Result", "opset1")
        target.inputs.append(Port(0, port.shape, port.precision))
        layers.append(target)
        edges.append(Edge((layer_id, port.id), (target.id, 0)))
    return layers, edges


def _layer(document: Document, layer: Layer, weights: _Weights) -> Iterator[str]:
    head: dict[str, object] = {"id": layer.id, "name": layer.name, "type": layer.type}
    if document.is_legacy:
        head |= {"precision": layer.precision} if layer.precision else {}
    elif layer.version:
        head["version"] = layer.version
    data: dict[str, object] = dict(layer.attributes)
    blobs = dict(layer.blobs)
    if layer.type == "Const" and not document.is_legacy and "custom" in blobs:
        data = {name: text for name, text in data.items() if name not in _OPSET_ATTRIBUTES}
        data["offset"], data["size"] = weights.place(blobs.pop("custom"))
    if not (data or layer.inputs or layer.outputs or blobs):
        yield _tag("layer", head, 2)
        return
    yield _tag("layer", head, 2, is_open=True)
    if data:
        yield _tag("data", data, 3)
    yield from _ports("input", layer.inputs, is_legacy=document.is_legacy)
    yield from _ports("output", layer.outputs, is_legacy=False)
    if blobs:
        yield "\t\t\t<blobs>"
        for name, array in blobs.items():
            offset, size = weights.place(array)
            kind = blob_precision(array, layer.precision or document.precision)
            yield _tag(name, {"offset": offset, "size": size, "precision": kind}, 4)
        yield "\t\t\t</blobs>"
    yield "\t\t</layer>"


def _ports(group: str, ports: Iterable[Port], *, is_legacy: bool) -> Iterator[str]:
    if not ports:
        return
    yield f"\t\t\t<{group}>"
    for port in ports:
        attributes: dict[str, object] = {"id": port.id}
        if port.precision and not is_legacy:
            attributes["precision"] = port.precision
        if port.names:
            attributes["names"] = ",".join(name.replace(",", "\\,") for name in port.names)
        if port.shape:
            yield _tag("port", attributes, 4, is_open=True)
            for extent in port.shape:
                yield f"\t\t\t\t\t<dim>{extent}</dim>"
            yield "\t\t\t\t</port>"
        else:
            yield _tag("port", attributes, 4)
    yield f"\t\t\t</{group}>"


def _pre_process(given: PreProcess, precision: str, weights: _Weights) -> Iterator[str]:
    images = [channel.mean for channel in given.channels if isinstance(channel.mean, np.ndarray)]
    attributes: dict[str, object] = {"reference-layer-name": given.layer} if given.layer else {}
    if images:
        attributes["mean-precision"] = blob_precision(images[0], precision or "FP32")
    yield _tag("pre-process", attributes, 1, is_open=True)
    for channel in given.channels:
        yield _tag("channel", {"id": channel.id}, 2, is_open=True)
        yield _tag("mean", _mean(channel, weights), 3)
        if channel.scale != 1:
            yield _tag("scale", {"value": repr(float(channel.scale))}, 3)
        yield "\t\t</channel>"
    yield "\t</pre-process>"


def _mean(channel: Channel, weights: _Weights) -> dict[str, object]:
    if not isinstance(channel.mean, np.ndarray):
        return {"value": repr(float(channel.mean))}
    offset, size = weights.place(channel.mean)
    return {"offset": offset, "size": size}


def blob_precision(array: np.ndarray, declared: str) -> str:
    """The precision of a blob: that of its layer where its elements are of it, otherwise what they are."""
    if declared in PRECISIONS and array.dtype == PRECISIONS[declared]:
        return declared
    return next(name for name, dtype in PRECISIONS.items() if array.dtype == dtype)


def _tag(name: str, attributes: Mapping[str, object], depth: int, *, is_open: bool = False) -> str:
    shown = "".join(f" {key}={_quoted(value)}" for key, value in attributes.items())
    end = ">" if is_open else " />"
    return "\t" * depth + f"<{name}{shown}{end}"


def _quoted(value: object) -> str:
    text = str(value)
    if any((character < " " and character not in "\t\n\r") or character in "\ufffe\uffff" for character in text):
        raise ModelError("a name holds characters that XML has no form for", stage="export", found=ascii(text)[:80])
    return f'"{text.translate(_ENTITIES)}"'
