"""Elementwise kernels on stored integers: a loop nest with one expression at every point, vector by vector."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ....ir.types import DType
from ..kernel import Kernel
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import PTR, Register, Registers, constant, type_of
from ..nest import Nest
from ..spec import KernelSpec

CHUNK = 16384
"""Elements of a work item of a tensor without dimensions to cut."""


@dataclass(frozen=True)
class Expression:
    """Base: what is computed at each point."""

    def apply(self, b: FunctionBuilder, values: Sequence[Register]) -> Register:
        """The stored form of the result, from the elements of operands and tables, all of equal lanes."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True)
class Table:
    """Numbers that an expression reads and that are part of the kernel, such as the scales of channels."""

    dtype: DType
    numbers: tuple[float, ...]

    def definition(self, symbol: str) -> str:
        """LLVM IR of the constant."""
        type = type_of(self.dtype)
        elements = ", ".join(str(constant(type, number)) for number in self.numbers)
        return f"@{symbol} = internal constant [{len(self.numbers)} x {type.text}] [{elements}], align 64"


@dataclass(frozen=True)
class QuantizedNest(KernelSpec):
    """An expression for each point of a nest. The result may lie where an operand of its shape lies.

    Attributes:
        nest: how operands, tables and result are visited; along the last dimension each is contiguous or one element.
        dtypes: element types of the operands and the result.
        tables: constants of the kernel.
    """

    nest: Nest
    dtypes: tuple[DType, ...]
    expression: Expression
    tables: tuple[Table, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        return (*(f"x{i}" for i in range(len(self.dtypes) - 1)), "y")

    def generate(self, target: TargetDescription) -> Kernel:
        return _Walker(self, target).generate()


class _Walker:
    """The one function of the kernel."""

    def __init__(self, spec: QuantizedNest, target: TargetDescription) -> None:
        self.spec = spec
        self.lanes = target.lanes
        self.b = spec.entry(target, writes=spec.arguments)
        arguments = spec.bind(self.b)
        self.range = arguments["begin"], arguments["end"]
        symbols = [f"{spec.name}_table{index}" for index in range(len(spec.tables))]
        for symbol, table in zip(symbols, spec.tables, strict=True):
            self.b.declarations[f"@{symbol}"] = table.definition(symbol)
        operands = [arguments[name] for name in spec.arguments[:-1]]
        self.pointers = [*operands, *(Register(PTR, f"@{symbol}") for symbol in symbols), arguments["y"]]
        self.dtypes = (*spec.dtypes[:-1], *(table.dtype for table in spec.tables), spec.dtypes[-1])

    def generate(self) -> Kernel:
        spec, b = self.spec, self.b
        extents = spec.nest.extents
        if len(extents) == 1:

            def chunk(index: Register, _: Registers) -> Registers:
                start = b.multiply(index, CHUNK)
                self._row(self._moved(self.pointers, 0, start), b.minimum(b.subtract(extents[0], start), CHUNK))
                return ()

            b.loop(*self.range, chunk)
            return spec.finish(b, units=-(-extents[0] // CHUNK))
        outer = extents[:-1]

        def unit(index: Register, _: Registers) -> Registers:
            pointers = self.pointers
            for dimension in reversed(range(len(outer))):
                place = b.remainder(index, outer[dimension]) if dimension else index
                pointers = self._moved(pointers, dimension, place)
                index = b.divide(index, outer[dimension])
            self._row(pointers, b.integer(extents[-1]))
            return ()

        b.loop(*self.range, unit)
        return spec.finish(b, units=math.prod(outer))

    def _moved(self, pointers: Sequence[Register], dimension: int, index: Register) -> list[Register]:
        """The pointers, so many steps further along a dimension."""
        return [
            self.b.at(pointer, self.b.multiply(index, access.strides[dimension] * dtype.bytes))
            for pointer, access, dtype in zip(pointers, self.spec.nest.accesses, self.dtypes, strict=True)
        ]

    def _row(self, pointers: Sequence[Register], length: Register) -> None:
        """Neighbouring elements: whole vectors, then one by one."""
        b, last = self.b, len(self.spec.nest.extents) - 1
        single = [access.strides[last] == 0 for access in self.spec.nest.accesses]
        splats = {
            place: b.load(type_of(self.dtypes[place]), pointers[place]) for place, is_one in enumerate(single) if is_one
        }

        def elements(lanes: int, index: Register) -> Registers:
            values = []
            places = self._moved(pointers, last, index)
            for place in range(len(places) - 1):
                if place in splats:
                    values.append(b.splat(splats[place], lanes))
                else:
                    values.append(b.load(type_of(self.dtypes[place], lanes), places[place]))
            b.store(self.spec.expression.apply(b, values), places[-1])
            return ()

        whole = b.multiply(b.divide(length, self.lanes), self.lanes)
        b.loop(0, whole, lambda index, _: elements(self.lanes, index), step=self.lanes)
        b.loop(whole, length, lambda index, _: elements(1, index))
