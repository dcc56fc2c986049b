"""What is used of a document of the compiler, which the runtime does not import."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

OPEN = -1
"""What stands for an extent that is left open."""

End = tuple[int, int]
"""A port: (layer id, port id)."""


class Port(Protocol):
    """An input or output of a layer."""

    id: int
    shape: tuple[int, ...]
    precision: str
    names: tuple[str, ...]


class Layer(Protocol):
    """A layer, with its ports and its flat arrays."""

    id: int
    name: str
    type: str
    version: str
    precision: str
    attributes: dict[str, str]
    affinity: str

    @property
    def inputs(self) -> list[Port]: ...

    @property
    def outputs(self) -> list[Port]: ...

    @property
    def blobs(self) -> dict[str, np.ndarray]: ...


class Edge(Protocol):
    """From an output port to an input port."""

    @property
    def source(self) -> End: ...

    @property
    def target(self) -> End: ...


class Document(Protocol):
    """A network as an IR file describes it."""

    name: str
    version: int
    batch: int
    precision: str
    added_outputs: list[tuple[int, int]]
    digest: str

    @property
    def layers(self) -> dict[int, Layer]: ...

    @property
    def edges(self) -> list[Edge]: ...

    @property
    def is_legacy(self) -> bool: ...

    def named(self, name: str) -> Layer: ...

    def sources(self) -> dict[End, End]: ...

    def inputs(self) -> Iterator[Layer]: ...

    def outputs(self) -> list[tuple[Layer, Port]]: ...

    def copy(self) -> Document: ...
