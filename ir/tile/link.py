"""Operators between cards: maps in DRAM that another card has sent, or receives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..op import operator
from ..types import TensorType
from .operators import TILE_OPERATORS
from .places import Crossing, Enter, Leave


@operator("tile_receive", TILE_OPERATORS)
@dataclass(frozen=True)
class Receive(Crossing):
    """A tensor of the network as a map in DRAM, as ``tile_enter``; another card puts it there, with ``tile_send``.

    Attributes:
        card: the other one, counted from 0 among those that run together.
        tag: of the messages from that card to this one, which it is.
    """

    card: int
    tag: int

    def infer(self, x: TensorType) -> TensorType:
        return Enter().infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return Enter().reference(x)


@operator("tile_send", TILE_OPERATORS)
@dataclass(frozen=True)
class Send(Crossing):
    """A map in DRAM as a tensor of the network, as ``tile_leave``; another card takes it, with ``tile_receive``.

    Attributes:
        shape: of the tensor.
        card: the other one, counted from 0 among those that run together.
        tag: of the messages from this card to that one, which it is.
    """

    shape: tuple[int, ...]
    card: int
    tag: int

    def infer(self, x: TensorType) -> TensorType:
        return Leave(self.shape).infer(x)

    def reference(self, x: np.ndarray) -> np.ndarray:
        return Leave(self.shape).reference(x)
