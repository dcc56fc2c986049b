"""What is executed of a loaded network: one node for each step, and which steps read which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tilewright.immutable import Immutable

from ....compiler import compiler_for
from .loaded import LoadedNetwork, kernel_name

if TYPE_CHECKING:
    from .....compiler.frontend.ir.document import Document

_VERSION = 7
"""Of the documents made here: each of their layers is one that programs see."""


class ExecutedNode(Immutable):
    """A step, or an input of the network.
    ``type``: of the first layer that it stands for; the operator where there is none.
    ``layers``: all layers that it stands for.
    ``reads``: names of nodes."""

    name: str
    type: str
    layers: tuple[str, ...]
    kernel: str
    microseconds: int
    reads: tuple[str, ...]


def executed_graph(network: LoadedNetwork) -> list[ExecutedNode]:
    """The inputs, then the steps in order of execution, with the average of their times so far."""
    facts = network.facts
    types = {layer.name: layer.type for layer in facts.layers}
    reads = {layer.name: layer.reads for layer in facts.layers}
    inputs = [layer.name for layer in facts.layers if layer.type.lower() in ("input", "parameter")]
    found = [ExecutedNode(name, "Input", (name,), "unknown", 0, ()) for name in inputs]
    # The latest step that computes each layer.
    latest = {name: name for name in inputs}
    taken = set(inputs)
    for index, step in enumerate(network.artifact.manifest.steps_of(network.session.engine)):
        layers = tuple(name for name in step.loc if name in types)
        name = layers[0] if layers and layers[0] not in taken else step.name
        while name in taken:
            name += "_"
        taken.add(name)
        before = [latest[layer] for layer in layers[:1] if layer in latest]
        for layer in layers:
            before += _sources(layer, reads, latest, set(layers))
        type = types[layers[0]] if layers else step.op
        read = tuple(dict.fromkeys(each for each in before if each != name))
        found.append(ExecutedNode(name, type, layers, kernel_name(step.kernel), _microseconds(network, index), read))
        latest.update(dict.fromkeys(layers, name))
    return found


def _sources(layer: str, reads: Mapping[str, Sequence[str]], latest: Mapping[str, str], within: set[str]) -> list[str]:
    """The nodes that a layer reads, past layers of which nothing is left."""
    found: list[str] = []
    pending, seen = [*reversed(reads[layer])], set(within)
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in latest:
            found.append(latest[name])
        else:
            pending += reversed(reads.get(name, ()))
    return found


def _microseconds(network: LoadedNetwork, index: int) -> int:
    counters = [each for each in network.counters if each.runs and index < len(each.milliseconds)]
    runs = sum(each.runs for each in counters)
    return round(sum(each.milliseconds[index] for each in counters) / runs * 1e3) if runs else 0


def executed_document(network: LoadedNetwork) -> Document:
    """The executed graph as a document, whose layers have what there is to know as their attributes."""
    with compiler_for("the executed graph as a network"):
        from .....compiler.frontend.ir.document import Document, Edge, Layer, Port

    nodes = executed_graph(network)
    shapes = _shapes(network)
    document = Document(network.facts.name, _VERSION)
    ids = {node.name: index for index, node in enumerate(nodes)}
    for order, node in enumerate(nodes):
        inputs = [Port(port, document.layers[ids[name]].outputs[0].shape) for port, name in enumerate(node.reads)]
        shape = next((shapes[each] for each in (node.name, *reversed(node.layers)) if each in shapes), ())
        attributes = {
            "execOrder": str(order),
            "execTimeMcs": str(node.microseconds) if node.microseconds else "not_executed",
            "originalLayersNames": ",".join(node.layers),
            "primitiveType": node.kernel,
        }
        output = Port(len(inputs), shape, "FP32")
        document.layers[order] = Layer(
            order, node.name, node.type, precision="FP32", attributes=attributes, inputs=inputs, outputs=[output]
        )
        for port, name in enumerate(node.reads):
            source = document.layers[ids[name]]
            document.edges.append(Edge((source.id, source.outputs[0].id), (order, port)))
    return document


def _shapes(network: LoadedNetwork) -> dict[str, tuple[int, ...]]:
    """Shapes by the names of values, as the artifact records them."""
    layers = {each.name: each.output for each in network.details.layers}
    return {spec.name: spec.shape for spec in network.session.inputs} | layers
