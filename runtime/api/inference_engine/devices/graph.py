"""A network as a graph of layers, for dividing it among devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import InferenceEngineError
from ..network.document import Document

_CONSTANT = ("const", "constant")
_INPUT = ("input", "parameter")
_RESULT = ("output", "result")


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
        for edge in document.edges:
            readers[names[edge.source[0]]][names[edge.target[0]]] = None
        unread = dict.fromkeys(readers, 0)
        for targets in readers.values():
            for name in targets:
                unread[name] += 1
        types = {layer.name: layer.type for layer in document.layers.values()}
        ready = [name for name, count in reversed(unread.items()) if not count]
        ordered: dict[str, str] = {}
        while ready:
            name = ready.pop()
            ordered[name] = types[name]
            for reader in readers[name]:
                unread[reader] -= 1
                if not unread[reader]:
                    ready.append(reader)
        if len(ordered) < len(types):
            raise InferenceEngineError("the network has a cycle")
        return LayerGraph(ordered, {name: tuple(targets) for name, targets in readers.items()})

    def computes(self, name: str) -> bool:
        """Whether a layer computes something: neither an input nor a result, nor a constant."""
        return self.types[name].lower() not in (*_INPUT, *_CONSTANT, *_RESULT)

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
