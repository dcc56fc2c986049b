"""Graphs as text for Graphviz: which device each layer was given to, which subgraph it is in, what is executed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tilewright.errors import OutputError

from ....files.output_file import output_file
from ..errors import InferenceEngineError
from .graph import LayerGraph
from .names import base

COLOURS = {"CPU": "#5A5DF0", "FPGA": "#20F608", "GPU": "#F1F290"}
OTHER = "#11F110"

_PALETTE = ("#5A5DF0", "#20F608", "#F1F290", "#FFC405", "#20F6F3", "#F2F2F2", "#FF7F50", "#D2A5F0")
"""Colours of subgraphs, in turn."""

_NAME = 128
"""Characters of a network's name in the name of a file."""


def affinity_graph(graph: LayerGraph, devices: Mapping[str, str]) -> str:
    """Each layer with the device that it was given to."""
    nodes = {
        name: ([name, type, devices.get(name, "")], COLOURS.get(base(devices.get(name, "")), OTHER))
        for name, type in graph.types.items()
    }
    return graph_text(nodes, graph.readers)


def subgraphs_graph(graph: LayerGraph, devices: Mapping[str, str], subgraphs: Mapping[str, int]) -> str:
    """Each layer with the device that it was given to, and the number of its subgraph."""
    nodes = {
        name: (
            [name, type, devices.get(name, ""), f"subgraph{subgraphs[name]}"],
            _PALETTE[(subgraphs[name] - 1) % len(_PALETTE)],
        )
        for name, type in graph.types.items()
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


def write(path: str, text: str) -> None:
    """Write a graph.

    Raises:
        InferenceEngineError: the file cannot be written.
    """
    try:
        with output_file(path) as file:
            file.write(text.encode(errors="replace"))
    except OutputError as error:
        raise InferenceEngineError(str(error)) from error
