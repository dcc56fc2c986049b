"""Writes networks as IR of versions 2 to 7, layer by layer, and beside them as the ONNX model that must agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime

Attributes = Mapping[str, object]


@dataclass(frozen=True)
class Tensor:
    """An output port of a layer; ``name`` is what the ONNX model calls it."""

    layer: int
    port: int
    shape: tuple[int, ...]
    name: str


Operand = Tensor | np.ndarray | np.generic | str
"""What a node of the ONNX model reads: an output of a layer, a constant, or a tensor by its name there."""


def text(values: Sequence[object]) -> str:
    return ",".join(map(str, values))


class LegacyIr:
    """A network that grows by layers.

    Args:
        version: 2 to 7; 2 spells windows by axis and blobs as children of the layer.
        precision: FP32 or FP16, of all blobs; weights are drawn such that both hold them.
    """

    def __init__(self, name: str, version: int, precision: str = "FP32", seed: int = 0) -> None:
        self.name, self.version, self.precision = name, version, precision
        self.random = np.random.default_rng(seed)
        self.layers: list[str] = []
        self.edges: list[str] = []
        self.tail = ""
        self.binary = bytearray()
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.batch = 1

    def weights(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        """Random numbers that half precision holds exactly."""
        return (self.random.standard_normal(shape) * scale).astype(np.float16).astype(np.float32)

    def layer(
        self,
        type: str,
        name: str,
        inputs: Sequence[Tensor],
        shapes: Sequence[Sequence[int]],
        attributes: Attributes | None = None,
        blobs: Mapping[str, np.ndarray] | None = None,
        precision: str = "",
    ) -> list[Tensor]:
        """Write a layer; its outputs. What the ONNX model has for it is up to the caller, who names it ``name``."""
        index = len(self.layers)
        lines = [f"<layer id='{index}' name={quoteattr(name)} type='{type}' precision='{precision or self.precision}'>"]
        if attributes:
            lines.append("<data " + " ".join(f"{k}={quoteattr(str(v))}" for k, v in attributes.items()) + "/>")
        ports = [f"<port id='{i}'>{_dims(tensor.shape)}</port>" for i, tensor in enumerate(inputs)]
        if ports:
            lines.append(f"<input>{''.join(ports)}</input>")
        shown = f" precision='{precision or self.precision}'" if self.version >= 7 else ""
        first = len(inputs)
        ports = [f"<port id='{first + i}'{shown}>{_dims(shape)}</port>" for i, shape in enumerate(shapes)]
        lines.append(f"<output>{''.join(ports)}</output>")
        written = "".join(self._blob(blob, array) for blob, array in (blobs or {}).items())
        lines.append(written if self.version == 2 or not written else f"<blobs>{written}</blobs>")
        self.layers.append("".join([*lines, "</layer>"]))
        for port, tensor in enumerate(inputs):
            end = f"to-layer='{index}' to-port='{port}'"
            self.edges.append(f"<edge from-layer='{tensor.layer}' from-port='{tensor.port}' {end}/>")
        names = [name] if len(shapes) == 1 else [f"{name}.{first + i}" for i in range(len(shapes))]
        return [Tensor(index, first + i, tuple(shape), names[i]) for i, shape in enumerate(shapes)]

    def _blob(self, name: str, array: np.ndarray) -> str:
        stated = ""
        if array.dtype != np.float32:
            stated = f" precision='{'I64' if array.dtype == np.int64 else 'I32'}'"
        elif self.precision == "FP16":
            array = array.astype(np.float16)
        offset = len(self.binary)
        self.binary += array.tobytes()
        return f"<{name} offset='{offset}' size='{array.nbytes}'{stated}/>"

    def onnx(
        self, op_type: str, inputs: Sequence[Tensor | np.ndarray | np.generic | str], output: str, **attributes: Any
    ) -> str:
        """Add a node to the ONNX model; the name of its result."""
        names: list[str] = []
        for each in inputs:
            if isinstance(each, (np.ndarray, np.generic)):
                names.append(f"constant_{len(self.initializers)}")
                self.initializers.append(onnx.numpy_helper.from_array(np.asarray(each), names[-1]))
            else:
                names.append(each.name if isinstance(each, Tensor) else each)
        self.nodes.append(onnx.helper.make_node(op_type, names, [output], **attributes))
        return output

    def input(self, name: str, shape: Sequence[int], precision: str = "") -> Tensor:
        self.inputs[name] = tuple(shape)
        self.batch = shape[0]
        return self.layer("Input", name, [], [shape], precision=precision)[0]

    def pre_process(self, x: Tensor, means: Sequence[float], scales: Sequence[float]) -> Tensor:
        """Means and scales of the channels of the input ``x``; what the first layer reads."""
        channels = (
            f"<channel id='{i}'><mean value='{m}'/><scale value='{s}'/></channel>"
            for i, (m, s) in enumerate(zip(means, scales, strict=True))
        )
        self._pre_process("".join(channels), x.name)
        mean, scale = (np.array(values, np.float32).reshape(-1, 1, 1) for values in (means, scales))
        centred = self.onnx("Sub", [x, mean], f"{x.name}_centred")
        return replace(x, name=self.onnx("Div", [centred, scale], f"{x.name}_scaled"))

    def mean_images(self, x: Tensor, images: np.ndarray) -> Tensor:
        """Images [channels, height, width] to subtract from the input ``x``; what the first layer reads."""
        channels = []
        for index, image in enumerate(images):
            offset = len(self.binary)
            self.binary += image.astype(np.float32).tobytes()
            channels.append(f"<channel id='{index}'><mean offset='{offset}' size='{4 * image.size}'/></channel>")
        self._pre_process("".join(channels), x.name)
        return replace(x, name=self.onnx("Sub", [x, images.astype(np.float32)], f"{x.name}_centred"))

    def _pre_process(self, channels: str, layer: str) -> None:
        name = f" reference-layer-name={quoteattr(layer)}"
        self.tail = f"<pre-process{name} mean-precision='FP32'>{channels}</pre-process>"

    @property
    def xml(self) -> str:
        head = f"<net batch='{self.batch}' name={quoteattr(self.name)} version='{self.version}'>"
        lines = [head, "<layers>", *self.layers, "</layers>", "<edges>", *self.edges, "</edges>", self.tail, "</net>"]
        return "\n".join(["<?xml version='1.0'?>", *lines])

    def write(self, folder: Path) -> Path:
        """Both files; the path of the .xml file."""
        path = folder / f"{self.name}.xml"
        path.write_text(self.xml)
        path.with_suffix(".bin").write_bytes(bytes(self.binary))
        return path

    def onnx_model(self, *outputs: str) -> onnx.ModelProto:
        """The ONNX model, giving these tensors."""
        floats = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self.nodes,
            self.name,
            [onnx.helper.make_tensor_value_info(name, floats, shape) for name, shape in self.inputs.items()],
            [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
            initializer=self.initializers,
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
        model.ir_version = min(model.ir_version, 10)
        return model

    def expected(self, inputs: Mapping[str, np.ndarray], *outputs: str) -> dict[str, np.ndarray]:
        """What onnxruntime makes of the ONNX model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(self.onnx_model(*outputs).SerializeToString(), options)
        arrays = session.run(list(outputs), dict(inputs))
        return {name: np.asarray(array) for name, array in zip(outputs, arrays, strict=True)}

    def random_inputs(self, seed: int = 1) -> dict[str, np.ndarray]:
        random = np.random.default_rng(seed)
        return {name: random.uniform(0, 255, shape).astype(np.float32) for name, shape in self.inputs.items()}


def _dims(shape: Sequence[int]) -> str:
    return "".join(f"<dim>{extent}</dim>" for extent in shape)
