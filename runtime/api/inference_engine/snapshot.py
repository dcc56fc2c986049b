"""What a plugin takes of a network: everything as it is at one moment, shared with nobody."""

from __future__ import annotations

from dataclasses import dataclass

from .network.document import Document


@dataclass(frozen=True)
class InputFacts:
    """An input as the user set it.

    Attributes:
        shape: in the order of the network, such as N, C, H, W, whatever the layout.
        precision: of the elements that programs write, such as ``U8``; the network itself computes what its layers say.
        layout: in which programs write it: with ``NHWC`` they see an array (N, H, W, C). Nothing in the document knows
            of it.
    """

    shape: tuple[int, ...]
    precision: str
    layout: str


@dataclass(frozen=True)
class OutputFacts:
    """An output as the user set it.

    Attributes:
        shape: in the order of the network.
        precision: of the elements that programs read.
        layout: the one that goes with the shape.
    """

    shape: tuple[int, ...]
    precision: str
    layout: str


@dataclass(frozen=True)
class Snapshot:
    """A network at one moment.

    Attributes:
        document: a copy of its own, with weights, affinities and added outputs. Its shapes are fixed.
        inputs: sorted by name, which is the name of the input in what the document is imported as.
        outputs: the network's own sorted by name, then added ones in the order of the calls. The name is that of the
            output in what the document is imported as.
        affinities: of the layers in `layer_types`; empty where nobody gave one.
        layer_types: the layers that programs see, sorted by name. In documents of version 10 and later, constants and
            what is computed of constants alone are not among them.
    """

    document: Document
    name: str
    inputs: dict[str, InputFacts]
    outputs: dict[str, OutputFacts]
    affinities: dict[str, str]
    layer_types: dict[str, str]
