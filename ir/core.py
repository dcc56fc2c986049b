"""Ops, functions and modules, with the values between them: the graph in static single assignment form.

Every value knows its producer and its uses, and every change goes through methods that keep both right. A
function's ops form a linked list: inserting, erasing or moving ops while iterating over it is safe.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeGuard, TypeVar

import numpy as np

from tilewright.errors import IRError

from .text.literals import Literal
from .types import TensorType
from .values import Constant as Constant
from .values import Value as Value
from .values import types_of as types_of

if TYPE_CHECKING:
    from typing_extensions import TypeVar as TypeVarWithDefault

    from .op import Operator

    # An ``Op`` without argument is one of any operator, and an ``Operator`` one of any operands.
    OperatorT_co = TypeVarWithDefault("OperatorT_co", bound="Operator", covariant=True, default="Operator")
    OperandsT_co = TypeVarWithDefault(
        "OperandsT_co", bound="tuple[Value | None, ...]", covariant=True, default="tuple[Value | None, ...]"
    )
else:
    OperatorT_co = TypeVar("OperatorT_co", covariant=True)
    OperandsT_co = TypeVar("OperandsT_co", covariant=True)

OperatorT = TypeVar("OperatorT", bound="Operator")
OperandsT = TypeVar("OperandsT", bound="tuple[Value | None, ...]")


class Op(Generic[OperatorT_co]):
    """One application of an operator; ``Op[Conv]`` is one whose operator is known to be a ``Conv``.

    Attributes:
        operator: what it computes, with its attributes.
        annotations: what passes decided about this op (where it runs, addresses, tiles); never part of its meaning.
        loc: names of the nodes of the source model that it came from.
        function: where it stands, ``None`` while detached.
        verified: operator and types of which the verifier found before that they go together.
    """

    __slots__ = (
        "_arranged",
        "_next",
        "_operands",
        "_present",
        "_previous",
        "annotations",
        "function",
        "loc",
        "operator",
        "results",
        "verified",
    )

    def __init__(
        self,
        operator: OperatorT_co,
        operands: Sequence[Value | None],
        result_types: Sequence[TensorType] | None = None,
        *,
        names: Sequence[str] = (),
        loc: Sequence[str] = (),
        annotations: dict[str, Literal] | None = None,
    ) -> None:
        self.operator = operator
        self.annotations: dict[str, Literal] = dict(annotations or {})
        self.loc = tuple(loc)
        self.function: Function | None = None
        self.verified: tuple[object, ...] = ()
        self._previous: Op | None = None
        self._next: Op | None = None
        operand_types = types_of(operands)
        inferred = operator.result_types(operand_types, loc=self.loc) if not operator.GIVEN_RESULTS else None
        types = tuple(result_types) if result_types is not None else inferred
        if types is None:
            raise IRError("result types cannot be inferred and must be given", op=operator.name, node=self.node)
        hint = operator.name
        self._operands: list[Value | None] = []
        # By name, until one of them changes.
        self._arranged: Any = None
        self._present: tuple[Value, ...] | None = None
        self.results = tuple(
            Value(names[i] if i < len(names) else hint if len(types) == 1 else f"{hint}_{i}", type, self)
            for i, type in enumerate(types)
        )
        for index, value in enumerate(operator.padded(operands)):
            self._operands.append(value)
            if value is not None:
                value._uses[self, index] = None
        if result_types is None and not any(t.quant or t.layout for t in (*operand_types, *types) if t is not None):
            # What is inferred goes together, but for what the choice of a pass is.
            self.verified = (operator, *operator.padded(operand_types), None, *types)

    @property
    def name(self) -> str:
        """Name of the operator, such as ``conv``."""
        return self.operator.name

    @property
    def operands(self: Op[Operator[OperandsT]]) -> OperandsT:
        """What it reads, by name and in order; ``None`` where an optional operand is absent."""
        if self._arranged is None:
            self._arranged = self.operator.arranged(self._operands)
        return self._arranged

    @property
    def inputs(self) -> tuple[Value, ...]:
        """The operands that are present."""
        if self._present is None:
            self._present = tuple([value for value in self._operands if value is not None])
        return self._present

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one execution; 0 for operators that are not counted in them. What ``macs`` says, if a
        pass noted it."""
        noted = self.annotations.get("macs")
        return noted if isinstance(noted, int) else self.operator.macs(types_of(self._operands), types_of(self.results))

    @property
    def work(self) -> int:
        """Steps of one execution, about: multiply-accumulates, elements of windows, or elements read and written."""
        taps = math.prod(getattr(self.operator, "kernel", ()))
        elements = sum(value.type.elements for value in self.results) * taps
        effort = self.operator.effort(types_of(self._operands), types_of(self.results))
        return max(self.macs, effort, elements + sum(value.type.elements for value in self.inputs))

    def evaluate(self, arrays: Sequence[np.ndarray | None]) -> tuple[np.ndarray, ...]:
        """Results by the operator's reference, for the elements of the operands."""
        return self.operator.evaluate(arrays, types_of(self._operands), types_of(self.results))

    @property
    def result(self) -> Value:
        """The only result. Raises IRError: the op has several results."""
        if len(self.results) != 1:
            raise IRError("the op has several results", op=self.name, found=len(self.results))
        return self.results[0]

    @property
    def node(self) -> str | None:
        """The source nodes as one string for messages."""
        return ", ".join(self.loc) or None

    def set_operand(self, index: int, value: Value | None) -> None:
        """Read ``value`` as operand ``index`` from now on."""
        old = self._operands[index]
        if old is not None:
            old._uses.pop((self, index), None)
        self._operands[index] = value
        self._arranged = self._present = None
        if value is not None:
            value._uses[self, index] = None

    def replace_with(self, *values: Value) -> None:
        """Let ``values`` stand for the results, then erase this op."""
        if len(values) != len(self.results):
            raise IRError("an op is replaced by as many values as it has results", op=self.name, found=len(values))
        for old, new in zip(self.results, values, strict=True):
            old.replace_all_uses(new)
            new.origin = new.origin or old.origin
        self.erase()

    def erase(self) -> None:
        """Take the op out of its function for good. Raises IRError: a result is still used."""
        for value in self.results:
            if value._uses:
                raise IRError("a result is still used", op=self.name, node=self.node, found=f"%{value.name}")
        for index in range(len(self._operands)):
            self.set_operand(index, None)
        if self.function is not None:
            self.function._unlink(self)

    def following(self) -> Iterator[Op]:
        """The ops behind this one, from the next on."""
        op = self._next
        while op is not None:
            yield op
            op = op._next

    def __repr__(self) -> str:
        from .text.printer import print_op

        return print_op(self)


def is_op(op: Op | None, *operators: type[OperatorT]) -> TypeGuard[Op[OperatorT]]:
    """Whether there is an op, and its operator is of one of these classes."""
    return op is not None and isinstance(op.operator, operators)


class Function:
    """Parameters, ops in order of execution, and results.

    Attributes:
        name: unique in its module.
        parameters: their names are the names of the inputs.
        result_names: names of the outputs; a value may be returned under several.
        annotations: what passes decided about the whole function.
    """

    def __init__(self, name: str, parameters: Iterable[tuple[str, TensorType]] = ()) -> None:
        self.name = name
        self.parameters: list[Value] = [Value(n, t) for n, t in parameters]
        self.annotations: dict[str, Literal] = {}
        self._results: list[Value] = []
        self.result_names: list[str] = []
        self._first: Op | None = None
        self._last: Op | None = None
        self._count = 0

    def add_parameter(self, name: str, type: TensorType) -> Value:
        value = Value(name, type)
        self.parameters.append(value)
        return value

    @property
    def results(self) -> tuple[Value, ...]:
        """The values that the function returns."""
        return tuple(self._results)

    def set_results(self, values: Sequence[Value], names: Sequence[str] | None = None) -> None:
        """Return ``values``, under ``names`` or, by default, under their own names."""
        for index, old in enumerate(self._results):
            self._release(old, index)
        self._results = list(values)
        self.result_names = list(names) if names is not None else [value.name for value in values]
        for index, value in enumerate(self._results):
            self._return(value, index)

    def set_operand(self, index: int, value: Value | None) -> None:
        """Return ``value`` as result ``index`` from now on."""
        if value is None:
            raise IRError("a function cannot return nothing", op=self.name)
        self._release(self._results[index], index)
        self._results[index] = value
        self._return(value, index)

    def _return(self, value: Value, index: int) -> None:
        value._uses[self, index] = None
        value._returns += 1

    def _release(self, value: Value, index: int) -> None:
        del value._uses[self, index]
        value._returns -= 1

    @property
    def ops(self) -> Iterator[Op]:
        """The ops in order. Ops that are erased or inserted meanwhile are skipped, or met if they stand further on."""
        op = self._first
        while op is not None:
            following = op._next
            yield op
            # An op that is still here knows its successor, also one inserted meanwhile; an erased one does not.
            op = op._next if op.function is self else following
            while op is not None and op.function is not self:
                op = op._next

    def __len__(self) -> int:
        return self._count

    def append(
        self,
        operator: Operator,
        operands: Sequence[Value | None],
        result_types: Sequence[TensorType] | None = None,
        *,
        names: Sequence[str] = (),
        loc: Sequence[str] = (),
    ) -> Op:
        """Create an op at the end."""
        return self.insert(Op(operator, operands, result_types, names=names, loc=loc))

    def insert(self, op: Op, before: Op | None = None) -> Op:
        """Put a detached op before another one, or at the end."""
        if op.function is not None:
            raise IRError("the op already stands in a function", op=op.name, node=op.node)
        if before is not None and before.function is not self:
            raise IRError("the place to insert at is in another function", op=before.name, node=before.node)
        op.function = self
        op._next = before
        op._previous = before._previous if before is not None else self._last
        if op._previous is not None:
            op._previous._next = op
        else:
            self._first = op
        if before is not None:
            before._previous = op
        else:
            self._last = op
        self._count += 1
        return op

    def insert_after(self, op: Op, after: Op | None) -> Op:
        """Put a detached op right after another one, or at the beginning, as what makes parameters is none."""
        return self.insert(op, after._next if after is not None else self._first)

    def move_before(self, op: Op, before: Op) -> None:
        self._unlink(op)
        self.insert(op, before)

    def _unlink(self, op: Op) -> None:
        if op._previous is not None:
            op._previous._next = op._next
        else:
            self._first = op._next
        if op._next is not None:
            op._next._previous = op._previous
        else:
            self._last = op._previous
        op.function = None
        op._previous = None
        self._count -= 1

    def __repr__(self) -> str:
        return f"<function @{self.name}, ops: {self._count}>"


class Module:
    """Functions and the constants that they share.

    Attributes:
        name: name of the network, as in the source model.
        functions: by name; ``main`` is the entry.
        constants: by name.
        metadata: facts about the origin that travel along (producer, opset, source digest).
        folding: bytes and steps that may still go into computing constants, ``None`` before any did.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.functions: dict[str, Function] = {}
        self.constants: dict[str, Constant] = {}
        self.metadata: dict[str, str] = {}
        self.folding: tuple[int, int] | None = None
        self._numbers: Counter[str] = Counter()

    @property
    def main(self) -> Function:
        """The entry function. Raises IRError: the module has none."""
        try:
            return self.functions["main"]
        except KeyError:
            raise IRError("the module has no function @main", found=", ".join(self.functions) or "none") from None

    def add_function(self, function: Function) -> Function:
        if function.name in self.functions:
            raise IRError("a function of this name exists", found=f"@{function.name}")
        self.functions[function.name] = function
        return function

    def add_constant(self, name: str, array: np.ndarray, type: TensorType | None = None) -> Constant:
        """Add a constant, under a name derived from ``name`` that is still free."""
        unique = base = name
        if name in self.constants:
            base = self.constants[name].base
            # The first free number, but where there are many of one name that would take longer and longer.
            tried = self._numbers[name] if self._numbers[name] > 64 else 0
            while unique in self.constants:
                tried += 1
                unique = f"{name}_{tried}"
            self._numbers[name] = tried
        constant = Constant(unique, array, type, base)
        self.constants[unique] = constant
        return constant

    def drop_unused_constants(self) -> int:
        """Forget the constants that nothing reads; how many they were."""
        unused = [name for name, constant in self.constants.items() if not constant._uses]
        for name in unused:
            del self.constants[name]
        return len(unused)

    @property
    def ops(self) -> Iterator[Op]:
        """Every op of every function."""
        for function in self.functions.values():
            yield from function.ops

    def __str__(self) -> str:
        from .text.printer import print_module

        return print_module(self)

    def __repr__(self) -> str:
        return f"<module @{self.name}: {', '.join(map(repr, self.functions.values()))}>"
