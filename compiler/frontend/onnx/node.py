"""One node of an ONNX model, as importers read it."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index as int_of
from typing import Any

from ..builder import SourceNode


class Node(SourceNode):
    """One ONNX node, its inputs already values.

    Attributes:
        name: of the node, or of its first output where it has none.
        opset: version of the operator set of its domain.
        inputs: ``None`` where an optional input is absent.
        attributes: as Python numbers, strings, lists, arrays (tensors) or graph protos.
        output_count: how many outputs the node names, absent ones included.
        wanted: for each output, whether the model reads it.
    """

    FORMAT = "ONNX"
    CHECK = "Check the model with onnx.checker.check_model."

    domain: str
    opset: int
    attributes: dict[str, Any]
    output_count: int
    wanted: tuple[bool, ...]

    def axis(self, rank: int, default: int | None = None) -> int:
        """Attribute ``axis``, counted from the front of ``rank`` dimensions."""
        return self.from_front(self.int("axis", default), rank)

    def attribute_or_input(self, name: str, index: int) -> tuple[int, ...] | None:
        """Integers that older operator sets give as attribute and newer ones as input; ``None`` where absent."""
        if self.has(name):
            return self.ints(name)
        return self.integers(index, name) if self.optional(index) is not None else None

    def bool(self, name: str, default: int | None = None) -> bool:
        return self.int(name, default) != 0

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Attribute ``name`` as integers."""
        return tuple(map(int_of, self._attribute(name, default)))

    def int(self, name: str, default: int | None = None) -> int:
        return int_of(self._attribute(name, default))

    def float(self, name: str, default: float | None = None) -> float:
        return float(self._attribute(name, default))

    def floats(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """Attribute ``name`` as numbers."""
        return tuple(map(float, self._attribute(name, default)))

    def string(self, name: str, default: str | None = None) -> str:
        return str(self._attribute(name, default))

    def word(self, name: str, default: str | None = None) -> str:
        """Attribute ``name`` in lower case."""
        return self.string(name, default).lower()

    def has(self, name: str) -> bool:
        return name in self.attributes

    def _attribute(self, name: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        if value is None:
            raise self.model_error(f"attribute {name!r} is missing")
        return value
