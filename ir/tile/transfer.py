"""Operators that move bytes: DRAM to the scratchpads and back, between clusters, and between cards."""

from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..interpolation import KNOTS
from ..layout import CHANNEL_BLOCK
from ..op import Operator, UnaryOperands, operator
from ..types import DType, TensorType
from .places import Crossing, Enter, Leave
from .types import TILE_OPERATORS, MapOperands, TileType, placed_map, tile, written

FLIP = np.uint8(0x80)
"""Turns the stored integers of u8 into those of i8 with the zero point 128 less, and back."""


@operator("tile_load", TILE_OPERATORS)
class Load(Operator[MapOperands]):
    """Part of a map from DRAM into the maps scratchpad.
    ``packed``: see :class:`tilewright.ir.tile.types.TileType`; in a place of its own only."""

    cluster: int
    packed: bool

    def infer(self, x: TensorType, into: TensorType | None) -> TensorType:
        source = tile(x, "dram", "what is loaded")
        if self.packed:
            if into is not None:
                raise IRError("packed maps have places of their own", found=into)
            return TileType(source.shape, DType.I8, memory="maps", cluster=self.cluster, packed=True)
        return placed_map(source.shape, self.cluster, into)

    def reference(self, x: np.ndarray, into: np.ndarray | None) -> np.ndarray:
        return written((x ^ FLIP).view(np.int8) if x.dtype == np.uint8 else x, into)


class StoreOperands(NamedTuple):
    """A map on chip, and the part of one in DRAM that it becomes."""

    x: Value
    into: Value


@operator("tile_store", TILE_OPERATORS)
class Store(Operator[StoreOperands]):
    """A map from the maps scratchpad into part of one in DRAM."""

    def infer(self, x: TensorType, into: TensorType) -> TensorType:
        source, target = tile(x, "maps", "what is stored"), tile(into, "dram", "what is stored into")
        if source.shape != target.shape or source.packed:
            raise IRError("a store changes no shape", expected=source, found=target)
        return target

    def reference(self, x: np.ndarray, into: np.ndarray) -> np.ndarray:
        into[...] = x if into.dtype == np.int8 else (x.view(np.uint8) ^ FLIP)
        return into


@operator("tile_move", TILE_OPERATORS)
class Move(Operator[MapOperands]):
    """A map from the maps scratchpad of one cluster into that of another, or of all others.
    ``cluster``: the other one, or ``EVERY_CLUSTER``."""

    cluster: int

    def infer(self, x: TensorType, into: TensorType | None) -> TensorType:
        source = tile(x, "maps", "what is moved")
        if source.cluster == self.cluster or source.packed:
            raise IRError("a move is from one cluster to another", found=source)
        return placed_map(source.shape, self.cluster, into)

    def reference(self, x: np.ndarray, into: np.ndarray | None) -> np.ndarray:
        return written(x, into)


@operator("tile_load_weights", TILE_OPERATORS)
class LoadWeights(Operator[UnaryOperands]):
    """Weights of a convolution into the weight scratchpad.

    Attributes:
        cluster: whose, or ``EVERY_CLUSTER``: one read of DRAM for all of them.
        zero: zero point of the weights, with which they are filled up to whole blocks.
        packed: they multiply a packed map.
        depthwise: each channel, or each small group of them, has its own kernel.
    """

    cluster: int
    zero: int
    packed: bool
    depthwise: bool

    def infer(self, x: TensorType) -> TensorType:
        if x.dtype is not DType.I8 or x.rank != 4 or (self.depthwise and CHANNEL_BLOCK % x.shape[1]):
            raise IRError("these are no weights", expected="i8 [outputs, inputs, rows, columns]", found=x)
        return TileType(x.shape, DType.I8, memory="weights", cluster=self.cluster)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x


@operator("tile_load_requantization", TILE_OPERATORS)
class LoadRequantization(Operator[tuple[Value, Value]]):
    """int32 bias and binary32 multiplier of channels into the parameter scratchpad, as f64 [2, channels].
    ``cluster``: see :class:`LoadWeights`."""

    cluster: int

    def infer(self, bias: TensorType, multiplier: TensorType) -> TensorType:
        if bias.dtype is not DType.I32 or multiplier.dtype is not DType.F32 or bias.rank != 1:
            raise IRError("these are no biases and multipliers", expected="i32 and f32", found=f"{bias}, {multiplier}")
        if bias.shape != multiplier.shape:
            raise IRError("every channel has a bias and a multiplier", expected=bias, found=multiplier)
        return TileType((2, *bias.shape), DType.F64, memory="parameters", cluster=self.cluster)

    def reference(self, bias: np.ndarray, multiplier: np.ndarray) -> np.ndarray:
        return np.stack([bias.astype(np.float64), multiplier.astype(np.float64)])


@operator("tile_load_table", TILE_OPERATORS)
class LoadTable(Operator[UnaryOperands]):
    """A table of 256 results, by element from -128, or of the knots of a function of 16 bits, into the parameter
    scratchpad.
    ``cluster``: see :class:`LoadWeights`."""

    cluster: int

    def infer(self, x: TensorType) -> TensorType:
        if (x.dtype, x.shape) not in ((DType.I8, (256,)), (DType.I32, (KNOTS,))):
            raise IRError("this is no table", expected=f"i8[256] or i32[{KNOTS}]", found=x)
        return TileType(x.shape, DType.F64, memory="parameters", cluster=self.cluster)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return x.astype(np.float64)


@operator("tile_load_record", TILE_OPERATORS)
class LoadRecord(Operator[tuple[()]]):
    """The numbers of pooling or of arithmetic into the parameter scratchpad; what they mean stands in ``docs/isa.md``.
    ``cluster``: see :class:`LoadWeights`.
    ``zero_a``, ``zero_b``, ``zero_output``, ``offset``, ``multiplier_a``, ``multiplier_b``, ``shift``: integers.
    ``scale_a``, ``scale_output``, ``multiplier``: binary32."""

    cluster: int
    zero_a: int = 0
    zero_b: int = 0
    zero_output: int = 0
    offset: int = 0
    multiplier_a: int = 0
    multiplier_b: int = 0
    shift: int = 0
    scale_a: float = 0.0
    scale_output: float = 0.0
    multiplier: float = 0.0

    @property
    def words(self) -> dict[str, float]:
        """The numbers by name."""
        return {name: value for name, value in vars(self).items() if name != "cluster"}

    def infer(self) -> TensorType:
        return TileType((len(self.words),), DType.F64, memory="parameters", cluster=self.cluster)

    def reference(self) -> np.ndarray:
        return np.array(list(self.words.values()), np.float64)


RECORD_WORDS = tuple(LoadRecord(0).words)
"""Names of the numbers of a record, in order."""


@operator("tile_receive", TILE_OPERATORS)
class Receive(Crossing):
    """A tensor of the network as a map in DRAM, as ``tile_enter``; another card puts it there, with ``tile_send``.
    ``card``: the other one, counted from 0 among those that run together.
    ``tag``: of the messages from that card to this one, which it is."""

    card: int
    tag: int

    def infer(self, x: TensorType) -> TensorType:
        return Enter().infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return Enter().reference(x)


@operator("tile_send", TILE_OPERATORS)
class Send(Crossing):
    """A map in DRAM as a tensor of the network, as ``tile_leave``; another card takes it, with ``tile_receive``.
    ``card``: the other one, counted from 0 among those that run together.
    ``tag``: of the messages from this card to that one, which it is."""

    shape: tuple[int, ...]
    card: int
    tag: int

    def infer(self, x: TensorType) -> TensorType:
        return Leave(self.shape).infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return Leave(self.shape).reference(x)
