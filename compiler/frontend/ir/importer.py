"""IR documents to modules: the door that .xml files come in by.

Importers of layers register here, those of versions 2 to 7 with `legacy`, later ones with `opset`. Shapes are static,
as for ONNX; half precision is computed in single precision, whatever the file says of ports and inputs.
"""

from collections.abc import Callable, Sequence
from numbers import Integral
from typing import TypeVar

import numpy as np

from tilewright import limits
from tilewright.errors import ModelError, UnsupportedError, UsageError

from ....ir.core import Constant, Module, Value
from ....ir.types import DType, TensorType
from ..builder import ModuleBuilder, Results, check_given, in_order, open_shapes_error, type_of_tensor
from ..input_shapes import Frozen, InputShapes, frozen_array
from ..shape import reshape
from .document import ELEMENT_TYPES, OPEN, PRECISIONS, Document, Layer, Port, output_names
from .node import IrNode
from .pre_process import pre_processed
from .quantization_chains import recognise_quantization

Import = Callable[["IrNode", "IrImporter"], Results]
ImportFunction = TypeVar("ImportFunction", bound=Import)

OPSET: dict[str, Import] = {}
"""Importers of layers of version 10 and later, by type."""
LEGACY: dict[str, Import] = {}
"""Importers of layers of versions 2 to 7, by type in lower case."""
LEGACY_TYPES: dict[str, None] = {}
"""Their types as converters spell them."""


def opset(*types: str) -> Callable[[ImportFunction], ImportFunction]:
    """Register the importer of these layers of version 10 and later."""

    def register(function: ImportFunction) -> ImportFunction:
        OPSET.update(dict.fromkeys(types, function))
        return function

    return register


def legacy(*types: str) -> Callable[[ImportFunction], ImportFunction]:
    """Register the importer of these layers of versions 2 to 7, whose types are the same in any case."""

    def register(function: ImportFunction) -> ImportFunction:
        LEGACY.update(dict.fromkeys(map(str.lower, types), function))
        LEGACY_TYPES.update(dict.fromkeys(types))
        return function

    return register


class IrImporter(ModuleBuilder):
    """State of one import.
    ``values``: by (layer id, port id) of the output.
    ``inputs``: the names of the network's inputs."""

    def __init__(
        self, document: Document, module: Module, input_shapes: InputShapes | None = None, frozen: Frozen | None = None
    ) -> None:
        super().__init__(module)
        self.document = document
        self.values: dict[tuple[int, int], Value] = {}
        self.inputs = dict.fromkeys(layer.name for layer in document.inputs())
        self._sources = document.sources()
        self._read = set(self._sources.values()) | {(layer.id, port.id) for layer, port in document.outputs()}
        self._shapes = dict(input_shapes or {})
        self._frozen = dict(frozen or {})
        self._is_as_declared = not self._shapes
        self._constants: dict[tuple[int, str, int, tuple[int, ...]], Constant] = {}
        self._stored: set[Value] = set()
        self._held = 0

    def run(self) -> None:
        """Import every layer.
        Raises ModelError: the document is inconsistent; UnsupportedError: it uses a layer or a feature that is not
        implemented."""
        check_given("shape", self._shapes, self.inputs)
        check_given("value", self._frozen, self.inputs)
        for layer in sorted_layers(self.document):
            self._import_layer(layer)
        outputs = self.document.outputs()
        if not outputs:
            raise ModelError("the network has no outputs", stage="import")
        values = [self.values[layer.id, port.id] for layer, port in outputs]
        names = {
            (layer.id, port.id): name
            for layer in {layer.id: layer for layer, _ in outputs}.values()
            for port, name in zip(layer.outputs, output_names(layer), strict=True)
        }
        self.function.set_results(values, _unique([names[layer.id, port.id] for layer, port in outputs]))
        recognise_quantization(self.module)
        self.module.drop_unused_constants()
        self.module.folding = self.left_for_folding(self._held, self._held // 4)

    def array(self, node: IrNode, name: str, shape: Sequence[int]) -> Constant:
        """A blob of a layer as a constant; half precision becomes single precision.
        Raises ModelError: there is none of this name, or it does not fill the shape."""
        blob = node.layer.blobs.get(name)
        if blob is None:
            raise node.model_error(
                f"the layer has no {name!r}", expected=name, found=", ".join(node.layer.blobs) or "none"
            )
        type = TensorType(tuple(shape), DType.of(_computed(blob.dtype)))
        if blob.size != type.elements:
            raise node.model_error(
                f"the {name} do not fill their shape", expected=f"{type.elements} for {type}", found=blob.size
            )
        key = blob.__array_interface__["data"][0], blob.dtype.str, blob.size, tuple(shape)
        found = self._constants.get(key)
        if found is None:
            self._held += type.elements * type.dtype.bytes
            most = limits.DESCRIBED + 8 * self.document.weights.size
            if self._held > most:
                raise node.resource_error(
                    "the layers ask for more constants than the .bin file holds",
                    expected=f"at most {most} bytes",
                    found=self._held,
                )
            array = np.array(blob, _computed(blob.dtype)).reshape(tuple(shape))
            if type.dtype is DType.BOOL:
                array = array.view(np.uint8) != 0
            array.flags.writeable = False
            found = self._constants[key] = self.constant(array, node.name)
            self._stored.add(found)
        return found

    def is_stored(self, value: Value) -> bool:
        """Whether a value is an array of the document, not one that shapes or other arrays gave."""
        return value in self._stored

    def parameter(self, layer: Layer) -> Value:
        """The input of the network that a layer stands for."""
        declared = layer.declared
        shape = self._shapes.get(layer.name)
        if layer.name in self._frozen:
            known = None if declared is None else [None if extent == OPEN else extent for extent in declared]
            array = frozen_array(layer.name, self._frozen[layer.name], input_type(layer), shape or known)
            return self.constant(array, layer.name)
        if shape is None:
            if declared is None or OPEN in declared:
                left = self.document.open_inputs()
                given = self._shapes.keys() | self._frozen.keys()
                raise open_shapes_error({name: shape for name, shape in left.items() if name not in given})
            shape = declared
        elif not all(isinstance(extent, Integral) and extent > 0 for extent in shape):
            raise UsageError(f"wrong shape for input {layer.name!r}", expected="whole numbers", found=f"{shape!r:.60}")
        elif declared is not None and len(shape) != len(declared):
            raise ModelError(
                f"the given shape does not fit input {layer.name!r}",
                stage="import",
                expected=f"{len(declared)} dimensions, as in {list(declared)}",
                found=list(shape),
            )
        type = type_of_tensor(f"input {layer.name!r}", [int(extent) for extent in shape], input_type(layer))
        return self.function.add_parameter(layer.name, type)

    def _import_layer(self, layer: Layer) -> None:
        kind = layer.type.lower() if self.document.is_legacy else layer.type
        inputs = tuple(self._source(layer, port) for port in layer.inputs)
        if kind == "Result":
            return
        names = output_names(layer)
        node = IrNode(layer.type, layer.name, inputs, layer, self.document.version)
        if kind in ("input", "Parameter"):
            results = self.results_of(node, _enter, names)
        else:
            handler = (LEGACY if self.document.is_legacy else OPSET).get(kind)
            if handler is None:
                where = layer.version or f"IR version {self.document.version}"
                raise UnsupportedError(
                    f"layer type {layer.type!r} ({where}) is not supported",
                    stage="import",
                    node=layer.name,
                    hint="`tilewright inspect --supported-ops` lists what is.",
                )
            results = self.results_of(node, handler, names)
        for index, port in enumerate(layer.outputs):
            value = results[index] if index < len(results) else None
            if value is None:
                if (layer.id, port.id) in self._read:
                    raise UnsupportedError(
                        f"output {index} is not supported", stage="import", op=layer.type, node=layer.name
                    )
                continue
            self._check_shape(layer, port, value)
            self.values[layer.id, port.id] = value
            value.origin = value.origin or names[index]

    def _source(self, layer: Layer, port: Port) -> Value:
        source = self._sources.get((layer.id, port.id))
        if source is not None and self.document.layers[source[0]].type == "Result":
            raise ModelError("a Result gives nothing that can be read", stage="import", op=layer.type, node=layer.name)
        if source is None or source not in self.values:
            raise ModelError(
                f"input port {port.id} is not connected to any edge", stage="import", op=layer.type, node=layer.name
            )
        return self.values[source]

    def _check_shape(self, layer: Layer, port: Port, value: Value) -> None:
        """A file states every shape; where they differ from what layers compute, one of both is wrong."""
        shape = value.type.shape
        fits = len(shape) == len(port.shape) and all(
            wanted in (OPEN, extent) for wanted, extent in zip(port.shape, shape, strict=True)
        )
        if self._is_as_declared and not fits:
            raise ModelError(
                "mismatch of dimensions: the layer computes another shape than the file says",
                stage="import",
                op=layer.type,
                node=layer.name,
                expected=list(port.shape),
                found=list(shape),
            )


def _enter(node: IrNode, importer: IrImporter) -> Value:
    """An input of the network, with what is done to it before the first layer: in versions 2 to 7 by the file itself,
    later where a program asks for it."""
    x = importer.parameter(node.layer)
    if not importer.document.is_legacy and all(given.layer != node.name for given in importer.document.pre_process):
        return x
    return pre_processed(node, importer, x, importer.document.pre_process, importer.inputs)


@np.errstate(all="ignore")
def import_document(
    document: Document, input_shapes: InputShapes | None = None, frozen: Frozen | None = None
) -> Module:
    """The network of a document as a module, whose inputs and outputs are called after layers.
    ``input_shapes``: a full shape for inputs, by the names of their layers.
    ``frozen``: values of inputs that become constants."""
    module = Module(document.name or "network")
    module.metadata = {"ir_version": str(document.version), "sha256": document.digest}
    if document.images:
        module.metadata["images"] = document.images
    IrImporter(document, module, input_shapes, frozen).run()
    return module


def input_type(layer: Layer) -> DType:
    """What the elements of an input are computed as."""
    text = layer.attributes.get("element_type", "").lower()
    precision = ELEMENT_TYPES.get(text, text.upper()) or (layer.outputs[0].precision if layer.outputs else "")
    return element_type(precision or "FP32", layer)


def element_type(precision: str, layer: Layer) -> DType:
    """What elements of a precision are computed as. Raises UnsupportedError: there is nothing for it."""
    found = PRECISIONS.get(precision.upper())
    if found is None:
        raise UnsupportedError(
            f"precision {precision!r} is not supported",
            stage="import",
            op=layer.type,
            node=layer.name,
            expected=", ".join(PRECISIONS),
        )
    return DType.of(_computed(np.dtype(found)))


def weights(node: IrNode, importer: IrImporter, shape: Sequence[int], name: str = "weights", index: int = 1) -> Value:
    """The blob ``name``, or input ``index`` where there is no such blob.
    Raises ModelError: there is neither, or it does not fill the shape."""
    if name in node.layer.blobs or node.optional(index) is None:
        return importer.array(node, name, shape)
    given = node.input(index)
    wanted = tuple(shape)
    if given.type.elements != given.type.with_shape(wanted).elements:
        raise node.model_error(
            f"input {index} does not fill the shape of the {name}", expected=wanted, found=given.type
        )
    return reshape(importer, given, wanted)


def channels_of(node: IrNode) -> int:
    """The channels of the first input, its second extent."""
    x = node.input(0).type
    if x.rank < 2:
        raise node.model_error("the input has no channels", found=x)
    return x.shape[1]


def biases(node: IrNode, importer: IrImporter, count: int) -> Value | None:
    """The blob ``biases``, or input 2; ``None`` where there is neither."""
    if "biases" not in node.layer.blobs and node.optional(2) is None:
        return None
    return weights(node, importer, (count,), "biases", 2)


def sorted_layers(document: Document) -> list[Layer]:
    """Layers in an order in which each comes after those that it reads, otherwise in that of the document.
    Raises ModelError: the graph has a cycle."""
    layers = [*document.layers.values()]
    position = {layer_id: index for index, layer_id in enumerate(document.layers)}
    sources: list[set[int]] = [set() for _ in layers]
    for edge in document.edges:
        sources[position[edge.target[0]]].add(position[edge.source[0]])
    order, stuck = in_order(sources)
    if stuck:
        found = f"layers {', '.join(repr(layers[index].name) for index in stuck[:4])}"
        raise ModelError("the graph has a cycle", stage="import", found=found)
    return [layers[index] for index in order]


def _computed(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float32) if dtype == np.float16 else dtype


def _unique(names: list[str]) -> list[str]:
    """The names, with a number where one comes again."""
    seen: dict[str, int] = {}
    result: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result
