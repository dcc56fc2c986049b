"""The layers of a document as programs see them: who reads whom, and which arrays belong to which.

Documents of version 10 and later keep every array as a ``Const`` layer of its own. Programs of 2018 to 2020 saw none of
them: they saw the layers that compute something, with their arrays as ``weights`` and ``biases``. So it is here:
constants, what is computed of constants alone, and results are no layers, unless the network gives them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ....compiler import compiler_for
from ..constants import StatusCode, format_map
from ..errors import InferenceEngineError

if TYPE_CHECKING:
    from .....compiler.frontend.ir.document import Document, Layer, Port

OPEN = -1
"""What stands for an extent that a document leaves open."""

_TYPES = {
    "Parameter": "Input",
    "GroupConvolution": "Convolution",
    "ConvolutionBackpropData": "Deconvolution",
    "GroupConvolutionBackpropData": "Deconvolution",
    "Tanh": "TanH",
    "Elu": "ELU",
}
"""Types of version 10 and later that programs know by an older name."""

_SAME_ELEMENTS = ("Convert", "Reshape", "Squeeze", "Unsqueeze")
"""Layers behind which the array of a constant still is that array."""

_WEIGHTED = (
    *("Convolution", "GroupConvolution", "ConvolutionBackpropData", "GroupConvolutionBackpropData"),
    *("MatMul", "PReLU"),
)
"""Layers whose second input is their weights."""


class Graph:
    """A document, and what is looked up in it. It is made anew for other layers or edges.
    ``layers``: those that programs see, sorted by name."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self._by_name = {layer.name: layer for layer in document.layers.values()}
        self._sources = document.sources()
        self._readers: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for edge in document.edges:
            self._readers.setdefault(edge.source, []).append(edge.target)
        hidden = set() if document.is_legacy else self._hidden()
        shown = (layer for layer in document.layers.values() if layer.id not in hidden)
        self.layers = {layer.name: layer for layer in sorted(shown, key=lambda layer: layer.name)}

    def _hidden(self) -> set[int]:
        """The ids of constants, of what is computed of constants alone, and of results."""
        layers = self.document.layers
        unknown = {layer.id: len(layer.inputs) for layer in layers.values()}
        ready = [layer for layer in layers.values() if layer.type == "Const"]
        hidden = {layer.id for layer in ready}
        while ready:
            layer = ready.pop()
            for port in layer.outputs:
                for reader, _ in self._readers.get((layer.id, port.id), ()):
                    unknown[reader] -= 1
                    if not unknown[reader]:
                        hidden.add(reader)
                        ready.append(layers[reader])
        hidden -= {layer.id for layer, _ in self.document.outputs()}
        return hidden | {layer.id for layer in layers.values() if layer.type == "Result"}

    def layer(self, name: str) -> Layer:
        """The layer of that name, as it is now. Raises InferenceEngineError: there is none any more."""
        if name not in self._by_name:
            raise InferenceEngineError(f"the network no longer has a layer {name!r:.80}", StatusCode.NOT_FOUND)
        return self._by_name[name]

    def type(self, layer: Layer) -> str:
        """What programs call its type."""
        return layer.type if self.document.is_legacy else _TYPES.get(layer.type, layer.type)

    def parents(self, layer: Layer) -> list[tuple[Layer, Port]]:
        """What the layer reads, without constants."""
        ends = [self._sources.get((layer.id, port.id)) for port in layer.inputs]
        found = [self._port(end) for end in ends if end is not None]
        return [(parent, port) for parent, port in found if parent.name in self.layers]

    def children(self, layer: Layer) -> list[Layer]:
        """The layers that read it."""
        ends = [end for port in layer.outputs for end in self._readers.get((layer.id, port.id), ())]
        found = [self.document.layers[layer_id] for layer_id in dict.fromkeys(layer_id for layer_id, _ in ends)]
        return [child for child in found if child.name in self.layers]

    def arrays(self, layer: Layer) -> dict[str, np.ndarray]:
        """The flat arrays of a layer, by name; the network's own memory.

        In documents of version 10 and later, ``weights`` of convolutions, matrix products and slopes, and ``biases``
        where nothing but an addition of one number for each channel reads their result. Products and sums with a
        constant have it as ``weights`` and ``biases`` as well."""
        if self.document.is_legacy or layer.type == "Const":
            return dict(layer.blobs)
        found: dict[str, np.ndarray | None] = {}
        if layer.type in _WEIGHTED:
            found = {"weights": self._constant(layer, 1), "biases": self._biases(layer)}
        elif layer.type in ("Multiply", "Add"):
            found = {"weights" if layer.type == "Multiply" else "biases": self._operand(layer)}
        return {name: array for name, array in found.items() if array is not None}

    def _biases(self, layer: Layer) -> np.ndarray | None:
        children = self.children(layer)
        if len(children) != 1 or children[0].type != "Add" or not layer.outputs or len(layer.outputs[0].shape) < 2:
            return None
        array = self._operand(children[0])
        axis = -1 if layer.type == "MatMul" else 1
        return array if array is not None and array.size == layer.outputs[0].shape[axis] else None

    def _operand(self, layer: Layer) -> np.ndarray | None:
        """The array that one of the inputs reads; ``None`` where all are computed."""
        found = (self._constant(layer, index) for index in range(len(layer.inputs)))
        return next((array for array in found if array is not None), None)

    def _constant(self, layer: Layer, index: int) -> np.ndarray | None:
        """The array that an input reads; ``None`` where it is computed."""
        passed: set[int] = set()
        while index < len(layer.inputs) and layer.id not in passed:
            passed.add(layer.id)
            end = self._sources.get((layer.id, layer.inputs[index].id))
            if end is None:
                return None
            layer, index = self.document.layers[end[0]], 0
            if layer.type == "Const":
                return layer.blobs.get("custom")
            if layer.type not in _SAME_ELEMENTS:
                return None
        return None

    def inputs(self) -> dict[str, tuple[Layer, int]]:
        """The inputs of the network, sorted by name."""
        return {layer.name: (layer, 0) for layer in sorted(self.document.inputs(), key=lambda layer: layer.name)}

    def outputs(self) -> dict[str, tuple[Layer, int]]:
        """The outputs of the network: its own sorted by name, then added ones in the order of the calls."""
        document = self.document
        found = self._named(document.outputs())
        added = {(layer_id, position) for layer_id, position in document.added_outputs}
        own = {name: end for name, end in found.items() if (end[0].id, end[1]) not in added}
        return dict(sorted(own.items())) | {name: end for name, end in found.items() if name not in own}

    def is_output(self, layer: Layer, position: int) -> bool:
        """Whether the network gives an output of a layer."""
        return any(layer is each and position == at for each, at in self.outputs().values())

    def ends(self) -> dict[str, tuple[Layer, int]]:
        """Everything that layers give, by the name that it has as an output."""
        return self._named([(layer, port) for layer in self.layers.values() for port in layer.outputs])

    def output_names(self, layer: Layer) -> list[str]:
        """What the network calls the outputs of a layer."""
        with compiler_for("reading a network"):
            from .....compiler.frontend.ir.document import output_names
        return output_names(layer)

    def _named(self, ports: Iterable[tuple[Layer, Port]]) -> dict[str, tuple[Layer, int]]:
        ends: dict[tuple[int, int], tuple[str, int]] = {}
        found: dict[str, tuple[Layer, int]] = {}
        for layer, port in ports:
            if (layer.id, port.id) not in ends:
                named = enumerate(zip(layer.outputs, self.output_names(layer), strict=True))
                ends |= {(layer.id, each.id): (name, position) for position, (each, name) in named}
            name, position = ends[layer.id, port.id]
            found[name] = layer, position
        return found

    def precision(self, layer: Layer, position: int) -> str:
        """The precision that arrays have by default: single where the document has half."""
        port = layer.outputs[position]
        is_input = layer.type.lower() in ("input", "parameter")
        if self.document.is_legacy:
            known = {"Q78": "I16"}.get(port.precision, port.precision) if is_input else "FP32"
        else:
            known = port.precision
        return known if known in format_map and known != "FP16" else "FP32"

    def shape(self, layer: Layer, position: int) -> list[int]:
        """The shape of an output of a layer; 1 where the document leaves it open."""
        return [1 if extent == OPEN else extent for extent in layer.outputs[position].shape]

    @property
    def is_open(self) -> bool:
        """Whether an input has an open shape."""
        return any(OPEN in port.shape for layer in self.document.inputs() for port in layer.outputs)

    def _port(self, end: tuple[int, int]) -> tuple[Layer, Port]:
        layer = self.document.layers[end[0]]
        return layer, next(port for port in layer.outputs if port.id == end[1])
