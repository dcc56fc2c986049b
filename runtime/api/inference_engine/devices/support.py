"""Which layers of a network each device takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tilewright.errors import ModelError

from ....compiler import reach
from ..snapshot import Snapshot
from .configuration import Configuration
from .names import CPU


class _DeviceLayers(Protocol):
    """What is asked of the class of this name in `tilewright.compiler.device.layers`."""

    @property
    def supported(self) -> frozenset[str]: ...

    @property
    def left(self) -> frozenset[str]: ...

    def affinity(self, wanted: Mapping[str, str]) -> dict[str, str]: ...


class Support:
    """The layers of a network that each device takes.

    The CPU takes every layer that the compiler knows, those of Python operator libraries included. The accelerator
    takes those of which it can run a part once the network is quantised, and those of which nothing is left to run,
    such as constants; it is asked about whole networks, and takes nothing of one that holds unknown layers.
    """

    def __init__(self, snapshot: Snapshot, configuration: Configuration) -> None:
        self._document = snapshot.document
        self._machine = configuration["TILEWRIGHT_MACHINE"] or None
        self._compiler = reach("device.layers", "asking which layers a device supports")
        self._known = frozenset(self._compiler.computable_layers(self._document))
        self._is_known = len(self._known) == len(snapshot.document.layers)
        self._layers: _DeviceLayers | None = None

    def __call__(self, device: str) -> frozenset[str]:
        """The layers that a device takes, by name.

        Raises:
            MachineError: the description of the accelerator is wrong.
        """
        if device == CPU:
            return self._known
        if not self._is_known:
            return frozenset()
        try:
            layers = self._device_layers()
        except ModelError:
            # Loading it is what tells why.
            return frozenset()
        return layers.supported | (self._known - layers.left)

    def affinity(self, places: Mapping[str, str]) -> dict[str, str]:
        """The places of layers, ``device`` or ``cpu``, as compiling takes them, which knows what is left of layers.

        Raises:
            TilewrightError: the network cannot be imported.
        """
        return self._device_layers().affinity(places)

    def _device_layers(self) -> _DeviceLayers:
        if self._layers is not None:
            return self._layers
        layers: _DeviceLayers = self._compiler.device_layers(self._document, self._machine)
        self._layers = layers
        return layers
