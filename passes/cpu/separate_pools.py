"""Take maxima and means over rows and columns of windows one after the other."""

import math
from dataclasses import replace

from ...ir.annotations import ON
from ...ir.core import Module, Value
from ...ir.ops.pooling import AveragePool, MaxPool
from ...ir.types import DType
from ...ir.windows import SIDE_BY_SIDE
from ..base import UNPLANNED, Pass, Record
from ..pattern import Driver, Match, Rule, node, on_quantized

_GAIN = 1.1
"""Elements that windows see for each that the two parts see, at least: what is between them is written and read. In
blocks it is twice that, and three times for bytes: in row-major order only windows of columns see parts of vectors.
"""

_NEUTRAL = {"kernel": 1, "strides": 1, "pads": 0, "dilations": 1, "overhang": 0}


class SeparatePools(Pass):
    """Replaces pooling of long windows on the CPU by one along all dimensions but the last, and one along that.

    A window lies in the image as a box does, so a mean of what counts is one of means of as many; none that rounds to
    integers."""

    requires = (UNPLANNED,)

    def apply(self, module: Module, record: Record) -> bool:
        rules = on_quantized(Rule("separate_pools", node((AveragePool, MaxPool), "x"), _parts))
        return Driver(rules).run(module, record)


def _parts(found: Match[AveragePool | MaxPool]) -> Value | None:
    pool, (x,), y = found.root.operator, found.root.inputs, found.root.result.type
    last, rows, columns = len(pool.kernel) - 1, math.prod(pool.kernel[:-1]), pool.kernel[-1]
    is_exact = isinstance(pool, MaxPool) or y.dtype in (DType.F32, DType.F64)
    if ON.get(found.root) != "cpu" or 1 in (rows, columns) or not is_exact:
        return None
    gain = _GAIN * ((3 if y.dtype.bytes == 1 else 2) if y.layout else 1)
    # In row-major order elements of columns further apart are read one by one.
    column = columns * y.shape[-1] * (1 if y.layout or pool.strides[-1] <= SIDE_BY_SIDE else 4)
    if (rows * x.type.shape[-1] + column) * gain > rows * column:
        return None

    def along(dimensions: range, x: Value) -> Value:
        fields = {
            name: tuple(n if d % (last + 1) in dimensions else neutral for d, n in enumerate(getattr(pool, name)))
            for name, neutral in _NEUTRAL.items()
            if hasattr(pool, name)
        }
        part = replace(pool, **fields)
        value = found.emit(part, x, result_types=[part.pooled(x.type).with_layout(y.layout)])
        ON.set(found.created[-1], "cpu")
        return value

    return along(range(last, last + 1), along(range(last), x))
