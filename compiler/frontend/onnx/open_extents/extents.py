"""What is known of the elements of small tensors.

Models compute with extents: they read shapes, pick extents, and join and compare them. The elements of such small
tensors are followed from operator to operator, so that a Reshape, say, knows which extent is which.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .....ir.core import Constant, Value, is_op
from .....ir.op import Operator
from .....ir.ops.comparison import Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Where
from .....ir.ops.elementwise import Add, Div, Max, Min, Mul, Sub
from .....ir.ops.indexing import Gather
from .....ir.ops.movement import Concat, Slice, Split, Transpose
from .....ir.ops.reduction import ReduceMax, ReduceMin, ReduceProd, ReduceSum
from .....ir.ops.selection import Bounded
from .....ir.ops.shape import Cast, Expand, Reshape
from .....ir.ops.unary import Ceil, Floor, Round
from .....ir.types import DType
from ...builder import ModuleBuilder
from ...shape import cast, reshape
from .extent_arithmetic import ExtentArithmetic
from .intervals import UNKNOWN, Count, Extent, factors, interval, span

FOLLOWED = 64
"""Elements of the largest tensors whose elements are followed."""


class Extents(ExtentArithmetic):
    """Arithmetic of extents, and what is known of the elements of small tensors.
    ``builder``: the module that it is computed in.
    ``unbounded``: names of the tensors that users were told to bound."""

    def __init__(self, builder: ModuleBuilder) -> None:
        super().__init__(builder)
        self._elements: dict[Value, np.ndarray] = {}
        self.unbounded: dict[str, None] = {}

    def limited(self, value: Value, most: int) -> Value:
        """A tensor of integers, none below 0 or above ``most``: the run ends where one is."""
        builder, axes = self.builder, tuple(range(value.type.rank))
        x = cast(builder, value, DType.I64)
        for reduction, combine in ((ReduceMax, Min), (ReduceMin, Max)):
            extreme = builder.emit_one(reduction(axes, keepdims=False), x) if axes else x
            x = builder.emit_one(combine(), x, self._emitted(Bounded(), extreme, self.value(most)), name=value.name)
        x = cast(builder, x, value.type.dtype)
        # Shapes that they become a part of have elements of their own, too.
        self.elements(x)
        return x

    def source(self, extent: Extent) -> str | None:
        """The name of the integer, or else of the tensor of integers, that makes a number one without a bound."""
        value, name = self.value(extent), None
        while True:
            name = value.origin or name
            operands = value.producer.inputs if value.producer is not None else ()
            causes = (each for each in operands if each.type.dtype.is_integer and not isinstance(each, Constant))
            cause = next((each for each in causes if interval(each, self._intervals)[1] >= UNKNOWN), None)
            # Of what is split, the other parts have no bound either.
            is_part = value.producer is not None and isinstance(value.producer.operator, Split)
            if cause is None or (value.origin and value.type.elements == 1 and not is_part):
                return name
            value = cause

    def elements(self, value: Value) -> list[Extent] | None:
        """The elements of a small tensor of integers; in the range that follows from its operators where they are not
        known one by one.

        ``None`` where it is not small, or of no integers."""
        if isinstance(value, Constant):
            return [int(each) for each in value.array.reshape(-1)] if value.type.elements <= FOLLOWED else None
        if value in self._elements:
            return list(self._elements[value].reshape(-1))
        if value.type.elements > FOLLOWED or not value.type.dtype.is_integer:
            return None
        if is_op(value.producer, Reshape):
            # Under another shape they are the same numbers.
            found = self.elements(value.producer.inputs[0])
            if found is not None:
                self.know(value, _array_of(found, value.type.shape))
            return found
        builder = self.builder
        line = cast(builder, reshape(builder, value, (value.type.elements,)), DType.I64)
        picked = (
            builder.emit_one(Gather(0), line, builder.constant(np.asarray(index), "index"), name="extent")
            for index in range(value.type.elements)
        )
        least, most = (int(end) for end in interval(value, self._intervals))
        found = [self.count(each, least, most) for each in picked]
        self.know(value, _array_of(found, value.type.shape))
        return found

    def know(self, value: Value, elements: np.ndarray) -> None:
        """Say which extents the elements of a tensor are."""
        self._elements[value] = elements
        spans = [span(each) for each in elements.reshape(-1) if isinstance(each, (int, Count))]
        if len(spans) == elements.size > 0:
            self._intervals[value] = min(low for low, _ in spans), max(high for _, high in spans)

    def follow_number(self, value: Value, least: int, most: int) -> None:
        """Say in which range a value, i64[], is that the data decide."""
        self.know(value, _array_of([self.count(value, least, max(least, most))], ()))

    def number(self, extent: Extent, name: str) -> Value:
        """An extent as a tensor that a model reads, i64[]."""
        if isinstance(extent, int):
            return self.builder.constant(np.asarray(extent, np.int64), name)
        self.know(extent.value, _array_of([extent], ()))
        return extent.value

    def vector(self, extents: Sequence[Extent], name: str = "shape") -> Value:
        """Extents as a tensor, i64[n]."""
        builder = self.builder
        if all(isinstance(extent, int) for extent in extents):
            return builder.constant(np.asarray(extents, np.int64), name)
        parts = [builder.emit_one(Reshape((1,)), self.value(extent)) for extent in extents]
        whole = builder.emit_one(Concat(0), *parts) if len(parts) > 1 else parts[0]
        self.know(whole, _array_of(extents, (len(extents),)))
        return whole

    def is_known(self, value: Value | None) -> bool:
        """Whether elements of a value that is no constant are followed."""
        return value in self._elements

    def follow(
        self, operator: Operator, operands: Sequence[Value | None], results: Sequence[Value]
    ) -> tuple[Value, ...]:
        """The results of an operator, as constants where their elements are known after all."""
        if any(value.type.elements > FOLLOWED for value in results):
            return tuple(results)
        arrays = [self._array(value) for value in operands]
        found = self._computed(operator, arrays, operands, results)
        return tuple(
            self._settled(value, each) for value, each in zip(results, found or [None] * len(results), strict=True)
        )

    def _array(self, value: Value | None) -> np.ndarray | None:
        """The elements of an operand: whole numbers, truth values and counts; ``None`` where they are not known."""
        if isinstance(value, Constant) and value.type.elements <= FOLLOWED:
            array = value.array
            if array.dtype.kind in "iub" or (np.isfinite(array).all() and (array == np.trunc(array)).all()):
                flat = [bool(e) if array.dtype.kind == "b" else int(e) for e in array.reshape(-1)]
                return _array_of(flat, array.shape)
        return self._elements.get(value) if value is not None else None

    def _settled(self, value: Value, elements: np.ndarray | None) -> Value:
        # What leaves the range of 64 bits is another number when it is computed.
        if elements is None or any(
            each is None or (isinstance(each, int) and abs(each) > UNKNOWN) for each in elements.reshape(-1)
        ):
            return value
        if any(isinstance(each, Count) for each in elements.reshape(-1)):
            self.know(value, elements)
            return value
        return self.builder.constant(elements.astype(value.type.dtype.numpy), value.name)

    def _computed(
        self,
        operator: Operator,
        arrays: Sequence[np.ndarray | None],
        operands: Sequence[Value | None],
        results: Sequence[Value],
    ) -> list[np.ndarray] | None:
        """The elements of the results, ``None`` for those that are not known."""
        if isinstance(operator, _MOVES):
            moved = len(operands) if isinstance(operator, Concat) else 1
            return self._moved(operator, arrays[:moved], operands[moved:])
        if any(array is None for array in arrays):
            return None
        known = [array for array in arrays if array is not None]
        if isinstance(operator, (Cast, Floor, Ceil, Round)):
            return known if results[0].type.dtype not in (DType.BOOL, DType.F16) else None
        if isinstance(operator, Where):
            pick: Callable[..., Extent | None] = lambda c, a, b: (a if c else b) if isinstance(c, bool) else None  # noqa: E731
            return [_each(pick, known)]
        if isinstance(operator, tuple(_COMPARISONS)):
            return [_each(_COMPARISONS[type(operator)], known)]
        if isinstance(operator, tuple(_REDUCTIONS)):
            return self._reduced(operator, known[0], results[0])
        function = self._functions.get(type(operator))
        # Quotients of floats are no whole numbers.
        if function is None or (isinstance(operator, Div) and results[0].type.dtype.is_float):
            return None
        return [_each(function, known)]

    @property
    def _functions(self) -> dict[type[Operator], Callable[..., Extent | None]]:
        return {
            Add: self.add,
            Sub: self.subtract,
            Mul: lambda a, b: self.product([a, b]) if abs(factors([a, b])[0]) < UNKNOWN else None,
            Div: self.divide,
            Min: self.smaller,
            Max: self.larger,
        }

    def _moved(
        self, operator: Operator, arrays: Sequence[np.ndarray | None], others: Sequence[Value | None]
    ) -> list[np.ndarray] | None:
        """What an operator that moves elements does to them, by what it does to their numbers in a list."""
        table: list[Extent] = []
        labels: list[np.ndarray | None] = []
        for array in arrays:
            if array is None:
                return None
            labels.append(np.arange(len(table), len(table) + array.size, dtype=np.int64).reshape(array.shape))
            table += array.reshape(-1).tolist()
        for value in others:
            if not isinstance(value, Constant):
                return None
            labels.append(value.array)
        results = operator.reference(*labels)
        found = results if isinstance(results, tuple) else (results,)
        return [_array_of([table[label] for label in a.reshape(-1)], a.shape) for a in found]

    def _reduced(self, operator: Operator, array: np.ndarray, result: Value) -> list[np.ndarray] | None:
        """A reduction of all elements."""
        if result.type.elements != 1 or not array.size:
            return None
        combine = self._functions[_REDUCTIONS[type(operator)]]
        total: Extent | None = array.reshape(-1)[0]
        for each in array.reshape(-1)[1:]:
            total = combine(total, each) if total is not None else None
        return [_array_of([total], result.type.shape)]


def _array_of(elements: Sequence[object], shape: Sequence[int]) -> np.ndarray:
    return np.array(elements, object).reshape(shape)


def _each(function: Callable[..., object], arrays: Sequence[np.ndarray]) -> np.ndarray:
    """A function of each element of arrays that broadcast."""
    arrays = np.broadcast_arrays(*arrays)
    found = [function(*elements) for elements in zip(*(array.reshape(-1) for array in arrays), strict=True)]
    return _array_of(found, arrays[0].shape)


def _less(a: Extent, b: Extent) -> bool | None:
    (low, high), (least, most) = span(a), span(b)
    return True if high < least else False if low >= most else None


def _equal(a: Extent, b: Extent) -> bool | None:
    (low, high), (least, most) = span(a), span(b)
    return True if a is b or low == high == least == most else False if high < least or most < low else None


def _not(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


_MOVES = (Reshape, Gather, Slice, Concat, Split, Transpose, Expand)
_COMPARISONS: dict[type[Operator], Callable[..., bool | None]] = {
    Equal: _equal,
    Less: _less,
    Greater: lambda a, b: _less(b, a),
    LessOrEqual: lambda a, b: _not(_less(b, a)),
    GreaterOrEqual: lambda a, b: _not(_less(a, b)),
}
_REDUCTIONS: dict[type[Operator], type[Operator]] = {ReduceMin: Min, ReduceMax: Max, ReduceSum: Add, ReduceProd: Mul}
