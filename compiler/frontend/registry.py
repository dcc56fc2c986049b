"""Where importers and exporters of ONNX operators register, and what they are given to work with.

An importer turns one ONNX node into ops and returns the values of the node's outputs; an exporter does the reverse
for one op. Both stand side by side in the family file of the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tilewright.errors import ModelError, UnsupportedError

from ...ir.core import Constant, Op, Value
from ...ir.op import Operator

if TYPE_CHECKING:
    from .export import Exporter
    from .onnx import Importer

Import = Callable[["Node", "Importer"], "Value | Sequence[Value | None]"]
Export = Callable[[Op, "Exporter"], None]

IMPORTS: dict[tuple[str, str], Import] = {}
"""Importers by (domain, ONNX operator); the domain of standard operators is ``""``."""

EXPORTS: dict[type[Operator], Export] = {}
"""Exporters by operator class."""

ImportFunction = TypeVar("ImportFunction", bound=Import)
ExportFunction = TypeVar("ExportFunction", bound=Export)


def imports(*op_types: str, domain: str = "") -> Callable[[ImportFunction], ImportFunction]:
    """Register the importer of these ONNX operators."""

    def register(function: ImportFunction) -> ImportFunction:
        for op_type in op_types:
            IMPORTS[domain, op_type] = function
        return function

    return register


def exports(*operators: type[Operator]) -> Callable[[ExportFunction], ExportFunction]:
    """Register the exporter of these operator classes."""

    def register(function: ExportFunction) -> ExportFunction:
        for cls in operators:
            EXPORTS[cls] = function
        return function

    return register


@dataclass(frozen=True)
class Node:
    """One ONNX node, its inputs already values.

    Attributes:
        op_type, domain: the ONNX operator.
        name: of the node, or of its first output where it has none.
        opset: version of the operator set of its domain.
        inputs: ``None`` where an optional input is absent.
        attributes: as Python numbers, strings, lists, arrays (tensors) or graph protos.
        output_count: how many outputs the node names, absent ones included.
        wanted: for each output, whether the model reads it.
    """

    op_type: str
    domain: str
    name: str
    opset: int
    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    output_count: int
    wanted: tuple[bool, ...]

    def input(self, index: int) -> Value:
        """Input ``index``, which must be there.

        Raises:
            ModelError: it is absent.
        """
        value = self.optional(index)
        if value is None:
            raise self.model_error(f"input {index} is missing")
        return value

    def optional(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def constant(self, index: int, what: str) -> np.ndarray:
        """The elements of input ``index``, which must be known at compile time.

        Raises:
            UnsupportedError: it depends on the inputs of the network.
        """
        value = self.input(index)
        if not isinstance(value, Constant):
            raise self.unsupported(
                f"{what} must be known at compile time, but %{value.name} is computed from the inputs",
                hint="Give static input shapes with --input-shape, or make it a constant of the model.",
            )
        return value.array

    def optional_constant(self, index: int, what: str) -> np.ndarray | None:
        return self.constant(index, what) if self.optional(index) is not None else None

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Attribute ``name`` as integers."""
        return tuple(int(v) for v in self._attribute(name, default))

    def int(self, name: str, default: int | None = None) -> int:
        return int(self._attribute(name, default))

    def float(self, name: str, default: float | None = None) -> float:
        return float(self._attribute(name, default))

    def string(self, name: str, default: str | None = None) -> str:
        return str(self._attribute(name, default))

    def has(self, name: str) -> bool:
        return name in self.attributes

    def _attribute(self, name: str, default: Any) -> Any:
        value = self.attributes.get(name, default)
        if value is None:
            raise self.model_error(f"attribute {name!r} is missing")
        return value

    def model_error(self, message: str, **details: Any) -> ModelError:
        return ModelError(message, stage="import", op=self.op_type, node=self.name, **details)

    def unsupported(self, message: str, **details: Any) -> UnsupportedError:
        return UnsupportedError(message, stage="import", op=self.op_type, node=self.name, **details)
