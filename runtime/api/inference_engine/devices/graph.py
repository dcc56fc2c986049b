"""A network as a graph of layers, for dividing it among devices, and graphs as text for Graphviz."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from tilewright.errors import OutputError

from ....files.output_file import output_file
from ..errors import InferenceEngineError
from .names import base

if TYPE_CHECKING:
    from .....compiler.frontend.ir.document import Document

_COMPUTE_NOTHING = ("const", "constant", "input", "parameter", "output", "result")


@dataclass(frozen=True)
class LayerGraph:
    """Layers by name.

    Attributes:
        types: in an order in which each layer comes after those that it reads.
        readers: for each layer those that read it.
    """

    types: Mapping[str, str]
    readers: Mapping[str, Sequence[str]]

    @staticmethod
    def of(document: Document) -> LayerGraph:
        """The graph of a document.

        Raises:
            InferenceEngineError: it has a cycle.
        """
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

        Args:
            devices: of the layers that need one. Inputs and constants go with the first of those that read them, a
                result with what it reads.
        """
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
    """Write a graph.

    Raises:
        InferenceEngineError: the file cannot be written.
    """
    try:
        with output_file(path) as file:
            file.write(text.encode(errors="replace"))
    except OutputError as error:
        raise InferenceEngineError(str(error)) from error
