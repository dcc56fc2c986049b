"""What a network is at the moment: its document, what programs set beside it, and where it comes from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tilewright.errors import TilewrightError

from ....compiler import NotInstalledError, reach
from ..errors import InferenceEngineError
from ..layouts import layout_of
from .document import OPEN, Document, Layer
from .graph import Graph

_WHAT = "reshaping a network"


class Source(Protocol):
    """What makes a document for any shapes of the inputs: an ``OnnxSource`` of the compiler."""

    inputs: dict[str, tuple[int, ...]]

    def document(self, input_shapes: Mapping[str, Sequence[int]]) -> Document: ...

    def inputs_alone(self) -> Document: ...


@dataclass
class Settings:
    """What programs may set of an output of a layer.

    Attributes:
        precision: of the array that they write or read; ``None`` for the one that goes with the document's.
        layout: ``None`` for the one that goes with its rank.
    """

    precision: str | None = None
    layout: str | None = None


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

    def __init__(self, document: Document, source: Source | None = None) -> None:
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

        Args:
            shapes: of all inputs.
            what: what fails then, for the message.
            is_batch: whether the inputs differ in nothing but the batch.

        Raises:
            InferenceEngineError: a layer does not fit.
        """
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
            result.settings = {key: replace(setting) for key, setting in self.settings.items()}
            result.with_arrays, result.with_params = set(self.with_arrays), set(self.with_params)
            result.is_changed, result.is_settled = self.is_changed, self.is_settled
        return result

    def _ways(self, shapes: Mapping[str, Sequence[int]], *, is_batch: bool) -> list[Callable[[], Document]]:
        """What to try, best first.

        Converters write the batch into ``Reshape`` layers, where it is to follow that of the inputs; a literal reading
        would mix items. Documents of ONNX models hold constants that follow from other extents, so that the document
        that is there serves for another batch alone.
        """
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
    reach("frontend.ir.shapes", _WHAT).reshape(document, shapes, keeps_batch=keeps_batch)
    return document
