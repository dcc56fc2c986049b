"""Products of a few rows with a transposed matrix: every result is a dot product along contiguous memory.

This is the fully connected layer at batch 1, bound by the bandwidth of its weights; they are read once, in order.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernel import Kernel
from ..llvm.row_vectors import RowVector, first_lanes, over_row
from ..llvm.target import TargetDescription
from ..llvm.types import F32, Register, Registers, poison, zero
from .activation import ProductSpec

TOGETHER = 8
"""Rows of the matrix that are read side by side."""


@dataclass(frozen=True)
class DotProducts(ProductSpec):
    """x w^T + bias + residual, then the activation.

    Arguments: x [rows, inner], w [columns, inner], bias [columns], residual and result [rows, columns]; row-major,
    single precision. The result may lie where the residual lies.
    """

    rows: int
    columns: int
    inner: int

    def generate(self, target: TargetDescription) -> Kernel:
        b = self.entry(target, writes=("residual", "y"))
        arguments = self.bind(b)
        results = F32.of(TOGETHER)

        def group(index: Register) -> None:
            first = b.multiply(index, TOGETHER)
            # Rows beyond the last one are read as the last one, and not stored.
            rows = [b.minimum(b.add(first, i), self.columns - 1) for i in range(TOGETHER)]
            pointers = [b.at(arguments["w"], b.multiply(row, 4 * self.inner)) for row in rows]
            mask = first_lanes(b, b.subtract(self.columns, first), TOGETHER)

            def row(m: Register) -> None:
                x = b.at(arguments["x"], b.multiply(m, 4 * self.inner))
                offset = b.multiply(b.add(b.multiply(m, self.columns), first), 4)

                def some(part: RowVector, sums: Registers) -> list[Register]:
                    factor = part.load(x)
                    return [b.fma(part.load(w), factor, total) for w, total in zip(pointers, sums, strict=True)]

                sums = over_row(b, self.inner, some, [zero(F32.of(target.lanes))] * TOGETHER)
                value = poison(results)
                for i, total in enumerate(sums):
                    value = b.insert(value, b.sum_of_lanes(total), i)
                if self.has_bias:
                    bias = b.load_masked(results, b.at(arguments["bias"], b.multiply(first, 4)), mask)
                    value = b.binary("fadd", value, bias)
                if self.has_residual:
                    residual = b.load_masked(results, b.at(arguments["residual"], offset), mask)
                    value = b.binary("fadd", value, residual)
                value = self.activation.apply(b, value)
                b.store_masked(value, b.at(arguments["y"], offset), mask)

            b.each(0, self.rows, row)

        b.each(arguments["begin"], arguments["end"], group)
        return self.finish(b, units=-(-self.columns // TOGETHER))
