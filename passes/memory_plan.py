"""Give every intermediate result an address in one arena."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tilewright.errors import PassError

from ..ir.core import Constant, Function, Module, Op, Value
from ..ir.layout import bytes_of, is_same_order
from ..ir.ops.convolution import Conv
from ..ir.ops.elementwise import Elementwise
from ..ir.ops.layout import Reorder
from ..ir.ops.shape import Reshape
from .allocation import STRATEGIES, Buffer, lower_bound, peak
from .base import Pass, Record
from .check_memory_plan import check_memory_plan
from .invariants import OUTPUTS_APART, PLANNED, UNPLANNED, Invariant

ALIGNMENT = 64
"""Bytes: a cache line and a 512-bit vector."""


def _unsound(module: Module) -> str | None:
    try:
        check_memory_plan(module.main)
    except PassError as error:
        return str(error)
    return None


SOUND = Invariant("soundly planned: nothing is overwritten before its last use", _unsound)


@dataclass(frozen=True)
class MemoryPlan(Pass):
    """Annotates each op of ``main`` with ``at``, one arena offset in bytes for each result, and the function with
    ``arena_bytes``.

    ``at`` is ``none`` for what lies outside the arena: an output, which the op writes into the caller's buffer, or
    an alias of an input. ``alias=i`` marks an op that has nothing to do because its result is operand i
    as it lies. ``in_place=i`` marks an op whose result replaces operand i element by element.

    Ops run in the order in which they stand. A result lives from the op that writes it to the last op that reads it
    or an alias of it, both included.

    Attributes:
        strategy: ``best`` of all heuristics, or the name of one, see :mod:`tilewright.passes.allocation`.
        in_place: let elementwise ops, and convolutions with a residual, write over a dead operand of equal type.
    """

    requires: ClassVar[tuple[Invariant, ...]] = (UNPLANNED, OUTPUTS_APART)
    ensures: ClassVar[tuple[Invariant, ...]] = (PLANNED, SOUND)

    strategy: str = "best"
    in_place: bool = False

    def apply(self, module: Module, record: Record) -> bool:
        if self.strategy != "best" and self.strategy not in STRATEGIES:
            raise PassError(
                "unknown strategy", expected=f"best, {', '.join(STRATEGIES)}", found=self.strategy, stage=self.name
            )
        function = module.main
        storage = _Storage(function, self.in_place)
        buffers = [Buffer(s.bytes, s.first, s.last) for s in storage.spans]
        names = list(STRATEGIES) if self.strategy == "best" else [self.strategy]
        plans = {name: STRATEGIES[name](buffers) for name in names}
        best = min(names, key=lambda name: peak(buffers, plans[name]))
        offset_of = dict(zip(map(id, storage.spans), plans[best], strict=True))
        for op in function.ops:
            spans = [storage.span_of.get(value) for value in op.results]
            op.annotations["at"] = tuple(offset_of[id(span)] if span is not None else None for span in spans)
        function.annotations["arena_bytes"] = peak(buffers, plans[best])
        record.facts["strategy"] = best
        record.facts["arena_bytes"] = peak(buffers, plans[best])
        record.facts["lower_bound_bytes"] = lower_bound(buffers)
        record.facts["unshared_bytes"] = sum(buffer.bytes for buffer in buffers)
        record.counts["buffer"] = len(buffers)
        record.counts["alias"] = storage.aliases
        record.counts["in place"] = storage.replaced
        return True


@dataclass
class _Span:
    """Memory that one or more values share."""

    bytes: int
    first: int
    last: int


class _Storage:
    """Which values share memory, and from which step to which it is in use. Annotates aliases on the way.

    Attributes:
        spans: one for each piece of the arena.
        span_of: the piece that a value lies in; absent for values outside the arena.
    """

    def __init__(self, function: Function, in_place: bool) -> None:
        self.spans: list[_Span] = []
        self.span_of: dict[Value, _Span] = {}
        self.aliases = 0
        self.replaced = 0
        steps = {op: step for step, op in enumerate(function.ops)}
        for op, step in steps.items():
            for value in op.results:
                last = max((steps[user] for user in value.users), default=step)
                self._store(op, value, step, last, in_place)

    def _store(self, op: Op, value: Value, step: int, last: int, in_place: bool) -> None:
        if value.is_returned:
            return
        if is_alias(op):
            op.annotations["alias"] = 0
            self.aliases += 1
            source = op.operands[0]
            span = self.span_of.get(source) if source is not None else None
            if span is not None:
                self._share(value, span, last)
            return
        replaced = self._replaced_operand(op, step) if in_place else None
        if replaced is not None:
            operand = op.operands[replaced]
            assert operand is not None
            op.annotations["in_place"] = replaced
            self.replaced += 1
            self._share(value, self.span_of[operand], last)
            return
        span = _Span(-(-bytes_of(value.type) // ALIGNMENT) * ALIGNMENT, step, last)
        self.spans.append(span)
        self.span_of[value] = span

    def _share(self, value: Value, span: _Span, last: int) -> None:
        span.last = max(span.last, last)
        self.span_of[value] = span

    def _replaced_operand(self, op: Op, step: int) -> int | None:
        """The operand whose memory the result may take over, ``None`` if there is none."""
        if isinstance(op.operator, Conv):
            candidates = [3] if len(op.operands) > 3 else []
        elif isinstance(op.operator, Elementwise):
            candidates = list(range(len(op.operands)))
        else:
            return None
        for index in candidates:
            operand = op.operands[index]
            span = self.span_of.get(operand) if operand is not None else None
            if operand is None or span is None or span.last != step:
                continue
            others = [v for i, v in enumerate(op.operands) if i != index and v is not None]
            # Another operand in the same memory may be read at other places than this one.
            shared = any(self.span_of.get(other) is span and other is not operand for other in others)
            broadcast = any(other is operand for other in others) and isinstance(op.operator, Conv)
            same = (operand.type.shape, operand.type.layout, operand.type.dtype.bytes) == (
                op.result.type.shape,
                op.result.type.layout,
                op.result.type.dtype.bytes,
            )
            if same and not shared and not broadcast:
                return index
        return None


def is_alias(op: Op) -> bool:
    """Whether the bytes of the result are those of operand 0 as they lie in memory."""
    if not isinstance(op.operator, (Reshape, Reorder)) or isinstance(op.operands[0], Constant):
        return False
    source, target = op.inputs[0].type, op.result.type
    if isinstance(op.operator, Reshape):
        return source.layout == "" and target.layout == ""
    return is_same_order(source, target)
