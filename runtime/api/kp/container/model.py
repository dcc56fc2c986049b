"""What a container of models holds, whatever its bytes are."""

from __future__ import annotations

from dataclasses import dataclass

ALIGNMENT = 16
"""Bytes that rows of raw results are padded to, and parts of a container."""

_STAMP = 28
"""Bytes that a raw result begins with, before the number of its nodes."""

_NODE = 20
"""Bytes that a raw result has for each node besides its data: height, channel, width, radix and scale."""


def aligned(size: int, alignment: int = ALIGNMENT) -> int:
    """A size, rounded up."""
    return -(-size // alignment) * alignment


@dataclass(frozen=True)
class Node:
    """An input or output of a contained model: int8, with real = fixed / (scale * 2 ** radix).

    Attributes:
        name: as the source model has it.
        shape: N, C, H, W, with N = 1.
        radix: binary digits after the point; may be negative.
        scale: what integers are divided by besides; 1 for inputs, which have powers of two alone.
        source_shape: as the source model has it.
    """

    name: str
    shape: tuple[int, int, int, int]
    radix: int
    scale: float
    source_shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class ContainedModel:
    """A model of a container.

    Attributes:
        id: by which programs name it, 1 to 65535.
        artifact: a compiled network of int8 inputs and outputs, in the shapes of the nodes.
        inputs, outputs: its nodes, by the names and in the order of the artifact.
    """

    id: int
    artifact: bytes
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]

    @property
    def max_raw_out_size(self) -> int:
        """Bytes of a raw result: stamp, number of nodes, 20 bytes for each, and its rows, padded to 16 bytes."""
        data = sum(height * channel * aligned(width) for _, channel, height, width in (n.shape for n in self.outputs))
        return _STAMP + 4 + _NODE * len(self.outputs) + data


@dataclass(frozen=True)
class Container:
    """Models for one kind of device.

    Attributes:
        target: the kind, KL520 or KL720.
        crc: CRC-32 of all bytes but the last four.
        toolchain: what made it, as text.
        schema: version of its form: major, minor, revision.
        models: of different ids.
    """

    target: str
    crc: int
    toolchain: str
    schema: tuple[int, int, int]
    models: tuple[ContainedModel, ...]
