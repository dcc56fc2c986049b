"""Prove the DRAM addresses of a device function from its final annotations alone, by executing them."""

from collections.abc import Sequence
from itertools import groupby

from tilewright.errors import PassError
from tilewright.immutable import Immutable

from ....ir.annotations import DRAM, FUSED, INPUTS, RECEIVES, REGION_BYTES, SENDS, MapAddress
from ....ir.core import Function, Module, Op, Value
from ....ir.feature_map import is_view, map_shape
from ....ir.ops.movement import Concat
from ....runtime.machines.machine import CHANNEL_BLOCK
from ...base import proved
from ...memory.ownership import Extent, Ownership, Piece
from ...placement.device_support import map_operands
from ..cascades.segment import cascade_of
from ..fused_pairs import fused_convolution
from ..outline_device import device_functions


def check_device_memory(function: Function) -> None:
    """Execute the addresses of ``function`` without data.
    Raises PassError: an op reads bytes that its operand no longer holds, writes over an operand or into the input, an
    address leaves its region, or a result has been overwritten when the function ends; names op and node."""
    _Memory(function).run()


def _check_all(module: Module) -> None:
    for function in device_functions(module):
        check_device_memory(function)


DEVICE_SOUND = proved("soundly planned for the device: no byte is overwritten before its last use", _check_all)


class _Map(Immutable):
    """Where the map of a value lies: its pixels as runs of so many bytes as it has channels.
    ``reach``: bytes of a run that may be read and written, the channel padding included."""

    extent: Extent
    reach: int

    def channels(self, first: int, count: int) -> "_Map":
        """Channels [first, first + count) of the map."""
        reach = self.reach - first if first + count == self.extent.width else count
        return _Map(self.extent._replace(start=self.extent.start + first, width=count), reach)

    def starts_with(self, other: "_Map") -> bool:
        a, b = self.extent, other.extent
        return (a.region, a.start, a.pitch) == (b.region, b.start, b.pitch)


class _Memory:
    def __init__(self, function: Function) -> None:
        self._function = function
        self._sizes: dict[str, int] = {}
        for region, annotation in REGION_BYTES.items():
            size = annotation.get(function)
            if size is None or size < 0:
                raise PassError(f"the device function has no {region}_bytes", op=f"@{function.name}", found=size)
            self._sizes[region] = size
        self._memory = Ownership(self._sizes)
        self._maps: dict[Value, _Map] = {}
        self._pieces: dict[Value, tuple[Piece, ...]] = {}

    def run(self) -> None:
        inputs = INPUTS.get(self._function)
        parameters = self._function.parameters
        if inputs is None or len(inputs) != len(parameters):
            name = f"@{self._function.name}"
            raise PassError("the device function has no address for each parameter", op=name, found=inputs)
        received = {end.position for end in RECEIVES.get(self._function) or ()}
        for position, (value, address) in enumerate(zip(parameters, inputs, strict=True)):
            map = self._locate(None, value, address)
            home = "scratch" if position in received else "input"
            if map.extent.region != home:
                raise self._error(None, f"parameter %{value.name} lies outside the {home}", home, map.extent.region)
            self._write(value, map)
        for value in parameters:
            self._read(None, value)
        for _, ops in groupby(self._function.ops, cascade_of):
            together = [*ops]
            for op in together:
                self._execute(op)
            if cascade_of(together[0]) is not None:
                self._read_again(together)
        sent = {end.position for end in SENDS.get(self._function) or ()}
        for position, value in enumerate(self._function.results):
            home = self._maps[value].extent.region
            if value.producer is not None and position not in sent and home != "output":
                raise self._error(None, f"result %{value.name} lies outside the output")
            self._read(None, value)

    def _read_again(self, ops: Sequence[Op]) -> None:
        """Ops that run in turn: what the first of them reads is read until the last is done."""
        for op in ops:
            for value in map_operands(op):
                if value.producer is None or not FUSED.get(value.producer):
                    self._read(op, value)

    def _execute(self, op: Op) -> None:
        operands = map_operands(op)
        for value in operands:
            self._read(op, value)
        map = self._locate(op, op.result, self._address(op))
        if is_view(op) and map.starts_with(self._maps[operands[0]]):
            self._alias(op, operands[0], map)
        elif map.extent.region == "input":
            raise self._error(op, f"result %{op.result.name} lies in the input, which is never written")
        elif isinstance(op.operator, Concat) and op.operator.axis == 1:
            self._join(op, map)
        else:
            self._write(op.result, map)
        # Tiles are written before others are read, so that operands must be whole when the last one is done. The result
        # of a convolution that is fused with the op is nowhere: in place of that these are what it reads.
        fused = fused_convolution(op)
        if fused is not None:
            operands = [*map_operands(fused), *(value for value in operands if value is not fused.result)]
        for value in operands:
            self._read(op, value)

    def _address(self, op: Op) -> MapAddress:
        address = DRAM.get(op)
        if address is None:
            written = op.annotations.get(DRAM.key)
            what = "no address" if written is None else "a malformed address"
            raise self._error(op, f"%{op.result.name} has {what} in device memory", found=written)
        return address

    def _locate(self, op: Op | None, value: Value, address: MapAddress) -> _Map:
        region, offset, pixel, padded = address
        shape = map_shape(value.type)
        reach = -(-shape.channels // CHANNEL_BLOCK) * CHANNEL_BLOCK if padded else shape.channels
        if reach > pixel:
            raise self._error(op, f"the pixels of %{value.name} overlap", f"at least {reach} bytes apart", pixel)
        pixels = shape.images * shape.height * shape.width
        end = offset + (pixels - 1) * pixel + reach
        if offset < 0 or end > self._sizes[region]:
            size = self._sizes[region]
            raise self._error(op, f"%{value.name} leaves region {region!r}", f"bytes 0 to {size}", f"{offset} to {end}")
        self._maps[value] = _Map(Extent(region, offset, shape.channels, pixels, pixel), reach)
        return self._maps[value]

    def _read(self, op: Op | None, value: Value) -> None:
        if value not in self._maps:
            raise self._error(op, f"operand %{value.name} has no address in device memory")
        if not self._memory.is_whole(self._pieces[value]):
            extent = self._maps[value].extent
            reader = "this op reads it" if op is not None else "the function ends"
            what = f"%{value.name} at {extent.region} {extent.start} has been overwritten before {reader}"
            raise self._error(op, what)

    def _write(self, value: Value, map: _Map) -> None:
        self._pieces[value] = (self._memory.write(map.extent, map.reach),)

    def _alias(self, op: Op, source: Value, map: _Map) -> None:
        before, after = self._maps[source].extent, map.extent
        if (before.runs, before.width) != (after.runs, after.width):
            raise self._error(op, "a reshape in place has other pixels than its operand", before, after)
        self._pieces[op.result] = self._pieces[source]

    def _join(self, op: Op, whole: _Map) -> None:
        """Operands that do not lie in the result already are copied there, one after the other."""
        pieces: list[Piece] = []
        first = 0
        for value in op.inputs:
            source = self._maps[value]
            part = whole.channels(first, source.extent.width)
            first += source.extent.width
            if part.extent.runs != source.extent.runs or first > whole.extent.width:
                raise self._error(op, f"part %{value.name} has other pixels than the result", part, source)
            if part.starts_with(source):
                pieces += self._pieces[value]
            else:
                pieces.append(self._memory.write(part.extent, part.reach))
        self._pieces[op.result] = tuple(pieces)
        self._read(op, op.result)

    def _error(self, op: Op | None, message: str, expected: object = None, found: object = None) -> PassError:
        name, node = (op.name, op.node) if op is not None else (f"@{self._function.name}", None)
        return PassError(message, op=name, node=node, expected=expected, found=found)
