"""Several elementwise operators as one, so that what lies between them never reaches memory."""

import re

import numpy as np

from tilewright.blocks import cached_property
from tilewright.errors import IRError
from tilewright.immutable import Immutable
from tilewright.limits import STATEMENTS

from ..core import Value
from ..op import Operator, QuantizationRule, operator
from ..text.printer import application
from ..text.statement import parse_statement
from ..types import TensorType
from .elementwise import Elementwise

_ARGUMENT = re.compile(r"([at])(0|[1-9][0-9]{0,8})\Z")


class Step(Immutable):
    """One statement of a body.
    ``operator``: what it computes.
    ``arguments``: positions in the list of all operands of the fused operator, then the results of all steps before."""

    operator: Elementwise
    arguments: tuple[int, ...]


@operator("fused_elementwise")
class FusedElementwise(Elementwise[tuple[Value, ...]]):
    """A straight line of elementwise operators.

    Operands: any tensors that broadcast. Result: that of the last statement.
    ``body``: statements in the textual form, such as ``t1 = clip(t0) {min=0x0.0p+0, max=0x1.8p+2}``. Statement i
    defines ``t<i>``; ``a<i>`` is operand i. Every operand and every result but the last is read, so each broadcasts to
    the shape of the result."""

    QUANTIZATION = QuantizationRule.NONE

    body: tuple[str, ...]

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The parsed body.
        Raises ParseError: a statement is malformed, or names an unknown operator or attribute; IRError: a statement is
        out of order, or applies something that is not elementwise."""
        if len(self.body) > STATEMENTS:
            raise IRError("the body is too long", expected=f"at most {STATEMENTS} statements", found=len(self.body))
        parsed = [parse_statement(text) for text in self.body]
        if not parsed:
            raise IRError("the body is empty")
        used = {name for _, _, arguments in parsed for name in arguments}
        unused = [f"t{i}" for i in range(len(parsed) - 1) if f"t{i}" not in used]
        # Of more operands than there are names, one is missing among the first.
        unused += [f"a{i}" for i in range(min(self.arity, len(used) + 1)) if f"a{i}" not in used]
        if unused:
            raise IRError("a value of the body is never read", found=unused[0])
        steps: list[Step] = []
        for index, (target, inner, names) in enumerate(parsed):
            text = self.body[index]
            if target != f"t{index}":
                raise IRError("a statement of the body defines another value", expected=f"t{index}", found=text)
            if not isinstance(inner, Elementwise) or isinstance(inner, FusedElementwise):
                raise IRError("the body takes elementwise operators only", found=text)
            if len(names) != inner.REQUIRED:
                raise IRError(f"{inner.name} takes another number of arguments", expected=inner.REQUIRED, found=text)
            steps.append(Step(inner, tuple(self._position(name, index, text) for name in names)))
        return tuple(steps)

    @cached_property
    def arity(self) -> int:
        """Number of operands that the body reads."""
        names = [name for text in self.body for name in parse_statement(text)[2]]
        matches = [_ARGUMENT.match(name) for name in names]
        return max((int(m.group(2)) + 1 for m in matches if m is not None and m.group(1) == "a"), default=0)

    def _position(self, name: str, index: int, text: str) -> int:
        match = _ARGUMENT.match(name)
        if match is None or (match.group(1) == "t" and int(match.group(2)) >= index):
            raise IRError("a statement of the body reads a value that is not defined before", found=f"{name} in {text}")
        return int(match.group(2)) + (self.arity if match.group(1) == "t" else 0)

    def step_types(self, operand_types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
        """Type of each step's result."""
        if len(operand_types) != self.arity:
            raise IRError("the body reads another number of operands", expected=self.arity, found=len(operand_types))
        types = list(operand_types)
        for step in self.steps:
            (result,) = step.operator.result_types([types[position] for position in step.arguments])
            types.append(result)
        return tuple(types[self.arity :])

    def infer(self, *operands: TensorType) -> TensorType:
        return self.step_types(operands)[-1]

    def reference(self, *operands: np.ndarray) -> np.ndarray:
        values = list(operands)
        for step, type in zip(self.steps, self.step_types(tuple(map(TensorType.of, operands))), strict=True):
            arguments = [values[position] for position in step.arguments]
            values += step.operator.evaluate(arguments, list(map(TensorType.of, arguments)), [type])
        return values[-1]


def fuse(*statements: tuple[Operator, tuple[str, ...]]) -> FusedElementwise:
    """The fused operator of these statements, each an operator with the names of its arguments."""
    return FusedElementwise(
        tuple(f"t{i} = {application(inner, ', '.join(names))}" for i, (inner, names) in enumerate(statements))
    )
