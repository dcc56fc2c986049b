"""The registry of the operators of tile programs, and what they share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..op import Registry
from ..types import DType, TensorType
from .types import EVERY_CLUSTER, Memory, TileType

TILE_OPERATORS: Registry = {}
"""Every operator of tile programs by name, beside those of networks. Do not change it after import."""


class NoOperands(NamedTuple):
    """Of operators that make something of nothing."""


class MapOperands(NamedTuple):
    """A feature map, or a part of one, and where the result goes."""

    x: Value
    into: Value | None = None


def tile(type: TensorType, memory: Memory, what: str, rank: int = 3) -> TileType:
    """The type as that of a place in a memory.

    Raises:
        IRError: it is something else.
    """
    if not isinstance(type, TileType) or type.memory != memory or type.rank != rank:
        raise IRError(f"{what} is no place like that", expected=f"{rank} dimensions in {memory}", found=type)
    return type


def on_cluster(type: TileType, cluster: int, what: str) -> None:
    """Raise IRError unless a cluster can reach what lies there."""
    if type.cluster not in (cluster, EVERY_CLUSTER):
        raise IRError(f"{what} lies in another cluster", expected=f"cluster {cluster}", found=type)


def placed_map(shape: tuple[int, ...], cluster: int, into: TensorType | None) -> TileType:
    """Type of the result of an op that makes a map, in a place of its own or in the one that it is given.

    Raises:
        IRError: that has another shape, or is not in the maps scratchpad of the cluster.
    """
    if into is None:
        return TileType(shape, DType.I8, memory="maps", cluster=cluster)
    place = tile(into, "maps", "what is written into")
    on_cluster(place, cluster, "what is written into")
    if place.shape != shape or place.packed:
        raise IRError("what is written into has another shape", expected=list(shape), found=place)
    return place


def written(result: np.ndarray, into: np.ndarray | None) -> np.ndarray:
    """The result, in the place that it is given."""
    if into is None:
        return result.astype(np.int8)
    into[...] = result
    return into
