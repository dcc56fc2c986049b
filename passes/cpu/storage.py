"""Which values share memory, where in it they lie, and from which step to which it is in use."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ...ir.core import Constant, Function, Op, Value
from ...ir.layout import BLOCK, bytes_of, is_same_order
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Elementwise
from ...ir.ops.layout import Reorder
from ...ir.ops.movement import Concat
from ...ir.ops.shape import Reshape

ALIGNMENT = 64
"""Bytes: a cache line and a 512-bit vector."""


@dataclass
class Piece:
    """Memory for one or more values.

    Attributes:
        bytes: its size, a multiple of the alignment.
        first, last: the steps between which it is in use, both included.
        whole: the piece that this one is a part of, if any, at ``offset`` bytes from its start.
    """

    bytes: int
    first: int
    last: int
    whole: Piece | None = None
    offset: int = 0

    def root(self) -> tuple[Piece, int]:
        """The piece that this one is finally a part of, and where in it."""
        piece, offset = self, 0
        while piece.whole is not None:
            offset += piece.offset
            piece = piece.whole
        return piece, offset

    def use(self, step: int) -> None:
        """Keep it, with all that it is a part of, until ``step``."""
        piece: Piece | None = self
        while piece is not None:
            piece.last = max(piece.last, step)
            piece = piece.whole

    def place_in(self, whole: Piece, offset: int) -> None:
        """Make it a part of ``whole``."""
        self.whole, self.offset = whole, offset
        whole.first = min(whole.first, self.first)
        whole.use(self.last)


@dataclass
class Storage:
    """The pieces of the arena that a function needs.

    Attributes:
        pieces: in order of birth, also those that are parts of others.
        piece_of: where a value lies; absent for values outside the arena.
        aliases: ops that have nothing to do.
        replaced: for ops whose result replaces an operand, the index of that operand.
    """

    pieces: list[Piece] = field(default_factory=list)
    piece_of: dict[Value, Piece] = field(default_factory=dict)
    aliases: set[Op] = field(default_factory=set)
    replaced: dict[Op, int] = field(default_factory=dict)

    @property
    def roots(self) -> list[Piece]:
        """The pieces that need an address of their own."""
        return [piece for piece in self.pieces if piece.whole is None]


def share_memory(function: Function, *, in_place: bool, join: bool) -> Storage:
    """Decide what shares memory.

    Args:
        in_place: let elementwise ops, and convolutions with a residual, write over a dead operand of equal type.
        join: let the parts of a concatenation be written side by side where they are wanted.
    """
    storage = Storage()
    steps = {op: step for step, op in enumerate(function.ops)}
    for op, step in steps.items():
        for value in op.results:
            if not value.is_returned:
                last = max((steps[user] for user in value.users), default=step)
                _store(storage, op, value, step, last, in_place, join)
    return storage


def _store(storage: Storage, op: Op, value: Value, step: int, last: int, in_place: bool, join: bool) -> None:
    if is_alias(op):
        storage.aliases.add(op)
        piece = storage.piece_of.get(op.inputs[0])
        if piece is not None:
            piece.use(last)
            storage.piece_of[value] = piece
        return
    replaced = _replaced_operand(storage, op, step) if in_place else None
    if replaced is not None:
        index, piece = replaced
        storage.replaced[op] = index
        piece.use(last)
        storage.piece_of[value] = piece
        return
    piece = Piece(-(-bytes_of(value.type) // ALIGNMENT) * ALIGNMENT, step, last)
    storage.pieces.append(piece)
    storage.piece_of[value] = piece
    if join and _joins_in_place(storage, op):
        storage.aliases.add(op)
        offset = 0
        for part in op.inputs:
            storage.piece_of[part].place_in(piece, offset)
            offset += bytes_of(part.type)


def is_alias(op: Op) -> bool:
    """Whether the bytes of the result are those of operand 0 as they lie in memory."""
    if not isinstance(op.operator, (Reshape, Reorder)) or isinstance(op.operands[0], Constant):
        return False
    source, target = op.inputs[0].type, op.result.type
    if isinstance(op.operator, Reshape):
        return source.layout == "" and target.layout == ""
    return is_same_order(source, target)


def _joins_in_place(storage: Storage, op: Op) -> bool:
    """Whether a concatenation has nothing to do if its parts are written one after the other: nothing lies between
    them in the result, each has memory of exactly its size, and none has its place elsewhere.
    """
    if not isinstance(op.operator, Concat) or len(set(op.inputs)) != len(op.inputs):
        return False
    type, axis = op.result.type, op.operator.axis
    if any(part.type.layout != type.layout for part in op.inputs):
        return False
    if type.layout:
        whole = all(part.type.shape[1] % BLOCK == 0 for part in op.inputs[:-1])
        if type.layout != "c16" or axis != 1 or type.shape[0] != 1 or not whole:
            return False
    elif math.prod(type.shape[:axis]) != 1:
        return False
    pieces = [storage.piece_of.get(part) for part in op.inputs]
    fits = (
        piece is not None and piece.whole is None and piece.bytes == bytes_of(part.type)
        for piece, part in zip(pieces, op.inputs, strict=True)
    )
    return all(fits) and len(set(map(id, pieces))) == len(pieces)


def _replaced_operand(storage: Storage, op: Op, step: int) -> tuple[int, Piece] | None:
    """The operand whose memory the result may take over, with that memory; ``None`` if there is none."""
    if isinstance(op.operator, Conv):
        candidates = [3] if len(op.operands) > 3 else []
    elif isinstance(op.operator, Elementwise):
        candidates = list(range(len(op.operands)))
    else:
        return None
    for index in candidates:
        operand = op.operands[index]
        piece = storage.piece_of.get(operand) if operand is not None else None
        if operand is None or piece is None or piece.root()[0].last != step:
            continue
        others = [v for i, v in enumerate(op.operands) if i != index and v is not None]
        # Another operand in the same memory may be read at other places than this one.
        root = piece.root()[0]
        pieces = (storage.piece_of.get(other) for other in others if other is not operand)
        shared = any(other is not None and other.root()[0] is root for other in pieces)
        # A convolution reads neighbours of x, an elementwise op only what it is about to write.
        reread = isinstance(op.operator, Conv) and operand in others
        if not shared and not reread and _is_replaceable(operand, op.result):
            return index, piece
    return None


def _is_replaceable(operand: Value, result: Value) -> bool:
    a, b = operand.type, result.type
    return (a.shape, a.layout, a.dtype.bytes) == (b.shape, b.layout, b.dtype.bytes)
