"""ONNX models as IR documents, again and again with other input shapes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tilewright.errors import ModelError

from ..onnx.reader import extents, import_onnx, load_model
from . import families as _families
from .document import OPEN, Document, Layer, Port
from .exporter import export_document

assert _families.OPSET


class OnnxSource:
    """An ONNX model that documents are made of.

    Args:
        source: its path or its contents.

    Attributes:
        name: of the networks: that of the file without its ending, or that of the graph.
        inputs: the shapes that the model says, by name; `OPEN` where it leaves an extent open.

    Raises:
        ModelError: it is damaged, or says nothing of the dimensions of an input.
    """

    def __init__(self, source: str | os.PathLike[str] | bytes) -> None:
        self._model, self._digest = load_model(source)
        graph = self._model.graph
        is_file = not isinstance(source, bytes)
        self._folder = Path(source).parent if is_file else None
        self.name = (Path(source).stem if is_file else graph.name) or "network"
        self.inputs: dict[str, tuple[int, ...]] = {}
        held = {tensor.name for tensor in graph.initializer}
        for info in graph.input:
            if info.name in held or not info.type.HasField("tensor_type"):
                continue
            tensor = info.type.tensor_type
            if not tensor.HasField("shape"):
                raise ModelError(f"the model says nothing of the dimensions of input {info.name!r}", stage="import")
            self.inputs[info.name] = tuple(d if isinstance(d, int) else OPEN for d in extents(tensor))
            for dimension in tensor.shape.dim:
                # What is fixed may be reshaped as well.
                dimension.ClearField("dim_value")

    def document(self, input_shapes: Mapping[str, Sequence[int]]) -> Document:
        """The network with these shapes of all its inputs.

        Raises:
            ModelError: the model is inconsistent, or does not fit the shapes.
            UnsupportedError: it uses an operator or feature that is not implemented, or that IR has no form for.
        """
        document = export_document(import_onnx(self._model, input_shapes, self._folder))
        document.name, document.digest = self.name, self._digest
        return document

    def inputs_alone(self) -> Document:
        """A document that has nothing but the inputs, for a network whose shapes are yet to be given."""
        document = Document(self.name, 11, digest=self._digest)
        for index, (name, shape) in enumerate(self.inputs.items()):
            document.layers[index] = Layer(index, name, "Parameter", "opset1", outputs=[Port(0, shape, "FP32")])
        return document
