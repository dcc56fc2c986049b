"""What a container of models holds, whatever its bytes are."""

from __future__ import annotations

from dataclasses import dataclass

ALIGNMENT = 16
"""Bytes that parts of a container are padded to."""


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
