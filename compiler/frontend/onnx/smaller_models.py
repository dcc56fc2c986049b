"""Models with less in them than another one: parts of its graph, bypassed nodes, smaller extents, plainer constants.

Each is a sound model again, whether it means the same or not: it is for those who look for the smallest model of which
something is still true.
"""

import math
import os
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import onnx
import onnx.defs
import onnx.helper
import onnx.numpy_helper
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto
from onnx.external_data_helper import load_external_data_for_model

from tilewright.errors import ModelError

from .large_models import serialized
from .node_order import read_names, sorted_nodes
from .reader import load_model

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


class ReducibleModel:
    """A model, and the smaller ones that it leads to.
    ``nodes``: of the main graph, in an order in which each tensor is computed before it is read."""

    def __init__(self, model: ModelProto) -> None:
        self._model = model
        graph = model.graph
        self._initialised = {tensor.name: tensor for tensor in graph.initializer}
        self.nodes: list[NodeProto] = sorted_nodes(graph, {*self._initialised, *(info.name for info in graph.input)})
        self._outputs = [output.name for output in graph.output]
        self._types = _types_of(model)

    @staticmethod
    def read(path: str | os.PathLike[str]) -> "ReducibleModel":
        """The model of a file, with the tensors that it keeps in others.
        Raises ModelError: it cannot be read, or is no sound model."""
        model, _ = load_model(path)
        try:
            load_external_data_for_model(model, os.path.dirname(path) or ".")
        except OSError as error:
            raise ModelError(f"cannot read {error.filename!r}: {error.strerror}", stage="reduce") from None
        return ReducibleModel(model)

    @staticmethod
    def parse(content: bytes) -> "ReducibleModel":
        """The model that one of the methods gave."""
        return ReducibleModel(onnx.load_model_from_string(content))

    def content(self) -> bytes:
        """The model as a file."""
        return serialized(self._model, "reduce")

    @property
    def kinds(self) -> list[str]:
        """The operators of the nodes."""
        return [node.op_type for node in self.nodes]

    @property
    def elements(self) -> int:
        """Numbers in all tensors whose shapes are known."""
        shapes = (_extents(info) for info in self._types.values())
        return sum(math.prod(shape) for shape in shapes if all(shape))

    def only(self, kept: Collection[int]) -> bytes | None:
        """The model of these nodes, by their positions: what they read of others are inputs, what others read of them
        are outputs. ``None`` if the type of an input is not known, or it is no sound model."""
        return self._rebuilt([node for position, node in enumerate(self.nodes) if position in kept])

    def only_what_makes(self, name: str, given: Collection[str]) -> bytes | None:
        """The model of the nodes that compute a tensor of others that are given; ``None`` as for `only`."""
        makers = {each: position for position, node in enumerate(self.nodes) for each in node.output}
        found, left = set[int](), [name]
        while left:
            position = makers.get(left.pop())
            if position is not None and position not in found:
                found.add(position)
                left += [each for each in read_names(self.nodes[position]) if each not in given]
        return self.only(found)

    def without(self, position: int) -> Iterator[bytes]:
        """Models in which readers of a node read one of its inputs of the same type instead."""
        node = self.nodes[position]
        others = [each for number, each in enumerate(self.nodes) if number != position]
        result = next(filter(None, node.output), "")
        for source in dict.fromkeys(filter(None, node.input)):
            if self._is_alike(source, result) and source not in self._initialised:
                found = self._rebuilt(others, {result: source})
                if found is not None:
                    yield found

    def smaller(self) -> Iterator[bytes]:
        """Models with one extent made smaller: along a dimension of an input, or everywhere where it has this size."""
        inputs = [info for info in self._model.graph.input if info.name not in self._initialised]
        for info in inputs:
            for axis, extent in enumerate(_extents(info)):
                for less in _less(extent):
                    yield from self._resized(extent, less, {(info.name, axis)})
        shapes = [*map(_extents, inputs), *(tensor.dims for tensor in self._initialised.values())]
        for extent in sorted({extent for shape in shapes for extent in shape}, reverse=True):
            for less in _less(extent):
                yield from self._resized(extent, less, None)

    def plainer(self) -> Iterator[bytes]:
        """Models in which a constant in floating point is all ones, or all zeros."""
        for name, tensor in self._initialised.items():
            array = onnx.numpy_helper.to_array(tensor) if tensor.data_type in _FLOATS else np.zeros(0)
            for value in (1.0, 0.0):
                if array.size and not np.all(array == value) and not np.all(array == 1):
                    plain = onnx.numpy_helper.from_array(np.full_like(array, value), name)
                    found = self._rebuilt(self.nodes, constants={name: plain})
                    if found is not None:
                        yield found

    def _is_alike(self, first: str, second: str) -> bool:
        a, b = self._types.get(first), self._types.get(second)
        return a is not None and b is not None and a.type == b.type

    def _resized(self, extent: int, less: int, where: Collection[tuple[str, int]] | None) -> Iterator[bytes]:
        """With another extent: of certain dimensions of inputs, or of all that have it, integers that say it too."""
        inputs = {}
        for info in self._model.graph.input:
            changed = ValueInfoProto()
            changed.CopyFrom(info)
            for axis, dimension in enumerate(changed.type.tensor_type.shape.dim):
                if dimension.dim_value == extent and (where is None or (info.name, axis) in where):
                    dimension.dim_value = less
            inputs[info.name] = changed
        constants: dict[str, onnx.TensorProto] = {}
        nodes = self.nodes
        if where is None:
            for name, tensor in self._initialised.items():
                if extent in tensor.dims:
                    array = onnx.numpy_helper.to_array(tensor)
                    cut = array[tuple(slice(less) if each == extent else slice(None) for each in array.shape)]
                    constants[name] = onnx.numpy_helper.from_array(np.ascontiguousarray(cut), name)
                elif tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) == 1:
                    array = onnx.numpy_helper.to_array(tensor)
                    constants[name] = onnx.numpy_helper.from_array(np.where(array == extent, less, array), name)
            nodes = [_regrouped(node, extent, less) for node in self.nodes]
        found = self._rebuilt(nodes, constants=constants, inputs=inputs)
        if found is not None:
            yield found

    def _rebuilt(
        self,
        nodes: Sequence[NodeProto],
        renamed: dict[str, str] | None = None,
        *,
        constants: dict[str, onnx.TensorProto] | None = None,
        inputs: dict[str, ValueInfoProto] | None = None,
    ) -> bytes | None:
        """The model of these nodes, if it is sound.
        ``renamed``: tensors that are read in place of others.
        ``constants``, ``inputs``: what stands in place of those of the model."""
        renamed = renamed or {}
        is_resized = constants is not None or inputs is not None
        chosen = [_renamed(node, renamed) for node in nodes]
        made = {name for node in chosen for name in node.output if name}
        read = dict.fromkeys(name for node in chosen for name in read_names(node))
        declared = {info.name: info for info in self._model.graph.input} | (inputs or {})
        outer = [name for name in read if name not in made and name not in self._initialised]
        types = {**self._types, **declared}
        wanted = [renamed.get(name, name) for name in self._outputs]
        ends = [name for node in chosen for name in node.output if name and (name not in read or name in wanted)]
        if not ends or not {*outer, *ends} <= types.keys():
            return None
        infos, results = [types[name] for name in outer], [self._types[name] for name in ends]
        if is_resized:
            typed = onnx.helper.make_tensor_value_info
            results = [typed(info.name, info.type.tensor_type.elem_type, None) for info in results]
        held = [(constants or {}).get(name, tensor) for name, tensor in self._initialised.items() if name in read]
        graph = onnx.helper.make_graph(chosen, self._model.graph.name or "reduced", infos, results, held)
        found = onnx.helper.make_model(
            graph,
            opset_imports=self._model.opset_import,
            functions=self._model.functions,
            ir_version=self._model.ir_version,
        )
        try:
            inferred = onnx.shape_inference.infer_shapes(found, strict_mode=True, data_prop=True)
            del found.graph.output[:]
            found.graph.output.extend(inferred.graph.output)
            onnx.checker.check_model(found)
        except Exception:  # The checker has classes of its own for what is wrong, and so has shape inference.
            return None
        return serialized(found, "reduce")


def _types_of(model: ModelProto) -> dict[str, ValueInfoProto]:
    """Types by name. What operators that ONNX does not know make is taken to be like what they read first: otherwise
    nothing behind them could be cut off, and where it is wrong, what is cut out is unsound or does not fail."""
    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        strange = [node for node in model.graph.node if node.input and not onnx.defs.has(node.op_type, node.domain)]
        while guesses := _guessed(strange, known := _declared(inferred.graph)):
            inferred.graph.value_info.extend(guesses)
            inferred = onnx.shape_inference.infer_shapes(inferred, data_prop=True)
    except Exception as error:
        raise ModelError(f"the shapes of the model cannot be inferred: {error}", stage="reduce") from None
    return known


def _declared(graph: GraphProto) -> dict[str, ValueInfoProto]:
    return {info.name: info for info in (*graph.input, *graph.value_info, *graph.output)}


def _guessed(nodes: Sequence[NodeProto], known: dict[str, ValueInfoProto]) -> list[ValueInfoProto]:
    return [
        ValueInfoProto(name=name, type=known[node.input[0]].type)
        for node in nodes
        if node.input[0] in known
        for name in node.output
        if name and name not in known
    ]


def _extents(info: ValueInfoProto) -> list[int]:
    """The extents of a tensor, 0 for those that are open."""
    return [dimension.dim_value for dimension in info.type.tensor_type.shape.dim]


def _less(extent: int) -> list[int]:
    return sorted({less for less in (1, 2, 4, extent // 4, extent // 2) if 0 < less < extent})


def _renamed(node: NodeProto, renamed: dict[str, str]) -> NodeProto:
    if renamed.keys().isdisjoint(node.input):
        return node
    found = NodeProto()
    found.CopyFrom(node)
    found.input[:] = [renamed.get(name, name) for name in node.input]
    return found


def _regrouped(node: NodeProto, extent: int, less: int) -> NodeProto:
    """Convolutions of as many groups as there are channels."""
    if not any(attribute.name == "group" and attribute.i == extent for attribute in node.attribute):
        return node
    found = NodeProto()
    found.CopyFrom(node)
    for attribute in found.attribute:
        attribute.i = less if attribute.name == "group" else attribute.i
    return found
