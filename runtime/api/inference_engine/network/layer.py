"""IENetLayer: a layer of a network."""

from __future__ import annotations

import numpy as np

from ..errors import WrongTypeError
from ..layouts import layout_of
from ..precisions import checked_precision
from .data import DataPtr
from .document import Layer
from .state import NetworkState


class IENetLayer:
    """A layer of a network; ``net.layers`` makes it. What is set goes to the network itself."""

    def __init__(self, state: NetworkState, name: str) -> None:
        self._state = state
        self._name = name

    def _layer(self) -> Layer:
        return self._state.graph.layer(self._name)

    @property
    def name(self) -> str:
        """The name of the layer."""
        return self._name

    @property
    def type(self) -> str:
        """The type, such as ``Convolution``."""
        return self._state.graph.type(self._layer())

    @property
    def precision(self) -> str:
        """The precision that the file has it in, such as ``FP16``. What is set changes nothing of what is computed.

        Raises:
            ValueError, AttributeError: on setting, one error that is both: there is no such precision.
        """
        layer = self._layer()
        return layer.precision or (layer.outputs[0].precision if layer.outputs else "") or "FP32"

    @precision.setter
    def precision(self, precision: str) -> None:
        self._layer().precision = checked_precision(precision)

    @property
    def affinity(self) -> str:
        """The device that it is given to; empty for none.

        Raises:
            TypeError: on setting, something other than text.
        """
        return self._layer().affinity

    @affinity.setter
    def affinity(self, affinity: str) -> None:
        if not isinstance(affinity, str):
            raise WrongTypeError("a device is named by text", expected="such as 'CPU'", found=type(affinity).__name__)
        self._layer().affinity = affinity

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The arrays of the layer by name, mostly ``weights`` and ``biases``: flat, and the network's own memory.

        What is written to them is what plugins load afterwards. Arrays of half precision are float16. A file that
        holds equal arrays once has them in the same memory. Original: float16 arrays showed their bits, as integers.
        """
        return self._state.arrays(self._layer())

    @property
    def blobs(self) -> dict[str, np.ndarray]:
        """The same as `weights`, as later releases call it."""
        return self.weights

    @property
    def params(self) -> dict[str, str]:
        """A copy of the attributes of the layer, as text. Setting replaces them all; shapes follow when it is loaded.

        Raises:
            TypeError: on setting, a key or a value is no ``str``.
        """
        return dict(self._layer().attributes)

    @params.setter
    def params(self, params: dict[str, str]) -> None:
        if not isinstance(params, dict) or not all(type(text) is str for pair in params.items() for text in pair):
            raise WrongTypeError("Only string keys and values are allowed!")
        with self._state.lock:
            self._layer().attributes = dict(params)
            self._state.with_params.add(self._name)
            self._state.is_changed, self._state.is_settled = True, False

    @property
    def parents(self) -> list[str]:
        """The names of the layers that it reads, in the order of its inputs."""
        return list(dict.fromkeys(layer.name for layer, _ in self._state.graph.parents(self._layer())))

    @property
    def children(self) -> list[str]:
        """The names of the layers that read it."""
        return [layer.name for layer in self._state.graph.children(self._layer())]

    @property
    def shape(self) -> list[int]:
        """The shape of its first output."""
        layer = self._layer()
        return self._state.graph.shape(layer, 0) if layer.outputs else []

    @property
    def layout(self) -> str:
        """The layout of its first output."""
        layer = self._layer()
        return self._state.layout(layer, 0) if layer.outputs else layout_of(0)

    @property
    def out_data(self) -> list[DataPtr]:
        """What it gives."""
        layer = self._layer()
        names = self._state.graph.output_names(layer)
        return [DataPtr(self._state, name, layer.name, position) for position, name in enumerate(names)]

    @property
    def in_data(self) -> list[DataPtr]:
        """What it reads, without constants."""
        graph = self._state.graph
        ends = [(layer, layer.outputs.index(port)) for layer, port in graph.parents(self._layer())]
        return [DataPtr(self._state, graph.output_names(layer)[at], layer.name, at) for layer, at in ends]

    def __repr__(self) -> str:
        return f"<IENetLayer {self._name!r} of type {self.type}>"
