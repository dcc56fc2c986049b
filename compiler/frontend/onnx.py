"""ONNX to module. This package is the only place that imports ``onnx``.

Shapes are static: symbolic input dimensions are fixed when importing, and whatever can be computed from constants
and shapes is computed on the spot, so that Shape → Gather → Concat → Reshape chains leave plain attributes behind.
"""

from __future__ import annotations

import hashlib
import heapq
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.numpy_helper

from tilewright.errors import ModelError, TilewrightError, UnsupportedError

from ...ir.core import Constant, Function, Module, Op, Value
from ...ir.op import Operator
from ...ir.types import DType, TensorType
from .registry import IMPORTS, Node

FOLD_ELEMENTS = 1 << 16
"""Results up to this size are folded while importing; larger ones are left to the ``fold_constants`` pass."""

LARGEST_TENSOR = 1 << 34
"""Bytes; what is larger comes from a wrong number in a model, and would only fail later and less clearly."""

SUPPORTED_OPSETS = (7, 26)
"""Oldest and newest version of the standard operator set that the importers were written for."""

InputShapes = Mapping[str, Sequence[int]]


class Importer:
    """State of one import: the module so far, and which ONNX name is which value."""

    def __init__(self, module: Module, opsets: Mapping[str, int]) -> None:
        self.module = module
        self.function = module.add_function(Function("main"))
        self.opsets = opsets
        self.values: dict[str, Value] = {}
        self._read: set[str] = set()
        self._loc: tuple[str, ...] = ()
        self._names: list[str] = []

    def emit(
        self,
        operator: Operator,
        *operands: Value | None,
        types: Sequence[TensorType] | None = None,
        fold: bool = True,
    ) -> tuple[Value, ...]:
        """Apply ``operator``; with ``fold``, at once if every operand is a constant and the result is small."""
        op = Op(operator, operands, types, loc=self._loc, names=self._names)
        for value in op.results:
            if value.type.elements * value.type.dtype.bytes > LARGEST_TENSOR:
                limit = f"at most {LARGEST_TENSOR >> 30} GiB"
                raise UnsupportedError(f"tensor {value.name!r} is too large", expected=limit, found=value.type)
        arrays = [v.array if isinstance(v, Constant) else None for v in operands]
        known = all(v is None or isinstance(v, Constant) for v in operands)
        if fold and known and operands and sum(v.type.elements for v in op.results) <= FOLD_ELEMENTS:
            results = operator.evaluate(
                arrays, [v.type if v is not None else None for v in operands], [v.type for v in op.results]
            )
            folded = tuple(
                self.module.add_constant(value.name, array, value.type)
                for value, array in zip(op.results, results, strict=True)
            )
            for index in range(len(op.operands)):
                op.set_operand(index, None)
            return folded
        return self.function.insert(op).results

    def emit_one(
        self,
        operator: Operator,
        *operands: Value | None,
        types: Sequence[TensorType] | None = None,
        fold: bool = True,
    ) -> Value:
        """Apply an operator of one result."""
        return self.emit(operator, *operands, types=types, fold=fold)[0]

    def constant(self, array: np.ndarray, name: str = "constant") -> Constant:
        """A new constant of the module."""
        return self.module.add_constant(name, array)

    def import_graph(self, graph: onnx.GraphProto) -> list[Value]:
        """Import initialisers and nodes of a graph whose inputs are known; values of its outputs.

        Subgraphs see the names of the graphs around them.
        """
        for tensor in graph.initializer:
            self.values[tensor.name] = self.constant(_array(tensor), tensor.name)
        if graph.sparse_initializer:
            raise UnsupportedError("sparse initialisers are not supported", stage="import")
        self._read.update(output.name for output in graph.output)
        self._read.update(name for proto in graph.node for name in _read_names(proto))
        for proto in _sorted_nodes(graph, set(self.values)):
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
        handler = IMPORTS.get((domain, proto.op_type))
        if handler is None:
            where = f"{domain}:{opset}" if domain else f"opset {opset}"
            raise UnsupportedError(
                f"operator {proto.op_type!r} ({where}) is not supported",
                stage="import",
                node=name,
                hint="`tilewright inspect --supported-ops` lists what is.",
            )
        node = Node(
            proto.op_type,
            domain,
            name,
            opset,
            tuple(self._value(i, name) if i else None for i in proto.input),
            {a.name: _attribute(a, name) for a in proto.attribute},
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
        except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
            # Importers trust a node to have the attributes and shapes that ONNX defines for it; damaged files do not.
            message = f"the node is not as ONNX defines its operator ({type(error).__name__}: {error})"
            raise node.model_error(message, hint="Check the model with onnx.checker.check_model.") from error
        results = [results] if isinstance(results, Value) else list(results)
        for output, value in zip(proto.output, results, strict=False):
            if output and value is not None:
                self.values[output] = value
        missing = [o for o in proto.output if o and o in self._read and o not in self.values]
        if missing:
            raise node.unsupported(f"output {missing[0]!r} is not supported")


def import_onnx(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto, input_shapes: InputShapes | None = None
) -> Module:
    """The network of an ONNX model as a module.

    Args:
        source: path, file contents or loaded model.
        input_shapes: a full shape for inputs whose dimensions the model leaves open (or to replace).

    Raises:
        ModelError: not an ONNX file, damaged, or inconsistent.
        UnsupportedError: uses an operator or feature that is not implemented.
    """
    from . import families  # noqa: F401  # fills the registry

    model, digest = _load(source)
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in model.opset_import}
    standard = opsets.get("", 0)
    if standard and not SUPPORTED_OPSETS[0] <= standard <= SUPPORTED_OPSETS[1]:
        raise UnsupportedError(
            "the model uses an operator set that is not supported",
            stage="import",
            expected=f"version {SUPPORTED_OPSETS[0]} to {SUPPORTED_OPSETS[1]}",
            found=standard,
            hint="onnx.version_converter.convert_version converts models between versions.",
        )
    if model.functions:
        raise UnsupportedError(
            "model-local functions are not supported",
            stage="import",
            found=model.functions[0].name,
            hint="Inline them first with onnx.inliner.inline_local_functions.",
        )
    _check_names(model.graph, model.producer_name, model.producer_version)
    module = Module(model.graph.name or "network")
    module.metadata = {"opset": str(standard), "sha256": digest}
    if model.producer_name:
        module.metadata["producer"] = f"{model.producer_name} {model.producer_version}".strip()
    importer = Importer(module, opsets)
    _add_parameters(importer, model.graph, dict(input_shapes or {}))
    results = importer.import_graph(model.graph)
    names = [output.name for output in model.graph.output]
    if not names:
        raise ModelError("the graph has no outputs", stage="import")
    importer.function.set_results(results, names)
    module.drop_unused_constants()
    return module


def _load(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    if isinstance(source, onnx.ModelProto):
        return source, hashlib.sha256(source.SerializeToString(deterministic=True)).hexdigest()
    folder: Path | None = None
    if isinstance(source, bytes):
        data, what = source, "the data"
    else:
        folder, what = Path(source).parent, f"{os.fspath(source)!r}"
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise ModelError(f"cannot read {what}: {error.strerror}", stage="import") from None
    try:
        model = onnx.load_model_from_string(data)
    except Exception:  # protobuf raises its own types, which differ between its implementations
        model = None
    if model is None or not model.HasField("graph") or not model.opset_import:
        raise ModelError(
            f"{what} is not an ONNX model, or is truncated",
            stage="import",
            hint="Check it with onnx.checker.check_model.",
        )
    if folder is not None and _has_external_data(model):
        try:
            onnx.external_data_helper.load_external_data_for_model(model, os.fspath(folder))
        except Exception as error:
            raise ModelError(f"the external data of {what} cannot be read: {error}", stage="import") from None
    return model, hashlib.sha256(data).hexdigest()


def _has_external_data(model: onnx.ModelProto) -> bool:
    return any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)


def _add_parameters(importer: Importer, graph: onnx.GraphProto, shapes: dict[str, Sequence[int]]) -> None:
    initialised = {tensor.name for tensor in graph.initializer}
    inputs = [i for i in graph.input if i.name not in initialised]
    unknown = next((name for name in shapes if name not in {i.name for i in inputs}), None)
    if unknown is not None:
        raise ModelError(
            "a shape was given for an input that the model does not have",
            stage="import",
            expected=", ".join(i.name for i in inputs) or "no inputs",
            found=unknown,
        )
    for info in inputs:
        if not info.type.HasField("tensor_type"):
            raise UnsupportedError(f"input {info.name!r} is not a tensor", stage="import")
        tensor = info.type.tensor_type
        declared = [d.dim_value if d.HasField("dim_value") else (d.dim_param or "?") for d in tensor.shape.dim]
        shape = _resolve_shape(info.name, declared, tensor.HasField("shape"), shapes.get(info.name))
        type = TensorType(shape, element_type(tensor.elem_type, info.name))
        importer.values[info.name] = importer.function.add_parameter(info.name, type)


def _resolve_shape(
    name: str, declared: list[int | str], known_rank: bool, given: Sequence[int] | None
) -> tuple[int, ...]:
    text = f"[{', '.join(map(str, declared))}]" if known_rank else "of unknown rank"
    if given is not None:
        fits = not known_rank or (
            len(given) == len(declared)
            and all(isinstance(d, str) or d == g for d, g in zip(declared, given, strict=True))
        )
        if not fits or any(extent < 1 for extent in given):
            raise ModelError(
                f"the given shape does not fit input {name!r}", stage="import", expected=text, found=list(given)
            )
        return tuple(int(extent) for extent in given)
    if not known_rank or any(isinstance(d, str) or d < 1 for d in declared):
        example = ",".join("1" if isinstance(d, str) or d < 1 else str(d) for d in declared) or "1,3,224,224"
        raise ModelError(
            f"input {name!r} has an open shape {text}",
            stage="import",
            hint=f"Fix it with --input-shape {name}={example} (input_shapes={{{name!r}: [{example}]}} in Python).",
        )
    return tuple(int(d) for d in declared)


def element_type(code: int, what: str) -> DType:
    """The element type of an ONNX type code.

    Raises:
        UnsupportedError: strings, complex numbers, 4- and 8-bit floats and the like.
    """
    try:
        return DType.of(onnx.helper.tensor_dtype_to_np_dtype(code))
    except (TilewrightError, KeyError, ValueError, TypeError):
        label = onnx.TensorProto.DataType.Name(code) if code in onnx.TensorProto.DataType.values() else code
        raise UnsupportedError(
            f"{what!r} has an element type that is not supported",
            stage="import",
            expected=", ".join(d.value for d in DType),
            found=label,
        ) from None


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    type = element_type(tensor.data_type, tensor.name)
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:
        raise ModelError(f"initialiser {tensor.name!r} is damaged: {error}", stage="import") from None
    return np.array(array, type.numpy).reshape(tuple(tensor.dims))


def _attribute(proto: onnx.AttributeProto, node: str) -> Any:
    kind = proto.type
    if kind == onnx.AttributeProto.TENSOR:
        return _array(proto.t)
    if kind == onnx.AttributeProto.GRAPH:
        return proto.g
    try:
        value = onnx.helper.get_attribute_value(proto)
    except Exception as error:
        raise ModelError(f"attribute {proto.name!r} is damaged: {error}", stage="import", node=node) from None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _sorted_nodes(graph: onnx.GraphProto, known: set[str]) -> list[onnx.NodeProto]:
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


def _check_names(graph: onnx.GraphProto, *others: object) -> None:
    """Raise ModelError if two tensors of a graph have one name, or a name of it or among ``others`` is no text."""
    named = (*graph.input, *graph.output, *graph.initializer)
    texts = [*others, graph.name, *(thing.name for thing in named)]
    for node in graph.node:
        texts += (node.name, node.op_type, node.domain, *node.input, *node.output)
    for text in texts:
        if not isinstance(text, str):
            raise ModelError("a name is not UTF-8 text", stage="import", found=text)
    taken: dict[str, str] = {}
    for tensor in graph.initializer:
        if tensor.name in taken:
            raise ModelError(f"two initialisers are named {tensor.name!r}", stage="import")
        taken[tensor.name] = "an initialiser"
    # Older models list their initialisers among the inputs, which is no second producer.
    taken.update((info.name, "an input") for info in graph.input)
    for node in graph.node:
        for name in filter(None, node.output):
            if name in taken:
                raise ModelError(
                    f"tensor {name!r} is produced twice",
                    stage="import",
                    node=node.name or name,
                    expected="one producer",
                    found=f"{taken[name]} and this node",
                )
            taken[name] = f"node {node.name or name!r}"
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _check_names(attribute.g)


def _read_names(node: onnx.NodeProto) -> list[str]:
    """Names that a node reads, those of its subgraphs included."""
    names = list(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            inner = {o for n in attribute.g.node for o in n.output} | {t.name for t in attribute.g.initializer}
            names += [i for n in attribute.g.node for i in _read_names(n) if i not in inner]
    return names
