"""What a loaded network knows of the network that it was made from, as files of exported networks keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tilewright.limits import ELEMENTS, RANK, STEPS

from ....artifact.json_dataclasses import AtMost, Bounds, OneOf
from ..precisions import DTYPES

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
    """

    name: str
    tensor: str
    shape: _Shape
    precision: Annotated[str, OneOf(DTYPES)]
    layout: str

    @property
    def dtype(self) -> np.dtype:
        return DTYPES[self.precision]


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


def in_layout(shape: Sequence[int], layout: str) -> tuple[int, ...]:
    """A shape in the order of the network as programs see it in a layout."""
    if layout in ("NHWC", "NDHWC") and len(shape) > 2:
        return (shape[0], *shape[2:], shape[1])
    return tuple(reversed(shape)) if layout == "CN" else tuple(shape)


def in_order_of_network(array: np.ndarray, layout: str) -> np.ndarray:
    """An array that a program wrote in a layout, in the order of the network."""
    if layout in ("NHWC", "NDHWC") and array.ndim > 2:
        return np.moveaxis(array, -1, 1)
    return array.T if layout == "CN" else array
