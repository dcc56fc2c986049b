"""How the factors of products of pairs of 16-bit integers lie in the work memory, and how bytes are written there."""

from collections.abc import Callable
from typing import Union

from tilewright.immutable import Immutable

from .....ir.types import DType
from ...llvm.builder import FunctionBuilder, Integer
from ...llvm.types import I8, I16, I32, Register, constant, poison

Taken = Callable[[Register, int], Union[Register, None]]
"""What is taken off so many elements from an index on, if anything is."""

_LONGEST_STRIDE = 16
"""Along a row, up to which vectors are read as they lie and then thinned out."""


class Factor(Immutable):
    """Bytes, and what is taken off them.

    Attributes:
        dtype: of the bytes.
        zero: of the zero points that are data; ``None`` without them.
        zeros: how many there are: one, or one for each row on the left, or for each column on the right.
        known: the zero point, where it is no data.
    """

    dtype: DType
    zero: DType | None = None
    zeros: int = 1
    known: int = 0

    def taken(self, b: FunctionBuilder, address: Register | None) -> Taken:
        """What is taken off elements; ``address`` is that of the zero points that are data."""
        if self.zero is None or address is None:
            return lambda index, count: constant(I16.of(count), self.known) if self.known else None
        dtype = self.zero
        if self.zeros > 1:
            return lambda index, count: as_words(b, b.at(address, index), dtype, count)
        single = as_words(b, address, dtype)
        return lambda index, count: b.splat(single, count)


class Packing(Immutable):
    """What lies in the work memory: left factor, rows of the image as 16-bit integers, pairs of the right factor.

    Attributes:
        block: output rows of a work item; if there is only one, columns.
        rows, columns: of the image that a work item sees, padding included.
        image, pairs: where the image and the pairs begin, in bytes.
        pitch: from pair to pair, in bytes.
    """

    block: int
    rows: int
    columns: int
    image: int
    pairs: int
    pitch: int


def as_words(b: FunctionBuilder, address: Register, dtype: DType, count: int = 1) -> Register:
    """Bytes as 16-bit integers."""
    return b.convert("sext" if dtype is DType.I8 else "zext", b.load(I8.of(count), address), I16.of(count))


def pack_row(
    b: FunctionBuilder,
    source: Register,
    target: Register,
    dtype: DType,
    begin: Integer,
    end: Integer,
    most: int,
    taken: Taken,
) -> None:
    """Write the elements ``begin`` to ``end`` of a row as 16-bit integers, less what ``taken`` gives for so many."""
    lanes = 2 * b.target.lanes
    while lanes > most:
        lanes //= 2

    def some(index: Register, count: int) -> None:
        words, less = as_words(b, b.at(source, index), dtype, count), taken(index, count)
        b.store(words if less is None else b.binary("sub", words, less), b.at(target, b.multiply(index, 2)))

    def vectors() -> None:
        # The last vector takes elements of the one before again, where the rest of the row is shorter.
        last = b.subtract(end, lanes)
        b.each(begin, end, lambda index: some(b.minimum(index, last), lanes), step=lanes)

    def singles() -> None:
        b.each(begin, end, lambda index: some(index, 1))

    b.if_(b.compare("sge", b.subtract(end, begin), lanes), vectors, singles)


def every(b: FunctionBuilder, address: Register, stride: int) -> Register:
    """A vector of 16-bit integers, each so many from the one before, as the lower halves of 32-bit ones."""
    lanes = b.target.lanes
    if stride > _LONGEST_STRIDE:
        vector = poison(I16.of(lanes))
        for lane in range(lanes):
            vector = b.insert(vector, b.load(I16, address, 2 * lane * stride), lane)
    else:
        vector = b.load(I16.of(lanes * stride), address)
        vector = b.shuffle(vector, vector, range(0, lanes * stride, stride))
    return b.convert("zext", vector, I32.of(lanes))
