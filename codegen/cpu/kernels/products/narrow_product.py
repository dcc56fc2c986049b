"""Products of matrices of numbers in bfloat16, on the tiles of AMX or on vectors: sums and all that is stored are
single precision."""

from typing import ClassVar

import numpy as np

from .....ir.arithmetic import bfloat16_bits
from .....ir.layout import CHANNEL_BLOCK
from ...constants import aligned
from ...llvm.builder import FunctionBuilder
from ...llvm.types import F32, I16, Register, partial_mask, zero
from ...llvm.vector_arithmetic import single_to_narrow
from ..activation import ProductSpec
from ..output_channels import VECTOR_BYTES
from ..window_walk import Values
from .tile_product import TileSteps
from .tiled_product import TiledRows

_VECTOR = F32.of(CHANNEL_BLOCK)


class NarrowProduct(TiledRows, ProductSpec):
    """x w + bias + residual, then the activation; all single precision. Rows of x are copied as bfloat16 into the work
    memory, filled up with zeros to whole rows of tiles.

    ``tiles`` has the bias of all columns before the weights; w and bias themselves are not read."""

    RESULT_BYTES: ClassVar[int] = F32.bytes

    inner: int

    @property
    def steps(self) -> TileSteps:
        return TileSteps(aligned(2 * self.inner), (0,))

    @property
    def biases(self) -> int:
        """Bytes of the bias of all columns."""
        return -(-self.columns // CHANNEL_BLOCK) * VECTOR_BYTES

    @property
    def inner_blocks(self) -> int:
        """Vectors of a row as tiles read it."""
        return self.steps.run // 2 // CHANNEL_BLOCK

    def copied_bytes(self, rows: int) -> int:
        return rows * self.steps.run

    def data_of(self, weights: np.ndarray, bias: np.ndarray | None) -> bytes:
        """What the kernel reads in place of weights [columns, inner] and the bias."""
        starts = np.zeros(self.biases // F32.bytes, np.float32)
        if bias is not None:
            starts[: self.columns] = bias
        filled = np.pad(bfloat16_bits(weights), ((0, 0), (0, self.steps.run // 2 - self.inner)))
        return starts.tobytes() + self.steps.packed(filled[:, None])

    def copy(self, b: FunctionBuilder, x: Register, first: Register, last: Register, target: Register) -> None:
        whole, cut = divmod(self.inner, CHANNEL_BLOCK)

        def row(index: Register) -> None:
            source = b.at(x, b.multiply(index, F32.bytes * self.inner))
            copy = b.at(target, b.multiply(b.subtract(index, first), self.steps.run))

            def vector(block: Register, mask: Register | None = None) -> None:
                numbers = b.load_masked(_VECTOR, b.at(source, b.multiply(block, _VECTOR.bytes)), mask)
                b.store(single_to_narrow(b, numbers), b.at(copy, b.multiply(block, _VECTOR.bytes // 2)))

            b.each(0, whole, vector)
            if cut:
                vector(b.integer(whole), partial_mask(CHANNEL_BLOCK, cut))
            if self.inner_blocks > whole + (cut > 0):
                b.store(zero(I16.of(CHANNEL_BLOCK)), copy, (self.inner_blocks - 1) * _VECTOR.bytes // 2)

        b.each(first, last, row)

    def of_columns(self, b: FunctionBuilder, arguments: Values, first: Register) -> Values:
        start = arguments["tiles"]
        w = b.at(start, self.biases, b.multiply(first, self.steps.vector_bytes))
        return {"w": w, "start": b.at(start, b.multiply(first, VECTOR_BYTES))}

    def stored(self, b: FunctionBuilder, values: Values, row: int, column: int, active: int, sums: Register) -> None:
        mask = partial_mask(CHANNEL_BLOCK, active)

        def line(index: Register) -> None:
            offset = b.multiply(index, F32.bytes * self.columns)
            total = b.load(_VECTOR, b.at(sums, b.multiply(index, VECTOR_BYTES)))
            if self.has_residual:
                residual = b.at(values[f"residual{row}"], column * VECTOR_BYTES, offset)
                total = b.binary("fadd", total, b.load_masked(_VECTOR, residual, mask))
            total = self.activation.apply(b, total)
            b.store_masked(total, b.at(values[f"y{row}"], column * VECTOR_BYTES, offset), mask)

        b.each(0, self.tile_rows, line)
