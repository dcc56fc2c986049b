"""Prove the DRAM addresses of a device function from its final annotations alone.

Nothing here is shared with the planner: instead of comparing life spans, the check writes and reads through each region
in the order of the ops and keeps for each byte who wrote it last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import PassError

from ...ir.core import Function, Module, Op, Value
from ...ir.feature_map import map_shape
from ...ir.ops.movement import Concat
from ...ir.ops.shape import Reshape
from ...runtime.machine import CHANNEL_BLOCK
from ..base import Pass, Record
from ..invariants import Invariant
from ..placement.device_support.maps import map_operands
from .outline_device import device_functions

REGIONS = ("input", "output", "scratch")


def _unsound(module: Module) -> str | None:
    try:
        for function in device_functions(module):
            check_device_memory(function)
    except PassError as error:
        return str(error)
    return None


DEVICE_SOUND = Invariant("soundly planned for the device: no byte is overwritten before its last use", _unsound)


@dataclass(frozen=True)
class CheckDeviceMemory(Pass):
    """Changes nothing; fails where an op of a device function would read bytes that something else has overwritten."""

    def apply(self, module: Module, record: Record) -> bool:
        for function in device_functions(module):
            check_device_memory(function)
            record.counts["function"] += 1
        return False


def check_device_memory(function: Function) -> None:
    """Execute the addresses of ``function`` without data.

    Raises:
        PassError: an op reads bytes that its operand no longer holds, writes over an operand or into the input, an
            address leaves its region, or a result has been overwritten when the function ends; names op and node.
    """
    _Memory(function).run()


@dataclass(frozen=True)
class _Place:
    """Where the map of a value lies: ``pixels`` runs of ``channels`` bytes, ``pixel`` bytes apart.

    Attributes:
        reach: bytes of a run that may be read and written, the channel padding included.
    """

    region: str
    offset: int
    pixel: int
    pixels: int
    channels: int
    reach: int

    def part(self, first: int, count: int) -> _Place:
        """The place of channels [first, first + count)."""
        reach = self.reach - first if first + count == self.channels else count
        return _Place(self.region, self.offset + first, self.pixel, self.pixels, count, reach)

    def starts_with(self, other: _Place) -> bool:
        return (self.region, self.offset, self.pixel) == (other.region, other.offset, other.pixel)


class _Memory:
    def __init__(self, function: Function) -> None:
        self._function = function
        self._sizes: dict[str, int] = {}
        self._owner: dict[str, NDArray[np.int32]] = {}
        for region in REGIONS:
            size = function.annotations.get(f"{region}_bytes")
            if not isinstance(size, int) or size < 0:
                raise PassError(f"the device function has no {region}_bytes", op=f"@{function.name}", found=size)
            self._sizes[region] = size
            self._owner[region] = np.zeros(size, np.int32)
        self._places: dict[Value, _Place] = {}
        # Who must have written each channel of a value last; the same for all of its pixels.
        self._writers: dict[Value, NDArray[np.int32]] = {}
        self._writes = 0

    def run(self) -> None:
        inputs = self._function.annotations.get("inputs")
        parameters = self._function.parameters
        if not isinstance(inputs, tuple) or len(inputs) != len(parameters):
            name = f"@{self._function.name}"
            raise PassError("the device function has no place for each parameter", op=name, found=inputs)
        for value, annotation in zip(parameters, inputs, strict=True):
            place = self._place(None, value, annotation)
            if place.region != "input":
                raise self._error(None, f"parameter %{value.name} lies outside the input", "input", place.region)
            self._write(value, place)
        for value in parameters:
            self._read(None, value)
        for op in self._function.ops:
            self._execute(op)
        for value in self._function.results:
            if value.producer is not None and self._places[value].region != "output":
                raise self._error(None, f"result %{value.name} lies outside the output")
            self._read(None, value)

    def _execute(self, op: Op) -> None:
        operands = map_operands(op)
        for value in operands:
            self._read(op, value)
        place = self._place(op, op.result, op.annotations.get("dram"))
        if isinstance(op.operator, Reshape) and place.starts_with(self._places[operands[0]]):
            self._alias(op, operands[0], place)
        elif place.region == "input":
            raise self._error(op, f"result %{op.result.name} lies in the input, which is never written")
        elif isinstance(op.operator, Concat):
            self._join(op, place)
        else:
            self._write(op.result, place)
        # Tiles are written before others are read, so that operands must be whole when the last one is done.
        for value in operands:
            self._read(op, value)

    def _place(self, op: Op | None, value: Value, annotation: object) -> _Place:
        shape = map_shape(value.type)
        if not (isinstance(annotation, tuple) and len(annotation) == 4):
            raise self._error(op, f"%{value.name} has no place in device memory", found=annotation)
        region, offset, pixel, padded = annotation
        numbers = isinstance(offset, int) and isinstance(pixel, int)
        if not (numbers and isinstance(region, str) and region in REGIONS):
            raise self._error(op, f"%{value.name} has a malformed place in device memory", found=annotation)
        reach = -(-shape.channels // CHANNEL_BLOCK) * CHANNEL_BLOCK if padded else shape.channels
        if reach > pixel:
            raise self._error(op, f"the pixels of %{value.name} overlap", f"at least {reach} bytes apart", pixel)
        pixels = shape.images * shape.height * shape.width
        end = offset + (pixels - 1) * pixel + reach
        if offset < 0 or end > self._sizes[region]:
            size = self._sizes[region]
            raise self._error(op, f"%{value.name} leaves region {region!r}", f"bytes 0 to {size}", f"{offset} to {end}")
        self._places[value] = _Place(region, offset, pixel, pixels, shape.channels, reach)
        return self._places[value]

    def _runs(self, place: _Place, width: int) -> NDArray[np.int32]:
        """The owners of the first ``width`` bytes of each pixel, [pixels, width], without a copy."""
        owner = self._owner[place.region]
        step = owner.itemsize
        return np.lib.stride_tricks.as_strided(
            owner[place.offset :], (place.pixels, width), (place.pixel * step, step), writeable=True
        )

    def _read(self, op: Op | None, value: Value) -> None:
        place = self._places.get(value)
        if place is None:
            raise self._error(op, f"operand %{value.name} has no place in device memory")
        if not bool((self._runs(place, place.channels) == self._writers[value]).all()):
            reader = "this op reads it" if op is not None else "the function ends"
            what = f"%{value.name} at {place.region} {place.offset} has been overwritten before {reader}"
            raise self._error(op, what)

    def _touch(self, place: _Place) -> int:
        self._writes += 1
        self._runs(place, place.reach)[...] = self._writes
        return self._writes

    def _write(self, value: Value, place: _Place) -> None:
        self._writers[value] = np.full(place.channels, self._touch(place), np.int32)

    def _alias(self, op: Op, source: Value, place: _Place) -> None:
        before = self._places[source]
        if (before.pixels, before.channels) != (place.pixels, place.channels):
            raise self._error(op, "a reshape in place has other pixels than its operand", before, place)
        self._writers[op.result] = self._writers[source]

    def _join(self, op: Op, whole: _Place) -> None:
        """Operands that do not lie in the result already are copied there, one after the other."""
        writers: list[NDArray[np.int32]] = []
        first = 0
        for value in op.inputs:
            source = self._places[value]
            part = whole.part(first, source.channels)
            first += source.channels
            if part.pixels != source.pixels or first > whole.channels:
                raise self._error(op, f"part %{value.name} has other pixels than the result", part, source)
            if part.starts_with(source):
                writers.append(self._writers[value])
            else:
                writers.append(np.full(source.channels, self._touch(part), np.int32))
        self._writers[op.result] = np.concatenate(writers)
        self._read(op, op.result)

    def _error(self, op: Op | None, message: str, expected: object = None, found: object = None) -> PassError:
        name, node = (op.name, op.node) if op is not None else (f"@{self._function.name}", None)
        return PassError(message, op=name, node=node, expected=expected, found=found)
