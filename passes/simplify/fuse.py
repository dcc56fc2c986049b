"""Merge neighbours whose intermediate results need not reach memory."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ...ir.core import Module, Op, Value, is_op
from ...ir.ops.activation import Activation
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Elementwise
from ...ir.ops.fused import FusedElementwise, Step, fuse
from ...ir.ops.matmul import MatMul
from ..base import PLAIN, UNPLANNED, Pass, Record, erase_dead, merged_loc
from ..pattern import Driver, Match, Rule, node


class Fuse(Pass):
    """Epilogues first: an activation moves into the convolution or matrix product before it, and so does an addition
    of equal shapes, as its residual. Then what is left of elementwise ops joins into ``fused_elementwise``: an op
    joins the group of its readers if they all are in one group and results have equal shapes, so nothing is computed
    twice. Only floating-point epilogues; quantised ones change rounding.
    ``max_operands``, ``max_statements``: limits of one ``fused_elementwise``."""

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    max_operands: int = 8
    max_statements: int = 24

    def apply(self, module: Module, record: Record) -> bool:
        Driver(RULES).run(module, record)
        for function in module.functions.values():
            positions = {op: index for index, op in enumerate(function.ops)}
            for op in reversed(positions):
                if op.function is not None and _may_join(op):
                    self._fuse_into(_Group(op, positions), record)
        return record.counts.total() > 0

    def _fuse_into(self, group: "_Group", record: Record) -> None:
        """Fuse the root with the producers that only it, directly or not, reads."""

        def fits(candidate: Op) -> bool:
            size = sum(len(_steps(op)) for op in (*group.ops, candidate))
            operands = group.operands_with(candidate)
            return size <= self.max_statements and len(operands) <= self.max_operands

        while (candidate := next(filter(fits, group.candidates()), None)) is not None:
            group.ops.add(candidate)
        if len(group.ops) > 1:
            group.replace()
            record.counts["fused_elementwise"] += 1
            record.counts["elementwise op"] += len(group.ops)


# Epilogues


def _is_open(op: Op[Conv | MatMul]) -> bool:
    """Whether a convolution or matrix product has no activation yet."""
    return op.operator.act == "none"


def _takes_residual(op: Op[Conv | MatMul]) -> bool:
    return _is_open(op) and op.operands.residual is None


def _activation(found: Match[Activation]) -> Value:
    activation, linear = found.root.operator, found.op("linear", Conv, MatMul)
    fused = replace(linear.operator, act=activation.act, act_args=activation.act_args)
    return found.emit(fused, *linear.operands)


def _residual(found: Match) -> Value | None:
    linear = found.op("linear", Conv, MatMul)
    other = found["residual"]
    if other.type != linear.result.type:
        return None
    rival = other.producer
    # The later of two candidates takes the other, so that no operand has to live longer.
    if is_op(rival, Conv, MatMul) and len(other.uses) == 1 and _takes_residual(rival) and _stands_before(linear, rival):
        linear, other = rival, linear.result
    return found.emit(linear.operator, *linear.operands._replace(residual=other))


def _stands_before(first: Op, second: Op) -> bool:
    after_first, after_second = first.following(), second.following()
    while True:
        if next(after_first, None) is second:
            return True
        if next(after_second, None) is first:
            return False


RULES: tuple[Rule, ...] = (
    Rule(
        "residual",
        node(Add, node((Conv, MatMul), name="linear", where=_takes_residual), "residual", commutative=True),
        _residual,
    ),
    Rule("activation", node(Activation, node((Conv, MatMul), name="linear", where=_is_open)), _activation),
)
"""What convolutions and matrix products take over."""


# Elementwise ops


def _may_join(op: Op) -> bool:
    return isinstance(op.operator, Elementwise) and all(v.type.quant is None for v in (*op.inputs, *op.results))


class _Group:
    """Ops to become one: each is read by others of the group only, but for the root."""

    def __init__(self, root: Op, positions: dict[Op, int]) -> None:
        self.root = root
        self.ops = {root}
        self.positions = positions

    def candidates(self) -> Iterator[Op]:
        """Producers that may join."""
        producers = dict.fromkeys(
            v.producer for op in self._ordered(self.ops) for v in op.inputs if v.producer is not None
        )
        for producer in producers:
            if producer in self.ops or not _may_join(producer):
                continue
            shape = self.root.result.type.shape
            # No more is looked at than the first reader outside: a value may have very many.
            if producer.result.type.shape == shape and all(user in self.ops for user, _ in producer.result.uses):
                yield producer

    def operands_with(self, *more: Op) -> list[Value]:
        """What the group reads from outside, in order of first use."""
        members = {*self.ops, *more}
        reads = (value for op in self._ordered(members) for value in op.inputs)
        return list(dict.fromkeys(value for value in reads if value.producer not in members))

    def _ordered(self, members: Iterable[Op]) -> list[Op]:
        return sorted(members, key=self.positions.__getitem__)

    def replace(self) -> None:
        """Put the fused op where the root stands."""
        function = self.root.function
        assert function is not None
        ordered = self._ordered(self.ops)
        operands = self.operands_with()
        names = {value: f"a{index}" for index, value in enumerate(operands)}
        statements = []
        for op in ordered:
            local = [names[value] for value in op.inputs]
            for step in _steps(op):
                statements.append((step.operator, tuple(local[index] for index in step.arguments)))
                local.append(f"t{len(statements) - 1}")
            names[op.result] = local[-1]
        loc = merged_loc(ordered)
        root = self.root
        fused = Op(fuse(*statements), operands, names=[root.result.name], loc=loc, annotations=root.annotations)
        function.insert(fused, root)
        producers = [value.producer for value in root.inputs if value.producer is not None]
        root.replace_with(fused.result)
        for producer in producers:
            erase_dead(producer)


def _steps(op: Op) -> tuple[Step, ...]:
    inner = op.operator
    assert isinstance(inner, Elementwise)
    return inner.steps if isinstance(inner, FusedElementwise) else (Step(inner, tuple(range(len(op.inputs)))),)
