"""What a network is at the moment: its document, what programs set beside it, and the files that it comes from."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tilewright.errors import ModelError, TilewrightError, resources
from tilewright.immutable import Immutable

from ....compiler import NotInstalledError, compiler_for
from ....files.input_file import input_file
from ..blobs import layout_of
from ..errors import (
    InferenceEngineError,
    MissingFileError,
    WrongTypeError,
    WrongValueError,
    checked_path,
    documented,
    is_empty,
)
from ..preprocessing import PreProcessInfo
from .graph import OPEN, Graph

if TYPE_CHECKING:
    from .....compiler.frontend.ir.document import Document, Layer
    from .....compiler.frontend.ir.shapes import OnnxSource

_START = 64
"""Bytes of a file that tell its format."""


class DataFacts(Immutable):
    """An input or an output as the user set it.

    Attributes:
        shape: in the order of the network, such as N, C, H, W, whatever the layout.
        precision: of the elements that programs write or read, such as ``U8``; the network itself computes what its
            layers say.
        layout: in which programs write an input: with ``NHWC`` they see an array (N, H, W, C). Nothing in the document
            knows of it.
        preprocessing: what is done to pictures for an input; means and scales stand in the document.
    """

    shape: tuple[int, ...]
    precision: str
    layout: str
    preprocessing: PreProcessInfo = field(default_factory=PreProcessInfo)


class Snapshot(Immutable):
    """What a plugin takes of a network: everything as it is at one moment, shared with nobody.

    Attributes:
        document: a copy of its own, with weights, affinities and added outputs. Its shapes are fixed.
        inputs: sorted by name, which is the name of the input in what the document is imported as.
        outputs: the network's own sorted by name, then added ones in the order of the calls. The name is that of the
            output in what the document is imported as.
        affinities: of the layers in `layer_types`; empty where nobody gave one.
        layer_types: the layers that programs see, sorted by name. In documents of version 10 and later, constants and
            what is computed of constants alone are not among them.
    """

    document: Document
    name: str
    inputs: dict[str, DataFacts]
    outputs: dict[str, DataFacts]
    affinities: dict[str, str]
    layer_types: dict[str, str]


@dataclass
class Settings:
    """What programs may set of an output of a layer.
    ``precision``: of the array that they write or read; ``None`` for the one that goes with the document's.
    ``layout``: ``None`` for the one that goes with its rank.
    ``preprocessing``: of an input."""

    precision: str | None = None
    layout: str | None = None
    preprocessing: PreProcessInfo = field(default_factory=PreProcessInfo)


class NetworkState:
    """A network, shared by all objects that show parts of it.

    Attributes:
        graph: replaced as a whole where layers become others.
        lock: held by who changes the network, or copies it.
        settings: by (name of the layer, position of the output).
        with_arrays, with_params: the names of layers whose arrays programs have, and whose attributes they have set.
        is_changed: whether the network may be another one than that of its file.
        is_settled: whether shapes are those that layers compute with the attributes that they have.
    """

    def __init__(self, document: Document, source: OnnxSource | None = None) -> None:
        self.graph = Graph(document)
        self.lock = threading.RLock()
        self.settings: dict[tuple[str, int], Settings] = {}
        self.with_arrays: set[str] = set()
        self.with_params: set[str] = set()
        self.is_changed, self.is_settled = False, True
        self._source = source

    def setting(self, layer: Layer, position: int) -> Settings:
        """What programs have set of an output of a layer, to be changed in place."""
        with self.lock:
            return self.settings.setdefault((layer.name, position), Settings())

    def precision(self, layer: Layer, position: int) -> str:
        """The precision of the arrays that programs write or read."""
        return self.setting(layer, position).precision or self.graph.precision(layer, position)

    def layout(self, layer: Layer, position: int) -> str:
        """The layout of an output of a layer."""
        return self.setting(layer, position).layout or layout_of(len(layer.outputs[position].shape))

    def arrays(self, layer: Layer) -> dict[str, np.ndarray]:
        """The arrays of a layer for programs, which may write to them."""
        with self.lock:
            self.with_arrays.add(layer.name)
            self.is_changed = True
            return self.graph.arrays(layer)

    def reshape(self, shapes: Mapping[str, Sequence[int]], what: str, *, is_batch: bool = False) -> None:
        """Work out all shapes anew; where that fails, the network stays as it was.
        ``shapes``: of all inputs.
        ``what``: what fails then, for the message.
        ``is_batch``: whether the inputs differ in nothing but the batch.
        Raises InferenceEngineError: a layer does not fit."""
        error: TilewrightError | None = None
        for way in self._ways(shapes, is_batch=is_batch):
            try:
                document = way()
            except NotInstalledError:
                raise
            except TilewrightError as failure:
                error = error or failure
            else:
                self.graph, self.is_changed, self.is_settled = Graph(document), True, True
                return
        raise InferenceEngineError(f"{what}: {error}") from error

    def settle(self) -> None:
        """Work out all shapes anew where attributes have been set; loading tells what is wrong with them."""
        if not self.is_settled:
            shapes = {name: self.graph.shape(*end) for name, end in self.graph.inputs().items()}
            with suppress(TilewrightError):
                _reshaped(self.graph.document, shapes)
                self.is_settled = True

    def copy(self) -> NetworkState:
        """One of its own, of the same source."""
        with self.lock:
            result = NetworkState(self.graph.document.copy(), self._source)
            result.settings = {key: deepcopy(setting) for key, setting in self.settings.items()}
            result.with_arrays, result.with_params = set(self.with_arrays), set(self.with_params)
            result.is_changed, result.is_settled = self.is_changed, self.is_settled
        return result

    def _ways(self, shapes: Mapping[str, Sequence[int]], *, is_batch: bool) -> list[Callable[[], Document]]:
        """What to try, best first.

        Converters write the batch into ``Reshape`` layers, where it is to follow that of the inputs; a literal reading
        would mix items. Documents of ONNX models hold constants that follow from other extents, so that the document
        that is there serves for another batch alone."""
        document, source = self.graph.document, self._source
        keep = [lambda: _reshaped(document, shapes, keeps_batch=True)] if self.graph.outputs() else []
        if source is None:
            return [*keep, lambda: _reshaped(document, shapes)]
        again = [lambda: self._again(shapes)]
        if is_batch:
            return [*keep, *again]
        declared = {name: (source.inputs.get(name) or (OPEN,))[0] for name, shape in shapes.items() if len(shape)}
        if OPEN not in declared.values() and any(shapes[name][0] != batch for name, batch in declared.items()):
            ours = {name: [declared.get(name), *shape[1:]] if len(shape) else shape for name, shape in shapes.items()}
            again.insert(0, lambda: _reshaped(self._again(ours), shapes, keeps_batch=True))
        return [*again, *keep]

    def _again(self, shapes: Mapping[str, Sequence[int]]) -> Document:
        """A document of the source, with what programs have changed so far."""
        assert self._source is not None
        old, new = self.graph, Graph(self._source.document(shapes))
        document = new.document
        by_name = {layer.name: layer for layer in document.layers.values()}
        for name, layer in old.layers.items():
            if layer.affinity and name in by_name:
                by_name[name].affinity = layer.affinity
        for name in (self.with_params & by_name.keys() & old.layers.keys()) - new.inputs().keys():
            by_name[name].attributes = dict(old.layers[name].attributes)
        for name in self.with_arrays & by_name.keys() & old.layers.keys():
            arrays = new.arrays(by_name[name])
            for key, array in old.arrays(old.layers[name]).items():
                if key in arrays and arrays[key].size == array.size:
                    arrays[key][:] = array
        for layer_id, position in old.document.added_outputs:
            name = old.document.layers[layer_id].name
            if name not in by_name or position >= len(by_name[name].outputs):
                raise InferenceEngineError(f"the added output {name!r} is not there any more")
            document.added_outputs.append((by_name[name].id, position))
        return document


def _reshaped(document: Document, shapes: Mapping[str, Sequence[int]], *, keeps_batch: bool = False) -> Document:
    with compiler_for("reshaping a network"):
        from .....compiler.frontend.ir.shapes import reshape
    reshape(document, shapes, keeps_batch=keeps_batch)
    return document


@documented
@resources("import")
def read_network(model: object, weights: object, *, are_contents: bool) -> NetworkState:
    """The network of two files, or of their contents.

    Args:
        weights: the .bin file. If its path is empty, it is the one beside the .xml file.

    Raises:
        FileNotFoundError: a path does not exist, or is a folder.
        TypeError: one is no path, or no bytes.
        ValueError: there are weights without a model.
        RuntimeError: the files are damaged, or use something that is not implemented.
    """
    if are_contents:
        kinds = (bytes, bytearray, memoryview)
        weights = b"" if is_empty(weights) else weights
        if not isinstance(model, kinds) or not isinstance(weights, kinds):
            found = f"{type(model).__name__} and {type(weights).__name__}"
            raise WrongTypeError("model and weights are no contents", expected="bytes", found=found)
        given, beside = bytes(model), bytes(weights) or None
        is_xml = _is_xml(given)
    else:
        if is_empty(model):
            raise WrongValueError("weights are given without a model", hint="Give both paths, or none.")
        given = _existing(model, "model")
        beside = None if is_empty(weights) else _existing(weights, "weights")
        is_xml = given.lower().endswith(".xml") or _is_xml(_start_of(given))
    with compiler_for("reading a network"):
        from .....compiler.frontend.ir.reader import read_document
        from .....compiler.frontend.ir.shapes import OnnxSource

    if is_xml:
        return _settled(NetworkState(read_document(given, beside)))
    if beside is not None and _is_xml(beside if isinstance(beside, bytes) else _start_of(beside)):
        hint = "Give the .xml file first, then the .bin file."
        raise ModelError("the weights are text in XML, and the model is none", stage="import", hint=hint)
    source = OnnxSource(given)
    if any(OPEN in shape for shape in source.inputs.values()):
        return _settled(NetworkState(source.inputs_alone(), source))
    return NetworkState(source.document(source.inputs), source)


def _settled(state: NetworkState) -> NetworkState:
    """A network with 1 for what its shapes leave open, where that fits; otherwise programs have to give others."""
    for layer in state.graph.document.inputs():
        if len(layer.outputs) != 1 or layer.inputs:
            found = f"{len(layer.inputs)} inputs and {len(layer.outputs)} outputs"
            raise ModelError(
                "an input of the network does not give one array", stage="import", node=layer.name, found=found
            )
    if state.graph.is_open:
        shapes = {name: state.graph.shape(*end) for name, end in state.graph.inputs().items()}
        with suppress(InferenceEngineError):
            state.reshape(shapes, "1 does not fit")
        state.is_changed = False
    return state


def _start_of(path: str) -> bytes:
    with input_file(path, ModelError, "import") as file:
        return file.read(_START)


def _is_xml(start: bytes) -> bool:
    """Whether a file begins like text in XML, whatever its encoding."""
    return start[:_START].lstrip(b"\xef\xbb\xbf\xfe\xff\0 \t\r\n").startswith(b"<")


def _existing(path: object, what: str) -> str:
    name = checked_path(path, f"the {what}")
    if "\0" in name or not os.path.exists(name) or os.path.isdir(name):
        raise MissingFileError(f"Path to the {what} {repr(name)[1:-1]:.200} doesn't exist or it's a directory")
    return name
