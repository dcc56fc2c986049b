"""The order of the nodes of an ONNX graph, by the names that they read and make."""

import heapq

import onnx

from tilewright.errors import ModelError


def sorted_nodes(graph: onnx.GraphProto, known: set[str]) -> list[onnx.NodeProto]:
    """Nodes in an order in which every tensor is produced before it is read.

    ONNX demands this order of the file, but files that break it exist; only cycles cannot be repaired.
    """
    producers = {output: index for index, node in enumerate(graph.node) for output in node.output if output}
    readers: dict[int, list[int]] = {}
    waiting: list[int] = []
    for index, node in enumerate(graph.node):
        sources = {producers[name] for name in read_names(node) if name in producers and name not in known}
        waiting.append(len(sources))
        for source in sources:
            readers.setdefault(source, []).append(index)
    # As if the file were read again and again: a node comes in the first round in which it finds all that it reads.
    ready = [(0, index) for index, count in enumerate(waiting) if count == 0]
    order: list[onnx.NodeProto] = []
    while ready:
        turn, index = heapq.heappop(ready)
        order.append(graph.node[index])
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if waiting[reader] == 0:
                heapq.heappush(ready, (turn + (reader < index), reader))
    if len(order) < len(graph.node):
        stuck = [node for node, count in zip(graph.node, waiting, strict=True) if count > 0]
        names = ", ".join(repr(node.name or node.output[0]) for node in stuck[:4])
        raise ModelError("the graph has a cycle", stage="import", node=None, found=f"nodes {names}")
    return order


def read_names(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads, those of its subgraphs included."""
    names = list(filter(None, node.input))
    for graph in (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH):
        own = {each.name for each in (*graph.initializer, *graph.input)} | {o for n in graph.node for o in n.output}
        read = [*(name for each in graph.node for name in read_names(each)), *(each.name for each in graph.output)]
        names += [name for name in read if name not in own]
    return names
