"""Rewrite rules as data, and the driver that applies them.

A rule is a pattern and a function. The pattern describes an op by its class, by predicates and by the producers of
its operands; the function builds the replacement of the op's results, or declines. The driver owns the order of
visits, the counts and the limit, so a rule that fires for ever is reported by name.

    Rule("x_times_sigmoid_x", node(Mul, "x", node(Sigmoid, "x"), commutative=True), lambda m: m.emit(Swish(), m["x"]))

Patterns are written from the last op backwards. A string stands for any value; where the same string occurs twice
the values must be the same.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, replace
from functools import cache
from typing import Generic, Union, overload

import numpy as np

from tilewright.errors import IRError, PassError
from tilewright.immutable import Immutable

from ..ir.annotations import TILE
from ..ir.core import Constant, Module, Op, OperatorT, OperatorT_co, Value, is_op, types_of
from ..ir.op import Operator, QuantizationRule
from ..ir.types import TensorType
from .base import Record, erase_dead, merged_loc

Predicate = Callable[[Op[OperatorT]], bool]


class Const(Immutable):
    """Matches a constant.
    ``name``: to find it in the match, ``None`` where nobody asks for it.
    ``where``: what its array must satisfy."""

    name: str | None
    where: Callable[[np.ndarray], bool] | None = None


class OpPattern(Immutable, Generic[OperatorT_co]):
    """Matches the result of an op.

    Attributes:
        classes: the op's operator is of one of these.
        operands: one pattern for each operand; ``None`` matches an absent one. Operands beyond the patterns match
            whatever they are.
        name: to find the op in the match.
        where: further predicate over the op.
        single_use: nothing but the matched op may read the result. Holds for every inner node unless turned off, so
            that a rewrite never doubles work.
        commutative: the first two operands may come in either order.
    """

    classes: tuple[type[OperatorT_co], ...]
    operands: "tuple[Operand, ...]"
    name: str | None = None
    where: Predicate[OperatorT_co] | None = None
    single_use: bool = True
    commutative: bool = False


Operand = Union[str, Const, OpPattern, None]
"""What an operand may match; a string stands for any value."""


def node(
    classes: type[OperatorT] | Sequence[type[OperatorT]],
    *operands: Operand,
    name: str | None = None,
    where: Predicate[OperatorT] | None = None,
    single_use: bool = True,
    commutative: bool = False,
) -> OpPattern[OperatorT]:
    """A pattern for an op; see :class:`OpPattern`."""
    options = (classes,) if isinstance(classes, type) else tuple(classes)
    return OpPattern(options, operands, name, where, single_use, commutative)


def scalar(value: float, tolerance: float = 1e-6) -> Const:
    """Matches a constant whose elements all equal ``value`` up to a relative ``tolerance``, or as half floats do."""

    def equal(array: np.ndarray) -> bool:
        error = max(tolerance, 2**-11) if tolerance and array.dtype == np.float16 else tolerance
        return array.size > 0 and bool(np.all(np.abs(array.astype(np.float64) - value) <= error * abs(value)))

    return Const(None, equal)


class _Bindings(Immutable):
    values: dict[str, Value] = field(default_factory=dict)
    named: dict[str, Op] = field(default_factory=dict)
    ops: tuple[Op, ...] = ()


class Match(Generic[OperatorT_co]):
    """Where a pattern matched: its values and ops by name, and how to build what replaces them.
    ``ops``: every op of the match, the root, which is the last one, first.
    ``origin``: the ops that what is emitted stands for, whose source nodes it carries; where there are none, ``ops``.
    ``created``: the ops that the rewrite inserted.
    ``constants``: those that it added."""

    def __init__(self, module: Module, root: Op[OperatorT_co], bindings: _Bindings) -> None:
        self.module = module
        self.root = root
        self.ops = bindings.ops
        self.origin: Sequence[Op] = ()
        self.created: list[Op] = []
        self.constants: list[Constant] = []
        self._values = bindings.values
        self._named = bindings.named

    def __getitem__(self, name: str) -> Value:
        """The value that the pattern calls ``name``."""
        assert name in self._values, f"the pattern calls no value {name!r}; it knows {[*self._values]}"
        return self._values[name]

    def __contains__(self, name: str) -> bool:
        """Whether the pattern calls a value so."""
        return name in self._values

    def constant(self, name: str) -> Constant:
        """The constant that the pattern calls ``name``."""
        value = self[name]
        assert isinstance(value, Constant)
        return value

    @overload
    def op(self, name: str) -> Op: ...

    @overload
    def op(self, name: str, *operators: type[OperatorT]) -> Op[OperatorT]: ...

    def op(self, name: str, *operators: type[Operator]) -> Op:
        """The op that the pattern calls ``name``, which is of one of these operators, if any are named."""
        assert name in self._named, f"the pattern calls no op {name!r}; it knows {[*self._named]}"
        op = self._named[name]
        assert not operators or is_op(op, *operators), (
            f"{name!r} is {op.name}, not {[each.__name__ for each in operators]}"
        )
        return op

    def add_constant(self, name: str, array: np.ndarray, type: TensorType | None = None) -> Constant:
        """A new constant of the module."""
        self.constants.append(self.module.add_constant(name, np.asarray(array, order="C"), type))
        return self.constants[-1]

    def moved(self, operator: Operator, value: Value) -> Value:
        """What a movement makes of a value: of a constant another one."""
        if not isinstance(value, Constant):
            return self.emit(operator, value)
        array = np.asarray(operator.reference(value.array))
        return self.add_constant(value.name, array, value.type.with_shape(array.shape))

    def undo(self) -> None:
        """Take back what the rewrite inserted and added."""
        for op in reversed(self.created):
            erase_dead(op)
        for constant in self.constants:
            if not constant.uses:
                del self.module.constants[constant.name]

    def emit(
        self,
        operator: Operator,
        *operands: Value | None,
        result_types: Sequence[TensorType] | None = None,
        origin: Sequence[Op] | None = None,
    ) -> Value:
        """Insert an op before the root; its only result.
        ``origin``: the ops that it stands for, where they are others than those of the match."""
        return self.emit_all(operator, operands, result_types, origin)[0]

    def emit_all(
        self,
        operator: Operator,
        operands: Sequence[Value | None],
        result_types: Sequence[TensorType] | None = None,
        origin: Sequence[Op] | None = None,
    ) -> tuple[Value, ...]:
        """As :meth:`emit`, for an op of any number of results."""
        function = self.root.function
        assert function is not None
        # Rewrites may have changed which ops match.
        sources = (self.origin or self.ops[::-1]) if origin is None else origin
        op = Op(operator, operands, result_types, loc=merged_loc(sources))
        if _is_on_quantized(op):
            problem = operator.check_quantized(types_of(operands), types_of(op.results))
            if problem is not None:
                raise IRError(problem, op=operator.name)
        function.insert(op, self.root)
        if len(op.results) in (1, len(self.root.results)):
            for value, replaced in zip(op.results, self.root.results, strict=False):
                value.name = replaced.name
        self.created.append(op)
        return op.results


Rewrite = Callable[[Match[OperatorT]], Union[Value, Sequence[Value], None]]
"""Builds what stands for the results of the root; ``None`` declines and must leave the module as it was.

An :class:`IRError`, such as operators raise for types that they do not take, declines as well, and its message becomes
the reason in the record of the pass.
"""


def operand_of_the_same_type(found: Match) -> Value | None:
    """The value that the pattern calls ``x``, for ops that do nothing unless they broadcast it or change its type."""
    return found["x"] if found["x"].type == found.root.results[0].type else None


class Rule(Immutable, Generic[OperatorT_co]):
    """A pattern and what to do where it matches.
    ``name``: in counts and messages.
    ``pattern``: of the last op concerned.
    ``on_quantized``: it holds for quantised types, too. Other rules are of real numbers: stored integers do not have
    the values that their patterns name, and a result on the way that is rounded is not one that is not."""

    name: str
    pattern: OpPattern[OperatorT_co]
    rewrite: Rewrite[OperatorT_co]
    on_quantized: bool = False


def on_quantized(*rules: Rule) -> tuple[Rule, ...]:
    """These rules as ones that hold for quantised types, too."""
    return tuple(replace(rule, on_quantized=True) for rule in rules)


def match(pattern: OpPattern[OperatorT], module: Module, root: Op) -> Match[OperatorT] | None:
    """The match of ``pattern`` at ``root``; where operands commute, the first order that fits."""
    bindings = next(_match_op(pattern, root, _Bindings()), None)
    return Match(module, root, bindings) if bindings is not None and is_op(root, *pattern.classes) else None


def _match_op(pattern: OpPattern[OperatorT], op: Op, bindings: _Bindings) -> Iterator[_Bindings]:
    if not is_op(op, *pattern.classes) or (pattern.where is not None and not pattern.where(op)):
        return
    named = bindings.named
    if pattern.name is not None:
        if named.get(pattern.name, op) is not op:
            return
        named = {**named, pattern.name: op}
    here = _Bindings(bindings.values, named, (*bindings.ops, op))
    operands = op.operands
    yield from _match_operands(pattern.operands, operands, here)
    if pattern.commutative:
        yield from _match_operands(pattern.operands, [*operands[1::-1], *operands[2:]], here)


def _match_operands(
    wanted: tuple[Operand, ...], values: Sequence[Value | None], bindings: _Bindings
) -> Iterator[_Bindings]:
    if not wanted:
        yield bindings
        return
    for found in _match_operand(wanted[0], values[0], bindings):
        yield from _match_operands(wanted[1:], values[1:], found)


def _match_operand(wanted: Operand, value: Value | None, bindings: _Bindings) -> Iterator[_Bindings]:
    if wanted is None or value is None:
        if wanted is None and value is None:
            yield bindings
    elif isinstance(wanted, str):
        yield from _bind(wanted, value, bindings)
    elif isinstance(wanted, Const):
        if isinstance(value, Constant) and (wanted.where is None or wanted.where(value.array)):
            yield from _bind(wanted.name, value, bindings)
    elif value.producer is not None and (not wanted.single_use or len(value.uses) == 1):
        yield from _match_op(wanted, value.producer, bindings)


def _bind(name: str | None, value: Value, bindings: _Bindings) -> Iterator[_Bindings]:
    if name is None:
        yield bindings
    elif bindings.values.get(name, value) is value:
        yield _Bindings({**bindings.values, name: value}, bindings.named, bindings.ops)


class Driver(Immutable):
    """Applies rules to a module until none matches.

    Ops are visited in order; what a rewrite made and whoever reads it are visited again, first in, first out. At
    each op the rules are tried in the order given.
    ``rules``: tried in this order.
    ``limit``: how often one rule may fire, at least 100 times in all, for each op of the module at the start and
    each that is to be visited for a rewrite of one of these."""

    rules: Sequence[Rule]
    limit: int = 8

    def run(self, module: Module, record: Record) -> bool:
        """Rewrite ``module`` in place; whether anything changed. Counts go to ``record``.
        Raises PassError: a rule fires for ever; names it."""

        @cache
        def rules_of(operator: type[Operator]) -> list[Rule]:
            return [rule for rule in self.rules if issubclass(operator, rule.pattern.classes)]

        fired: Counter[str] = Counter()
        start = {*module.ops}
        expected = len(start)
        # A queue without doubles. A plain dictionary would walk over all that was taken before to find its first key.
        pending = OrderedDict[Op, None].fromkeys(module.ops)
        while pending:
            op, _ = pending.popitem(last=False)
            for rule in rules_of(type(op.operator)) if op.function is not None else ():
                touched = _apply(rule, module, op, record)
                if touched is None:
                    continue
                fired[rule.name] += 1
                expected += len(touched) if op in start else 0
                limit = max(100, self.limit * expected)
                if fired[rule.name] > limit:
                    message = f"rule {rule.name} fires for ever"
                    raise PassError(message, op=op.name, node=op.node, found=f"{limit} times so far")
                pending.update(dict.fromkeys(touched))
                break
        record.counts.update(fired)
        if fired:
            module.drop_unused_constants()
        return bool(fired)


def _is_on_quantized(op: Op) -> bool:
    return any(value.type.quant is not None for value in (*op.inputs, *op.results))


def _share_origin(value: Value) -> None:
    """What a value only converts to or from integers stands for the same tensor of the model."""
    while value.producer is not None and value.producer.operator.QUANTIZATION is QuantizationRule.CONVERT:
        before = value.producer.inputs[0]
        if before.origin is not None:
            break
        before.origin, value = value.origin, before


_MANY = 64
"""So many uses are far from one."""


def _apply(rule: Rule[OperatorT], module: Module, op: Op, record: Record) -> list[Op] | None:
    """Apply ``rule`` at ``op`` if it matches; the ops to visit again, or ``None`` if it does not."""
    found = match(rule.pattern, module, op)
    if found is None or (not rule.on_quantized and any(map(_is_on_quantized, found.ops))):
        return None
    # What has a tile is scheduled: the accelerator's program is made of it as it is.
    if any(map(TILE.is_at, found.ops)):
        return None
    try:
        replacement = rule.rewrite(found)
    except IRError as error:
        # What the rule would build does not exist for these types: the op stays as it is.
        record.declined[op.results[0].name] = f"{rule.name}: {error}"
        replacement = None
    if replacement is None:
        found.undo()
        return None
    values = (replacement,) if isinstance(replacement, Value) else tuple(replacement)
    for old, new in zip(op.results, values, strict=True):
        if old.type.plain != new.type.plain:
            raise PassError(
                f"rule {rule.name} changed a type", op=op.name, node=op.node, expected=old.type, found=new.type
            )
    sources = [value.producer for value in op.inputs if value.producer is not None]
    touched = list(found.created)
    for value in op.results:
        touched += value.users
    op.replace_with(*values)
    for value in values:
        record.applied[value.name] = rule.name
        _share_origin(value)
    for source in sources:
        erase_dead(source)
    # A producer that lost a use may now be used once, which some patterns ask for; not one that has many left.
    for value in values:
        touched += [value.producer] if value.producer is not None else []
        touched += value.users if len(value.uses) <= _MANY else ()
    return [candidate for candidate in touched if candidate.function is not None]
