"""The order of the nodes of an ONNX graph, by the names that they read and make."""

import onnx

from tilewright.errors import ModelError

from ..builder import in_order


def sorted_nodes(graph: onnx.GraphProto, known: set[str]) -> list[onnx.NodeProto]:
    """Nodes in an order in which every tensor is produced before it is read.

    ONNX demands this order of the file, but files that break it exist; only cycles cannot be repaired."""
    producers = {output: index for index, node in enumerate(graph.node) for output in node.output if output}
    order, stuck = in_order(
        [
            {producers[name] for name in read_names(node) if name in producers and name not in known}
            for node in graph.node
        ]
    )
    if stuck:
        names = ", ".join(repr(graph.node[index].name or graph.node[index].output[0]) for index in stuck[:4])
        raise ModelError("the graph has a cycle", stage="import", node=None, found=f"nodes {names}")
    return [graph.node[index] for index in order]


def read_names(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads, those of its subgraphs included."""
    names = list(filter(None, node.input))
    for graph in (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH):
        own = {each.name for each in (*graph.initializer, *graph.input)} | {o for n in graph.node for o in n.output}
        read = [*(name for each in graph.node for name in read_names(each)), *(each.name for each in graph.output)]
        names += [name for name in read if name not in own]
    return names
