"""Tile programs: what the accelerator does, one operator for each instruction, before anything has an address.

A value of a tile program is a place in a memory of the device (:mod:`.types`), and the order of the ops is the order of
what happens: an op that is given a place to write ``into`` changes it, and returns it under another name. An op that is
given none makes a place of its own. Importing this package fills :data:`TILE_OPERATORS`.
"""

from . import attention, compute, normalization, places, transfer, wide
from .types import TILE_OPERATORS

FAMILIES = (places, transfer, compute, attention, normalization, wide)

__all__ = ["FAMILIES", "TILE_OPERATORS"]
