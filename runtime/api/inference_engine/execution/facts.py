"""What a loaded network knows of the network that it was made from, as files of exported networks keep it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tilewright.limits import ELEMENTS, RANK, STEPS

from ....artifact.json_dataclasses import AtMost, Bounds, OneOf
from ..blobs import TensorDesc, dims_of
from ..constants import ColorFormat, Layout, ResizeAlgorithm, format_map
from ..preprocessing import PreProcessInfo, fixed

_Shape = Annotated[tuple[Annotated[int, Bounds(0, ELEMENTS)], ...], AtMost(RANK)]
_Position = Annotated[int, Bounds(0, STEPS)]


@dataclass(frozen=True)
class BlobFacts:
    """An input or an output.

    Attributes:
        name: as programs know it.
        tensor: as the artifact calls it.
        shape: of the array that programs see.
        precision: of its elements.
        layout: such as ``NCHW``, in which programs write an input; the shape is in this order.
        resize, colour: what is done to pictures.
    """

    name: str
    tensor: str
    shape: _Shape
    precision: Annotated[str, OneOf(format_map)]
    layout: Annotated[str, OneOf(Layout.__members__)]
    resize: Annotated[str, OneOf(ResizeAlgorithm.__members__)] = "NO_RESIZE"
    colour: Annotated[str, OneOf(ColorFormat.__members__)] = "RAW"

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(format_map[self.precision])

    @property
    def preprocessing(self) -> PreProcessInfo:
        """What is done to pictures, as programs see it."""
        info = PreProcessInfo()
        info.resize_algorithm, info.color_format = ResizeAlgorithm[self.resize], ColorFormat[self.colour]
        return fixed(info)

    @property
    def tensor_desc(self) -> TensorDesc:
        return TensorDesc(self.precision, dims_of(self.shape, self.layout), self.layout)


@dataclass(frozen=True)
class LayerFacts:
    """A layer of the network.

    Attributes:
        type: as the network has it, such as ``Convolution``.
        device: where it runs.
        affinity: the device that it was given to; empty where nobody gave it to one.
        subgraph: the number of its subgraph, from 1; 0 outside ``HETERO``.
        reads: the layers that it reads.
    """

    name: str
    type: str
    device: str
    affinity: str = ""
    subgraph: _Position = 0
    reads: Annotated[tuple[str, ...], AtMost(1 << 16)] = ()


@dataclass(frozen=True)
class NetworkFacts:
    """A network as it was loaded.

    Attributes:
        device: as the program named it.
        inputs, outputs, layers: in their order.
        batch: how many items it computes at once, 0 where its inputs have no such extent.
        is_dynamic: whether the artifact computes one item, and runs once for each.
    """

    name: str
    device: str
    inputs: Annotated[tuple[BlobFacts, ...], AtMost(1 << 16)]
    outputs: Annotated[tuple[BlobFacts, ...], AtMost(1 << 16)]
    layers: Annotated[tuple[LayerFacts, ...], AtMost(1 << 20)]
    batch: Annotated[int, Bounds(0, ELEMENTS)]
    is_dynamic: bool = False


class LoadedData(list[int]):
    """An input or an output of a loaded network, as programs of 2018 and later ones both understand it: its shape, as a
    list, with what else there is to know of it.

    Attributes:
        name: as in ``requests[0].inputs``.
        shape: of the array that programs see.
        precision: of the elements, such as ``FP32``.
        layout: such as ``NCHW``.
        tensor_desc: what its blob holds.
        initialized: whether it belongs to a network, as every one does.
        input_data: itself: what ``input_info[name]`` of 2021 has the shape in.
    """

    initialized = True

    def __init__(self, facts: BlobFacts) -> None:
        super().__init__(facts.shape)
        self.name, self.shape, self.input_data = facts.name, list(facts.shape), self
        self.precision, self.layout, self.tensor_desc = facts.precision, facts.layout, facts.tensor_desc

    def __reduce__(self) -> tuple[type[list[int]], tuple[list[int]]]:
        """Copies and what other processes receive are the shape alone."""
        return list, (list(self),)
