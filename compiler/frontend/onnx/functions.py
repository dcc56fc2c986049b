"""Operators that are functions of other operators: those that a model brings, and those whose schema has a body.

Bodies are imported where they are called, with the types that are known there, so that a body which depends on types
and attributes is the right one, and what follows from constants and shapes is computed on the spot.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import onnx.defs
import onnx.helper

from tilewright import limits
from tilewright.errors import ModelError, ResourceError, similar

from ....ir.core import Value
from ..builder import SequenceValue
from .tensors import graphs_in

Key = tuple[str, str, str]
"""Domain, name and overload."""


def standard_domain(domain: str) -> str:
    """The name of a domain as schemas have it: the standard one has two."""
    return "" if domain == "ai.onnx" else domain


def schema_of(domain: str, op_type: str, opset: int) -> Any:
    """The schema that an operator has in a version of its set; ``None`` where the installed onnx knows none.

    The type declarations of onnx lack what it has of functions."""
    try:
        return onnx.defs.get_schema(op_type, max(1, opset), domain)
    except onnx.defs.SchemaError:
        return None


def has_body(domain: str, op_type: str, opset: int) -> bool:
    """Whether the schema of an operator says what it computes by other operators."""
    schema = schema_of(domain, op_type, opset)
    return schema is not None and (schema.has_function or schema.has_context_dependent_function)


def operators_with_bodies() -> set[tuple[str, str]]:
    """Domain and name of operators of tensors whose newest schema has a body that computes the same each time."""
    schemas: Sequence[Any] = onnx.defs.get_all_schemas()
    return {
        (schema.domain, schema.name)
        for schema in schemas
        if schema.has_function or schema.has_context_dependent_function
        if schema.node_determinism != onnx.defs.OpSchema.NodeDeterminism.NonDeterministic
        if any(name.startswith("tensor") for name in (schema.inputs or schema.outputs)[0].types)
    }


def _versions(known: Sequence[int], opset: int) -> list[int]:
    """Versions that a body may be written for: the model's, else the nearest; each brings its operator set with it."""
    return [opset, *sorted(known, key=lambda version: (version > opset, abs(version - opset)))]


class Functions:
    """The functions that one import may call, and how much of them it has taken.
    ``calls``: which functions are being imported, one inside the other."""

    def __init__(self, functions: Sequence[onnx.FunctionProto] = ()) -> None:
        self._own: dict[Key, onnx.FunctionProto] = {}
        self.calls: list[Key] = []
        self._nodes = self._bytes = 0
        self._taken: set[Key] = set()
        for function in functions:
            key = standard_domain(function.domain), function.name, function.overload
            if key in self._own:
                raise ModelError(f"two functions are named {_shown(key)!r}", stage="import")
            self._own[key] = function

    def are_there(self, proto: onnx.NodeProto, opset: int) -> bool:
        """Whether a node calls a function."""
        return _key(proto) in self._own or has_body(standard_domain(proto.domain), proto.op_type, opset)

    def brings(self, proto: onnx.NodeProto) -> bool:
        """Whether a node calls a function of the model itself."""
        return _key(proto) in self._own

    @property
    def current(self) -> str | None:
        """The function of the model that is being imported, ``None`` for one of a schema."""
        return _shown(self.calls[-1]) if self.calls and self.calls[-1] in self._own else None

    @contextmanager
    def call(self, proto: onnx.NodeProto) -> Iterator[None]:
        """While the function is imported that a node calls."""
        self.calls.append(_key(proto))
        try:
            yield
        finally:
            self.calls.pop()

    def hint(self, proto: onnx.NodeProto, opset: int) -> str:
        """What helps where a node calls no function and its operator has no importer."""
        listed = (
            "`tilewright inspect --supported-ops` lists what is; "
            "onnx.utils.extract_model cuts out a part of the model that needs no more."
        )
        domain = standard_domain(proto.domain)
        if not domain:
            return listed
        if domain == "com.microsoft.nchwc":
            return "onnxruntime writes this domain for one processor: optimise the model at level extended at most."
        names = [name for own, name, _ in self._own if own == domain]
        close = similar(proto.op_type, names)
        if names:
            return f"The model has functions of this domain, but none of this name. {close or listed}"
        return f"{listed} Others run where the model brings functions that say what they compute: export it with them."

    def body(
        self, proto: onnx.NodeProto, name: str, inputs: Sequence[Value | None], opset: int
    ) -> tuple[onnx.GraphProto, dict[str, int]] | None:
        """What a node calls, its attributes put in: inputs and outputs as the function names them, and operator sets.
        Raises ModelError: the function calls itself, or has not what the node gives it or takes from it; ResourceError:
        the functions of the model take more than they may."""
        key = _key(proto)
        function = self._own.get(key) or _schema_body(proto, inputs, opset)
        if function is None:
            return None
        where = {"stage": "import", "op": proto.op_type, "node": name}
        if not function.node and not set(function.output) <= set(function.input):
            hint = "Export the model with what it computes."
            raise ModelError(f"the function {_shown(key)!r} has no body", hint=hint, **where)
        if key in self.calls:
            circle = " calls ".join(repr(_shown(each)) for each in [*self.calls[self.calls.index(key) :], key])
            raise ModelError("a function calls itself", found=circle, hint="Write it as a Loop or Scan.", **where)
        if len(self.calls) >= limits.CALLS:
            expected = f"at most {limits.CALLS} {limits.CALLS.what}"
            raise ResourceError("functions are nested too deeply", expected=expected, **where)
        if len(proto.input) > len(function.input) or len(proto.output) > len(function.output):
            expected, found = (f"{len(f.input)} inputs, {len(f.output)} outputs" for f in (function, proto))
            raise ModelError("the function has less than the node", expected=expected, found=found, **where)
        self._nodes += 1 + len(function.node)
        # A model holds each body once; whatever is more of it is made here.
        self._bytes += function.ByteSize() if key in self._taken else 0
        self._taken.add(key)
        given = {each.name: each for each in function.attribute_proto}
        given.update((each.name, each) for each in proto.attribute)
        self._bytes += sum(each.ByteSize() for each in given.values()) * _references(function)
        for count, limit in ((self._nodes, limits.FUNCTION_NODES), (self._bytes, limits.FUNCTION_BYTES)):
            if count > limit:
                expected = f"at most {limit} {limit.what}"
                raise ResourceError("the functions of the model are too large", expected=expected, **where)
        if key not in self._own:
            attributes = schema_of(key[0], key[1], opset).attributes
            given = {n: a.default_value for n, a in attributes.items() if a.default_value.type} | given
        opsets = {standard_domain(o.domain): o.version for o in function.opset_import}
        graph = graph_of(function, given)
        held = {formal for formal, value in zip(function.input, inputs, strict=False) if value is not None}
        # What the call does not give is no input of the nodes either.
        absent = set(function.input) - held
        for node in (node for each in graphs_in(graph) for node in each.node) if absent else ():
            node.input[:] = ["" if name in absent else name for name in node.input]
        # Bodies of schemas outside the standard domain need not say which version of it they are written in.
        return graph, {"": onnx.defs.onnx_opset_version()} | opsets


def _key(proto: onnx.NodeProto) -> Key:
    return standard_domain(proto.domain), proto.op_type, proto.overload


def _shown(key: Key) -> str:
    return ":".join(filter(None, key))


def _schema_body(proto: onnx.NodeProto, inputs: Sequence[Value | None], opset: int) -> onnx.FunctionProto | None:
    schema = schema_of(standard_domain(proto.domain), proto.op_type, opset)
    if schema is None:
        return None
    types = [_type(value).SerializeToString() for value in inputs]
    node = proto.SerializeToString()
    for version in _versions(schema.context_dependent_function_opset_versions, opset):
        data = schema.get_context_dependent_function_with_opset_version(version, node, types)
        if data:
            return onnx.FunctionProto.FromString(data)
    for version in _versions(schema.function_opset_versions, opset):
        data = schema.get_function_with_opset_version(version)
        if data:
            return onnx.FunctionProto.FromString(data)
    return None


def _type(value: Value | None) -> onnx.TypeProto:
    if value is None:
        return onnx.TypeProto()
    if isinstance(value, SequenceValue):
        return onnx.helper.make_sequence_type_proto(_type(next(iter(value.items), None)))
    dtype = onnx.helper.np_dtype_to_tensor_dtype(value.type.dtype.numpy)
    return onnx.helper.make_tensor_type_proto(dtype, value.type.shape)


def graph_of(function: onnx.FunctionProto, given: Mapping[str, onnx.AttributeProto] | None = None) -> onnx.GraphProto:
    """The body of a function as a graph.
    ``given``: attributes of the call, put in where nodes refer to them; without it they stay references."""
    graph = onnx.GraphProto(
        name=function.name,
        node=function.node,
        input=[onnx.ValueInfoProto(name=name) for name in function.input],
        output=[onnx.ValueInfoProto(name=name) for name in function.output],
    )
    if given is not None:
        _put_in(graph.node, given)
    return graph


def _put_in(nodes: Sequence[onnx.NodeProto], given: Mapping[str, onnx.AttributeProto]) -> None:
    for node in nodes:
        for attribute in list(node.attribute):
            source = given.get(attribute.ref_attr_name)
            if source is not None:
                name = attribute.name
                attribute.CopyFrom(source)
                attribute.name = name
            elif attribute.ref_attr_name:
                # What nobody gives is absent, and has the default of the operator that reads it.
                node.attribute.remove(attribute)
            elif attribute.type == onnx.AttributeProto.GRAPH:
                _put_in(attribute.g.node, given)


def _references(function: onnx.FunctionProto) -> int:
    """How many attributes of nodes are those of the call, at most."""
    nodes = (node for each in (function, *graphs_in(function)) for node in each.node)
    return sum(bool(attribute.ref_attr_name) for node in nodes for attribute in node.attribute)
