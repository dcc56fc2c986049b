"""What the names of a model's tensors say to those who quantise it from outside: which there are, and what for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx
import onnx.helper
from onnx import ModelProto

from tilewright.immutable import Immutable

from ....ir.types import DType
from .reader import extents
from .tensors import element_type, graphs_in, inputs_of

_SHAPING = ("branch", "Flatten", "Reshape", "Shape", "Unsqueeze", "Squeeze", "Transpose")
WITHOUT_QUANTIZER = frozenset((*_SHAPING, "Gather", "Split", "Compress", "Tile", "Identity"))
"""Operators whose outputs AIMET gives no quantiser, whatever they are."""


class Channels(Immutable):
    """Dimensions of the weights of an operator, counted from the back where negative.
    ``axis``: of the output channels, along which scales of channels run.
    ``blocks``: of the input channels, along which blocks of one scale lie."""

    axis: int
    blocks: int

    @property
    def transposed(self) -> "Channels":
        return Channels(self.blocks, self.axis)


class Declaration(Immutable):
    """An input or output of the network as the model declares it; open dimensions have their name, or ``None``."""

    name: str
    dtype: DType
    shape: tuple[int | str | None, ...]

    @property
    def is_open(self) -> bool:
        return any(not isinstance(extent, int) for extent in self.shape)


@dataclass
class Scope:
    """The tensors of a module of PyTorch, in the order of its nodes.
    ``inputs``: those that its nodes read and do not produce.
    ``outputs``: those that its nodes produce and do not read.
    ``made``: all that they produce."""

    inputs: dict[str, None] = field(default_factory=dict)
    outputs: dict[str, None] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)


class TensorRoles(Immutable):
    """Attributes:
    inputs: those without an initialiser.
    outputs: as declared.
    producers: the operator that produces a tensor, for each that a node produces.
    names: of all tensors, those of subgraphs included.
    channels: of weights, as the operator that reads them has them.
    scopes: by the path of a module of PyTorch, whose exporters write it into the names of nodes."""

    inputs: tuple[Declaration, ...]
    outputs: tuple[Declaration, ...]
    producers: Mapping[str, str]
    names: frozenset[str]
    channels: Mapping[str, Channels]
    scopes: Mapping[str, Scope]

    def has_quantizer(self, output: Declaration) -> bool:
        """Whether AIMET gives an output of the network a quantiser, enabled or not."""
        return output.dtype.is_float and self.producers.get(output.name) not in WITHOUT_QUANTIZER


def tensor_roles(model: ModelProto) -> TensorRoles:
    """The roles of the tensors of a model."""
    graph = model.graph
    nodes = [node for each in graphs_in(graph) for node in each.node]
    producers = {name: node.op_type for node in nodes for name in node.output if name}
    names = {*producers, *(each.name for each in (*graph.initializer, *graph.input))}
    return TensorRoles(
        tuple(map(_declaration, inputs_of(graph))),
        tuple(map(_declaration, graph.output)),
        producers,
        frozenset(names),
        _channels(nodes),
        _scopes(nodes),
    )


def add_outputs(model: ModelProto, names: Sequence[str]) -> None:
    """Have the network return further tensors."""
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)


def _declaration(info: onnx.ValueInfoProto) -> Declaration:
    if info.type.WhichOneof("value") == "sequence_type" and info.type.sequence_type.elem_type.HasField("map_type"):
        return Declaration(info.name, DType.F32, ())  # what is imported as a column for each class
    is_sequence = info.type.WhichOneof("value") == "sequence_type"
    tensor = (
        info.type.sequence_type.elem_type if is_sequence else info.type
    ).tensor_type  # of which names of classes are imported as their numbers
    dtype = DType.I64 if tensor.elem_type == onnx.TensorProto.STRING else element_type(tensor.elem_type, info.name)
    return Declaration(info.name, dtype, extents(tensor))


def _channels(nodes: Sequence[onnx.NodeProto]) -> dict[str, Channels]:
    found: dict[str, Channels] = {}
    for node in reversed(nodes):
        weights = node.input[1] if len(node.input) > 1 else ""
        if node.op_type == "Conv":
            found[weights] = Channels(0, 1)
        elif node.op_type == "ConvTranspose":
            found[weights] = Channels(1, 0)
        elif node.op_type == "MatMul":
            found[weights] = Channels(-1, -2)
        elif node.op_type == "Gemm":
            is_transposed = any(a.name == "transB" and a.i for a in node.attribute)
            found[weights] = Channels(0, 1) if is_transposed else Channels(1, 0)
        elif node.op_type in ("Identity", "Transpose") and node.output and node.output[0] in found:
            # Weights that are turned before they are read, as exporters write x @ w.T.
            after = found[node.output[0]]
            order = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
            if node.op_type == "Identity":
                found.setdefault(node.input[0], after)
            elif order in ([], [1, 0]):
                found.setdefault(node.input[0], after.transposed)
    return found


def _scopes(nodes: Sequence[onnx.NodeProto]) -> dict[str, Scope]:
    """A node ``/layer1/layer1.0/conv1/Conv`` belongs to the module ``layer1.0.conv1``."""
    found: dict[str, Scope] = {}
    for node in nodes:
        path = ""
        for part in node.name.strip("/").split("/")[:-1]:
            path = part if not path or part.startswith(f"{path}.") else f"{path}.{part}"
        if not path:
            continue
        scope = found.setdefault(path, Scope())
        for name in filter(None, node.input):
            if name in scope.made:
                scope.outputs.pop(name, None)
            else:
                scope.inputs[name] = None
        scope.outputs.update((name, None) for name in node.output if name)
        scope.made.update(node.output)
    return found
