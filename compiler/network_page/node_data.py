"""Layers as JSON for Model Explorer: data that lie over the graph of the source model, and the compiled network itself.

*Node data* are results by name of a node, with colours; a file of them names no graph, and so is for the one that is
shown. Names are those that Netron shows, which adapters for ONNX take for the identifiers of nodes. *Graphs* are nodes
with attributes and incoming edges. Both as Model Explorer documents them, in its API guide.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .graph import edges_of
from .layers import ACCELERATOR, CPU, NOWHERE, REFERENCE, Layer, layer_table

_COLOURS = {ACCELERATOR: "#b6e3c0", CPU: "#b9d6f7", REFERENCE: "#f7c3a5", NOWHERE: "#ffffff"}
_SEVERAL = "#e5d5f5"
"""Of a node whose layers run in several places."""

_GRADIENT = [{"stop": 0, "bgColor": "#f3f4f6"}, {"stop": 1, "bgColor": "#f08a3e"}]

_AMOUNTS: Mapping[str, Callable[[Layer], float]] = {
    "modelled_us": lambda layer: (layer.seconds or 0.0) * 1e6,
    "measured_us": lambda layer: (layer.cpu_seconds or 0.0) * 1e6,
    "dram_bytes": lambda layer: layer.simulated.dram_bytes if layer.simulated else 0,
    "macs": lambda layer: layer.macs,
}
"""What is added up over the layers of a node, by the name of its file."""


def node_data(layers: Sequence[Layer]) -> dict[str, dict[str, Any]]:
    """Node data by name: ``place``, and of `_AMOUNTS` those that any layer has.

    A layer that several nodes became has one place, which all of them get, and one amount, which only the first of them
    gets, the one that the others were fused into: sums over nodes are those of the network."""
    places: dict[str, dict[str, None]] = {}
    amounts: dict[str, dict[str, float]] = {name: {} for name in _AMOUNTS}
    for layer in layers:
        for node in layer.nodes:
            places.setdefault(node, {})[layer.place] = None
        for name, amount in _AMOUNTS.items():
            value = amount(layer)
            if value and layer.nodes:
                own = amounts[name]
                own[layer.nodes[0]] = own.get(layer.nodes[0], 0) + value
    colours = {node: _COLOURS[next(iter(own))] if len(own) == 1 else _SEVERAL for node, own in places.items()}
    shown = {node: {"value": ", ".join(own), "bgColor": colours[node]} for node, own in places.items()}
    found: dict[str, dict[str, Any]] = {"place": {"results": shown}}
    for name, own in amounts.items():
        if own:
            results = {node: {"value": round(value, 3)} for node, value in own.items()}
            found[name] = {"results": results, "gradient": _GRADIENT}
    return found


def graphs(name: str, layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """The compiled network as Model Explorer reads graphs: a node for each layer, with all that is known of it."""
    table = layer_table([*layers])
    incoming: dict[int, list[dict[str, str]]] = {}
    for source, target in edges_of(layers):
        own = incoming.setdefault(target, [])
        own.append({"sourceNodeId": str(source), "sourceNodeOutputId": "0", "targetNodeInputId": str(len(own))})
    nodes: list[dict[str, Any]] = []
    for number, (layer, cells) in enumerate(zip(layers, table.cells(), strict=True)):
        known = zip(table.columns, cells, strict=True)
        path = layer.nodes[0].strip("/").split("/")[:-1] if layer.nodes else []
        nodes.append(
            {
                "id": str(number),
                "label": layer.op,
                "namespace": "/".join(path),
                "attrs": [{"key": column.title, "value": cell} for column, cell in known if cell],
                "incomingEdges": incoming.get(number, []),
                "style": {"backgroundColor": _COLOURS[layer.place]},
            }
        )
    return [{"id": name, "nodes": nodes}]
