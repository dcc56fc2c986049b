"""Sums that shortcuts go through, as integers of 16 bits, where a network brings integers of their terms alone."""

from collections.abc import Mapping

import numpy as np

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.elementwise import Add
from ...ir.ops.indexing import Gather
from ...ir.ops.movement import Concat, Slice, Split, Transpose
from ...ir.ops.normalization import LayerNorm, RmsNorm
from ...ir.ops.quantization import Quantize, real
from ...ir.ops.shape import Expand, Reshape
from ...ir.ops.unary import Unary
from ...ir.quantized import EIGHT_BIT, limits
from ...ir.types import DType, TensorType
from ..base import PLAIN, UNPLANNED, Pass, Record
from ..quantization.integer_rules import integers_of
from ..quantization.parameters import Range, affine_parameters
from ..quantization.quantize import insert_pair, store_numbers
from ..quantization.quantize_normalization import NORMS, integers_made, obstacle

_PARTS = (Concat, Expand, Gather, Reshape, Slice, Split, Transpose)
"""What moves numbers and makes no others."""

_FARTHEST = 256
"""How many times as far as its argument a function may reach: words then have the steps of its bytes.
Beyond, as exponentials do, the largest number that might be would leave nothing of those that are."""


class WideSums(Pass):
    """Rounds sums and joined rows that normalisations read to 16 bits, if all their terms are integers, functions of
    these or normalised. Nobody has to measure how far they reach: their terms say how far that can be, and 16 bits
    leave each of a hundred terms more steps than 8 bits have.

    Quantisers leave sums of shortcuts in floating point, as 8 bits are too few; the accelerator normalises words. Comes
    before what makes ops of integers of their conversions."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    def apply(self, module: Module, record: Record) -> bool:
        known = [each for each in module.constants.values() if each.type.dtype.is_float and each.type.elements]
        ranges: dict[Value, Range | None] = {each: (float(each.array.min()), float(each.array.max())) for each in known}
        wide: set[Value] = set()
        for op in module.main.ops:
            ranges.update((value, _range(op, value, ranges)) for value in op.results)
            if is_op(op, *NORMS) and ranges.get(op.inputs[0]) is not None and obstacle(op) is not None:
                wide |= _made_for(op.inputs[0])
        for op in [*module.main.ops]:
            value, range = op.results[0], ranges[op.results[0]]
            is_rounded = not value.is_returned and all(is_op(user, Quantize) for user in value.users)
            goes_on = is_op(op, Add) and not wide.isdisjoint(op.inputs) and not is_rounded
            if range is None or not (goes_on or value in wide):
                continue
            words = TensorType(value.type.shape, DType.I16, affine_parameters(range, DType.I16))
            if is_op(op, Add, Concat):
                store_numbers(module, op, words, DType.I16)
            wide.add(insert_pair(module.main, value, integers_made(op) or words, lambda _, user: isinstance(user, Op)))
            record.counts["sum"] += 1
        return bool(wide)


def _range(op: Op, value: Value, ranges: Mapping[Value, Range | None]) -> Range | None:
    """How far a real value reaches; ``None`` if what it is made of does not tell."""
    stored, x = integers_of(value), integers_of(op.inputs[0]) if is_op(op, Unary) else None
    type = stored.type if stored is not None else integers_made(op)
    if type is not None and type.has_one_scale:
        made = real(np.array(limits(type)), type)
    elif is_op(op, Unary) and x is not None and x.type.dtype in EIGHT_BIT and x.type.has_one_scale:
        low, high = limits(x.type)
        numbers = real(np.arange(low, high + 1), x.type)
        made = op.operator.reference(numbers)
        if np.abs(made).max() > _FARTHEST * np.abs(numbers).max():
            return None
    elif is_op(op, LayerNorm, RmsNorm):
        known = [np.abs(each.array).max(initial=0) for each in op.inputs[1:] if isinstance(each, Constant)]
        # So far off the mean can one of so many numbers be.
        known[:1] = [np.sqrt(op.inputs[1].type.elements) * each for each in known[:1]]
        made = np.array([-1, 1]) * (sum(known) if len(known) == len(op.inputs) - 1 else np.inf)
    elif is_op(op, Add, *_PARTS):
        ends = [ranges.get(each) or (-np.inf, np.inf) for each in op.inputs if each.type.dtype.is_float]
        made = np.sum(ends, 0) if is_op(op, Add) else np.array(ends)
    else:
        return None
    return (float(made.min()), float(made.max())) if made.size and np.isfinite(made).all() else None


def _made_for(value: Value) -> set[Value]:
    """The sums and joined rows that a value is made of, and of the terms of these what is no integer yet."""
    found, pending = dict[Value, bool](), [value]
    while pending:
        each = pending.pop()
        op = each.producer
        if op is None or each in found or integers_of(each) is not None:
            continue
        found[each] = is_op(op, Concat) or not is_op(op, *_PARTS)
        pending += op.inputs if is_op(op, Add, *_PARTS) else ()
    return {each for each, is_made in found.items() if is_made}
