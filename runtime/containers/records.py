"""What a container of models holds, and its records beside the FlatBuffers tables, number by number.

``fw_info`` is the number of models and then 14 numbers for each. ``all_models`` has for each model, every one padded to
16 bytes, its first part, here an artifact; its second part, here a description of its nodes in JSON; and its setup
record. All numbers are of 32 bits, little-endian.
"""

import struct
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from tilewright.immutable import Immutable

from ..artifact.json_dataclasses import AtMost, Bounds, Source, parse, read
from .flatbuffers import STAGE, ContainerError, damaged

ALIGNMENT = 16
"""Bytes that parts of a container are padded to."""


def aligned(size: int, alignment: int = ALIGNMENT) -> int:
    """A size, rounded up."""
    return -(-size // alignment) * alignment


class ContainedTensor(Immutable):
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


class ContainedModel(Immutable):
    """A model of a container.
    ``id``: by which programs name it, 1 to 65535.
    ``artifact``: a compiled network of int8 inputs and outputs, in the shapes of the nodes.
    ``inputs``, ``outputs``: its nodes, by the names and in the order of the artifact."""

    id: int
    artifact: bytes
    inputs: tuple[ContainedTensor, ...]
    outputs: tuple[ContainedTensor, ...]


class Container(Immutable):
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


SETUP_MAGIC = 0x8EB5A462
MOST_MODELS = 16
MOST_NODES = 1024
LARGEST_ID = 0xFFFF

_COUNT = struct.Struct("<I")
_FIRMWARE = struct.Struct("<14I")
_SETUP = struct.Struct("<15I")
_SETUP_INPUT = struct.Struct("<10I")


class Parts(NamedTuple):
    """What ``fw_info`` says of a model: its id, and the bytes of its three parts, without padding."""

    id: int
    first: int
    second: int
    setup: int

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.first, self.second, self.setup


def firmware_info(models: Sequence[Parts]) -> bytes:
    """``fw_info``: of the 14 numbers of a model, the id is number 0, the sizes of its parts 9, 11 and 13, and where the
    parts begin in ``all_models`` 8, 10 and 12."""
    found, start = [_COUNT.pack(len(models))], 0
    for model in models:
        places = []
        for size in model.sizes:
            places += [start, size]
            start += aligned(size)
        found.append(_FIRMWARE.pack(model.id, *[0] * 7, *places))
    return b"".join(found)


def read_firmware_info(content: memoryview) -> list[Parts]:
    """What ``fw_info`` says.
    Raises ContainerError: its length is not that of its number of models, or there are none or too many."""
    if len(content) < _COUNT.size:
        raise damaged("fw_info is too short", f"{_COUNT.size} bytes", len(content))
    count = _COUNT.unpack_from(content)[0]
    if not 1 <= count <= MOST_MODELS:
        raise damaged("fw_info has an impossible number of models", f"1 to {MOST_MODELS}", count)
    length = _COUNT.size + count * _FIRMWARE.size
    if len(content) != length:
        raise damaged("fw_info has the wrong length", f"{length} bytes for {count} models", len(content))
    numbers = [_FIRMWARE.unpack_from(content, _COUNT.size + index * _FIRMWARE.size) for index in range(count)]
    return [Parts(each[0], each[9], each[11], each[13]) for each in numbers]


def setup_record(radixes: Sequence[int]) -> bytes:
    """The setup record: 15 numbers, of which number 0 is magic and number 13 counts the inputs; then ten for each
    input, of which number 8 is the radix."""
    head = _SETUP.pack(SETUP_MAGIC, *[0] * 12, len(radixes), 0)
    return head + b"".join(_SETUP_INPUT.pack(*[0] * 8, radix & 0xFFFFFFFF, 0) for radix in radixes)


def read_setup_record(content: memoryview) -> list[int]:
    """The radix of each input.
    Raises ContainerError: it has no magic number, or not the length that its number of inputs asks for."""
    if len(content) < _SETUP.size or _SETUP.unpack_from(content)[0] != SETUP_MAGIC:
        raise damaged("a setup record does not begin with its magic number", f"0x{SETUP_MAGIC:X}")
    count = _SETUP.unpack_from(content)[13]
    if len(content) != _SETUP.size + count * _SETUP_INPUT.size:
        expected = f"{_SETUP.size} bytes and {_SETUP_INPUT.size} for each of {count} inputs"
        raise damaged("a setup record has the wrong length", expected, len(content))
    numbers = [_SETUP_INPUT.unpack_from(content, _SETUP.size + index * _SETUP_INPUT.size)[8] for index in range(count)]
    return [number - (number >> 31 << 32) for number in numbers]


class NodeFacts(Immutable):
    """What is said of a node beside the artifact, which has its name and shape: real = fixed / (scale * 2 ** radix)."""

    radix: Annotated[int, Bounds(-150, 150)]
    scale: Annotated[float, Bounds(0.5, 4, whole=False)]
    source_shape: Annotated[tuple[Annotated[int, Bounds(0, 2**31 - 1)], ...], AtMost(16)]


class ModelFacts(Immutable):
    """The second part of a model: its nodes, in the order of the artifact's."""

    inputs: Annotated[tuple[NodeFacts, ...], AtMost(MOST_NODES)]
    outputs: Annotated[tuple[NodeFacts, ...], AtMost(MOST_NODES)]


def read_facts(content: memoryview) -> ModelFacts:
    """The description of a model's nodes. Raises ContainerError: it is no such description, and names the field."""
    source = Source("the container of models is damaged: the description of its nodes", ContainerError, STAGE)
    return read(ModelFacts, parse(content, source), source)


STAMP = struct.Struct("<7I")
COUNT_520, NODE_520 = struct.Struct("<I"), struct.Struct("<3Iif")
HEAD_720 = struct.Struct("<Ii")
NODE_720 = struct.Struct("<12Iif")
"""Start of the integers, their bytes, number of the node, group, layout, first row, column and channel, rows, columns,
channels, number of the output, radix, scale."""
_NODES_720 = 40
_LINE = 16


def line_bytes(width: int) -> int:
    """The bytes of a line of so many columns."""
    return -(-width // _LINE) * _LINE


def node_bytes(node: ContainedTensor) -> int:
    """The bytes of the integers of a node."""
    _, channel, height, width = node.shape
    return channel * height * line_bytes(width)


def head_bytes(count: int, *, is_720: bool) -> int:
    """The bytes before the integers of so many nodes."""
    if is_720:
        return STAMP.size + HEAD_720.size + max(count, _NODES_720) * NODE_720.size
    return STAMP.size + COUNT_520.size + count * NODE_520.size


def raw_size(nodes: Sequence[ContainedTensor], *, is_720: bool) -> int:
    """The bytes of a result with these nodes."""
    return head_bytes(len(nodes), is_720=is_720) + sum(map(node_bytes, nodes))
