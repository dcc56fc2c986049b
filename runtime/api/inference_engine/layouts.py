"""Layouts of blobs: the order of their dimensions, by the names and numbers that programs know."""

from __future__ import annotations

from enum import IntEnum


class Layout(IntEnum):
    """How the dimensions of a blob follow one another."""

    ANY = 0
    NCHW = 1
    NHWC = 2
    NCDHW = 3
    NDHWC = 4
    OIHW = 64
    SCALAR = 95
    C = 96
    CHW = 128
    HW = 192
    NC = 193
    CN = 194
    BLOCKED = 200

    __str__ = int.__repr__


_BY_RANK = ("SCALAR", "C", "NC", "CHW", "NCHW", "NCDHW")

_RANKS = {"SCALAR": 0, "C": 1, "HW": 2, "NC": 2, "CN": 2, "CHW": 3, "NCHW": 4, "NHWC": 4, "OIHW": 4}
_RANKS |= {"NCDHW": 5, "NDHWC": 5}

_REORDERED = ("NHWC", "NDHWC", "CN")


def layout_of(rank: int) -> str:
    """The layout that a blob of so many dimensions has unless somebody says otherwise."""
    return _BY_RANK[rank] if rank < len(_BY_RANK) else "BLOCKED"


def layouts_for(rank: int, *, is_input: bool) -> list[str]:
    """The layouts that a blob of so many dimensions may have; what is no input stays in the order of the network."""
    fitting = [layout.name for layout in Layout if _RANKS.get(layout.name, rank) == rank]
    return fitting if is_input else [name for name in fitting if name not in _REORDERED]
