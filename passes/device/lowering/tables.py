"""Any function of one map, by a table."""

from __future__ import annotations

import numpy as np

from ....ir.core import Op
from ....ir.ops.quantization import Requantize
from ....ir.ops.unary import Unary
from ....ir.quantized import limits
from ....ir.tile.compute import LookUp
from ....ir.tile.transfer import LoadTable
from .on_chip import as_on_chip
from .program import TileProgram
from .registry import lowers


def table_of(op: Op) -> np.ndarray:
    """The function of a unary quantised op as int8 [256], by what the device holds of its operand from -128 up.

    The entries are what the reference computes for every stored integer, so they cannot differ from it.
    """
    x = op.inputs[0].type
    low, high = limits(x)
    stored = np.arange(low, high + 1).astype(x.dtype.numpy)
    (results,) = op.evaluate([stored])
    return as_on_chip(results)


@lowers(Unary, Requantize)
def lower_table(op: Op, program: TileProgram) -> None:
    """The entry for each element."""
    source, target = program.map(op.inputs[0]), program.map(op.result)
    table = program.add(LoadTable(program.everywhere), program.constant("table", table_of(op)))
    for box in program.tiles(op):
        program.store(target, box, LookUp(), program.load(source, box), table)
