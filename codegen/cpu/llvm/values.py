"""The part of the builder of LLVM's textual IR that works on values: control flow, integers, lanes and vectors.

Values that change in a loop are carried as phi nodes from the start, so no pass has to promote memory to registers;
integer arithmetic on constants is done here. What comes out needs no optimisation passes: LLVM's instruction
selection, scheduling and register allocation make it machine code.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Union

from .target import TargetDescription
from .types import I1, I32, I64, Register, Registers, Type, constant, poison, zero

Integer = Union[int, Register]
"""An index or a byte offset, constant or computed (64 bits)."""

Body = Callable[[Register, Registers], Sequence[Register]]
"""A loop's body: from the index and the carried values to the next carried values."""

Branch = Callable[[], Union[Sequence[Register], None]]
"""What gives the values of a branch, if it has any."""


class ValueBuilder:
    """Builds one function, without its memory; see :class:`.builder.FunctionBuilder`.

    Args:
        result: what it returns, ``None`` for nothing.
        internal: not seen outside of the module, and never inlined: a unit of register allocation of its own.
        read_only: names of pointers to memory that nothing writes while the function runs.
        exclusive: names of pointers to memory that is reached through no other.
        chooses_width: LLVM decides how wide vectors are; else they are as wide as those of the target.
    """

    def __init__(
        self,
        target: TargetDescription,
        name: str,
        parameters: Sequence[tuple[str, Type]],
        result: Type | None = None,
        *,
        internal: bool = False,
        read_only: Sequence[str] = (),
        exclusive: Sequence[str] = (),
        chooses_width: bool = False,
    ) -> None:
        self.target = target
        self.name = name
        self.arguments = tuple(Register(type, f"%{parameter}") for parameter, type in parameters)
        self.declarations: dict[str, str] = {}
        self._result = result
        self._internal = internal
        self._width = None if chooses_width else target.vector_bits
        marks = {**dict.fromkeys(read_only, " noalias readonly"), **dict.fromkeys(exclusive, " noalias")}
        self._signature = ", ".join(f"{type.text}{marks.get(p, '')} %{p}" for p, type in parameters)
        self._lines: list[str] = []
        self._count = 0
        self._block = "entry"

    # Text

    def text(self) -> str:
        """The definition, ready to stand in a module."""
        linkage, inlining = ("internal ", "noinline ") if self._internal else ("", "")
        width = self._width
        vectors = f'"prefer-vector-width"="{width}" "min-legal-vector-width"="{width}" ' if width else ""
        result = self._result.text if self._result is not None else "void"
        marks = f'{inlining}nounwind {vectors}"tune-cpu"="{self.target.cpu}"'
        head = f"define {linkage}{result} @{self.name}({self._signature}) {marks} "
        return "\n".join([f"{head}{{", "entry:", *self._lines, "}", ""])

    def _name(self, prefix: str = "v") -> str:
        self._count += 1
        return f"{prefix}{self._count}"

    def _emit(self, line: str) -> None:
        self._lines.append(f"  {line}")

    def _define(self, type: Type, text: str) -> Register:
        name = self._name()
        self._emit(f"%{name} = {text}")
        return Register(type, f"%{name}")

    def _start(self, label: str) -> None:
        self._lines.append(f"{label}:")
        self._block = label

    # Control

    def return_(self, value: Register | None = None) -> None:
        self._emit("ret void" if value is None else f"ret {value}")

    def return_if(self, condition: Register, value: Register) -> None:
        """Return the value at once if the condition holds."""
        leaving, following = self._name("return"), self._name("after")
        self._emit(f"br i1 {condition.text}, label %{leaving}, label %{following}")
        self._start(leaving)
        self.return_(value)
        self._start(following)

    def loop(
        self,
        begin: Integer,
        end: Integer,
        body: Body,
        carried: Sequence[Register] = (),
        *,
        step: int = 1,
        runs: bool | None = None,
    ) -> Registers:
        """Run ``body`` for each index from ``begin`` up to, not including, ``end``.
        ``carried``: values at the start.
        ``runs``: whether it surely runs at least once; found out from constant bounds.
        Returns the carried values at the end."""
        begin, end = self.integer(begin), self.integer(end)
        if begin.constant is not None and end.constant is not None:
            if begin.constant >= end.constant:
                return tuple(carried)
            runs = True
            if end.constant - begin.constant <= step:
                return tuple(body(begin, tuple(carried)))
        if not runs:
            return self.if_(
                self.compare("slt", begin, end),
                lambda: self.loop(begin, end, body, carried, step=step, runs=True),
                lambda: carried,
            )
        label, following, before = self._name("loop"), self._name("after"), self._block
        self._emit(f"br label %{label}")
        self._start(label)
        start = len(self._lines)
        index = Register(I64, f"%{self._name()}")
        inside = tuple(Register(value.type, f"%{self._name()}") for value in carried)
        results = tuple(body(index, inside))
        following_index = self._define(I64, f"add nsw i64 {index.text}, {step}")
        last = self._block
        condition = self._define(I1, f"icmp slt i64 {following_index.text}, {end.text}")
        self._emit(f"br i1 {condition.text}, label %{label}, label %{following}")
        pairs = zip((index, *inside), (begin, *carried), (following_index, *results), strict=True)
        self._lines[start:start] = [
            f"  {phi.text} = phi {phi.type.text} [ {first.text}, %{before} ], [ {later.text}, %{last} ]"
            for phi, first, later in pairs
        ]
        self._start(following)
        return results

    def while_(
        self, carried: Sequence[Register], test: Callable[[Registers], Register], body: Callable[[Registers], Registers]
    ) -> Registers:
        """Run ``body`` as long as ``test`` holds of the carried values, which it changes; those at the end."""
        head, inner, following, before = self._name("while"), self._name("do"), self._name("after"), self._block
        self._emit(f"br label %{head}")
        self._start(head)
        start = len(self._lines)
        inside = tuple(Register(value.type, f"%{self._name()}") for value in carried)
        self._emit(f"br i1 {test(inside).text}, label %{inner}, label %{following}")
        self._start(inner)
        results = body(inside)
        self._emit(f"br label %{head}")
        self._lines[start:start] = [
            f"  {phi.text} = phi {phi.type.text} [ {first.text}, %{before} ], [ {later.text}, %{self._block} ]"
            for phi, first, later in zip(inside, carried, results, strict=True)
        ]
        self._start(following)
        return inside

    def each(self, begin: Integer, end: Integer, body: Callable[[Register], None], *, step: int = 1) -> None:
        """The same for a body that carries nothing."""

        def visit(index: Register, _: Registers) -> Registers:
            body(index)
            return ()

        self.loop(begin, end, visit, step=step)

    def in_steps(self, total: int, step: int, body: Callable[[Register, int], None]) -> None:
        """Run ``body`` for each ``step`` of so many, and for those that are left: with the first and their number."""
        whole = total // step * step
        self.each(0, whole, lambda first: body(first, step), step=step)
        if whole < total:
            body(self.integer(whole), total - whole)

    def of_part(self, index: Register, total: int, size: int, body: Callable[[int], None]) -> None:
        """Run ``body`` with how many of ``total`` are in part ``index``: ``size``, or in the last one what is left."""
        last = -(-total // size) - 1
        rest = total - last * size
        if rest == size or last == 0:
            body(rest)
        else:
            self.if_(self.compare("eq", index, last), lambda: body(rest), lambda: body(size))

    def if_(self, condition: Register, then: Branch, otherwise: Branch = tuple) -> Registers:
        """The values of the branch that is taken; the second one may do nothing."""
        if condition.constant is not None:
            return tuple((then() if condition.constant else otherwise()) or ())
        yes, no, following = self._name("then"), self._name("else"), self._name("end")
        self._emit(f"br i1 {condition.text}, label %{yes}, label %{no}")
        outcomes = []
        for label, branch in ((yes, then), (no, otherwise)):
            self._start(label)
            values = tuple(branch() or ())
            outcomes.append((values, self._block))
            self._emit(f"br label %{following}")
        self._start(following)
        (left, left_block), (right, right_block) = outcomes
        return tuple(
            self._define(a.type, f"phi {a.type.text} [ {a.text}, %{left_block} ], [ {b.text}, %{right_block} ]")
            for a, b in zip(left, right, strict=True)
        )

    def call(self, symbol: str, result: Type | None, arguments: Sequence[Register]) -> Register:
        """Call a function of the same module, or one that :meth:`declare` made known; poison if it returns nothing."""
        text = f"call {result.text if result else 'void'} @{symbol}({', '.join(map(str, arguments))})"
        if result is not None:
            return self._define(result, text)
        self._emit(text)
        return poison(I1)

    def declare(self, symbol: str, result: Type | None, parameters: Sequence[Type]) -> None:
        """Make an intrinsic or library function known to the module."""
        types = ", ".join(type.text for type in parameters)
        self.declarations[symbol] = f"declare {result.text if result else 'void'} @{symbol}({types})"

    def intrinsic(self, name: str, result: Type | None, arguments: Sequence[Register]) -> Register:
        """Call an intrinsic function under its full name, or one of another module."""
        self.declare(name, result, [argument.type for argument in arguments])
        return self.call(name, result, arguments)

    # Integers

    def integer(self, value: Integer, type: Type = I64) -> Register:
        return value if isinstance(value, Register) else constant(type, value)

    def add(self, a: Integer, b: Integer) -> Register:
        a, b = self.integer(a), self.integer(b)
        if a.constant == 0:
            return b
        return a if b.constant == 0 else self._integer("add nsw", operator.add, a, b)

    def subtract(self, a: Integer, b: Integer) -> Register:
        a, b = self.integer(a), self.integer(b)
        return a if b.constant == 0 else self._integer("sub nsw", operator.sub, a, b)

    def multiply(self, a: Integer, b: Integer) -> Register:
        a, b = self.integer(a), self.integer(b)
        if 0 in (a.constant, b.constant):
            return constant(I64, 0)
        if a.constant == 1:
            return b
        return a if b.constant == 1 else self._integer("mul nsw", operator.mul, a, b)

    def divide(self, a: Integer, by: int) -> Register:
        """Quotient of a non-negative number by a constant, towards zero."""
        a = self.integer(a)
        return a if by == 1 else self._integer("udiv", operator.floordiv, a, self.integer(by))

    def remainder(self, a: Integer, by: int) -> Register:
        """Remainder of a non-negative number by a constant."""
        if by == 1:
            return constant(I64, 0)
        return self._integer("urem", operator.mod, self.integer(a), self.integer(by))

    def _integer(self, instruction: str, compute: Callable[[int, int], int], a: Register, b: Register) -> Register:
        if a.constant is not None and b.constant is not None:
            return constant(I64, compute(a.constant, b.constant))
        return self._define(I64, f"{instruction} i64 {a.text}, {b.text}")

    def minimum(self, a: Integer, b: Integer) -> Register:
        return self._pick("slt", min, a, b)

    def maximum(self, a: Integer, b: Integer) -> Register:
        return self._pick("sgt", max, a, b)

    def _pick(self, relation: str, compute: Callable[[int, int], int], a: Integer, b: Integer) -> Register:
        a, b = self.integer(a), self.integer(b)
        if a.constant is not None and b.constant is not None:
            return constant(I64, compute(a.constant, b.constant))
        return self.select(self.compare(relation, a, b), a, b)

    # Operations lane by lane

    def binary(self, operation: str, a: Register, b: Register) -> Register:
        """An LLVM instruction of two equal types, such as ``fadd``, ``xor`` or ``shl``."""
        return self._define(a.type, f"{operation} {a.type.text} {a.text}, {b.text}")

    def compare(self, relation: str, a: Integer, b: Integer) -> Register:
        """``fcmp`` for floats, ``icmp`` for integers."""
        a = a if isinstance(a, Register) else self.integer(a, b.type if isinstance(b, Register) else I64)
        b = self.integer(b, a.type)
        operation = "fcmp" if a.type.is_float else "icmp"
        return self._define(a.type.as_scalar("i1"), f"{operation} {relation} {a.type.text} {a.text}, {b.text}")

    def select(self, condition: Register, a: Register, b: Register) -> Register:
        """``a`` where the condition holds, else ``b``."""
        return self._define(a.type, f"select {condition}, {a}, {b}")

    def convert(self, operation: str, a: Register, to: Type) -> Register:
        """``sitofp``, ``bitcast``, ``zext``, …"""
        return a if operation == "bitcast" and a.type == to else self._define(to, f"{operation} {a} to {to.text}")

    def negate(self, a: Register) -> Register:
        return self._define(a.type, f"fneg {a}")

    def fma(self, a: Register, b: Register, c: Register) -> Register:
        """a * b + c, rounded once where the target can."""
        if not self.target.has_fma:
            return self.binary("fadd", self.binary("fmul", a, b), c)
        return self.intrinsic(f"llvm.fma.{a.type.suffix}", a.type, [a, b, c])

    def unary_intrinsic(self, name: str, a: Register) -> Register:
        """``llvm.sqrt``, ``llvm.fabs``, …, without the suffix."""
        return self.intrinsic(f"llvm.{name}.{a.type.suffix}", a.type, [a])

    def larger(self, a: Register, b: Register) -> Register:
        """The larger of two floats; ``b`` where one is not a number."""
        return self.select(self.compare("ogt", a, b), a, b)

    def smaller(self, a: Register, b: Register) -> Register:
        """The smaller of two floats; ``b`` where one is not a number."""
        return self.select(self.compare("olt", a, b), a, b)

    # Vectors

    def splat(self, scalar: Register, lanes: int) -> Register:
        """A vector with the scalar in every lane."""
        if lanes == 1:
            return scalar
        type = scalar.type.of(lanes)
        first = self._define(type, f"insertelement {type.text} poison, {scalar}, i32 0")
        mask = zero(I32.of(lanes))
        return self._define(type, f"shufflevector {first}, {poison(type)}, {mask}")

    def shuffle(self, a: Register, b: Register, lanes: Sequence[int]) -> Register:
        """Lanes of the two vectors one after the other, by constant numbers."""
        mask = "<" + ", ".join(f"i32 {lane}" for lane in lanes) + ">"
        type = a.type.of(len(lanes))
        return self._define(type, f"shufflevector {a}, {b}, <{len(lanes)} x i32> {mask}")

    def extract(self, vector: Register, lane: Integer) -> Register:
        lane = self.integer(lane)
        return self._define(vector.type.element, f"extractelement {vector}, {lane}")

    def sum_of_lanes(self, vector: Register) -> Register:
        """The sum, added up in any order."""
        element = vector.type.element
        name = f"llvm.vector.reduce.fadd.{vector.type.suffix}"
        self.declare(name, element, [element, vector.type])
        start = constant(element, -0.0)
        return self._define(element, f"call reassoc {element.text} @{name}({start}, {vector})")

    def largest_of_lanes(self, vector: Register) -> Register:
        """The largest number, where all are some: LLVM's own reduction looks for NaN at each of its steps."""
        while (half := vector.type.lanes // 2) > 1:
            vector = self.larger(*(self.shuffle(vector, vector, range(i, i + half)) for i in (0, half)))
        return self.larger(self.extract(vector, 0), self.extract(vector, 1))

    def insert(self, vector: Register, scalar: Register, lane: int) -> Register:
        return self._define(vector.type, f"insertelement {vector}, {scalar}, i32 {lane}")
