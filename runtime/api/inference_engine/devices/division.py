"""How a network is divided among devices: the graph of its layers, which layers each takes, the default policy, and
what users say; and graphs as text for Graphviz.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from tilewright.errors import ModelError, OutputError, first_of, warn
from tilewright.immutable import Immutable

from ....compiler import compiler_for
from ....files.output_file import write_file
from ..constants import CPU, StatusCode, known_plugins
from ..errors import DeviceWarning, InferenceEngineError
from ..network.state import Snapshot
from .configuration import Configuration
from .names import PRESENT, base, next_present

if TYPE_CHECKING:
    from .....compiler.device.layers import DeviceLayers
    from .....compiler.frontend.ir.document import Document

_COMPUTE_NOTHING = ("const", "constant", "input", "parameter", "output", "result")


class LayerGraph(Immutable):
    """Layers by name.
    ``types``: in an order in which each layer comes after those that it reads.
    ``readers``: for each layer those that read it."""

    types: Mapping[str, str]
    readers: Mapping[str, Sequence[str]]

    @staticmethod
    def of(document: Document) -> LayerGraph:
        """The graph of a document. Raises InferenceEngineError: it has a cycle."""
        names = {key: layer.name for key, layer in document.layers.items()}
        readers: dict[str, dict[str, None]] = {name: {} for name in names.values()}
        read: dict[str, dict[str, None]] = {name: {} for name in names.values()}
        for edge in document.edges:
            source, target = names[edge.source[0]], names[edge.target[0]]
            readers[source][target] = read[target][source] = None
        types = {layer.name: layer.type for layer in document.layers.values()}
        try:
            ordered = {name: types[name] for name in TopologicalSorter(read).static_order()}
        except CycleError:
            raise InferenceEngineError("the network has a cycle") from None
        return LayerGraph(ordered, {name: tuple(targets) for name, targets in readers.items()})

    def computes(self, name: str) -> bool:
        """Whether a layer computes something: neither an input nor a result, nor a constant."""
        return self.types[name].lower() not in _COMPUTE_NOTHING

    def subgraphs(self, devices: Mapping[str, str]) -> dict[str, int]:
        """The number of the subgraph of each layer, from 1, in an order in which each comes after those that it reads.

        A subgraph is connected and on one device, and no path leaves it and comes back.
        ``devices``: of the layers that need one. Inputs and constants go with the first of those that read them, a
        result with what it reads."""
        given = dict(devices)
        for name in reversed([*self.types]):
            if name not in given:
                given[name] = next((given[reader] for reader in self.readers[name] if reader in given), "")
        for name in self.types:
            for reader in self.readers[name]:
                given[reader] = given[reader] or given[name]
        levels = dict.fromkeys(self.types, 0)
        for name in self.types:
            for reader in self.readers[name]:
                levels[reader] = max(levels[reader], levels[name] + (given[name] != given[reader]))
        for name in reversed([*self.types]):
            # Nothing that computes comes before these.
            if name not in devices and self.readers[name]:
                levels[name] = max(levels[name], min(levels[reader] for reader in self.readers[name]))
        groups = self._connected(given, levels)
        order = sorted(dict.fromkeys(groups.values()), key=lambda first: levels[first])
        numbers = {first: number for number, first in enumerate(order, 1)}
        return {name: numbers[first] for name, first in groups.items()}

    def _connected(self, devices: Mapping[str, str], levels: Mapping[str, int]) -> dict[str, str]:
        """For each layer the first of those that it is connected with on its device and level."""
        first = {name: name for name in self.types}

        def root(name: str) -> str:
            while first[name] != name:
                first[name] = first[first[name]]
                name = first[name]
            return name

        order = {name: index for index, name in enumerate(self.types)}
        for name in self.types:
            for reader in self.readers[name]:
                if devices[name] == devices[reader] and levels[name] == levels[reader]:
                    low, high = sorted((root(name), root(reader)), key=order.__getitem__)
                    first[high] = low
        return {name: root(name) for name in self.types}


COLOURS = {"CPU": "#5A5DF0", "FPGA": "#20F608", "GPU": "#F1F290"}
OTHER = "#11F110"

_PALETTE = ("#5A5DF0", "#20F608", "#F1F290", "#FFC405", "#20F6F3", "#F2F2F2", "#FF7F50", "#D2A5F0")
"""Colours of subgraphs, in turn."""

_NAME = 128
"""Characters of a network's name in the name of a file."""


def affinity_graph(graph: LayerGraph, devices: Mapping[str, str]) -> str:
    """Each layer with the device that it was given to."""
    given = {name: devices.get(name, "") for name in graph.types}
    nodes = {name: ([name, graph.types[name], at], COLOURS.get(base(at), OTHER)) for name, at in given.items()}
    return graph_text(nodes, graph.readers)


def subgraphs_graph(graph: LayerGraph, devices: Mapping[str, str], subgraphs: Mapping[str, int]) -> str:
    """Each layer with the device that it was given to, and the number of its subgraph."""
    nodes = {
        name: ([name, type, devices.get(name, ""), f"subgraph{number}"], _PALETTE[(number - 1) % len(_PALETTE)])
        for (name, type), number in zip(graph.types.items(), map(subgraphs.__getitem__, graph.types), strict=True)
    }
    return graph_text(nodes, graph.readers)


def graph_text(nodes: Mapping[str, tuple[Sequence[str], str]], readers: Mapping[str, Sequence[str]]) -> str:
    """A graph of nodes by name, each with the lines of its label and its colour, and for each those that read it."""
    numbers = {name: f"layer{index}" for index, name in enumerate(nodes)}
    lines = ["strict digraph Network {"]
    for name, (labels, colour) in nodes.items():
        label = "\\n".join(_escaped(each) for each in labels if each)
        lines.append(f'{numbers[name]} [shape=box, style=filled, fillcolor="{colour}", label="{label}"];')
    lines += [f"{numbers[name]} -> {numbers[reader]};" for name in nodes for reader in readers[name]]
    return "\n".join([*lines, "}", ""])


def _escaped(text: str) -> str:
    plain = "".join(character if character.isprintable() else " " for character in text)
    return plain.replace("\\", "\\\\").replace('"', '\\"')


def file_name(kind: str, network: str) -> str:
    """``hetero_KIND_NETWORK.dot``, with ``_`` for what a file cannot be named."""
    return f"hetero_{kind}_{re.sub(r'[^0-9A-Za-z._+=@ -]', '_', network)[:_NAME]}.dot"


def write_graph(path: str, text: str) -> None:
    """Write a graph. Raises InferenceEngineError: the file cannot be written."""
    try:
        write_file(path, text.encode(errors="replace"))
    except OutputError as error:
        raise InferenceEngineError(str(error)) from error


class Support:
    """The layers of a network that each device takes.

    The CPU takes every layer that the compiler knows, those of Python operator libraries included. The accelerator
    takes those of which it can run a part once the network is quantised, and those of which nothing is left to run,
    such as constants; it is asked about whole networks, and takes nothing of one that holds unknown layers."""

    def __init__(self, snapshot: Snapshot, configuration: Configuration) -> None:
        self._document = snapshot.document
        self._machine = configuration["TILEWRIGHT_MACHINE"] or None
        with compiler_for("asking which layers a device supports"):
            from .....compiler.device.layers import computable_layers
        self._known = frozenset(computable_layers(self._document))
        self._is_known = len(self._known) == len(snapshot.document.layers)
        self._layers: DeviceLayers | None = None

    def __call__(self, device: str) -> frozenset[str]:
        """The layers that a device takes, by name. Raises MachineError: the description of the accelerator is wrong."""
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
        """The places of layers, ``device`` or ``cpu``, as compiling takes them, which knows what is left of layers."""
        return self._device_layers().affinity(places)

    def _device_layers(self) -> DeviceLayers:
        from .....compiler.device.layers import device_layers

        self._layers = self._layers or device_layers(self._document, self._machine)
        return self._layers


Supported = Callable[[str], frozenset[str]]
"""The layers that a device which is there supports, by its name."""

_SHOWN = 4


class Division(Immutable):
    """How a network is divided.
    ``given``: the device of each layer as the user or the default policy chose it, by the name of the layer.
    ``devices``: where each of these layers runs.
    ``subgraphs``: the number of the subgraph of every layer, from 1."""

    given: Mapping[str, str]
    devices: Mapping[str, str]
    subgraphs: Mapping[str, int]


def default_policy(graph: LayerGraph, fallback: Sequence[str], supported: Supported) -> dict[str, str]:
    """The first device of the list that supports each layer; layers are left out that none supports.
    Raises InferenceEngineError: there is no list."""
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
    ``affinities``: of the layers that users see, by name; where all are empty, the default policy chooses.
    Raises InferenceEngineError: a layer has no device, or one that cannot run it."""
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
    shown = first_of([*map(repr, names)], _SHOWN)
    return f"layers {shown} are" if len(names) > 1 else f"layer {shown} is"
