"""Inputs and outputs of networks, in the form that programs of 2018 and of later releases both understand.

Until 2018 R3, ``net.inputs[name]`` was the shape, a list; later an object that has one. Until 2018 R3, ``net.outputs``
was a list of names; later a dictionary by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import SupportsIndex, TypeVar, overload

from ..errors import WrongSettingError
from ..layouts import layouts_for
from ..precisions import checked_precision
from .document import Layer
from .state import NetworkState

Value = TypeVar("Value")


class DataPtr(list[int]):
    """What a layer gives: an input or an output of the network, or a value between layers.

    As a list, it is the shape as it was when it was asked for, in the order of the network, such as N, C, H, W.
    Two are equal where their shapes are.
    """

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
        if layout not in expected:
            raise WrongSettingError(
                f"{self._name!r} cannot have this layout",
                expected=" or ".join(expected),
                found=f"{layout!r:.60}",
            )
        self._state.setting(self._owner(), self._position).layout = layout

    def __reduce__(self) -> tuple[type[list[int]], tuple[list[int]]]:
        """Copies and what other processes receive are the shape alone."""
        return list, (list(self),)

    @property
    def initialized(self) -> bool:
        """Whether it belongs to a network, as every one does."""
        return True

    @property
    def input_data(self) -> DataPtr:
        """Itself: what ``net.input_info[name]`` of 2021 has the shape in."""
        return self


class InputInfo(DataPtr):
    """An input of a network."""


class OutputInfo(DataPtr):
    """An output of a network."""


class Outputs(dict[str, Value]):
    """Outputs by name, which are a list of their names as well: ``outputs[0]`` is the first name.

    It equals a list or tuple of its names, and a dictionary with the same entries.
    """

    @overload
    def __getitem__(self, key: str, /) -> Value: ...
    @overload
    def __getitem__(self, key: SupportsIndex, /) -> str: ...
    @overload
    def __getitem__(self, key: slice, /) -> list[str]: ...
    def __getitem__(self, key: str | SupportsIndex | slice, /) -> Value | str | list[str]:
        if isinstance(key, str):
            return super().__getitem__(key)
        return list(self)[key]

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
        """The place of a name.

        Raises:
            ValueError: there is no such output.
        """
        return list(self).index(name)

    def count(self, name: str) -> int:
        """1 for the name of an output, otherwise 0."""
        return int(name in self)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))
