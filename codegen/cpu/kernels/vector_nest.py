"""Nests on vectors: one expression at every point of a grid, vector by vector along its last dimension."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

from tilewright.immutable import Immutable

from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK, NARROW, physical_shape, row_major
from ....ir.types import DType, TensorType
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder, Integer
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, I16, Register, mask_constant, type_of, zero
from ..llvm.vector_arithmetic import half_to_single, single_to_half, single_to_narrow
from ..nest import Access, Nest, broadcast
from ..spec import ConstantTable, KernelSpec

_STORED = {DType.BOOL: I8, DType.F16: I16}
CHUNK = 16384
"""Elements of a work item of a tensor without dimensions to cut."""


class Expression(Immutable, ABC):
    """What is computed at each point."""

    MASKS: ClassVar[bool] = False
    """Whether the rest of a row is a vector under a mask; else it is computed element by element."""
    VECTORS: ClassVar[int] = 1
    """Vectors of the target that are computed together, where there are as many."""
    REAL: ClassVar[bool] = False
    """Whether integers of less than 32 bits are taken as single precision."""

    @abstractmethod
    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        """The element of the result, from those of operands and tables, all of equal lanes; truth values are i1."""


class VectorNest(KernelSpec):
    """An expression for each point of a nest. The result may lie where an operand of its shape lies.
    ``nest``: how operands, tables and result are visited; along the last dimension each is contiguous or one element.
    ``dtypes``: element types of the operands and the result; numbers of the result that are u16 become bfloat16.
    ``tables``: constants of the kernel."""

    nest: Nest
    dtypes: tuple[DType, ...]
    expression: Expression
    tables: tuple[ConstantTable, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        return (*(f"x{i}" for i in range(len(self.dtypes) - 1)), "y")

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class _Walker:
    """The one function of the kernel."""

    def __init__(self, spec: VectorNest, target: TargetDescription) -> None:
        self.spec = spec
        self.lanes = target.lanes
        self.b, arguments = spec.entry(target, writes=spec.arguments)
        *operands, result = (arguments[name] for name in spec.arguments)
        tables = [table.define(self.b, f"{spec.name}_table{index}") for index, table in enumerate(spec.tables)]
        self.pointers = [*operands, *tables, result]
        self.dtypes = (*spec.dtypes[:-1], *(table.dtype for table in spec.tables), spec.dtypes[-1])
        # Elements that are the same all along a row, by operand, then by lanes.
        self.repeated: dict[int, dict[int, Register]] = {}

    def generate(self) -> Kernel:
        spec, b, extents = self.spec, self.b, self.spec.nest.extents
        for operand, access in enumerate(spec.nest.accesses[:-1]):
            if not any(access.strides):
                self._repeat(operand, self.pointers[operand])
        if len(extents) == 1:

            def chunk(index: Register) -> None:
                start = b.multiply(index, CHUNK)
                self._row(self._moved(self.pointers, 0, start), b.minimum(b.subtract(extents[0], start), CHUNK))

            return spec.each_unit(b, chunk, units=-(-extents[0] // CHUNK))
        if len(extents) == 2:
            return spec.each_unit(b, partial(self._line, self.pointers), units=extents[0])
        outer = extents[:-2]

        def unit(index: Register) -> None:
            pointers = self.pointers
            for dimension in reversed(range(len(outer))):
                position = b.remainder(index, outer[dimension]) if dimension else index
                pointers = self._moved(pointers, dimension, position)
                index = b.divide(index, outer[dimension])
            b.each(0, extents[-2], partial(self._line, pointers))

        return spec.each_unit(b, unit, units=math.prod(outer))

    def _moved(self, pointers: Sequence[Register], dimension: int, index: Register) -> list[Register]:
        """The pointers, so many steps further along a dimension."""
        return [
            self.b.at(pointer, self.b.multiply(index, access.strides[dimension] * dtype.bytes))
            for pointer, access, dtype in zip(pointers, self.spec.nest.accesses, self.dtypes, strict=True)
        ]

    def _line(self, pointers: Sequence[Register], index: Register) -> None:
        """A row, by its index along the last dimension but one."""
        extents = self.spec.nest.extents
        self._row(self._moved(pointers, len(extents) - 2, index), self.b.integer(extents[-1]))

    def _row(self, pointers: Sequence[Register], length: Register) -> None:
        """A row, or a part of one: whole vectors, then the rest, which is the same for all rows and parts."""
        b, lanes, nest = self.b, self.lanes, self.spec.nest
        last = len(nest.extents) - 1
        for operand, access in enumerate(nest.accesses[:-1]):
            if access.strides[last] == 0 and any(access.strides):
                self._repeat(operand, pointers[operand])

        def elements(begin: Integer, end: Register, count: int, mask: Register | None = None) -> None:
            def visit(index: Register) -> None:
                self._elements(self._moved(pointers, last, index), count, mask)

            b.each(begin, end, visit, step=count)

        whole: Integer = 0
        for count in sorted({lanes * self.spec.expression.VECTORS, lanes}, reverse=True):
            if nest.extents[last] >= count:
                begin, whole = whole, b.multiply(b.divide(length, count), count)
                elements(begin, whole, count)
        rest = nest.extents[last] % lanes
        if rest and self.spec.expression.MASKS:
            elements(whole, length, lanes, mask_constant(lanes, rest))
        elif rest:
            elements(whole, length, 1)

    def _elements(self, pointers: Sequence[Register], lanes: int, mask: Register | None) -> None:
        """One element, or a vector of neighbours."""
        values = []
        for operand, pointer in enumerate(pointers[:-1]):
            repeated = self.repeated.get(operand)
            values.append(repeated[lanes] if repeated else self._load(operand, pointer, lanes, mask))
        result = self.spec.expression.apply(self.b, values)
        if self.dtypes[-1] is DType.BOOL:
            result = self.b.convert("zext", result, I8.of(lanes))
        elif self.dtypes[-1] is DType.F16:
            result = single_to_half(self.b, result)
        elif self.dtypes[-1] is DType.U16 and result.type.is_float:
            result = single_to_narrow(self.b, result)
        self.b.store_masked(result, pointers[-1], mask)

    def _load(self, operand: int, pointer: Register, lanes: int, mask: Register | None = None) -> Register:
        dtype = self.dtypes[operand]
        # A truth value is a byte in memory.
        type = _STORED.get(dtype, type_of(dtype)).of(lanes)
        value = self.b.load_masked(type, pointer, mask)
        if dtype is DType.F16:
            return half_to_single(self.b, value)
        if dtype.is_integer and dtype.bytes < 4 and self.spec.expression.REAL:
            kind = "uitofp" if dtype.name.startswith("U") else "sitofp"
            return self.b.convert(kind, value, value.type.as_scalar(F32.scalar))
        return self.b.compare("ne", value, zero(type)) if dtype is DType.BOOL else value

    def _repeat(self, operand: int, pointer: Register) -> None:
        """Load an element for all vectors, and single elements, of a row."""
        element = self._load(operand, pointer, 1)
        counts = {self.lanes, self.lanes * self.spec.expression.VECTORS}
        self.repeated[operand] = {1: element} | {count: self.b.splat(element, count) for count in counts}


def access_of(type: TensorType, result: TensorType) -> Access | None:
    """How an operand is visited along the physical shape of a result, ``None`` if not in an even stride."""
    physical = physical_shape(result)
    if type.layout == result.layout:
        if type.layout and (type.rank != result.rank or type.shape[1] != result.shape[1]):
            return None
        return broadcast(physical_shape(type), physical)
    if type.elements == 1:
        return Access((0,) * len(physical))
    extents = (1,) * (result.rank - type.rank) + type.shape
    if type.layout or extents[1] != result.shape[1] or extents[1] % CHANNEL_BLOCK or any(e != 1 for e in extents[2:]):
        return None
    # Without spatial extents, whole blocks lie in row-major order as they do in blocks.
    return broadcast((extents[0], extents[1] // CHANNEL_BLOCK, *extents[2:], CHANNEL_BLOCK), physical)


def nest_kernel(op: Op, expression: Expression, target: TargetDescription) -> Kernel | None:
    """The kernel of an elementwise op, in row-major order or in layout ``c16``, which also may become ``n32``, of whole
    blocks; ``None`` if not vector by vector."""
    result, is_narrow = op.result.type, op.result.type.layout == NARROW
    result = result.with_layout("c16") if is_narrow else result
    physical = physical_shape(result)
    found = [access_of(value.type, result) for value in op.inputs]
    accesses = [access for access in found if access is not None]
    if len(accesses) < len(found) or (is_narrow and result.shape[1] % (2 * CHANNEL_BLOCK)):
        return None
    dtypes, own = [value.type.dtype for value in (*op.inputs, op.result)], row_major(physical)
    if is_narrow:
        # Pairs of blocks, of which a pixel of the second one lies behind that of the first one.
        accesses = [Access((a.strides[0], 2 * a.strides[1], *a.strides[1:])) for a in accesses]
        physical, dtypes[-1] = (physical[0], physical[1] // 2, 2, *physical[2:]), DType.U16
        own = (own[0], 2 * own[1], CHANNEL_BLOCK, *(2 * stride for stride in own[2:-1]), 1)
    nest = Nest(physical, (*accesses, Access(own))).collapsed()
    return VectorNest(nest, tuple(dtypes), expression).kernel(target)
