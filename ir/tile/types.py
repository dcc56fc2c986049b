"""Types of tile programs, places in the memories of the device, and the registry of their operators."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..layout import CHANNEL_BLOCK
from ..op import Registry
from ..types import DType, TensorType

Memory = Literal["dram", "maps", "weights", "accumulators", "parameters"]

MEMORIES: tuple[Memory, ...] = get_args(Memory)

EVERY_CLUSTER = -1
"""In the scratchpads of all clusters, at the same address; or outside them, in DRAM."""


@dataclass(frozen=True)
class TileType(TensorType):
    """Type of a place. ``shape`` and ``dtype`` say what lies there:

    ============ ===================================================================================================
    dram         a feature map, i8 or u8 [images, rows, columns, channels], or a part of one image [rows, columns,
                 channels]; u8 becomes i8 on its way to the chip, with the zero point 128 less
    maps         i8 [rows, columns, channels]; in memory the channels fill blocks of 16
    accumulators i32 [rows, columns, channels], blocks of 16 as well
    weights      i8 [outputs, inputs, kernel rows, kernel columns]
    parameters   f64: [2, channels] bias and multiplier of a requantisation, [4, channels] parameters of a
                 normalisation, [words] a record, [256] a table
    ============ ===================================================================================================

    Attributes:
        memory: of the card (``dram``) or of a cluster.
        cluster: whose scratchpad, or ``EVERY_CLUSTER``.
        ring: of a map whose rows share memory, how many of them there is room for: row r lies where row r - ring lay.
            0 where each has its own.
        packed: of a map with few channels, whether only its rows fill blocks of 16 bytes, not its pixels.

    Raises:
        IRError: there is no such memory, cluster or ring.
    """

    memory: Memory = "maps"
    cluster: int = 0
    ring: int = 0
    packed: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory not in MEMORIES:
            raise IRError("there is no such memory", expected=", ".join(MEMORIES), found=self.memory)
        if self.memory == "dram" and self.cluster != EVERY_CLUSTER:
            raise IRError("DRAM belongs to no cluster", expected=EVERY_CLUSTER, found=self.cluster)
        if self.cluster < EVERY_CLUSTER:
            raise IRError("there is no such cluster", expected="from 0", found=self.cluster)
        if self.ring and (self.memory != "maps" or not 0 < self.ring <= self.shape[0]):
            raise IRError("there is no such ring", expected="1 to as many rows as the map has", found=self)

    @property
    def rows(self) -> int:
        """Rows of a map that there is room for."""
        return self.ring or self.shape[-3]

    @property
    def blocks(self) -> int:
        """Channels in blocks of 16, the last one padded."""
        return -(-self.shape[-1] // CHANNEL_BLOCK)

    @property
    def row_bytes(self) -> int:
        """Of a row of a map on chip."""
        columns, channels = self.shape[-2:]
        blocks = -(-columns * channels // CHANNEL_BLOCK) if self.packed else columns * self.blocks
        return blocks * CHANNEL_BLOCK

    @property
    def map_bytes(self) -> int:
        """Of a map on chip."""
        return self.rows * self.row_bytes

    @property
    def place(self) -> str:
        details = [str(self.cluster)] if self.cluster != EVERY_CLUSTER else []
        details += [f"ring={self.ring}"] if self.ring else []
        details += ["packed"] if self.packed else []
        return f"{self.memory}({', '.join(details)})" if details else self.memory

    def part(self, shape: tuple[int, ...]) -> "TileType":
        """The type of a part of the place; rows of a ring lie where those of the whole do."""
        return TileType(shape, self.dtype, None, "", self.memory, self.cluster, 0, self.packed)

    def __str__(self) -> str:
        return f"{super().__str__()} in {self.place}"


TILE_OPERATORS: Registry = {}
"""Every operator of tile programs by name, beside those of networks. Do not change it after import."""


class MapOperands(NamedTuple):
    """A feature map, or a part of one, and where the result goes."""

    x: Value
    into: Value | None = None


def tile(type: TensorType, memory: Memory, what: str, rank: int = 3, cluster: int | None = None) -> TileType:
    """The type as that of a place in a memory, which a cluster can reach where one is given.
    Raises IRError: it is something else."""
    if not isinstance(type, TileType) or type.memory != memory or type.rank != rank:
        raise IRError(f"{what} is no place like that", expected=f"{rank} dimensions in {memory}", found=type)
    if cluster is not None and type.cluster not in (cluster, EVERY_CLUSTER):
        raise IRError(f"{what} lies in another cluster", expected=f"cluster {cluster}", found=type)
    return type


def placed_map(shape: tuple[int, ...], cluster: int, into: TensorType | None) -> TileType:
    """Type of the result of an op that makes a map, in a place of its own or in the one that it is given.
    Raises IRError: that has another shape, or is not in the maps scratchpad of the cluster."""
    if into is None:
        return TileType(shape, DType.I8, memory="maps", cluster=cluster)
    place = tile(into, "maps", "what is written into", cluster=cluster)
    if place.shape != shape or place.packed:
        raise IRError("what is written into has another shape", expected=list(shape), found=place)
    return place


def written(result: np.ndarray, into: np.ndarray | None) -> np.ndarray:
    """The result, in the place that it is given."""
    if into is None:
        return result.astype(np.int8)
    into[...] = result
    return into
