"""Functions of 8-bit tensors by a table of 256 entries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....ir.core import Op
from ....ir.layout import bytes_of
from ....ir.quantized import check_elementwise, limits
from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder
from ..llvm.quantized_math import signed_byte
from ..llvm.target import TargetDescription
from ..llvm.types import I8, I64, Register, constant, vector_constant
from ..spec import ConstantTable, KernelSpec

CHUNK = 16384
"""Bytes of a work item."""

_VECTOR = I8.of(64)


@dataclass(frozen=True)
class TableLookup(KernelSpec):
    """Bytes of x replaced by the entries of a table; the result may lie where x lies.

    Attributes:
        bytes: number of them.
        entries: by byte of x as an unsigned number; from -128 to 127, whatever they mean.
    """

    bytes: int
    entries: tuple[int, ...]

    def generate(self, target: TargetDescription) -> Kernel:
        b = self.entry(target, writes=("x", "y"))
        arguments = self.bind(b)
        table = ConstantTable(DType.I8, self.entries).define(b, f"{self.name}_table")

        def chunk(index: Register) -> None:
            start = b.multiply(index, CHUNK)
            x, y = b.at(arguments["x"], start), b.at(arguments["y"], start)
            length = b.minimum(b.subtract(self.bytes, start), CHUNK)
            whole = b.integer(0)
            if "avx512vbmi" in target.features and target.vector_bits == 512:
                whole = b.multiply(b.divide(length, _VECTOR.lanes), _VECTOR.lanes)

                def vector(offset: Register) -> None:
                    b.store(self._permuted(b, b.load(_VECTOR, b.at(x, offset))), b.at(y, offset))

                b.each(0, whole, vector, step=_VECTOR.lanes)

            def single(offset: Register) -> None:
                entry = b.at(table, b.convert("zext", b.load(I8, b.at(x, offset)), I64))
                b.store(b.load(I8, entry), b.at(y, offset))

            b.each(whole, length, single)

        b.each(arguments["begin"], arguments["end"], chunk)
        return self.finish(b, units=-(-self.bytes // CHUNK))

    def _permuted(self, b: FunctionBuilder, x: Register) -> Register:
        """64 entries at once: the low seven bits choose from half a table in two registers, the sign bit the half."""
        quarters = [vector_constant(_VECTOR, [str(e) for e in self.entries[q : q + 64]]) for q in range(0, 256, 64)]
        halves = [
            b.intrinsic("llvm.x86.avx512.vpermi2var.qi.512", _VECTOR, [quarters[q], x, quarters[q + 1]]) for q in (0, 2)
        ]
        return b.select(b.compare("slt", x, constant(_VECTOR, 0)), halves[1], halves[0])


def table_kernel(op: Op, target: TargetDescription) -> Kernel | None:
    """A function of one 8-bit tensor, of any layout, as a table made by the reference; ``None`` for other ops."""
    if len(op.inputs) != 1:
        return None
    x, y = op.inputs[0].type, op.result.type
    if check_elementwise([x], [y]) is not None or x.layout != y.layout:
        return None
    low, high = limits(x)
    stored = np.arange(low, high + 1).astype(x.dtype.numpy)
    (entries,) = op.evaluate([stored])
    # By the byte that stands for an integer.
    table = np.zeros(256, np.uint8)
    table[stored.view(np.uint8)] = entries.view(np.uint8)
    return TableLookup(bytes_of(x), tuple(signed_byte(int(entry)) for entry in table)).kernel(target)
