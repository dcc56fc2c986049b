"""Operators that name places: maps in DRAM, buffers on chip, and parts of both. None of them costs anything."""

from dataclasses import replace

import numpy as np

from tilewright.errors import IRError

from ..core import Function, Op, Value
from ..feature_map import WIDE, in_bytes, map_shape, of_bytes
from ..op import Operator, UnaryOperands, operator
from ..types import Arrays, DType, ResultTypes, TensorType, Types
from .types import EVERY_CLUSTER, TILE_OPERATORS, Memory, TileType, tile


class Crossing(Operator[UnaryOperands]):
    """Base: between a tensor of the network, quantised or not, and its map; stored integers stay as they are."""

    def reference(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError(type(self).__name__)

    def reference_quantized(self, arrays: Arrays, operand_types: Types, result_types: ResultTypes) -> np.ndarray:
        (x,) = arrays
        assert x is not None
        return self.reference(x)

    def check_quantized(self, operand_types: Types, result_types: ResultTypes) -> str | None:
        return None


@operator("tile_enter", TILE_OPERATORS)
class Enter(Crossing):
    """A tensor of the network as a map in DRAM, stored integers as they are, of 16 bits in bytes; the host has put it
    there."""

    def infer(self, x: TensorType) -> TensorType:
        dtype = DType.I8 if x.dtype in WIDE else x.dtype
        return TileType(map_shape(x), dtype, memory="dram", cluster=EVERY_CLUSTER)

    def reference(self, x: np.ndarray) -> np.ndarray:
        if DType.of(x.dtype) in WIDE:
            return in_bytes(self.reference(x.astype(np.int32)))
        shape = map_shape(TensorType.of(x))
        if x.ndim == 2:
            return x.reshape(shape).copy()
        return x.reshape(shape.images, shape.channels, shape.height, shape.width).transpose(0, 2, 3, 1).copy()


@operator("tile_leave", TILE_OPERATORS)
class Leave(Crossing):
    """A map in DRAM as a tensor of the network, which the host takes from there.
    ``shape``: of the tensor, as :func:`tilewright.ir.feature_map.map_shape` reads it."""

    shape: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        map = tile(x, "dram", "what leaves", rank=4)
        types = [TensorType(self.shape, dtype) for dtype in (map.dtype, DType.I16) if len(self.shape) in (2, 3, 4)]
        # A map of 16 bits has twice as many channels, and more.
        result = next((type for type in types if tuple(map_shape(type)) == map.shape), None)
        if result is None:
            raise IRError("the map is none of this tensor", expected=list(self.shape), found=map)
        return result

    def reference(self, x: np.ndarray) -> np.ndarray:
        if x.shape[3] != self.shape[1]:
            x = of_bytes(x, self.shape[1]).astype(np.int16)
        return (x.transpose(0, 3, 1, 2) if len(self.shape) > 2 else x).reshape(self.shape).copy()


@operator("tile_buffer", TILE_OPERATORS)
class Buffer(Operator[tuple[()]]):
    """A place for a map that ops write part by part; what it holds before is not defined (the reference has zeros).

    Attributes:
        shape: [images, rows, columns, channels] in DRAM, [rows, columns, channels] on chip.
        dtype: i8, or in DRAM u8.
        memory: ``dram`` or ``maps``.
        cluster, ring: see :class:`tilewright.ir.tile.types.TileType`.
    """

    shape: tuple[int, ...]
    dtype: DType
    memory: Memory
    cluster: int
    ring: int

    def infer(self) -> TensorType:
        if self.dtype not in (DType.I8, DType.U8) or (self.memory, len(self.shape)) not in (("dram", 4), ("maps", 3)):
            raise IRError("there is no such buffer", expected="a map in dram or maps", found=self.memory)
        return TileType(self.shape, self.dtype, memory=self.memory, cluster=self.cluster, ring=self.ring)

    def reference(self) -> np.ndarray:
        return np.zeros(self.shape, self.dtype.numpy)


@operator("tile_part", TILE_OPERATORS)
class Part(Operator[UnaryOperands]):
    """A box of a place, as a place: what is written there is written in the whole.
    ``image``: which one, of a map with several images; -1 for all of them.
    ``rows``, ``columns``, ``channels``: as (first, count). On chip, channels begin at a block of 16."""

    image: int
    rows: tuple[int, int]
    columns: tuple[int, int]
    channels: tuple[int, int]

    @property
    def _box(self) -> tuple[tuple[int, int], ...]:
        return (self.rows, self.columns, self.channels)

    def infer(self, x: TensorType) -> TensorType:
        if not isinstance(x, TileType) or x.memory not in ("dram", "maps") or x.rank not in (3, 4):
            raise IRError("only maps have parts", found=x)
        if x.packed:
            raise IRError("packed maps have no parts", found=x)
        extents = x.shape[-3:]
        for name, (first, count), extent in zip(("rows", "columns", "channels"), self._box, extents, strict=True):
            if first < 0 or count < 1 or first + count > extent:
                raise IRError(f"{name} lie outside the map", expected=f"within 0 to {extent}", found=[first, count])
        if x.memory == "maps" and self.channels[0] % 16:
            raise IRError("channels on chip begin at a block of 16", found=self.channels[0])
        images = x.shape[:-3]
        if self.image >= (images[0] if images else 0):
            raise IRError("there is no such image", expected=f"below {images[0] if images else 0}", found=self.image)
        counts = tuple(count for _, count in self._box)
        return x.part((*images, *counts) if self.image < 0 else counts)

    def reference(self, x: np.ndarray) -> np.ndarray:
        whole = x if self.image < 0 else x[self.image]
        rows, columns, channels = (slice(first, first + count) for first, count in self._box)
        return whole[..., rows, columns, channels]


@operator("tile_in_cluster", TILE_OPERATORS)
class InCluster(Operator[UnaryOperands]):
    """A place in the scratchpads of all clusters as that in one of them: what is written there is in the others when it
    has been moved (the reference has one array for all).
    ``cluster``: whose."""

    cluster: int

    def infer(self, x: TensorType) -> TensorType:
        place = tile(x, "maps", "what lies in several clusters")
        if place.cluster != EVERY_CLUSTER:
            raise IRError("the place is that of one cluster", found=place)
        if self.cluster < 0:
            raise IRError("there is no such cluster", expected="from 0", found=self.cluster)
        return replace(place, cluster=self.cluster)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x


@operator("tile_phase", TILE_OPERATORS)
class Phase(Operator[UnaryOperands]):
    """Every so many rows and columns of a whole map in DRAM, or of a box on chip, as a place: what is written there is
    written in the whole.
    ``step``: from row to row, and from column to column.
    ``first``: row and column that are taken first."""

    step: tuple[int, int]
    first: tuple[int, int]

    def infer(self, x: TensorType) -> TensorType:
        is_on_chip = isinstance(x, TileType) and x.memory == "maps"
        map = tile(x, "maps", "what has phases") if is_on_chip else tile(x, "dram", "what has phases", rank=4)
        counts: list[int] = []
        for first, step, extent in zip(self.first, self.step, map.shape[-3:-1], strict=True):
            if step < 1 or not 0 <= first < extent:
                raise IRError("there is no such phase", expected=f"within 0 to {extent}", found=[first, step])
            counts.append(-(-(extent - first) // step))
        return map.part((*map.shape[:-3], *counts, map.shape[-1]))

    def reference(self, x: np.ndarray) -> np.ndarray:
        (row, column), (rows, columns) = self.first, self.step
        return x[..., row::rows, column::columns, :]


@operator("tile_reshape", TILE_OPERATORS)
class Reshape(Operator[UnaryOperands]):
    """A whole map in DRAM as one of other images, rows and columns, pixels in the same order; the same place.
    ``shape``: [images, rows, columns, channels]."""

    shape: tuple[int, ...]

    def infer(self, x: TensorType) -> TensorType:
        map = tile(x, "dram", "what is reshaped", rank=4)
        result = map.part(self.shape)
        if result.elements != map.elements or (self.shape[-1] != map.shape[-1]):
            raise IRError("pixels do not stay as they are", expected=map, found=list(self.shape))
        return result

    def reference(self, x: np.ndarray) -> np.ndarray:
        result = x.reshape(self.shape)
        if not np.may_share_memory(x, result):
            raise IRError("only a whole map can be reshaped", found=list(x.shape))
        return result


PLACES = (Enter, Leave, Buffer, Part, InCluster, Phase, Reshape)
"""What becomes no instruction."""


def whole_of(op: Op) -> Value | None:
    """The place that the result of an op is, or is a part of; ``None`` where it is a place of its own."""
    if isinstance(op.operator, (Part, InCluster, Phase, Reshape)):
        return op.inputs[0]
    return getattr(op.operands, "into", None)


def clusters_of(function: Function) -> int:
    """How many clusters a tile program uses, from 0 on."""
    types = (value.type for op in function.ops for value in op.results)
    return max((type.cluster + 1 for type in types if isinstance(type, TileType)), default=1) or 1


def cluster_of(op: Op) -> int:
    """Who runs the instruction of an op: whose scratchpad it reads maps from, or whose it loads."""
    for value in op.inputs[:1] + op.results:
        if isinstance(value.type, TileType) and value.type.memory != "dram":
            return max(value.type.cluster, 0)
    return 0
