"""IR files to documents: XML without entities, every number checked, every array within the .bin file."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError, TreeBuilder
from xml.parsers import expat

import numpy as np

from tilewright import limits
from tilewright.errors import ModelError, UnsupportedError

from ....runtime.files.foreign_model import START, foreign_format
from ....runtime.files.input_file import contents, too_large
from .document import (
    ELEMENT_TYPES,
    IMAGES,
    LEGACY_VERSIONS,
    OPEN,
    OPSET_VERSIONS,
    PRECISIONS,
    Channel,
    Document,
    Edge,
    Layer,
    Port,
    PreProcess,
)

Source = str | os.PathLike[str] | bytes

_HINT = "Give both files as the Model Optimizer or openvino.save_model wrote them."


def read_document(model: Source, weights: Source | None = None) -> Document:
    """The network of an .xml file and its .bin file.
    ``model``: the path or the contents of the .xml file.
    ``weights``: the path or the contents of the .bin file; by default it lies beside the .xml file under its name. It
    may be missing where no layer holds an array.
    Raises ModelError: a file cannot be read, is damaged or inconsistent, or of a version that is not known."""
    text = _content(model, limits.XML_FILE)
    root = _parsed(text, model)
    if root.tag != "net":
        raise _damaged("the root element is no network", expected="net", found=root.tag)
    version = _integer(root, "version", 1)
    if version not in LEGACY_VERSIONS and version not in OPSET_VERSIONS:
        # In the words that the readers of the releases have, which users search for.
        reason = "deprecated IR version" if version < LEGACY_VERSIONS.start else "cannot parse future versions"
        raise UnsupportedError(
            f"{reason}: {version}",
            stage="import",
            expected=f"{LEGACY_VERSIONS.start} to {LEGACY_VERSIONS.stop - 1}, {OPSET_VERSIONS.start} or "
            f"{OPSET_VERSIONS.stop - 1}",
            found=version,
        )
    looked_for: Path | None = None
    if weights is None and not isinstance(model, bytes):
        looked_for = Path(model).with_suffix(".bin")
        # Files from systems that do not tell case apart may be named in capitals.
        weights = next((path for path in (looked_for, looked_for.with_suffix(".BIN")) if path.exists()), None)
    binary = b"" if weights is None else _content(weights, limits.BIN_FILE)
    digest = hashlib.sha256(text)
    digest.update(binary)
    document = Document(root.get("name", ""), version, _integer(root, "batch", 1), root.get("precision", "").upper())
    document.weights = np.frombuffer(bytearray(binary), np.uint8)
    document.digest = digest.hexdigest()
    reader = _Reader(document, has_weights=weights is not None, looked_for=looked_for)
    reader.read(root)
    return document


def _content(source: Source, limit: limits.Limit) -> bytes:
    if not isinstance(source, bytes):
        return contents(os.fspath(source), limit, None, ModelError, "import")
    if len(source) > limit:
        raise too_large("the data", limit, f"{len(source)} bytes", None, ModelError, "import")
    return source


def _parsed(text: bytes, source: Source) -> Element:
    """The root element; declarations of a document type, which is where entities come from, are refused."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    depth = count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth, count
        depth, count = depth + 1, count + 1
        if depth > limits.XML_DEPTH or count > limits.XML_ELEMENTS:
            limit = limits.XML_DEPTH if depth > limits.XML_DEPTH else limits.XML_ELEMENTS
            raise _damaged("the .xml file is too large", expected=f"at most {limit} {limit.what}")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def doctype(*_: object) -> None:
        raise _damaged("the .xml file declares a document type", hint="Entities are not expanded. " + _HINT)

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    parser.buffer_text = True
    try:
        parser.Parse(text, True)
        return builder.close()
    # Encodings that expat cannot work with are ValueErrors; those that Python does not know are LookupErrors.
    except (expat.ExpatError, ParseError, AssertionError, LookupError, ValueError) as error:
        name = "the data" if isinstance(source, bytes) else repr(os.fspath(source))
        foreign = None if text.lstrip().startswith(b"<") else foreign_format(text[:START])
        if foreign is not None:
            path = "FILE" if isinstance(source, bytes) else os.fsdecode(source)
            raise _damaged(f"{name} is {foreign.name}, no .xml file of a network", hint=foreign.advice(path)) from None
        raise _damaged(f"{name} is not an .xml file of a network ({error})") from None


class _Reader:
    """Fills a document from the elements of a file. ``looked_for``: where the .bin file should be, if it is known."""

    def __init__(self, document: Document, *, has_weights: bool, looked_for: Path | None) -> None:
        self.document = document
        self._has_weights, self._looked_for = has_weights, looked_for
        self._views: dict[tuple[int, int, str], np.ndarray] = {}

    def read(self, root: Element) -> None:
        for element in _children(root, "layers", "layer"):
            layer = self._layer(element)
            if layer.id in self.document.layers:
                raise _damaged(f"two layers have the id {layer.id}")
            self.document.layers[layer.id] = layer
        names: set[str] = set()
        for layer in self.document.layers.values():
            if layer.name in names:
                raise _damaged(f"two layers are named {layer.name!r}")
            names.add(layer.name)
        if not self.document.layers:
            raise _damaged("the network has no layers")
        inputs = {(layer.id, port.id) for layer in self.document.layers.values() for port in layer.inputs}
        outputs = {(layer.id, port.id) for layer in self.document.layers.values() for port in layer.outputs}
        taken: set[tuple[int, int]] = set()
        for element in _children(root, "edges", "edge"):
            source = _integer(element, "from-layer"), _integer(element, "from-port")
            target = _integer(element, "to-layer"), _integer(element, "to-port")
            for end, known, what in ((source, outputs, "output"), (target, inputs, "input")):
                if end not in known:
                    raise _damaged(f"an edge names {what} port {end[1]} of layer {end[0]}, which is not there")
            if target in taken:
                raise _damaged(f"two edges lead to input port {target[1]} of layer {target[0]}")
            taken.add(target)
            self.document.edges.append(Edge(source, target))
        loose = next(iter(sorted(inputs - taken)), None)
        if loose is not None:
            name = self.document.layers[loose[0]].name
            raise _damaged(f"input port {loose[1]} of layer {name!r} is not connected to any edge")
        images = root.find(f"rt_info/{IMAGES}")
        self.document.images = "" if images is None else images.get("value", "")
        means = root.find("pre-process")
        if means is not None and self.document.is_legacy:
            self.document.pre_process.append(self._pre_process(means))

    def _layer(self, element: Element) -> Layer:
        precision = element.get("precision", self.document.precision).upper()
        name = _attribute(element, "name")
        if len(name) > limits.XML_NAME:
            # Whatever comes after importing, too, tells users where it is by the names of layers.
            expected = f"at most {limits.XML_NAME} {limits.XML_NAME.what}"
            raise _damaged("the name of a layer is too long", expected=expected, found=len(name))
        layer = Layer(_integer(element, "id"), name, _attribute(element, "type"), element.get("version", ""), precision)
        data = element.find("data")
        if data is not None:
            layer.attributes = dict(data.attrib)
        layer.inputs = [_port(port, "") for port in _children(element, "input", "port")]
        layer.outputs = [_port(port, precision) for port in _children(element, "output", "port")]
        ids = [port.id for port in (*layer.inputs, *layer.outputs)]
        if len(set(ids)) < len(ids):
            raise _damaged(f"two ports of layer {layer.name!r} have the same id")
        blobs = element.find("blobs")
        for blob in (*(() if blobs is None else blobs), *(e for e in element if e.tag in ("weights", "biases"))):
            if blob.tag in layer.blobs:
                raise _damaged(f"layer {layer.name!r} has two blobs named {blob.tag!r}")
            kind = blob.get("precision", precision or "FP32").upper()
            layer.blobs[blob.tag] = self._array(layer, _integer(blob, "offset"), _integer(blob, "size"), kind)
        if layer.type == "Const" and not self.document.is_legacy and data is not None:
            # Types that are not known stay bytes: that matters only if something reads them.
            kind = ELEMENT_TYPES.get(_attribute(data, "element_type").lower(), "U8")
            # OpenVINO writes a byte for an array without elements.
            is_empty = "0" in data.get("shape", "").replace(",", " ").split()
            size = 0 if is_empty else _integer(data, "size")
            layer.blobs["custom"] = self._array(layer, _integer(data, "offset"), size, kind)
        return layer

    def _array(self, layer: Layer, offset: int, size: int, precision: str) -> np.ndarray:
        """A view of the .bin file."""
        if not self._has_weights:
            raise _damaged(
                f"layer {layer.name!r} holds an array, but there is no .bin file",
                expected=self._looked_for and str(self._looked_for),
                hint=_HINT,
            )
        available = self.document.weights.size
        if offset < 0 or size < 0 or offset + size > available:
            raise _damaged(
                f"an array of layer {layer.name!r} lies outside the .bin file",
                expected=f"within {available} bytes",
                found=f"{size} bytes from {offset}",
                hint=_HINT,
            )
        dtype = np.dtype(PRECISIONS.get(precision, np.uint8))
        if size % dtype.itemsize:
            raise _damaged(
                f"an array of layer {layer.name!r} is no whole number of elements",
                expected=f"a multiple of {dtype.itemsize} bytes for {precision}",
                found=size,
            )
        key = offset, size, dtype.str
        if key not in self._views:
            self._views[key] = self.document.weights[offset : offset + size].view(dtype)
        return self._views[key]

    def _pre_process(self, element: Element) -> PreProcess:
        result = PreProcess(element.get("reference-layer-name", ""))
        kind = element.get("mean-precision", self.document.precision or "FP32").upper()
        owner = Layer(-1, "pre-process", "pre-process")
        for channel in element.findall("channel"):
            read = Channel(_integer(channel, "id"))
            mean, scale = channel.find("mean"), channel.find("scale")
            if mean is not None and mean.get("value") is not None:
                read.mean = _number(mean, "value")
            elif mean is not None:
                read.mean = self._array(owner, _integer(mean, "offset"), _integer(mean, "size"), kind)
            if scale is not None:
                read.scale = _number(scale, "value")
            result.channels.append(read)
        return result


def _children(parent: Element, group: str, tag: str) -> Iterator[Element]:
    found = parent.find(group)
    return iter(()) if found is None else (each for each in found if each.tag == tag)


def _port(element: Element, precision: str) -> Port:
    extents: list[int] = []
    for dim in element:
        if dim.tag == "dim":
            extent = _parse_integer((dim.text or "").strip(), "an extent of a port")
            if extent < OPEN or extent > limits.EXTENT:
                raise _damaged("an extent of a port is out of range", expected=f"0 to {limits.EXTENT}", found=extent)
            extents.append(extent)
    if len(extents) > limits.RANK:
        raise _damaged("a port has too many dimensions", expected=f"at most {limits.RANK}", found=len(extents))
    # A comma within a name is written with a backslash.
    parts = re.split(r"(?<!\\), ?", element.get("names", ""))
    names = tuple(part.replace("\\,", ",") for part in parts if part)
    return Port(_integer(element, "id"), tuple(extents), element.get("precision", precision).upper(), names)


def _attribute(element: Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise _damaged(f"a <{element.tag}> has no attribute {name!r}")
    return value


def _integer(element: Element, name: str, default: int | None = None) -> int:
    text = element.get(name)
    if text is None and default is not None:
        return default
    return _parse_integer(_attribute(element, name), f"attribute {name!r} of a <{element.tag}>")


def _parse_integer(text: str, what: str) -> int:
    try:
        # Longer ones mean nothing, and take long to convert.
        value = int(text) if len(text) <= 20 else None
    except ValueError:
        value = None
    if value is None:
        raise _damaged(f"{what} is no integer", found=repr(text[:60]))
    return value


def _number(element: Element, name: str) -> float:
    text = _attribute(element, name)
    try:
        return float(text)
    except ValueError:
        raise _damaged(f"attribute {name!r} of a <{element.tag}> is no number", found=repr(text[:60])) from None


def _damaged(message: str, expected: object = None, found: object = None, hint: str | None = None) -> ModelError:
    return ModelError(message, stage="import", expected=expected, found=found, hint=hint)
