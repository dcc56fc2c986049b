"""Small .xml and .bin files of networks, written from a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np


@dataclass(frozen=True)
class LayerText:
    """A layer to be written.

    Attributes:
        inputs: what it reads: the names of layers, with ``:`` and a position where they have several outputs.
        outputs: the shapes of what it gives.
    """

    name: str
    type: str
    inputs: Sequence[str] = ()
    outputs: Sequence[Sequence[int]] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, np.ndarray] = field(default_factory=dict)
    version: str = ""
    element_type: str = "FP32"


def write_network(
    folder: Path, layers: Sequence[LayerText], *, version: int = 2, precision: str = "FP32", name: str = "network"
) -> tuple[str, str]:
    """The paths of the .xml and the .bin file.

    Args:
        precision: of the layers of versions 2 to 7.
    """
    binary = bytearray()
    ids = {layer.name: index for index, layer in enumerate(layers)}
    inputs_of = {layer.name: len(layer.inputs) for layer in layers}
    text, edges = "", ""
    for layer in layers:
        kind = f" version={quoteattr(layer.version)}" if layer.version else f' precision="{precision}"'
        text += f'<layer id="{ids[layer.name]}" name={quoteattr(layer.name)} type="{layer.type}"{kind}>'
        data, blobs = dict(layer.data), ""
        for blob, array in layer.blobs.items():
            place = {"offset": str(len(binary)), "size": str(array.nbytes)}
            binary += array.tobytes()
            if version >= 10:
                data |= place
            else:
                blobs += f'<{blob} offset="{place["offset"]}" size="{place["size"]}"/>'
        if data:
            text += f"<data {' '.join(f'{key}={quoteattr(value)}' for key, value in data.items())}/>"
        ports = ""
        for position, source in enumerate(layer.inputs):
            owner, _, output = source.partition(":")
            port = inputs_of[owner] + int(output or 0)
            edges += f'<edge from-layer="{ids[owner]}" from-port="{port}" to-layer="{ids[layer.name]}" '
            edges += f'to-port="{position}"/>'
            shape = next(each for each in layers if each.name == owner).outputs[int(output or 0)]
            ports += f'<port id="{position}">{_dims(shape)}</port>'
        text += f"<input>{ports}</input>" if ports else ""
        ports = "".join(
            f'<port id="{len(layer.inputs) + position}" precision="{layer.element_type}">{_dims(shape)}</port>'
            for position, shape in enumerate(layer.outputs)
        )
        text += f"<output>{ports}</output>" if ports else ""
        text += f"<blobs>{blobs}</blobs></layer>" if blobs else "</layer>"
    xml, weights = folder / f"{name}.xml", folder / f"{name}.bin"
    head = f'<?xml version="1.0"?><net name="{name}" version="{version}" batch="1">'
    xml.write_text(f"{head}<layers>{text}</layers><edges>{edges}</edges></net>")
    weights.write_bytes(binary)
    return str(xml), str(weights)


def _dims(shape: Sequence[int]) -> str:
    return "".join(f"<dim>{extent}</dim>" for extent in shape)


CLASSIFIER = (
    LayerText("data", "Input", (), [(1, 3, 4, 6)]),
    LayerText("relu", "ReLU", ["data"], [(1, 3, 4, 6)]),
    LayerText("prob", "ReLU", ["relu"], [(1, 3, 4, 6)], {"negative_slope": "0.5"}),
)
"""A network of version 2, without weights."""
