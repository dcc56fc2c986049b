"""An IR file as data: layers with ports, edges between ports, and the arrays that layers hold.

Nothing here knows what a layer computes. Documents may be changed; what reads them checks them anew.

Source of the format: what the Inference Engine of 2018 R3 to 2020.1 reads (versions 2 to 7 and 10), and what OpenVINO
writes today (version 11).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from tilewright.immutable import Immutable

OPEN = -1
"""What stands for an extent that is left open."""

IMAGES = "tilewright_images"
"""The element of ``rt_info`` that says how images became the samples that a network was quantised by."""

LEGACY_VERSIONS = range(2, 8)
OPSET_VERSIONS = range(10, 12)

PRECISIONS: dict[str, type[np.generic]] = {
    "FP64": np.float64,
    "FP32": np.float32,
    "FP16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
    "Q78": np.int16,
}
"""Precisions of ports and blobs, with the NumPy type of their elements."""

ELEMENT_TYPES = {
    **{f"f{bits}": f"FP{bits}" for bits in (64, 32, 16)},
    **{f"{sign}{bits}": f"{sign}{bits}".upper() for sign in "iu" for bits in (64, 32, 16, 8)},
    "boolean": "BOOL",
}
"""What the attribute ``element_type`` calls the precisions."""


@dataclass
class Port:
    """One input or output of a layer.

    Attributes:
        id: unique within the layer.
        shape: `OPEN` where an extent is open.
        precision: as the file has it, in capitals; empty where it says nothing.
        names: of the tensor, in version 11.
    """

    id: int
    shape: tuple[int, ...] = ()
    precision: str = ""
    names: tuple[str, ...] = ()


@dataclass
class Layer:
    """One layer.

    Attributes:
        id: unique within the document.
        version: the operator set, such as ``opset1``; empty in versions 2 to 7.
        precision: of its outputs and blobs where they say nothing else, in versions 2 to 7.
        attributes: of its ``data``, as text.
        blobs: flat arrays by name: ``weights``, ``biases``, ``custom``; for ``Const``, under ``custom``, as well in
            version 10 and later. Those of a file are views of `Document.weights`. FP16 blobs are half precision.
        affinity: the device that the user gave it; empty for none.
    """

    id: int
    name: str
    type: str
    version: str = ""
    precision: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    blobs: dict[str, np.ndarray] = field(default_factory=dict)
    affinity: str = ""

    @property
    def declared(self) -> tuple[int, ...] | None:
        """The shape that an input has, `OPEN` where an extent is open; ``None`` where their number is open, too."""
        shape = self.outputs[0].shape if self.outputs else ()
        # Ports have no way to say that the number of dimensions is open.
        return None if not shape and "..." in self.attributes.get("shape", "") else shape


class Edge(Immutable):
    """From an output port to an input port, both as (layer id, port id)."""

    source: tuple[int, int]
    target: tuple[int, int]


@dataclass
class Channel:
    """What versions 2 to 7 do to one channel of an input first: subtract ``mean``, divide by ``scale``.
    ``mean``: a number, or an image as a flat array."""

    id: int
    mean: float | np.ndarray = 0.0
    scale: float = 1.0


@dataclass
class PreProcess:
    """Attributes:
    layer: the name of the input; empty for the only one."""

    layer: str = ""
    channels: list[Channel] = field(default_factory=list)


@dataclass
class Document:
    """A network as an IR file describes it.

    Attributes:
        layers: by id, in the order of the file.
        added_outputs: what the network gives besides its own outputs, as (layer id, position of the output port).
        weights: the content of the .bin file, which blobs are views of.
        digest: SHA-256 of both files; empty for a document that was not read.
        images: how images became the samples that it was quantised by, as `ImageInputs` reads it; empty where it does
            not say so.
    """

    name: str
    version: int
    batch: int = 1
    precision: str = ""
    layers: dict[int, Layer] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    pre_process: list[PreProcess] = field(default_factory=list)
    added_outputs: list[tuple[int, int]] = field(default_factory=list)
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint8))
    digest: str = ""
    images: str = ""

    @property
    def is_legacy(self) -> bool:
        """Whether layers are those of versions 2 to 7."""
        return self.version in LEGACY_VERSIONS

    def named(self, name: str) -> Layer:
        """The layer of that name. Raises KeyError: there is none."""
        for layer in self.layers.values():
            if layer.name == name:
                return layer
        raise KeyError(name)

    def sources(self) -> dict[tuple[int, int], tuple[int, int]]:
        """For each input port that is connected, the output port that it reads, both as (layer id, port id)."""
        return {edge.target: edge.source for edge in self.edges}

    def inputs(self) -> Iterator[Layer]:
        """The layers that stand for the inputs of the network."""
        kind = "input" if self.is_legacy else "parameter"
        return (layer for layer in self.layers.values() if layer.type.lower() == kind)

    def open_inputs(self) -> dict[str, list[int | None] | None]:
        """The extents of those inputs that leave some open, ``None`` where one is, or their number."""
        shapes = {layer.name: layer.declared for layer in self.inputs()}
        return {
            name: None if shape is None else [None if extent == OPEN else extent for extent in shape]
            for name, shape in shapes.items()
            if shape is None or OPEN in shape
        }

    def outputs(self) -> list[tuple[Layer, Port]]:
        """What the network gives: in versions 2 to 7 what nothing reads, later what results read; additions last."""
        if self.is_legacy:
            read = {edge.source for edge in self.edges}
            own = [
                (layer, port)
                for layer in self.layers.values()
                for port in layer.outputs
                if (layer.id, port.id) not in read
            ]
        else:
            sources = self.sources()
            ends = {(layer.id, port.id): (layer, port) for layer in self.layers.values() for port in layer.outputs}
            own = [
                ends[sources[layer.id, port.id]]
                for layer in self.layers.values()
                if layer.type == "Result"
                for port in layer.inputs
            ]
        for layer_id, position in self.added_outputs:
            added = (self.layers[layer_id], self.layers[layer_id].outputs[position])
            if not any(port is added[1] for _, port in own):
                own.append(added)
        return own

    def copy(self) -> "Document":
        """A document that shares nothing with this one."""
        weights = self.weights.copy()
        begin = self.weights.__array_interface__["data"][0]
        arrays: dict[tuple[int, str, int], np.ndarray] = {}

        def copied(array: np.ndarray) -> np.ndarray:
            offset = array.__array_interface__["data"][0] - begin
            if not 0 <= offset < max(1, weights.size) or offset + array.nbytes > weights.size:
                return array.copy()
            key = offset, array.dtype.str, array.size
            if key not in arrays:
                arrays[key] = weights[offset : offset + array.nbytes].view(array.dtype)
            return arrays[key]

        result = Document(self.name, self.version, self.batch, self.precision, digest=self.digest, weights=weights)
        result.images = self.images
        result.edges = list(self.edges)
        result.added_outputs = list(self.added_outputs)
        for layer in self.layers.values():
            result.layers[layer.id] = replace(
                layer,
                attributes=dict(layer.attributes),
                inputs=[replace(port) for port in layer.inputs],
                outputs=[replace(port) for port in layer.outputs],
                blobs={name: copied(array) for name, array in layer.blobs.items()},
            )
        for given in self.pre_process:
            channels = [
                Channel(each.id, copied(each.mean) if isinstance(each.mean, np.ndarray) else each.mean, each.scale)
                for each in given.channels
            ]
            result.pre_process.append(PreProcess(given.layer, channels))
        return result


def output_names(layer: Layer) -> list[str]:
    """What the network calls the outputs of a layer: as the layer, with a number where there are several.

    It is the port's id in versions 2 to 7, the position among the outputs later."""
    if len(layer.outputs) == 1:
        return [layer.name]
    return [f"{layer.name}.{position if layer.version else port.id}" for position, port in enumerate(layer.outputs)]
