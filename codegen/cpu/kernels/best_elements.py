"""The positions of extremes, of integers too, and a few best, on vectors: row-major, along any dimension."""

from typing import ClassVar

from ....ir.core import Op
from ....ir.ops.reduction import ArgExtreme, ArgMax, TopK
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.builder import FunctionBuilder
from ..llvm.target import TargetDescription
from ..llvm.types import F32, I32, I64, Register, Registers, constant, type_of, vector_constant, zero
from ..tensors import is_movement, is_plain
from .reduction import Extreme, dimensions_of, lowest_number

_BEYOND = 0x7F800001
"""The integer of NaN, one more than that of infinity."""

_FEW_BEST = 8
"""Elements whose order, and where they are, registers hold."""


class Best(Extreme):
    """Where the ``count`` best elements are along the one reduced dimension, best first, i64, and these themselves.

    Elements are compared as integers of the same order, in which both zeros are the same and NaN lies beyond infinity;
    of each lane as they are, where the first position is all that is asked for.
    ``is_last``: of equal elements the last one is the best, else the first.
    ``positions_alone``: the elements are not written, and NaN is the best of all, be it the smallest that is sought.
    ``is_unsigned``: of integers of less than 32 bits, how they are read."""

    CHAINS: ClassVar[int] = 1
    SHORT: ClassVar[int] = 16

    count: int = 1
    is_last: bool = False
    positions_alone: bool = False
    is_unsigned: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        return ("x", "indices") if self.positions_alone else ("x", "y", "indices")

    @property
    def strip(self) -> int:
        return max(1, super().strip // self.count)

    @property
    def are_short_rows(self) -> bool:
        return self.count == 1 and super().are_short_rows

    def start(self, b: FunctionBuilder) -> list[Register]:
        lanes = b.target.lanes
        index = vector_constant(I32.of(lanes), [str(lane if self.is_row else 0) for lane in range(lanes)])
        lowest = lowest_number((F32 if self.takes_floats else I32).of(lanes))
        # A lane of a row holds as many as it sees, at most.
        count = min(self.count, -(-self.reduced[-1][0] // lanes)) if self.is_row else self.count
        return [*[lowest] * count, *[zero(index.type)] * count, index]

    @property
    def takes_floats(self) -> bool:
        return self.positions_alone and not self.is_last and self.element.is_float

    def seen(self, b: FunctionBuilder, value: Register) -> Register:
        if self.element.is_float:
            value = super().seen(b, value)
            return value if self.takes_floats else self._key(b, value)
        whole = I32.of(value.type.lanes)
        value = value if self.element == I32 else b.convert("zext" if self.is_unsigned else "sext", value, whole)
        return b.binary("xor", value, constant(whole, -1)) if self.is_smallest else value

    def _key(self, b: FunctionBuilder, value: Register) -> Register:
        bits = b.convert("bitcast", value, I32.of(value.type.lanes))
        size = b.binary("and", bits, constant(bits.type, 2**31 - 1))
        key = b.select(b.compare("slt", bits, zero(bits.type)), b.binary("sub", zero(bits.type), size), size)
        is_worst = self.is_smallest and not self.positions_alone
        return b.select(b.compare("uno", value, value), constant(bits.type, -_BEYOND if is_worst else _BEYOND), key)

    def step(self, b: FunctionBuilder, value: Register, state: Registers) -> list[Register]:
        keys, found, index = state[: len(state) // 2], state[len(state) // 2 : -1], state[-1]
        relation = "ugt" if self.takes_floats else "sge" if self.is_last else "sgt"
        is_better = [b.compare(relation, value, key) for key in keys]
        if self.takes_floats:
            # What is not a number is better than numbers alone.
            is_better = [b.binary("and", each, b.compare("ord", keys[0], keys[0])) for each in is_better]

        def inserted() -> list[Register]:
            return [
                b.select(better, b.select(is_better[place - 1], own[place - 1], new) if place else new, own[place])
                for own, new in ((keys, value), (found, index))
                for place, better in enumerate(is_better)
            ]

        following = b.binary("add", index, constant(index.type, index.type.lanes if self.is_row else 1))
        if len(keys) == 1 and not self.is_row:
            return [*inserted(), following]
        # Hardly any is among the best, but of a few in a column.
        type = is_better[-1].type
        some = b.intrinsic(f"llvm.vector.reduce.or.{type.suffix}", type.element, is_better[-1:])
        return [*b.if_(some, inserted, lambda: state[:-1]), following]

    def keep_row(self, b: FunctionBuilder, state: Registers, x: Register, unit: Register) -> None:
        pointers, keys, found = self.bind(b), list(state[: len(state) // 2]), list(state[len(state) // 2 : -1])
        keys = [self._key(b, key) for key in keys] if self.takes_floats else keys
        suffix, lanes = keys[0].type.suffix, keys[0].type.lanes
        for place in range(self.count):
            # The best of the first of all lanes; those behind it in its lane move up.
            top = b.intrinsic(f"llvm.vector.reduce.smax.{suffix}", I32, [keys[0]])
            is_top = b.compare("eq", keys[0], b.splat(top, lanes))
            places = b.select(is_top, found[0], constant(found[0].type, -1 if self.is_last else 2**31 - 1))
            first = b.intrinsic(f"llvm.vector.reduce.{'smax' if self.is_last else 'smin'}.{suffix}", I32, [places])
            is_taken = b.compare("eq", places, b.splat(first, lanes))
            for own in (keys, found):
                # Behind the last there is none.
                behind = [*own[1:], lowest_number(own[0].type)]
                own[:] = [b.select(is_taken, *pair) for pair in zip(behind, own, strict=True)]
                del own[max(1, self.count - place - 1) :]
            index, here = b.convert("zext", first, I64), b.add(b.multiply(unit, self.count), place)
            b.store(index, b.at(pointers["indices"], b.multiply(here, 8)))
            if not self.positions_alone:
                b.store(b.load(F32, b.at(x, b.multiply(index, 4))), b.at(pointers["y"], b.multiply(here, 4)))

    def keep_columns(
        self, b: FunctionBuilder, state: Registers, x: Register, outer: Register, first: Register, mask: Register | None
    ) -> None:
        pointers, lanes, (inner, distance) = self.bind(b), state[0].type.lanes, self.kept[-1]
        numbers = vector_constant(I64.of(lanes), [str(4 * distance * lane) for lane in range(lanes)])
        for place, found in enumerate(state[self.count : -1]):
            index = b.convert("zext", found, I64.of(lanes))
            here = b.add(b.multiply(b.add(b.multiply(outer, self.count), place), inner), first)
            b.store_masked(index, b.at(pointers["indices"], b.multiply(here, 8)), mask)
            if not self.positions_alone:
                offsets = b.binary("mul", index, constant(index.type, 4 * self.reduced[-1][1]))
                values = b.gather(F32.of(lanes), x, b.binary("add", offsets, numbers), mask)
                b.store_masked(values, b.at(pointers["y"], b.multiply(here, 4)), mask)


_NARROW = (DType.I8, DType.U8, DType.I16, DType.U16)


@lowers(ArgExtreme, TopK, needs=(is_plain, is_movement))
def best(op: Op[ArgExtreme | TopK], target: TargetDescription) -> Kernel | None:
    """The few best of single precision numbers, or where one of them, or of integers of up to 32 bits, is."""
    operator, type = op.operator, op.inputs[0].type
    count = operator.k if isinstance(operator, TopK) else 1
    if not 0 < count <= _FEW_BEST or type.shape[operator.axis] >= 2**31:
        return None
    dimensions = dimensions_of(type.shape, (operator.axis,))
    if isinstance(operator, TopK):
        numbers = Best(*dimensions, is_smallest=not operator.largest, count=count)
        return numbers.kernel(target) if type.dtype is DType.F32 else None
    # The last of the least integers of 32 bits could be what fills the rest of a vector.
    is_whole = type.dtype is DType.I32 and not operator.select_last_index
    if type.dtype is not DType.F32 and type.dtype not in _NARROW and not is_whole:
        return None
    return Best(
        *dimensions,
        type_of(type.dtype),
        not isinstance(operator, ArgMax),
        is_last=operator.select_last_index,
        positions_alone=True,
        is_unsigned=type.dtype in (DType.U8, DType.U16),
    ).kernel(target)
