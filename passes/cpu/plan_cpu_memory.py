"""Give every intermediate result an address in one arena."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tilewright.errors import PassError

from ...ir.core import Module
from ..base import Pass, Record
from ..invariants import OUTPUTS_APART, PLANNED, UNPLANNED, Invariant
from .allocation import STRATEGIES, Buffer, lower_bound, peak
from .check_cpu_memory import SOUND
from .storage import share_memory


@dataclass(frozen=True)
class PlanCpuMemory(Pass):
    """Annotates each op of ``main`` with ``at``, one arena offset in bytes for each result, and the function with
    ``arena_bytes``.

    ``at`` is ``none`` for what lies outside the arena: an output, which the op writes into the caller's buffer, or
    an alias of an input. ``alias=i`` marks an op that has nothing to do because its result begins where operand i
    lies: a reshape, or a concatenation whose parts have been written side by side. ``in_place=i`` marks an op whose
    result replaces operand i element by element.

    Ops run in the order in which they stand. A result lives from the op that writes it to the last op that reads it
    or an alias of it, both included.

    Attributes:
        strategy: ``best`` of all heuristics, or the name of one, see :mod:`tilewright.passes.cpu.allocation`.
        in_place: let elementwise ops, and convolutions with a residual, write over a dead operand of equal type.
        join: let the parts of a concatenation be written where it wants them.
    """

    requires: ClassVar[tuple[Invariant, ...]] = (UNPLANNED, OUTPUTS_APART)
    ensures: ClassVar[tuple[Invariant, ...]] = (PLANNED, SOUND)

    strategy: str = "best"
    in_place: bool = False
    join: bool = True

    def apply(self, module: Module, record: Record) -> bool:
        if self.strategy != "best" and self.strategy not in STRATEGIES:
            raise PassError("unknown strategy", expected=f"best, {', '.join(STRATEGIES)}", found=self.strategy)
        function = module.main
        storage = share_memory(function, in_place=self.in_place, join=self.join)
        roots = storage.roots
        buffers = [Buffer(piece.bytes, piece.first, piece.last) for piece in roots]
        names = list(STRATEGIES) if self.strategy == "best" else [self.strategy]
        plans = {name: STRATEGIES[name](buffers) for name in names}
        best = min(names, key=lambda name: peak(buffers, plans[name]))
        start_of = dict(zip(map(id, roots), plans[best], strict=True))
        for op in function.ops:
            offsets: list[int | None] = []
            for value in op.results:
                piece = storage.piece_of.get(value)
                root, offset = piece.root() if piece is not None else (None, 0)
                offsets.append(start_of[id(root)] + offset if root is not None else None)
            if op in storage.aliases:
                op.annotations["alias"] = 0
            if op in storage.replaced:
                op.annotations["in_place"] = storage.replaced[op]
            op.annotations["at"] = tuple(offsets)
        function.annotations["arena_bytes"] = peak(buffers, plans[best])
        record.facts["strategy"] = best
        record.facts["arena_bytes"] = peak(buffers, plans[best])
        record.facts["lower_bound_bytes"] = lower_bound(buffers)
        record.facts["unshared_bytes"] = sum(buffer.bytes for buffer in buffers)
        record.counts["buffer"] = len(buffers)
        record.counts["alias"] = len(storage.aliases)
        record.counts["in place"] = len(storage.replaced)
        record.counts = +record.counts
        return True
