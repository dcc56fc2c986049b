"""What importers of ONNX operators are given to work with, and where they register.

An importer turns one ONNX node into ops and returns the values of the node's outputs. It stands beside the exporter,
which does the reverse, in the file of the operator's family.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import onnx
import onnx.helper

from tilewright import limits
from tilewright.errors import ModelError, ResourceError, TilewrightError, UnsupportedError

from ....ir.core import Constant, Function, Module, Op, Value
from ....ir.op import Operator
from ....ir.ops.quantization import DequantizeLinear
from ....ir.types import DType, TensorType
from .tensors import TensorReader

FOLD_ELEMENTS = 1 << 16
"""Results up to this size are folded while importing; larger ones are left to the ``fold_constants`` pass."""

Import = Callable[["Node", "Importer"], "Value | Sequence[Value | None]"]
ImportFunction = TypeVar("ImportFunction", bound=Import)

Replacement = Callable[["Importer", str, Value], Value]
"""What the network reads in place of a tensor, from its name in the model and its value."""

IMPORTS: dict[tuple[str, str], Import] = {}
"""Importers by (domain, ONNX operator), filled by the module ``families``. The standard domain is ``""``."""


def imports(*op_types: str, domain: str = "") -> Callable[[ImportFunction], ImportFunction]:
    """Register the importer of these ONNX operators."""

    def register(function: ImportFunction) -> ImportFunction:
        for op_type in op_types:
            IMPORTS[domain, op_type] = function
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

    def integers(self, index: int, what: str) -> tuple[int, ...]:
        """The elements of input ``index`` as integers; see :meth:`constant`."""
        array = self.constant(index, what)
        if array.size and array.dtype.kind not in "iu":
            raise self.model_error(f"{what} must be integers", found=array.dtype)
        return tuple(array.reshape(-1).tolist())

    def optional_constant(self, index: int, what: str) -> np.ndarray | None:
        return self.constant(index, what) if self.optional(index) is not None else None

    def axis(self, rank: int, default: int | None = None) -> int:
        """Attribute ``axis``, counted from the front of ``rank`` dimensions."""
        return self.from_front(self.int("axis", default), rank)

    def from_front(self, axis: int, rank: int) -> int:
        """``axis`` counted from the front.

        Raises:
            ModelError: there is no such dimension.
        """
        if not -rank <= axis < rank:
            raise self.model_error("the axis is out of range", expected=f"{-rank} to {rank - 1}", found=axis)
        return axis % rank

    def attribute_or_input(self, name: str, index: int) -> tuple[int, ...] | None:
        """Integers that older operator sets give as attribute and newer ones as input; ``None`` where absent."""
        if self.has(name):
            return self.ints(name)
        return self.integers(index, name) if self.optional(index) is not None else None

    def bool(self, name: str, default: int | None = None) -> bool:
        return self.int(name, default) != 0

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Attribute ``name`` as integers."""
        return tuple(map(operator.index, self._attribute(name, default)))

    def int(self, name: str, default: int | None = None) -> int:
        return operator.index(self._attribute(name, default))

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

    def resource_error(self, message: str, **details: Any) -> ResourceError:
        return ResourceError(message, stage="import", op=self.op_type, node=self.name, **details)


class Importer:
    """State of one import: the module so far, and which ONNX name is which value."""

    def __init__(
        self,
        module: Module,
        opsets: Mapping[str, int],
        importers: Mapping[tuple[str, str], Import],
        tensors: TensorReader,
        replacement: Replacement | None = None,
    ) -> None:
        self.module = module
        self.function = module.add_function(Function("main"))
        self.opsets = opsets
        self.importers = importers
        self._tensors = tensors
        self._replacement = replacement
        self.values: dict[str, Value] = {}
        self._read: set[str] = set()
        self._loc: tuple[str, ...] = ()
        self._names: list[str] = []
        self._described = 0
        self._unrolled = 0
        self._room, self._steps = int(limits.FOLDED), int(limits.FOLDING)

    def emit(
        self, operator: Operator, *operands: Value | None, types: Sequence[TensorType] | None = None, name: str = ""
    ) -> tuple[Value, ...]:
        """Apply ``operator``; at once if every operand is a constant and the result is small.

        Args:
            types: of the results where they do not follow from the operands.
            name: to call the result by, instead of the names that the node gives its outputs.
        """
        op = Op(operator, operands, types, loc=self._loc, names=[name] if name else self._names)
        is_known = operands and all(v is None or isinstance(v, Constant) for v in operands)
        is_small = sum(v.type.elements for v in op.results) <= FOLD_ELEMENTS
        # Passes read the scales of weights from a DequantizeLinear.
        if not is_known or not is_small or isinstance(operator, DequantizeLinear):
            return self.function.insert(op).results
        size = sum(v.type.elements * v.type.dtype.bytes for v in op.results)
        if size > self._room or op.work > self._steps:
            return self.function.insert(op).results
        self._room, self._steps = self._room - size, self._steps - op.work
        arrays = op.evaluate([v.array if isinstance(v, Constant) else None for v in operands])
        pairs = zip(op.results, arrays, strict=True)
        folded = tuple(self.module.add_constant(value.name, array, value.type) for value, array in pairs)
        op.erase()
        return folded

    def emit_one(
        self, operator: Operator, *operands: Value | None, types: Sequence[TensorType] | None = None, name: str = ""
    ) -> Value:
        """Apply an operator of one result."""
        return self.emit(operator, *operands, types=types, name=name)[0]

    def constant(self, array: np.ndarray, name: str = "constant") -> Constant:
        """A new constant of the module."""
        return self.module.add_constant(name, array)

    def define(self, name: str, value: Value) -> None:
        """Say which value it is that the model calls ``name``."""
        self.values[name] = value if self._replacement is None else self._replacement(self, name, value)

    def left_for_folding(self) -> tuple[int, int]:
        """Bytes and steps that passes may put into computing constants, given what the model holds."""
        return self._room + 8 * self._tensors.bytes, self._steps + 8 * self._tensors.elements

    def described(
        self, node: Node, shape: Sequence[int], dtype: DType, make: Callable[[], np.ndarray], suffix: str = ""
    ) -> Constant:
        """A constant that ``node`` describes without holding it, made once it is known that there is room.

        Raises:
            ResourceError: all such constants of the model would take more than they may.
        """
        type = TensorType(tuple(shape), dtype)
        size = type.elements * dtype.bytes
        self._described += size
        if self._described > limits.DESCRIBED:
            raise node.resource_error(
                "the node asks for a constant that is too large",
                expected=f"at most {limits.DESCRIBED} bytes in all such constants of the model",
                found=f"{size} bytes for {type}",
            )
        return self.constant(make(), f"{node.name}{suffix}")

    def unroll(self, node: Node, steps: int) -> None:
        """Called by importers that emit the same ops for each step in time.

        Raises:
            ResourceError: all such nodes of the model take more steps than they may.
        """
        self._unrolled += steps
        if self._unrolled > limits.UNROLLED:
            raise node.resource_error(
                "the node takes too many steps in time",
                expected=f"at most {limits.UNROLLED} in all such nodes of the model",
                found=steps,
            )

    def import_graph(self, graph: onnx.GraphProto) -> list[Value]:
        """Import initialisers and nodes of a graph whose inputs are known; values of its outputs.

        Subgraphs see the names of the graphs around them.
        """
        for tensor in graph.initializer:
            self.define(tensor.name, self.constant(self._tensors.array(tensor), tensor.name))
        if graph.sparse_initializer:
            raise UnsupportedError("sparse initialisers are not supported", stage="import")
        self._read.update(output.name for output in graph.output)
        self._read.update(name for proto in graph.node for name in _read_names(proto))
        for proto in sorted_nodes(graph, set(self.values)):
            self._import_node(proto)
        return [self._value(output.name, "graph output") for output in graph.output]

    def _value(self, name: str, user: str) -> Value:
        if name not in self.values:
            raise ModelError(f"tensor {name!r} is read but nothing produces it", stage="import", node=user)
        return self.values[name]

    def _import_node(self, proto: onnx.NodeProto) -> None:
        domain = "" if proto.domain == "ai.onnx" else proto.domain
        name = proto.name or (proto.output[0] if proto.output else proto.op_type)
        opset = self.opsets.get(domain, 1)
        handler = self.importers.get((domain, proto.op_type))
        if handler is None:
            where = f"{domain}:{opset}" if domain else f"opset {opset}"
            raise UnsupportedError(
                f"operator {proto.op_type!r} ({where}) is not supported",
                stage="import",
                node=name,
                hint="`tilewright inspect --supported-ops` lists what is.",
            )
        attributes = {a.name: _attribute(a, name, self._tensors) for a in proto.attribute}
        if len(attributes) < len(proto.attribute):
            raise ModelError("an attribute is given twice", stage="import", op=proto.op_type, node=name)
        node = Node(
            proto.op_type,
            domain,
            name,
            opset,
            tuple(self._value(i, name) if i else None for i in proto.input),
            attributes,
            len(proto.output),
            tuple(bool(o) and o in self._read for o in proto.output),
        )
        self._loc, self._names = (name,), [o for o in proto.output if o]
        try:
            results = handler(node, self)
        except TilewrightError as error:
            error.stage = error.stage or "import"
            error.op = error.op or proto.op_type
            error.node = error.node or name
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Importers trust a node to have the attributes and shapes that ONNX defines for it; damaged files do not.
            message = f"the node is not as ONNX defines its operator ({type(error).__name__}: {error})"
            raise node.model_error(message, hint="Check the model with onnx.checker.check_model.") from error
        results = [results] if isinstance(results, Value) else list(results)
        for output, value in zip(proto.output, results, strict=False):
            if output and value is not None:
                self.define(output, value)
        missing = [o for o in proto.output if o and o in self._read and o not in self.values]
        if missing:
            raise node.unsupported(f"output {missing[0]!r} is not supported")


def _attribute(proto: onnx.AttributeProto, node: str, tensors: TensorReader) -> Any:
    kind = proto.type
    if kind == onnx.AttributeProto.TENSOR:
        return tensors.array(proto.t)
    if kind == onnx.AttributeProto.GRAPH:
        return proto.g
    try:
        value = onnx.helper.get_attribute_value(proto)
    except Exception as error:
        raise ModelError(f"attribute {proto.name!r} is damaged: {error}", stage="import", node=node) from None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def sorted_nodes(graph: onnx.GraphProto, known: set[str]) -> list[onnx.NodeProto]:
    """Nodes in an order in which every tensor is produced before it is read.

    ONNX demands this order of the file, but files that break it exist; only cycles cannot be repaired.
    """
    producers = {output: index for index, node in enumerate(graph.node) for output in node.output if output}
    readers: dict[int, list[int]] = {}
    waiting: list[int] = []
    for index, node in enumerate(graph.node):
        sources = {producers[name] for name in _read_names(node) if name in producers and name not in known}
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


def _read_names(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads, those of its subgraphs included."""
    names = list(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = {o for n in attribute.g.node for o in n.output} | {t.name for t in attribute.g.initializer}
            names += [i for n in attribute.g.node for i in _read_names(n) if i not in inner]
    return names
