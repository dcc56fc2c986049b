"""What importers of ONNX operators are given to work with, and where they register.

An importer turns one ONNX node into ops and returns the values of the node's outputs. It stands beside the exporter,
which does the reverse, in the file of the operator's family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np
import onnx
import onnx.helper

from tilewright.errors import ModelError, TilewrightError, UnsupportedError, UsageError, first_of, similar

from ....ir.core import Constant, Module, Value
from ....ir.op import Operator
from ....ir.types import TensorType
from ..builder import ModuleBuilder, Results
from .functions import Functions, schema_of, standard_domain
from .narrow_types import MOVING, STORED, TYPED, code_of, is_integer, narrowed, stored, widened
from .node import Node
from .node_order import read_names, sorted_nodes
from .open_extents.intervals import UNKNOWN
from .open_extents.open_shapes import OpenShapes
from .tensors import TensorReader, names_of_classes

Import = Callable[["Node", "Importer"], "Value | Sequence[Value | None]"]
ImportFunction = TypeVar("ImportFunction", bound=Import)

Replacement = Callable[["Importer", str, Value], Value]
"""What the network reads in place of a tensor, from its name in the model and its value."""

_PASSED_ON = 8
"""Source nodes of an op to which those that pass its result on are added."""

_LONGEST_NAME = 256
"""Characters of a name that is made of those of a node in a function and of the node that calls it."""

IMPORTS: dict[tuple[str, str], Import] = {}
"""Importers by (domain, ONNX operator), filled by the module ``families``. The standard domain is ``""``."""


def imports(*op_types: str, domain: str = "") -> Callable[[ImportFunction], ImportFunction]:
    """Register the importer of these ONNX operators."""

    def register(function: ImportFunction) -> ImportFunction:
        for op_type in op_types:
            IMPORTS[domain, op_type] = function
        return function

    return register


class Importer(ModuleBuilder):
    """State of one import: the module so far, and which ONNX name is which value.

    Args:
        functions: what nodes without an importer call.
        bounds: of elements of tensors, by name, the most.

    Attributes:
        unknown_ends: names of loops whose conditions depend on data.
        narrow: of values that are stored in integers, the ONNX code of the type that they are of.
        open: the tensors whose extents depend on data.
    """

    def __init__(
        self,
        module: Module,
        opsets: Mapping[str, int],
        importers: Mapping[tuple[str, str], Import],
        tensors: TensorReader,
        replacement: Replacement | None = None,
        functions: Functions | None = None,
        bounds: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(module)
        self.opsets = opsets
        self.importers = importers
        self._tensors = tensors
        self._replacement = replacement
        self._functions = functions or Functions()
        self._bounds = dict(bounds or {})
        self._path = ""
        self._titles: dict[str, str] = {}
        self.values: dict[str, Value] = {}
        self._read: set[str] = set()
        self._defined: set[str] = set()
        self.unknown_ends: set[str] = set()
        self.narrow: dict[Value, int] = {}
        self.open = OpenShapes(self)

    def constant(self, array: np.ndarray, name: str = "constant") -> Constant:
        """A new constant of the module; of a type of ml_dtypes it is stored in integers."""
        value, code = super().constant(stored(array), name), code_of(array.dtype)
        if code is not None:
            self.narrow[value] = code
        return value

    def stored_as(self, code: int, value: Value) -> Value:
        """A value whose integers are elements of a narrow type from now on."""
        self.narrow[value] = code
        return value

    def as_declared(self, value: Value, info: onnx.ValueInfoProto) -> Value:
        """Numbers as elements of the narrow type that they are declared to be of; others as they are."""
        code = info.type.tensor_type.elem_type
        if code not in STORED or value in self.narrow:
            return value
        if value.type.dtype.is_float and not is_integer(code):
            value = narrowed(self, value, code)
        return self.stored_as(code, value) if value.type.dtype is STORED[code] else value

    def code_of(self, value: Value) -> int:
        """The ONNX code of the element type of a value."""
        return self.narrow.get(value) or onnx.helper.np_dtype_to_tensor_dtype(value.type.dtype.numpy)

    def numbers(self, value: Value) -> Value:
        """A value to compute with: the numbers of a narrow type; others as they are."""
        return widened(self, value, self.narrow[value]) if value in self.narrow else value

    def emit(
        self, operator: Operator, *operands: Value | None, types: Sequence[TensorType] | None = None, name: str = ""
    ) -> tuple[Value, ...]:
        """As of every builder; operands may have extents that the data decide."""
        return self.open.emit(operator, operands, types, name)

    def define(self, name: str, value: Value) -> None:
        """Say which value it is that the model calls ``name``."""
        title = self._title(name)
        # What a function returns is defined a second time, where it is called.
        replacement = self._replacement if name not in self._titles else None
        if title in self._bounds and name not in self._titles:
            value = self._within(title, value, self._bounds[title])
        defined = self.values[name] = replacement(self, title, value) if replacement else value
        defined.origin = defined.origin or title
        self._defined.add(title)

    def _within(self, title: str, value: Value, most: int) -> Value:
        """A tensor whose elements the user says are from 0 to ``most``."""
        if isinstance(most, bool) or not isinstance(most, (int, np.integer)) or not 0 <= most < UNKNOWN // 2:
            expected = f"a whole number from 0 to {UNKNOWN // 2 - 1}"
            raise UsageError("wrong --bound", stage="import", expected=expected, found=f"{title}={most}")
        if self.open.is_open(value) or not value.type.dtype.is_integer or not value.type.elements:
            found = f"{title!r} of type {value.type}"
            raise UsageError(
                "--bound is for numbers that decide extents", stage="import", expected="integers", found=found
            )
        return self.open.limited(value, int(most))

    def check_bounds(self) -> None:
        """Raise UsageError where a bound is of a tensor that the model does not have."""
        for name in self._bounds.keys() - self._defined:
            message = f"a bound was given for {name!r}, a tensor that the model does not have"
            raise UsageError(message, stage="import", hint=similar(name, self._defined))

    def finish(self) -> None:
        """Tell the module what passes may put into folding, and forget what nothing reads."""
        self.module.drop_unused_constants()
        self.module.folding = self.left_for_folding(self._tensors.bytes, self._tensors.elements)

    def import_graph(self, graph: onnx.GraphProto) -> list[Value]:
        """Import initialisers and nodes of a graph whose inputs are known; values of its outputs.

        Subgraphs see the names of the graphs around them."""
        self.import_initialisers(graph)
        return self.import_nodes(graph)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Names that are defined meanwhile are forgotten: those of a subgraph are its own."""
        outer = dict(self.values)
        try:
            yield
        finally:
            self.values = outer

    def import_initialisers(self, graph: onnx.GraphProto) -> None:
        for tensor in {tensor.name: tensor for tensor in graph.initializer}.values():
            names = names_of_classes(graph, tensor)
            array = self._tensors.array(tensor) if names is None else names
            self.define(tensor.name, self.constant(array, self._title(tensor.name)))

    def import_nodes(self, graph: onnx.GraphProto) -> list[Value]:
        """The second half of :meth:`import_graph`."""
        self._read.update(output.name for output in graph.output)
        self._read.update(name for proto in graph.node for name in read_names(proto))
        self.check_supported(graph)
        for proto in sorted_nodes(graph, set(self.values)):
            self._import_node(proto)
        return [self._value(output.name, "graph output") for output in graph.output]

    def check_supported(self, graph: onnx.GraphProto) -> None:
        """Raise UnsupportedError that names all operators of a graph without an importer, each with its first node."""
        missing: dict[str, list[str]] = {}
        hints: list[str] = []
        for proto in graph.node:
            domain = standard_domain(proto.domain)
            opset = self.opsets.get(domain, 1)
            if (domain, proto.op_type) not in self.importers and not self._functions.are_there(proto, opset):
                where = f"{domain}:{opset}" if domain else f"opset {opset}"
                missing.setdefault(f"{proto.op_type!r} ({where})", []).append(self._name(proto))
                hints.append(self._functions.hint(proto, opset))
        if not missing:
            return
        each = [f"{kind}: {len(names)}, first {names[0]!r}" for kind, names in missing.items()]
        (kind, names), *others = missing.items()
        raise UnsupportedError(
            f"{len(missing)} operators are not supported" if others else f"operator {kind} is not supported",
            stage="import",
            node=None if others else names[0],
            found=first_of(each, 20, "; ") if others or len(names) > 1 else None,
            hint=max(hints, key=len),
        )

    def _value(self, name: str, user: str) -> Value:
        if name not in self.values:
            raise ModelError(f"tensor {name!r} is read but nothing produces it", stage="import", node=user)
        return self.values[name]

    def _import_node(self, proto: onnx.NodeProto) -> None:
        domain = standard_domain(proto.domain)
        name = self._name(proto)
        attributes = {a.name: self._tensors.attribute(a, name) for a in proto.attribute}
        if len(attributes) < len(proto.attribute):
            raise ModelError("an attribute is given twice", stage="import", op=proto.op_type, node=name)
        node = Node(
            proto.op_type,
            name,
            tuple(self._value(i, name) if i else None for i in proto.input),
            domain,
            self.opsets.get(domain, 1),
            attributes,
            len(proto.output),
            tuple(bool(o) and o in self._read for o in proto.output),
        )
        titles = [self._title(o) for o in proto.output if o]
        results = self.results_of(node, lambda node, _: self._results(proto, node, titles), titles)
        producer = results[0].producer if results and results[0] is not None else None
        is_passed_on = producer is not None and results[0] in node.inputs and node.name not in producer.loc
        if producer is not None and is_passed_on and len(producer.loc) < _PASSED_ON:
            # What passes a value on is named where that is made, for users who mean it.
            producer.loc = (*producer.loc, node.name)
        for output, value in zip(proto.output, results, strict=False):
            if output and value is not None:
                self.define(output, value)
        missing = [o for o in proto.output if o and o in self._read and o not in self.values]
        if missing:
            raise node.unsupported(f"output {missing[0]!r} is not supported")

    def _results(self, proto: onnx.NodeProto, node: Node, titles: list[str]) -> Results:
        """What a node makes of its inputs, values of narrow types among them."""
        if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in proto.attribute):
            return self._results_of_bodies(proto, node, titles)
        given = [self.narrow.get(value) if value is not None else None for value in node.inputs]
        code = next((code for code in given if code is not None), None)
        if code is None or node.op_type in TYPED or self._functions.brings(proto):
            return self._numeric_results(proto, node, titles)
        if not node.domain and node.op_type in MOVING:
            moved = self._numeric_results(proto, node, titles)
            return [value and self.stored_as(code, value) for value in moved]
        if is_integer(code):
            message = "the operator does not compute with integers of 4 and 2 bits"
            raise node.unsupported(message, hint="Convert them with Cast or DequantizeLinear.")
        numbers = replace(node, inputs=tuple(value and self.numbers(value) for value in node.inputs))
        results = self._numeric_results(proto, numbers, titles)
        schema = schema_of(node.domain, node.op_type, node.opset)
        # A function of the schema has left the name of its last node.
        self._loc, self._names = (node.name,), titles
        types = None
        if schema is not None:
            operands = (schema.inputs[min(i, len(schema.inputs) - 1)] for i, each in enumerate(given) if each)
            types = {operand.type_str for operand in operands}
        for index, value in enumerate(results):
            output = schema.outputs[min(index, len(schema.outputs) - 1)] if schema is not None else None
            if value is not None and value.type.dtype.is_float and (not output or output.type_str in (types or ())):
                results[index] = self.stored_as(code, narrowed(self, value, code))
        return results

    def _results_of_bodies(self, proto: onnx.NodeProto, node: Node, titles: list[str]) -> Results:
        """What a branch or loop returns, which has the types of its body; numbers of narrow types pass in and out."""
        numbers = replace(node, inputs=tuple(value and self.numbers(value) for value in node.inputs))
        results = self._numeric_results(proto, numbers, titles)
        self._loc, self._names = (node.name,), titles
        body = next(attribute.g for attribute in proto.attribute if attribute.type == onnx.AttributeProto.GRAPH)
        outputs = body.output[1:] if node.op_type == "Loop" else body.output
        for index, (value, output) in enumerate(zip(results, outputs, strict=False)):
            results[index] = value and self.as_declared(value, output)
        return results

    def _numeric_results(self, proto: onnx.NodeProto, node: Node, titles: list[str]) -> list[Value | None]:
        """What the importer of a node's operator makes of it, or the function that it calls."""
        handler = self.importers.get((node.domain, proto.op_type))
        uses = self.open.uses
        results = self.results_of(node, handler, titles) if handler else []
        if handler and uses == self.open.uses and results[:1] != [*node.inputs[:1]]:
            # What never asked took the room of a tensor for its extents.
            self.results_of(node, lambda node, _: self.open.check_closed(node.op_type, node.inputs) or [], titles)
        given = [value is not None for value in results] + [False] * len(node.wanted)
        if not handler or any(wanted and not is_there for wanted, is_there in zip(node.wanted, given, strict=False)):
            # An importer that has not all that is asked for leaves it to the body of the schema.
            results = self.results_of(node, lambda node, _: self._call(proto, node) or results, titles)
        return results

    def _call(self, proto: onnx.NodeProto, node: Node) -> list[Value | None]:
        """What the function returns that a node calls; nothing where there is none."""
        body = self._functions.body(proto, node.name, node.inputs, node.opset)
        if body is None:
            return []
        graph, opsets = body
        outer = self.opsets, self.values, self._read, self._path, self._titles
        formal = [output.name for output in graph.output]
        wanted = [name if is_wanted else "" for name, is_wanted in zip(formal, node.wanted, strict=False)]
        titles = dict(zip(formal, map(self._title, proto.output), strict=False))
        values = {each.name: value for each, value in zip(graph.input, node.inputs, strict=False) if value is not None}
        del graph.output[:]
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name)
        try:
            path = self._path_to(proto)
            self.opsets, self.values, self._read, self._path, self._titles = opsets, values, set(), path, titles
            with self._functions.call(proto):
                found = iter(self.import_nodes(graph))
        except TilewrightError as error:
            if not outer[3]:
                error.message += f", in the function {node.op_type!r} that node {node.name!r} calls"
            raise
        finally:
            self.opsets, self.values, self._read, self._path, self._titles = outer
        return [next(found) if name else None for name in wanted]

    def _name(self, proto: onnx.NodeProto) -> str:
        """What errors and reports call a node: in a function, by the node that calls it first; in one of the model,
        with its name."""
        function = self._functions.current
        return f"{self._path_to(proto)} in {function}" if function else self._path_to(proto)

    def _path_to(self, proto: onnx.NodeProto) -> str:
        """The names of a node and of those that call what it stands in, but of unnamed ones of a schema's function."""
        is_of_schema = self._path and not self._functions.current
        own = proto.name or ("" if is_of_schema else (*filter(None, proto.output), proto.op_type)[0])
        return self._inside(own)

    def _title(self, name: str) -> str:
        """What the module calls a tensor."""
        return self._titles.get(name) or self._inside(name)

    def _inside(self, name: str) -> str:
        # Names of functions inside functions add up, and a model may have long ones.
        is_short = len(self._path) + len(name) < _LONGEST_NAME
        return f"{self._path}/{name}" if self._path and name and is_short else self._path or name
