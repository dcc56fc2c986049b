"""Elementwise operators, single or fused, on vectors: single precision and truth values, any broadcasting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ....ir.core import Constant, Op
from ....ir.layout import BLOCK, physical_shape
from ....ir.op import Operator
from ....ir.ops.elementwise import Elementwise, Pow
from ....ir.ops.fused import FusedElementwise
from ....ir.types import DType, TensorType
from ..kernel import Kernel
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I8, Register, Registers, Type, mask_constant, zero
from ..nest import Access, Nest, broadcast, row_major
from ..registry import lowers
from ..spec import KernelSpec
from .vector_expression import DTYPES, POWERS, rule_of

CHUNK = 16384
"""Elements of a work item of a tensor without dimensions to cut."""


@dataclass(frozen=True)
class Statement:
    """One operator of an expression.

    Attributes:
        arguments: places in the list of all operands, then the results of all statements before.
        exponent: of a power, where it is a constant with code of its own.
    """

    operator: Operator
    arguments: tuple[int, ...]
    exponent: float | None = None


@dataclass(frozen=True)
class VectorNest(KernelSpec):
    """A straight line of operators for each point of a nest. The result may lie where an operand of its shape lies.

    Attributes:
        nest: how operands and result are visited; along the last dimension each tensor is contiguous or one element.
        dtypes: element types of operands and result.
        statements: the last one makes the result.
    """

    nest: Nest
    dtypes: tuple[DType, ...]
    statements: tuple[Statement, ...]

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
        self.b = spec.entry(target, writes=spec.arguments)
        self.arguments = spec.bind(self.b)
        self.pointers = [self.arguments[name] for name in spec.arguments]
        self.splats: dict[int, Register] = {}

    def generate(self) -> Kernel:
        spec, b = self.spec, self.b
        extents = spec.nest.extents
        for place, access in enumerate(spec.nest.accesses[:-1]):
            if not any(access.strides):
                self.splats[place] = self._load(place, self.pointers[place], 0, None)
        begin, end = self.arguments["begin"], self.arguments["end"]
        if len(extents) == 1:

            def chunk(index: Register, _: Registers) -> Registers:
                start = b.multiply(index, CHUNK)
                self._row(self._moved(self.pointers, 0, start), b.minimum(b.subtract(extents[0], start), CHUNK))
                return ()

            b.loop(begin, end, chunk)
            return spec.finish(b, units=-(-extents[0] // CHUNK))
        if len(extents) == 2:
            self._rows(self.pointers, begin, end)
            return spec.finish(b, units=extents[0])
        outer = extents[:-2]

        def unit(index: Register, _: Registers) -> Registers:
            pointers = self.pointers
            for dimension in reversed(range(len(outer))):
                place = b.remainder(index, outer[dimension]) if dimension else index
                pointers = self._moved(pointers, dimension, place)
                index = b.divide(index, outer[dimension])
            self._rows(pointers, b.integer(0), b.integer(extents[-2]))
            return ()

        b.loop(begin, end, unit)
        return spec.finish(b, units=math.prod(outer))

    def _moved(self, pointers: Sequence[Register], dimension: int, index: Register) -> list[Register]:
        """The pointers, so many steps further along a dimension."""
        moved = []
        for pointer, access, dtype in zip(pointers, self.spec.nest.accesses, self.spec.dtypes, strict=True):
            moved.append(self.b.at(pointer, self.b.multiply(index, access.strides[dimension] * dtype.bytes)))
        return moved

    def _rows(self, pointers: Sequence[Register], begin: Register, end: Register) -> None:
        """Rows along the last dimension but one."""
        dimension = len(self.spec.nest.extents) - 2
        length = self.b.integer(self.spec.nest.extents[-1])

        def row(index: Register, _: Registers) -> Registers:
            self._row(self._moved(pointers, dimension, index), length)
            return ()

        self.b.loop(begin, end, row)

    def _row(self, pointers: Sequence[Register], length: Register) -> None:
        """A row of vectors; the rest under a mask."""
        b, lanes = self.b, self.lanes
        last = len(self.spec.nest.extents) - 1

        def vector(index: Register, _: Registers) -> Registers:
            self._vector(self._moved(pointers, last, index), None)
            return ()

        whole = b.multiply(b.divide(length, lanes), lanes)
        b.loop(0, whole, vector, step=lanes)
        rest = b.subtract(length, whole)
        if rest.constant is not None:
            if rest.constant:
                self._vector(self._moved(pointers, last, whole), mask_constant(lanes, rest.constant))
            return
        # The length of a chunk is known at run time only, and so is the rest, which is the same for each chunk.
        remaining = self.spec.nest.extents[-1] % lanes
        if remaining:
            tail = self._moved(pointers, last, whole)
            b.when(b.compare("ne", rest, 0), lambda: self._vector(tail, mask_constant(lanes, remaining)))

    def _vector(self, pointers: Sequence[Register], mask: Register | None) -> None:
        spec, b = self.spec, self.b
        values = []
        for place, access in enumerate(spec.nest.accesses[:-1]):
            if place in self.splats:
                values.append(self.splats[place])
            else:
                values.append(self._load(place, pointers[place], access.strides[-1], mask))
        for statement in spec.statements:
            arguments = [values[place] for place in statement.arguments]
            rule = rule_of(statement.operator) if statement.exponent is None else POWERS[statement.exponent]
            assert rule is not None
            values.append(rule(b, arguments))
        result = values[-1]
        if spec.dtypes[-1] is DType.BOOL:
            result = b.convert("zext", result, I8.of(self.lanes))
        if mask is None:
            b.store(result, pointers[-1])
        else:
            b.store_masked(result, pointers[-1], mask)

    def _load(self, place: int, pointer: Register, stride: int, mask: Register | None) -> Register:
        """Neighbouring elements, or one of them in every lane."""
        b, lanes = self.b, self.lanes
        is_bool = self.spec.dtypes[place] is DType.BOOL
        kind: Type = I8 if is_bool else F32
        if stride == 0:
            value = b.splat(b.load(kind, pointer), lanes)
        elif mask is None:
            value = b.load(kind.of(lanes), pointer)
        else:
            value = b.load_masked(kind.of(lanes), pointer, mask)
        return b.compare("ne", value, zero(kind.of(lanes))) if is_bool else value


def _blocked_access(type: TensorType, result: TensorType) -> Access | None:
    """How an operand is visited along the physical shape of a result in layout ``c16``."""
    physical = physical_shape(result)
    if type.layout == result.layout:
        return broadcast(physical_shape(type), physical)
    if type.layout:
        return None
    extents = (1,) * (result.rank - type.rank) + type.shape
    if math.prod(extents) == 1:
        return Access((0,) * len(physical))
    if extents[1] != result.shape[1] or extents[1] % BLOCK or any(e != 1 for e in extents[2:]):
        return None
    # Without spatial extents, whole blocks lie in row-major order as they do in blocks.
    blocks = extents[1] // BLOCK
    return broadcast((extents[0], blocks, *extents[2:], BLOCK), physical)


def nest_of(op: Op) -> Nest | None:
    """How the tensors of an elementwise op are visited, ``None`` if not vector by vector."""
    result = op.result.type
    if result.layout == "c16" and result.shape[1] % BLOCK:
        return None
    physical = physical_shape(result)
    accesses: list[Access] = []
    for value in op.inputs:
        if result.layout:
            access = _blocked_access(value.type, result)
        else:
            access = broadcast(value.type.shape, physical) if not value.type.layout else None
        if access is None:
            return None
        accesses.append(access)
    nest = Nest(physical, (*accesses, Access(row_major(physical)))).collapsed()
    return nest if all(access.strides[-1] in (0, 1) for access in nest.accesses) else None


def statements_of(op: Op) -> tuple[Statement, ...] | None:
    """The expression of an op, ``None`` if a part of it has no vector form."""
    operator = op.operator
    if isinstance(operator, FusedElementwise):
        parts = [(step.operator, step.arguments) for step in operator.steps]
        types = operator.step_types(tuple(value.type.plain for value in op.inputs))
        if any(type.dtype not in DTYPES for type in types):
            return None
    else:
        parts = [(operator, tuple(range(len(op.operands))))]
    statements: list[Statement] = []
    for part, arguments in parts:
        if rule_of(part) is None:
            return None
        statements.append(Statement(part, arguments, _constant_exponent(part, arguments, op)))
    return tuple(statements)


def _constant_exponent(operator: Operator, arguments: tuple[int, ...], op: Op) -> float | None:
    if not isinstance(operator, Pow) or arguments[1] >= len(op.inputs):
        return None
    exponent = op.inputs[arguments[1]]
    if not isinstance(exponent, Constant) or exponent.array.size != 1:
        return None
    value = float(np.asarray(exponent.array, np.float64).reshape(-1)[0])
    return value if value in POWERS else None


@lowers(Elementwise)
def vector_elementwise(op: Op, target: TargetDescription) -> Kernel | None:
    """Operators on single precision and truth values, in row-major order or in layout ``c16``."""
    dtypes = tuple(value.type.dtype for value in (*op.inputs, *op.results))
    if any(dtype not in DTYPES for dtype in dtypes) or any(value.type.quant for value in (*op.inputs, *op.results)):
        return None
    nest, statements = nest_of(op), statements_of(op)
    if nest is None or statements is None or not op.result.type.elements:
        return None
    return VectorNest(nest, dtypes, statements).kernel(target)
