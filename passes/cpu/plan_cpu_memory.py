"""Give every intermediate result an address in one arena."""

import math

from ...ir.annotations import ALIAS, ARENA_BYTES, AT
from ...ir.calls import host_functions
from ...ir.core import Constant, Function, Module, Op, Value
from ...ir.layout import CHANNEL_BLOCK, bytes_of, is_same_order
from ...ir.ops.movement import Concat, Reorder
from ...ir.ops.quantization import StorageCast
from ...ir.ops.shape import BitCast, Reshape
from ..base import OUTPUTS_APART, UNPLANNED, Pass, Record
from ..memory.plan import Parts, aligned, plan_memory, root_of, roots_of
from .check_cpu_memory import SOUND, is_view

_MOST_PIECES = 256
"""From so many results at most is one joined without a copy, those of joints inside of it included: each counts again
whenever it is read.
"""


class PlanCpuMemory(Pass):
    """Annotates each op of ``main``, and of each body of a loop or branch, with ``at``, one arena offset in bytes for
    each result, and the function with ``arena_bytes``.

    ``at`` is ``none`` for what lies outside the arena: an output, or what is one under another type, which the op
    writes into the caller's buffer, or an alias of an input. ``alias=i`` marks an op that has nothing to do because its
    result begins where operand i lies: a reshape, integers that stay as they are, or a concatenation whose parts have
    been written side by side."""

    requires = (UNPLANNED, OUTPUTS_APART)
    ensures = (SOUND,)

    def apply(self, module: Module, record: Record) -> bool:
        for function in host_functions(module):
            _plan(function, record)
        return True


def _plan(function: Function, record: Record) -> None:
    views = _views_of_outputs(function)
    parts: Parts = {view: (reshape.result, 0) for view, reshape in views.items()}
    pieces: dict[Value, int] = {}
    for op in function.ops:
        if op in views.values():
            ALIAS.set(op, 0)
            record.counts["alias"] += 1
        if any(value.is_returned or value in views for value in op.results):
            continue
        if _is_alias(op):
            pieces[op.result] = pieces.get(op.inputs[0], 1)
            parts[op.result] = root_of(op.inputs[0], parts)
        elif _joins_in_place(op, parts) and sum(pieces.get(part, 1) for part in op.inputs) <= _MOST_PIECES:
            pieces[op.result] = sum(pieces.get(part, 1) for part in op.inputs)
            offset = 0
            for part in op.inputs:
                parts[root_of(part, parts)[0]] = (op.result, offset)
                offset += bytes_of(part.type)
        else:
            continue
        ALIAS.set(op, 0)
        record.counts["alias"] += 1
    offsets, arena_bytes = plan_memory(function, parts, lambda value: bytes_of(value.type))
    roots = roots_of(parts)
    for op in function.ops:
        places = (roots.get(value, (value, 0)) for value in op.results)
        AT.set(op, tuple(offsets[root] + start if root in offsets else None for root, start in places))
    ARENA_BYTES.set(function, arena_bytes)
    record.counts["buffer"] += len(offsets)


def _views_of_outputs(function: Function) -> dict[Value, Op]:
    """What ops write into the caller's buffer as an output is the same under another type, with the ops that say so."""
    found: dict[Value, Op] = {}
    for op in function.ops:
        if not is_view(op) or not op.result.is_returned or not _is_alias(op):
            continue
        source = op.inputs[0]
        if source.producer is not None and not _is_alias(source.producer) and not source.is_returned:
            found.setdefault(source, op)
    return found


def _is_alias(op: Op) -> bool:
    """Whether the bytes of the result are those of operand 0 as they lie in memory."""
    if not isinstance(op.operator, (BitCast, Reshape, Reorder, StorageCast)) or isinstance(op.operands[0], Constant):
        return False
    source, target = op.inputs[0].type, op.result.type
    if isinstance(op.operator, BitCast | Reshape):
        return source.layout == "" and target.layout == ""
    if isinstance(op.operator, StorageCast):
        return source.layout == target.layout
    return is_same_order(source, target)


def _joins_in_place(op: Op, parts: Parts) -> bool:
    """Whether a concatenation has nothing to do if its parts are written one after the other: nothing lies between
    them in the result, each has memory of exactly its size, and none has to lie elsewhere."""
    if not isinstance(op.operator, Concat):
        return False
    type, axis = op.result.type, op.operator.axis
    if any(part.type.layout != type.layout for part in op.inputs):
        return False
    if type.layout:
        whole = all(part.type.shape[1] % CHANNEL_BLOCK == 0 for part in op.inputs[:-1])
        if type.layout != "c16" or axis != 1 or type.shape[0] != 1 or not whole:
            return False
    elif math.prod(type.shape[:axis]) != 1:
        return False
    roots = [root_of(part, parts)[0] for part in op.inputs]
    fits = (
        root.producer is not None and not root.is_returned and aligned(bytes_of(root.type)) == bytes_of(part.type)
        for root, part in zip(roots, op.inputs, strict=True)
    )
    return all(fits) and len(set(roots)) == len(roots)
