"""Layers, inputs and outputs of networks, in the form that programs of 2018 and of later releases both understand.

Until 2018 R3, ``net.inputs[name]`` was the shape, a list; later an object that has one. Until 2018 R3, ``net.outputs``
was a list of names; later a dictionary by name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..blobs import TensorDesc, checked_layout, checked_precision, layout_of, layouts_for
from ..errors import WrongSettingError, WrongTypeError, WrongValueError, checked_text, shown
from ..preprocessing import PreProcessInfo
from .state import NetworkState

if TYPE_CHECKING:
    from .....compiler.frontend.ir.document import Layer

Value = TypeVar("Value")


class DataPtr(list[int]):
    """What a layer gives: an input or an output of the network, or a value between layers.

    As a list, it is the shape as it was when it was asked for, in the order of the network, such as N, C, H, W.
    Two are equal where their shapes are.
    ``initialized``: whether it belongs to a network, as every one does."""

    initialized = True

    def __init__(self, state: NetworkState, name: str, layer: str, position: int) -> None:
        self._state, self._name, self._layer, self._position = state, name, layer, position
        super().__init__(self.shape)

    def _owner(self) -> Layer:
        return self._state.graph.layer(self._layer)

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @property
    def shape(self) -> list[int]:
        """The shape as it is now, in the order of the network whatever the layout."""
        return self._state.graph.shape(self._owner(), self._position)

    @property
    def precision(self) -> str:
        """The precision of the arrays that programs write or read, such as ``FP32`` or ``U8``.

        Raises:
            ValueError, AttributeError: on setting, one error that is both: there is no such precision.
        """
        return self._state.precision(self._owner(), self._position)

    @precision.setter
    def precision(self, precision: str) -> None:
        self._state.setting(self._owner(), self._position).precision = checked_precision(precision)

    @property
    def layout(self) -> str:
        """The order in which programs write or read the dimensions, such as ``NCHW`` or ``NHWC``.

        Raises:
            ValueError, AttributeError: on setting, one error that is both: there is no such layout, it is one of
                another number of dimensions, or one in another order for what is no input. Original: took outputs
                in another order as well.
        """
        return self._state.layout(self._owner(), self._position)

    @layout.setter
    def layout(self, layout: str) -> None:
        expected = layouts_for(len(self.shape), is_input=self._layer in self._state.graph.inputs())
        if checked_layout(layout) not in expected:
            raise WrongSettingError(
                f"{self._name!r} cannot have this layout", expected=" or ".join(expected), found=shown(layout)
            )
        self._state.setting(self._owner(), self._position).layout = layout

    def __reduce__(self) -> tuple[type[list[int]], tuple[list[int]]]:
        """Copies and what other processes receive are the shape alone."""
        return list, (list(self),)

    @property
    def tensor_desc(self) -> TensorDesc:
        """What the blob of it holds."""
        return TensorDesc(self.precision, self.shape, self.layout)

    @property
    def input_data(self) -> DataPtr:
        """Itself: what ``net.input_info[name]`` of 2021 has the shape in."""
        return self


class InputInfo(DataPtr):
    """An input of a network."""

    @property
    def preprocess_info(self) -> PreProcessInfo:
        """What is done to the input before the network computes, to be changed in place before it is loaded."""
        return self._state.setting(self._owner(), self._position).preprocessing


class OutputInfo(DataPtr):
    """An output of a network."""


class Outputs(dict[str, Value]):
    """Outputs by name, which are a list of their names as well: ``outputs[0]`` is the first name.

    It equals a list or tuple of its names, and a dictionary with the same entries."""

    def __getitem__(self, key: Any, /) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else list(self)[key]

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, (list, tuple)) else super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None

    def __add__(self, other: Iterable[str]) -> list[str]:
        return [*self, *other]

    def __radd__(self, other: Iterable[str]) -> list[str]:
        return [*other, *self]

    def index(self, name: str) -> int:
        """The place of a name. Raises ValueError: there is no such output."""
        if not self.count(name):
            raise WrongValueError("there is no such output", expected=" or ".join(self), found=shown(name))
        return list(self).index(name)

    def count(self, name: str) -> int:
        """1 for the name of an output, otherwise 0."""
        return int(isinstance(name, str) and name in self)


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
        Raises TypeError: on setting, something other than text."""
        return self._layer().affinity

    @affinity.setter
    def affinity(self, affinity: str) -> None:
        self._layer().affinity = checked_text(affinity, "a device", "'CPU'")

    @property
    def weights(self) -> dict[str, np.ndarray]:
        """The arrays of the layer by name, mostly ``weights`` and ``biases``: flat, and the network's own memory.

        What is written to them is what plugins load afterwards. Arrays of half precision are float16. A file that
        holds equal arrays once has them in the same memory. Original: float16 arrays showed their bits, as integers."""
        return self._state.arrays(self._layer())

    blobs = weights

    @property
    def params(self) -> dict[str, str]:
        """A copy of the attributes of the layer, as text. Setting replaces them all; shapes follow when it is loaded.
        Raises TypeError: on setting, a key or a value is no ``str``."""
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
