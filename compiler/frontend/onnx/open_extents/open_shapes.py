"""Tensors whose extents the data decide: which they are, and what operators make of them.

A tensor has the extents of its room, and beside them its true shape, some of whose extents are counts. Whatever is
emitted passes through here: a rule, by the class of the operator (:mod:`.open_rules`), says what the true shapes of the
results are, and keeps filler from what is there. What has no rule is refused.
"""

from collections.abc import Callable, Sequence
from typing import Any, Concatenate

import numpy as np

from tilewright.errors import UnsupportedError

from .....ir.core import Constant, OperatorT, Value
from .....ir.op import Operator
from .....ir.ops.comparison import And, GreaterOrEqual, Less, Or, Where
from .....ir.ops.elementwise import Add
from .....ir.ops.movement import Slice
from .....ir.ops.shape import Cast
from .....ir.types import DType, TensorType
from ...builder import ModuleBuilder
from .extents import Extents
from .intervals import Count, Extent, Shape, room, text_of

Rule = Callable[Concatenate["OpenShapes", OperatorT, ...], Sequence[Value]]
"""The results of an operator where an operand is open."""

RULES: dict[type[Operator], Rule[Any]] = {}
"""Rules by class of operator, filled by :mod:`.open_rules`; derived classes have those of their bases."""

OPEN_HINT = "Give the inputs that decide with --freeze NAME=VALUE, or let the model end before this node."


def of_open_shapes(*operators: type[OperatorT]) -> Callable[[Rule[OperatorT]], Rule[OperatorT]]:
    """Register the rule of these classes of operators."""

    def register(rule: Rule[OperatorT]) -> Rule[OperatorT]:
        RULES.update((cls, rule) for cls in operators)
        return rule

    return register


class OpenShapes(Extents):
    """The true shapes of the tensors of a module that is being built.
    ``uses``: how often somebody asked for a shape, or emitted what reads an open tensor."""

    def __init__(self, builder: ModuleBuilder) -> None:
        super().__init__(builder)
        self._shapes: dict[Value, Shape] = {}
        self._once: dict[object, tuple[Value, ...]] = {}
        self.uses = 0

    def decides(self, *values: Value | None) -> bool:
        """Whether one of the values is open, or is no constant."""
        return any(value is not None and (self.is_open(value) or not isinstance(value, Constant)) for value in values)

    def is_open(self, value: Value | None) -> bool:
        return value in self._shapes

    def shape(self, value: Value) -> Shape:
        """The true shape of a value."""
        self.uses += 1
        return self._shapes.get(value, value.type.shape)

    def axes(self, value: Value) -> list[int]:
        """The dimensions of open extents."""
        return [axis for axis, extent in enumerate(self.shape(value)) if isinstance(extent, Count)]

    def opened(self, value: Value, shape: Sequence[Extent]) -> Value:
        """``value``, which has room for a tensor of this true shape, as that tensor."""
        expected = tuple(map(room, shape))
        assert value.type.shape == expected, f"%{value.name}: {value.type} has no room of {expected}"
        if any(isinstance(extent, Count) for extent in shape):
            self._shapes[value] = tuple(shape)
        return value

    def emit(
        self, operator: Operator, operands: Sequence[Value | None], types: Sequence[TensorType] | None, name: str
    ) -> tuple[Value, ...]:
        """Apply an operator: what :meth:`ModuleBuilder.emit` of an importer is."""
        if not any(value in self._shapes for value in operands):
            results = ModuleBuilder.emit(self.builder, operator, *operands, types=types, name=name)
            return self.follow(operator, operands, results) if any(map(self.is_known, operands)) else results
        if operator.GIVEN_RESULTS:
            # Branches and loops read what is open around them; their results are checked by who makes them.
            return ModuleBuilder.emit(self.builder, operator, *operands, types=types, name=name)
        self.uses += 1
        rule = next((RULES[cls] for cls in type(operator).__mro__ if cls in RULES), None)
        if rule is None:
            raise self.refusal(operator.name, operands)
        return tuple(rule(self, operator, *operands))

    def refusal(self, what: str, operands: Sequence[Value | None]) -> UnsupportedError:
        """What is said of an operator that cannot work on operands of open extents."""
        found = (f"%{value.name} of {text_of(self.shape(value))}" for value in operands if value in self._shapes)
        return UnsupportedError(
            f"the data decide an extent of what {what} reads, which has to be known there at compile time",
            stage="import",
            found=", ".join(found),
            hint=OPEN_HINT,
        )

    def apply(self, operator: Operator, *operands: Value | None) -> tuple[Value, ...]:
        """Apply an operator to rooms as they are."""
        return ModuleBuilder.emit(self.builder, operator, *operands)

    def apply_one(self, operator: Operator, *operands: Value | None) -> Value:
        return self.apply(operator, *operands)[0]

    def once(self, operator: Operator, *operands: Value) -> tuple[Value, ...]:
        """The results of an operator, the same for the same operands: models ask several times where a mask is."""
        key = (self.builder.function, operator, operands)
        known = self._once.get(key)
        if known is None or any(v.producer is not None and v.producer.function is None for v in known):
            known = self._once[key] = self.apply(operator, *operands)
        return known

    def constant(self, array: object, dtype: DType, name: str = "constant") -> Value:
        return self.builder.constant(np.asarray(array, dtype.numpy), name)

    def broadcast(self, shapes: Sequence[Shape]) -> Shape:
        """The true shape that tensors of these broadcast to. Counts stay for good: none is taken to be 1."""
        rank = max(map(len, shapes), default=0)
        result: list[Extent] = [1] * rank
        for shape in shapes:
            for d, extent in enumerate(shape, rank - len(shape)):
                if not (isinstance(extent, int) and extent == 1):
                    result[d] = extent if result[d] == 1 else self.same(result[d], extent)
        return tuple(result)

    def fitted(self, value: Value, shape: Sequence[Extent]) -> Value:
        """``value`` with no more room than ``shape``, to which it broadcasts, has."""
        rank = value.type.rank
        most = [room(extent) for extent in shape][len(shape) - rank :]
        return self.cut(value, [min(e, m) for e, m in zip(value.type.shape, most, strict=True)])

    def cut(self, value: Value, extents: Sequence[int]) -> Value:
        """The first so many elements of a room along each dimension."""
        if tuple(extents) == value.type.shape:
            return value
        rank = value.type.rank
        return self.apply_one(Slice((0,) * rank, tuple(extents), (1,) * rank), value)

    def positions(self, count: int, axis: int = 0, rank: int = 1) -> Value:
        """0, 1, … along a dimension of a tensor of a rank, the same constant each time."""
        key = ("positions", count, axis, rank)
        if key not in self._once:
            array = np.arange(count).reshape([count if d == axis else 1 for d in range(rank)])
            self._once[key] = (self.builder.constant(array, "positions"),)
        return self._once[key][0]

    def is_there(self, value: Value, axes: Sequence[int]) -> Value:
        """Truth values that broadcast to ``value``: what is no filler along the given open dimensions."""
        rank, masks = value.type.rank, list[Value]()
        for axis in axes:
            count = self.value(self.shape(value)[axis])
            masks += self.once(Less(), self.positions(value.type.shape[axis], axis, rank), count)
        whole = masks[0]
        for mask in masks[1:]:
            whole = self.apply_one(And(), whole, mask)
        return whole

    def filled(self, value: Value, filler: object = 0, axes: Sequence[int] | None = None) -> Value:
        """``value`` with a number in place of filler along dimensions, by default all open ones."""
        axes = [axis for axis in self.axes(value) if axes is None or axis in axes]
        if not axes:
            return value
        number = self.constant(filler, value.type.dtype, "filler")
        found = self.apply_one(Where(), self.is_there(value, axes), value, number)
        return self.opened(found, self.shape(value))

    def closed(self, value: Value, shape: Sequence[Extent]) -> Value:
        """``value``, which must have this shape: the run ends where it has another."""
        checked = [self.same(own, extent) for own, extent in zip(self.shape(value), shape, strict=True)]
        value = self.filled(self.opened(self.cut(value, [*map(room, shape)]), checked))
        self._shapes.pop(value, None)
        return self.opened(value, shape)

    def indices_into(self, indices: Value, extents: Sequence[Extent], *, is_row: bool = False) -> Value:
        """Indices counted from the front, those outside of true extents as ones outside of the room.
        ``extents``: of the dimension that they point into; of as many as the rows of ``indices`` have elements, with
        ``is_row``."""
        if not any(isinstance(extent, Count) for extent in extents):
            return indices
        shape = self.shape(indices)
        limits = self.vector(extents) if is_row else self.value(extents[0])
        rooms = [room(extent) for extent in extents]
        outside = self.constant(rooms if is_row else rooms[0], DType.I64, "outside")
        zero = self.constant(0, DType.I64, "zero")
        wide = indices if indices.type.dtype is DType.I64 else self.apply_one(Cast(DType.I64), indices)
        moved = self.apply_one(Add(), wide, limits)
        found = self.apply_one(Where(), self.apply_one(Less(), wide, zero), moved, wide)
        wrong = [self.apply_one(Less(), found, zero), self.apply_one(GreaterOrEqual(), found, limits)]
        return self.opened(self.apply_one(Where(), self.apply_one(Or(), *wrong), outside, found), shape)

    def check_closed(self, what: str, values: Sequence[Value | None]) -> None:
        """Raise UnsupportedError if one of the values is open."""
        if any(value in self._shapes for value in values):
            raise self.refusal(what, values)
