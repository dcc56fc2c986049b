"""IENetwork: a network that programs read, look into, change, and load."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tilewright import limits
from tilewright.errors import resources

from ....compiler import compiler_for
from ..blobs import checked_precision
from ..constants import StatusCode
from ..errors import (
    InferenceEngineError,
    WrongAttributeError,
    WrongTypeError,
    checked,
    checked_path,
    documented,
    is_empty,
    is_whole,
    shown,
)
from ..preprocessing import fixed, means_and_scales
from .changes import Item, LayersStatsMap, checked_shapes, found_output, has_batch, items_of, with_batch
from .data import IENetLayer, InputInfo, OutputInfo, Outputs
from .state import DataFacts, NetworkState, Snapshot, read_network

if TYPE_CHECKING:
    from .....compiler.frontend.ir.document import Document

_WHAT = "a network"


class IENetwork:
    """A network from the .xml and .bin files of the Model Optimizer and of OpenVINO, or from an ONNX model.

    It may be changed until it is loaded; what is loaded knows nothing of later changes, and does not need it. All
    properties may be read from several threads at once.

    Args:
        model: the path of the .xml file, or of an ONNX model; empty for a network without layers.
        weights: the path of the .bin file; if it is empty, the one beside the .xml file. ONNX models have none.
        init_from_buffer: whether both are contents, as bytes, instead of paths.

    Raises:
        FileNotFoundError: a path does not exist or is a directory; that of the model is looked at first.
        RuntimeError: the files are damaged, or use something that is not implemented.
        ValueError: there are weights without a model.
        TypeError: an argument is neither a path nor contents.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes = "",
        weights: str | os.PathLike[str] | bytes = "",
        init_from_buffer: bool = False,
    ) -> None:
        checked(init_from_buffer, int, "init_from_buffer is yes or no", "a bool")
        if init_from_buffer or not is_empty(model) or not is_empty(weights):
            self._state = read_network(model, weights, are_contents=bool(init_from_buffer))
        else:
            with compiler_for(_WHAT):
                from .....compiler.frontend.ir.document import Document
            self._state = NetworkState(Document("", 10))
        self._stats = LayersStatsMap()

    @classmethod
    def from_ir(cls, model: str, weights: str) -> IENetwork:
        """The network of two files.

        Args:
            model: the path of the .xml file.
            weights: the path of the .bin file.

        Raises:
            FileNotFoundError, RuntimeError, TypeError: as for the class.
        """
        return cls(model, weights)

    @property
    def name(self) -> str:
        """The name of the network."""
        return self._state.graph.document.name

    @property
    def inputs(self) -> dict[str, InputInfo]:
        """The inputs, sorted by name: each a list, its shape, with ``shape``, ``precision`` and ``layout``."""
        ends = self._state.graph.inputs()
        return {name: InputInfo(self._state, name, layer.name, at) for name, (layer, at) in ends.items()}

    input_info = inputs

    @property
    def outputs(self) -> Outputs[OutputInfo]:
        """The outputs: sorted by name, then added ones in the order of the calls.

        A dictionary by name that can be used as the list of its names as well."""
        ends = self._state.graph.outputs()
        return Outputs({name: OutputInfo(self._state, name, layer.name, at) for name, (layer, at) in ends.items()})

    @property
    def layers(self) -> dict[str, IENetLayer]:
        """The layers, sorted by name.

        Of files of version 10 and later, those that compute something of the inputs: constants, which such files keep
        as layers of their own, are the ``weights`` of others."""
        return {name: IENetLayer(self._state, name) for name in self._state.graph.layers}

    @property
    def batch_size(self) -> int:
        """How many items the first input takes at once; 1 where its layout has no N, 0 for a network without inputs.

        Setting it changes every input whose layout has N in proportion, and works out all shapes anew, as `reshape`.

        Raises:
            AttributeError: on setting, the value is not positive.
            TypeError: on setting, the value is no integer.
            RuntimeError: on setting, a layer does not fit; the network stays as it was.
        """
        return next((data[0] if has_batch(data) else 1 for data in self.inputs.values()), 0)

    @batch_size.setter
    def batch_size(self, batch: int) -> None:
        if not is_whole(batch):
            raise WrongTypeError("the batch size is no integer", found=shown(batch))
        if not 0 < batch <= limits.EXTENT:
            what = "out of range" if batch > 0 else "not positive"
            raise WrongAttributeError(f"the batch size is {what}", expected="at least 1", found=shown(batch))
        with self._state.lock:
            old = self.batch_size
            if batch != old:
                shapes = with_batch(self.inputs, max(old, 1), int(batch))
                self._reshape(shapes, f"the batch size cannot change from {old} to {batch}", is_batch=True)

    @property
    def stats(self) -> LayersStatsMap:
        """Ranges of layers, by name, that programs keep here. They mean nothing to what is computed."""
        return self._stats

    @property
    def precision(self) -> str:
        """The precision of the weights: ``FP32``, ``FP16``, or ``MIXED``."""
        document = self._state.graph.document
        arrays = [array for layer in document.layers.values() for array in layer.blobs.values()]
        kinds = {8 * array.dtype.itemsize for array in arrays if array.dtype.kind == "f"}
        if not kinds:
            return document.precision or "FP32"
        return "MIXED" if len(kinds) > 1 else f"FP{kinds.pop()}"

    def reshape(self, input_shapes: Mapping[str, Sequence[int]]) -> None:
        """Give inputs other shapes, and work out all others anew; where that fails, the network stays as it was.

        Args:
            input_shapes: by the names of inputs, of as many dimensions as before; the other inputs keep theirs.

        Raises:
            AttributeError: a name is none of an input.
            RuntimeError: a layer does not fit the new shapes, or there is no telling its shapes.
            TypeError: a shape is no sequence of integers.
        """
        with self._state.lock:
            self._reshape(checked_shapes(input_shapes, self.inputs), "the network cannot be reshaped")

    def add_outputs(self, outputs: Item | Iterable[Item], precision: str = "FP32") -> None:
        """Have the network give what layers compute, after its other outputs. What is an output already stays as it is.

        A layer with several outputs is not added by its name alone: a line on standard output says so. Each of them can
        be, by a tuple of the name and its position, or by its own name, such as ``split.1``.

        Args:
            outputs: the names of layers, or one of them.
            precision: of the arrays that programs read.

        Raises:
            RuntimeError: there is no such layer or output; nothing is added then.
            TypeError: an item is neither text nor a tuple of text and a number.
            AttributeError, ValueError: one error that is both: there is no such precision.
        """
        kind = checked_precision(precision)
        items = items_of(outputs)
        with self._state.lock:
            ends = [found_output(self._state.graph, item) for item in items]
            document = self._state.graph.document
            for end in ends:
                if end is None or self._state.graph.is_output(*end):
                    continue
                layer, position = end
                document.added_outputs.append((layer.id, position))
                self._state.setting(layer, position).precision = kind

    def get_ov_name_for_tensor(self, orig_name: str) -> str:
        """What the network calls a tensor of the framework that it comes from, or one of its own.
        Raises RuntimeError: it has no such tensor."""
        graph = self._state.graph
        for layer in graph.document.layers.values():
            for name, port in zip(graph.output_names(layer), layer.outputs, strict=True):
                if isinstance(orig_name, str) and orig_name in (name, *port.names):
                    return name
        text = f"Framework tensor with name {shown(orig_name)} was not mapped to OpenVINO data!"
        raise InferenceEngineError(text, StatusCode.NOT_FOUND)

    def serialize(self, path_to_xml: str, path_to_bin: str = "") -> None:
        """Write the network with weights and shapes as they are now, in the IR version that it was read from.

        A network from ONNX becomes one of version 11. Precisions and layouts of the arrays that
        programs write and read are not in the files; nor are added outputs in those of versions 2 to 7, and means and
        scales of inputs in later ones, which have no form for them.

        Args:
            path_to_bin: by default beside the .xml file, under its name.

        Raises:
            RuntimeError: the files cannot be written, or a layer has no spelling in that version.
            TypeError: they are no paths.
        """
        xml = checked_path(path_to_xml, "the .xml file")
        if not xml:
            raise InferenceEngineError("a network cannot be written without a path", expected="an .xml file")
        binary = None if is_empty(path_to_bin) else checked_path(path_to_bin, "the .bin file")
        self._write(self.snapshot().document, xml, binary)

    @documented
    @resources("serialize")
    def _write(self, document: Document, path_to_xml: str, path_to_bin: str | None) -> None:
        with compiler_for(_WHAT):
            from .....compiler.frontend.ir.writer import write_document
        write_document(document, path_to_xml, path_to_bin)

    def snapshot(self) -> Snapshot:
        """The network as it is now, shared with nobody: what a plugin loads.
        Raises RuntimeError: its shapes are open, and 1 is not what they could be."""
        with self._state.lock:
            if self._state.graph.is_open:
                self._reshape({}, "the network has open shapes, which 1 does not fit; reshape gives others")
            self._state.settle()
            graph = self._state.graph
            document = graph.document.copy()
            if self._state.is_changed:
                # It is no longer that of the files.
                document.digest = ""
            self._add_means(document)
            inputs, outputs = self.inputs.items(), self.outputs.items()
            return Snapshot(
                document,
                self.name,
                {
                    name: DataFacts(tuple(data), data.precision, data.layout, fixed(data.preprocess_info))
                    for name, data in inputs
                },
                {name: DataFacts(tuple(data), data.precision, data.layout) for name, data in outputs},
                {name: layer.affinity for name, layer in graph.layers.items()},
                {name: graph.type(layer) for name, layer in graph.layers.items()},
            )

    def _add_means(self, document: Document) -> None:
        """Make what programs subtract from inputs, and divide them by, part of a document."""
        given = {name: means_and_scales(data.preprocess_info) for name, data in self.inputs.items()}
        given = {name: channels for name, channels in given.items() if channels}
        if given:
            with compiler_for(_WHAT):
                from .....compiler.frontend.ir.document import Channel, PreProcess
            kept = [each for each in document.pre_process if (each.layer or next(iter(self.inputs))) not in given]
            for name, channels in given.items():
                numbered = [Channel(number, *channel) for number, channel in enumerate(channels)]
                kept.append(PreProcess(name, numbered))
            document.pre_process, document.digest = kept, ""

    def __deepcopy__(self, memo: dict[int, object]) -> IENetwork:
        network = IENetwork()
        network._state, network._stats = self._state.copy(), LayersStatsMap(self._stats)
        return network

    def __repr__(self) -> str:
        return f"<IENetwork {self.name!r} of {len(self.layers)} layers>"

    @documented
    @resources("reshape")
    def _reshape(self, shapes: Mapping[str, list[int]], what: str, *, is_batch: bool = False) -> None:
        whole = {name: data.shape for name, data in self.inputs.items()} | dict(shapes)
        if self._state.graph.is_open or any(data.shape != whole[name] for name, data in self.inputs.items()):
            self._state.reshape(whole, what, is_batch=is_batch)


def network_of(document: Document) -> IENetwork:
    """The network of a document, which is its own from now on."""
    network = IENetwork()
    network._state = NetworkState(document)
    return network
