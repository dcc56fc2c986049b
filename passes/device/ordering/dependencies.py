"""What must precede what in a tile program: ops that touch one byte, one of which writes it.

Places of their own never meet on chip, where none has an address yet. Maps in DRAM do: one that is no longer needed
makes room for another.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....ir.core import Op, Value, is_op
from ....ir.tile.locations import Box, Located, Locations
from ....ir.tile.places import Enter

_FEW = 128
"""Accesses to a place that are looked at one by one."""


class Access(NamedTuple):
    """What an op touches."""

    place: Located
    write: bool


def accesses(op: Op, places: Locations) -> list[Access]:
    """What an op reads and writes of the places that are noted. What is written is not also said to be read."""
    into: Value | None = getattr(op.operands, "into", None)
    found = [Access(places[value], False) for value in op.inputs if value in places and value is not into]
    found += [Access(places[value], True) for value in op.results if value in places]
    return found


class Dependencies:
    """The accesses of the ops of a program so far, and which of them a later one has to follow."""

    def __init__(self) -> None:
        self._touches: dict[Op, _Touches] = {}
        self._regions: dict[str, _Table] = {}

    def add(self, number: int, touched: Sequence[Access]) -> set[int]:
        """The numbers of the ops that an op with these accesses has to follow; its own is larger than theirs."""
        found: set[int] = set()
        for access in touched:
            place = access.place
            found.update(self._of(place).conflicts(access))
            # What the host puts into DRAM lies apart.
            if place.address is not None and not is_op(place.root, Enter):
                found.update(self._region(place.address.region).others(access, self._of(place).serial))
        for access in touched:
            place, touches = access.place, self._of(access.place)
            touches.record(number, access)
            if place.address is not None and not is_op(place.root, Enter):
                self._region(place.address.region).add((number, access.write, *place.span, touches.serial))
        return found

    def _of(self, place: Located) -> "_Touches":
        touches = self._touches.get(place.root)
        if touches is None:
            touches = self._touches[place.root] = _Touches(len(self._touches), place)
        return touches

    def _region(self, name: str) -> "_Table":
        return self._regions.setdefault(name, _Table(5))


class _Table:
    """Accesses as rows of numbers: number of the op, whether it writes, first byte and one past the last, and more."""

    def __init__(self, columns: int) -> None:
        self.rows: list[tuple[int, ...]] = []
        self._array = np.zeros((columns, 0), np.int64)
        self._copied = 0

    def add(self, row: tuple[int, ...]) -> None:
        self.rows.append(row)

    def clear(self) -> None:
        self.rows, self._copied = [], 0

    def array(self) -> NDArray[np.int64]:
        """The rows as an array, in which each of them is a column."""
        count = len(self.rows)
        if count > self._array.shape[1]:
            self._array = np.concatenate([self._array, np.zeros((len(self._array), count), np.int64)], axis=1)
        if count > self._copied:
            self._array[:, self._copied : count] = np.array(self.rows[self._copied :], np.int64).T
            self._copied = count
        return self._array[:, :count]

    def near(self, access: Access, first: int, start: int, stop: int) -> NDArray[np.int64]:
        """The rows whose range, from number ``first`` on, meets this one, and of which one writes, as columns."""
        table = self.array()
        meets = (table[first] < stop) & (table[first + 1] > start)
        if not access.write:
            meets &= table[1] != 0
        return table[:, np.flatnonzero(meets)]

    def others(self, access: Access, serial: int) -> list[int]:
        """Of a region, the accesses to other places than that number whose range of bytes meets that of this one."""
        found = self.near(access, 2, *access.place.span)
        return found[0, found[4] != serial].tolist()


class _Touches:
    """The accesses to one place. ``serial``: number of the place."""

    def __init__(self, serial: int, place: Located) -> None:
        self.serial = serial
        self._in_dram = place.address is not None
        self._shape = place.shape
        self._table = _Table(16)
        # Rows that are touched of columns and channels, and those that are written, as bits.
        self._rows: tuple[dict[tuple[int, ...], int], dict[tuple[int, ...], int]] = ({}, {})
        # What follows from reads since the last write.
        self._reads: dict[Box, list[int]] = {}

    def record(self, number: int, access: Access) -> None:
        place = access.place
        if access.write and not self._in_dram and place.box == place.all:
            # Whoever touches the place from now on follows this one, and with it all before.
            self._table.clear()
            self._rows = ({}, {})
        span = place.span if self._in_dram else (0, 0)
        self._table.add((number, access.write, *span, *place.shape, *place.box))
        across, rows = place.box[4:], _bits(place.box)
        for bits in self._rows[: 1 + access.write]:
            bits[across] = bits.get(across, 0) | rows
        if access.write:
            self._reads.clear()
        if place.shape != self._shape:
            self._shape = None

    def conflicts(self, access: Access) -> list[int]:
        """Accesses to a box that meets this one."""
        place, box = access.place, access.place.box
        if place.shape != self._shape:
            return self._meeting(access)
        if not access.write and box in self._reads:
            return self._reads[box]
        rows, (left, right, first, stop) = _bits(box), box[4:]
        near = any(
            rows & other and left < columns_end and columns < right and first < channels_end and channels < stop
            for (columns, columns_end, channels, channels_end), other in self._rows[not access.write].items()
        )
        found = self._meeting(access) if near else []
        if not access.write:
            self._reads[box] = found
        return found

    def _meeting(self, access: Access) -> list[int]:
        place, box = access.place, access.place.box
        if len(self._table.rows) <= _FEW and not self._in_dram:
            image, last, top, below, left, right, first, stop = box
            return [
                row[0]
                for row in self._table.rows
                if (access.write or row[1])
                and (image < row[9] and row[8] < last and top < row[11] and row[10] < below)
                and (left < row[13] and row[12] < right and first < row[15] and row[14] < stop)
            ]
        # Of many, few are of the same bytes of DRAM, or of the same rows.
        table = self._table.near(access, 2, *place.span) if self._in_dram else self._table.near(access, 10, *box[2:4])
        mine = np.asarray(box).reshape(8, 1)
        meets = ((table[8::2] < mine[1::2]) & (table[9::2] > mine[0::2])).all(axis=0)
        if self._in_dram:
            # The same bytes as another shape: what is known is from where to where they go.
            meets |= (table[4:8] != np.asarray(place.shape).reshape(4, 1)).any(axis=0)
        return table[0, meets].tolist()


def _bits(box: Box) -> int:
    """The rows of a box, each a bit."""
    return (1 << box[3]) - (1 << box[2])
