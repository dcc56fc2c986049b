"""How a network is divided among devices: which layers each takes, the default policy, and what users say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.errors import ModelError, warn

from ....compiler import compiler_for
from ..constants import CPU, StatusCode, known_plugins
from ..errors import DeviceWarning, InferenceEngineError
from ..network.state import Snapshot
from .configuration import Configuration
from .graph import LayerGraph
from .names import PRESENT, base, next_present

if TYPE_CHECKING:
    from .....compiler.device.layers import DeviceLayers


class Support:
    """The layers of a network that each device takes.

    The CPU takes every layer that the compiler knows, those of Python operator libraries included. The accelerator
    takes those of which it can run a part once the network is quantised, and those of which nothing is left to run,
    such as constants; it is asked about whole networks, and takes nothing of one that holds unknown layers.
    """

    def __init__(self, snapshot: Snapshot, configuration: Configuration) -> None:
        self._document = snapshot.document
        self._machine = configuration["TILEWRIGHT_MACHINE"] or None
        with compiler_for("asking which layers a device supports"):
            from .....compiler.device.layers import computable_layers
        self._known = frozenset(computable_layers(self._document))
        self._is_known = len(self._known) == len(snapshot.document.layers)
        self._layers: DeviceLayers | None = None

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

    def _device_layers(self) -> DeviceLayers:
        from .....compiler.device.layers import device_layers

        layers = self._layers or device_layers(self._document, self._machine)
        self._layers = layers
        return layers


Supported = Callable[[str], frozenset[str]]
"""The layers that a device which is there supports, by its name."""

_SHOWN = 4


@dataclass(frozen=True)
class Division:
    """How a network is divided.

    Attributes:
        given: the device of each layer as the user or the default policy chose it, by the name of the layer.
        devices: where each of these layers runs.
        subgraphs: the number of the subgraph of every layer, from 1.
    """

    given: Mapping[str, str]
    devices: Mapping[str, str]
    subgraphs: Mapping[str, int]


def default_policy(graph: LayerGraph, fallback: Sequence[str], supported: Supported) -> dict[str, str]:
    """The first device of the list that supports each layer; layers are left out that none supports.

    Raises:
        InferenceEngineError: there is no list.
    """
    if not fallback:
        raise InferenceEngineError(
            "the order of devices is not initialised",
            expected="a device such as 'HETERO:FPGA,CPU', or the key TARGET_FALLBACK",
            hint="Call set_config({'TARGET_FALLBACK': 'FPGA,CPU'}) first.",
        )
    present = [name for name in fallback if base(name) in PRESENT]
    layers = {name: supported(base(name)) for name in present}
    first = {layer: next((name for name in present if layer in layers[name]), None) for layer in graph.types}
    return {layer: device for layer, device in first.items() if device is not None}


def divide(graph: LayerGraph, affinities: Mapping[str, str], fallback: Sequence[str], supported: Supported) -> Division:
    """Divide a network for loading.

    Args:
        affinities: of the layers that users see, by name; where all are empty, the default policy chooses.

    Raises:
        InferenceEngineError: a layer has no device, or one that cannot run it.
    """
    given = {name: affinities[name] for name in graph.types if affinities.get(name)}
    is_default = not given
    if is_default:
        given = default_policy(graph, fallback, supported)
    needing = [name for name in graph.types if name in affinities and graph.computes(name)]
    missing = [name for name in needing if name not in given]
    if missing and is_default:
        raise InferenceEngineError(
            f"the default policy found no device for layer {missing[0]!r} of type {graph.types[missing[0]]!r}",
            StatusCode.NOT_FOUND,
            expected=f"a layer that one of {', '.join(fallback)} supports",
        )
    if missing:
        raise InferenceEngineError(
            f"affinities were set by hand, and layer {missing[0]!r} has none",
            expected="a device for every layer, or for none",
            found=f"{len(missing)} layers without",
            hint="Call set_initial_affinity first, or set net.layers[name].affinity for all layers.",
        )
    devices = _devices({name: given[name] for name in needing}, graph, fallback, supported)
    return Division(given, devices, graph.subgraphs({name: given[name] for name in needing}))


def _devices(
    given: Mapping[str, str], graph: LayerGraph, fallback: Sequence[str], supported: Supported
) -> dict[str, str]:
    """Where each layer runs, with a warning where that is not the device that it was given to."""
    layers: dict[str, frozenset[str]] = {}
    found: dict[str, str] = {}
    moved: dict[tuple[str, str], list[str]] = {}
    for name, device in given.items():
        if base(device) not in known_plugins:
            raise InferenceEngineError(
                f"layer {name!r} has the affinity {device[:60]!r}",
                StatusCode.NOT_FOUND,
                expected=f"one of {', '.join(PRESENT)}, or a device that is not here",
            )
        candidates = next_present(device, fallback)
        for candidate in candidates:
            if candidate not in layers:
                layers[candidate] = supported(candidate)
        chosen = next((each for each in candidates if name in layers[each]), None)
        if chosen is None:
            raise InferenceEngineError(
                f"layer {name!r} of type {graph.types[name]!r} was given to {device}, which does not support it",
                StatusCode.NOT_IMPLEMENTED,
                hint="get_supported_layers tells which layers a device takes.",
            )
        found[name] = chosen
        if chosen != base(device):
            moved.setdefault((device, chosen), []).append(name)
    if moved:
        parts = [
            f"{_listed(names)} given to {there}, which is not here, and run{'s' if len(names) == 1 else ''} on {here}"
            for (there, here), names in moved.items()
        ]
        warn("; ".join(parts), DeviceWarning)
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_SHOWN]))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"layers {shown}{more} are" if len(names) > 1 else f"layer {shown} is"
