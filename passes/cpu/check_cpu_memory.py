"""Prove a memory plan from its final annotations alone, by executing its addresses."""

from tilewright.errors import PassError

from ...ir.annotations import ALIAS, ARENA_BYTES, AT
from ...ir.calls import host_functions
from ...ir.core import Function, Op, Value, is_op
from ...ir.layout import bytes_of
from ...ir.ops.movement import Concat
from ...ir.ops.quantization import StorageCast
from ...ir.ops.shape import Reshape
from ..base import proved
from ..memory.ownership import Extent, Ownership, Piece

BLOCK = 64
"""Bytes that one owner is recorded for; every address must be a multiple."""


def check_cpu_memory(function: Function) -> None:
    """Execute the addresses of ``function`` without data.
    Raises PassError: an op reads bytes that its operand no longer holds, results overlap each other or an operand, an
    address leaves the arena or is not aligned, or an output lies in the arena; names op and source node."""
    _Arena(function).run()


SOUND = proved(
    "soundly planned: nothing is overwritten before its last use",
    lambda module: [check_cpu_memory(function) for function in host_functions(module)],
)


class _Arena:
    def __init__(self, function: Function) -> None:
        self._function = function
        size = ARENA_BYTES.get(function)
        if size is None or size < 0:
            raise PassError("the function has no arena_bytes", op=f"@{function.name}", found=size)
        self._bytes = size
        self._memory = Ownership({"arena": -(-size // BLOCK)})
        self._offset: dict[Value, int | None] = {}
        self._pieces: dict[Value, tuple[Piece, ...]] = {}

    def run(self) -> None:
        for parameter in self._function.parameters:
            self._offset[parameter] = None
        for op in self._function.ops:
            for value in dict.fromkeys(op.inputs):
                if not self._memory.is_whole(self._pieces.get(value, ())):
                    at = self._offset[value]
                    raise _error(op, f"operand %{value.name} at {at} has been overwritten before this op reads it")
            addresses = AT.get(op)
            if addresses is None or len(addresses) != len(op.results):
                raise _error(op, "the op needs one address for each result", len(op.results), addresses)
            if not ALIAS.is_at(op):
                self._write(op, addresses)
            elif isinstance(op.operator, Concat):
                self._join(op, op.operator.axis, addresses[0])
            else:
                self._alias(op, addresses[0])
        for value in self._function.results:
            op = value.producer
            is_elsewhere = op is not None and ALIAS.is_at(op) and _output_of(op.inputs[0]) is not op
            if op is not None and (self._offset[value] is not None or is_elsewhere):
                raise _error(op, "an output does not lie in the caller's buffer")

    def _alias(self, op: Op, address: int | None) -> None:
        index = ALIAS.get(op)
        source = op.operands[index] if index is not None and 0 <= index < len(op.operands) else None
        if source is None or len(op.results) != 1 or bytes_of(source.type) != bytes_of(op.result.type):
            raise _error(op, "alias names no operand of the result's size", found=index)
        offset = self._offset.get(source)
        if address != offset:
            raise _error(op, "an alias lies elsewhere than its operand", offset, address)
        self._offset[op.result] = offset
        self._pieces[op.result] = self._pieces.get(source, ())

    def _join(self, op: Op, axis: int, address: int | None) -> None:
        """A concatenation along the outermost dimension, whose parts must lie one after the other."""
        type = op.result.type
        outermost = 1 if type.layout else next((d for d, extent in enumerate(type.shape) if extent != 1), 0)
        if axis > outermost or type.layout not in ("", "c16") or (type.layout and (axis != 1 or type.shape[0] != 1)):
            raise _error(op, "the parts of this concatenation do not lie one after the other")
        expected = address
        for part in op.inputs:
            offset = self._offset.get(part)
            if offset is None or offset != expected or part.type.layout != type.layout:
                raise _error(op, f"part %{part.name} does not lie where the result wants it", expected, offset)
            expected = offset + bytes_of(part.type)
        if address is None or expected != address + bytes_of(type) or ALIAS.get(op) != 0:
            raise _error(op, "the parts are not the whole of the result")
        self._offset[op.result] = address
        self._pieces[op.result] = tuple(piece for part in op.inputs for piece in self._pieces[part])

    def _write(self, op: Op, addresses: tuple[int | None, ...]) -> None:
        writes: dict[int, Value] = {}
        for value, offset in zip(op.results, addresses, strict=True):
            if offset is None and not value.is_returned and _output_of(value) is None:
                raise _error(op, f"result %{value.name} has no address and is no output")
            size = bytes_of(value.type)
            if offset is None:
                self._offset[value] = None
                continue
            if offset % BLOCK or not 0 <= offset <= self._bytes - size:
                expected = f"a multiple of {BLOCK} within {self._bytes} bytes"
                raise _error(op, f"result %{value.name} has a wrong address", expected, offset)
            self._offset[value] = offset
            piece = self._memory.write(Extent("arena", offset // BLOCK, -(-size // BLOCK)))
            self._pieces[value] = (piece,)
            writes[piece.write] = value
        for operand in dict.fromkeys(op.inputs):
            if (write := self._memory.intruder(self._pieces.get(operand, ()))) is not None:
                raise _error(op, f"result %{writes[write].name} overwrites operand %{operand.name}")
        for other in op.results:
            if (write := self._memory.intruder(self._pieces.get(other, ()))) is not None:
                raise _error(op, f"results %{other.name} and %{writes[write].name} overlap")


def is_view(op: Op) -> bool:
    """Whether the op makes an output, without a copy, of a value that lies in the caller's buffer."""
    return is_op(op, Reshape, StorageCast)


def _output_of(value: Value) -> Op | None:
    """What makes an output of a value which an op has written into the caller's buffer, if anything does."""
    maker = value.producer
    if maker is None or ALIAS.is_at(maker) or value.is_returned:
        return None
    returned = (op for op in value.users if is_view(op) and ALIAS.is_at(op) and op.result.is_returned)
    return next(returned, None)


def _error(op: Op, message: str, expected: object = None, found: object = None) -> PassError:
    return PassError(message, op=op.name, node=op.node, expected=expected, found=found)
