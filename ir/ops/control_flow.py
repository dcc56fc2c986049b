"""Branches and loops whose bodies are other functions of the module."""

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from tilewright.errors import InputError, IRError

from ..core import Value
from ..op import Operator, operator
from ..types import DType, ResultTypes, TensorType

COUNT = TensorType((), DType.I64)
"""Of a number of steps."""

CONDITION = TensorType((), DType.BOOL)
"""Of what decides."""

RunBody = Callable[[str, list[np.ndarray]], Sequence[np.ndarray]]
"""Results of the function of a name for these arguments."""


class Signature(NamedTuple):
    """What a body must take and return."""

    body: str
    parameters: tuple[TensorType, ...]
    results: tuple[TensorType, ...]


class ControlFlow(Operator[tuple[Value, ...]]):
    """Base of the operators that run functions of the module, their bodies.

    A body reads its parameters and constants of the module, nothing else: what it takes from around it is an operand.
    Bodies are never ``main``, and none contains itself. Result types are given with the op, since an operator knows no
    module; :func:`tilewright.ir.verify.verify` compares them with the bodies. What is quantised stays outside.

    There are no samples: an op means nothing without the module that holds its bodies."""

    GIVEN_RESULTS: ClassVar[bool] = True

    @property
    def bodies(self) -> tuple[str, ...]:
        """The names of the functions that it runs."""
        raise NotImplementedError(type(self).__name__)

    @property
    def given_from(self) -> int:
        """The first of the operands that bodies are given as they are. Bodies have parameters for all operands but one
        ahead of these, in their order."""
        raise NotImplementedError(type(self).__name__)

    def signatures(self, operands: Sequence[TensorType], results: ResultTypes) -> tuple[Signature, ...]:
        """What its bodies must take and return where it has these operands and results.
        Raises IRError: it cannot have them."""
        raise NotImplementedError(type(self).__name__)

    def run(self, body: RunBody, arrays: list[np.ndarray], results: ResultTypes) -> Sequence[np.ndarray]:
        """Its results: the reference."""
        raise NotImplementedError(type(self).__name__)


@operator("if")
class If(ControlFlow):
    """Run one of two functions.

    Operands: the condition, bool[], then the arguments of both functions. Results: those of the function that runs.
    ``then``: the function for a condition that holds.
    ``otherwise``: the function for one that does not."""

    then: str
    otherwise: str

    @property
    def bodies(self) -> tuple[str, ...]:
        return self.then, self.otherwise

    @property
    def given_from(self) -> int:
        return 1

    def signatures(self, operands: Sequence[TensorType], results: ResultTypes) -> tuple[Signature, ...]:
        _check_leading(operands, CONDITION)
        return tuple(Signature(body, tuple(operands[1:]), tuple(results)) for body in self.bodies)

    def run(self, body: RunBody, arrays: list[np.ndarray], results: ResultTypes) -> Sequence[np.ndarray]:
        return body(self.then if arrays[0] else self.otherwise, arrays[1:])


@operator("loop")
class Loop(ControlFlow):
    """Run a function again and again, on what it returned the time before.

    Operands: the most steps to take, i64[]; whether to take the first one, bool[]; the states at the beginning; then
    what every step is given as it is. The body takes the number of the step, i64[], from 0 on, the states and the
    others; it returns whether to take a further step, bool[], the states, and pieces.

    Results: the states at the end; for each piece all of them, one after the other along a new first dimension; how
    many steps were taken, i64[]. There is room for the pieces of as many steps as the first extent says; a further step
    is refused (`InputError`), and what no step filled is zero.
    ``body``: the function.
    ``states``: how many states there are."""

    body: str
    states: int

    @property
    def bodies(self) -> tuple[str, ...]:
        return (self.body,)

    @property
    def given_from(self) -> int:
        return 2 + self.states

    def signatures(self, operands: Sequence[TensorType], results: ResultTypes) -> tuple[Signature, ...]:
        _check_leading(operands, COUNT, CONDITION)
        states, stacked = tuple(operands[2 : 2 + self.states]), results[self.states : -1]
        is_whole = 0 <= self.states == len(states) and tuple(results[-1:]) == (COUNT,)
        if not is_whole or tuple(results[: self.states]) != states:
            expected = f"the {self.states} states as they are at the beginning, then pieces, then {COUNT}"
            raise IRError("a loop returns other types than its operands ask for", expected=expected, found=results)
        if any(not each.rank or each.shape[0] != stacked[0].shape[0] for each in stacked):
            raise IRError("what a loop stacks has room for as many steps each", found=", ".join(map(str, stacked)))
        pieces = (each.with_shape(each.shape[1:]) for each in stacked)
        return (Signature(self.body, (COUNT, *operands[2:]), (CONDITION, *states, *pieces)),)

    def run(self, body: RunBody, arrays: list[np.ndarray], results: ResultTypes) -> Sequence[np.ndarray]:
        most, going, states, others = (
            int(arrays[0]),
            bool(arrays[1]),
            arrays[2 : 2 + self.states],
            arrays[2 + self.states :],
        )
        stacked = [np.zeros(each.shape, each.dtype.numpy) for each in results[self.states : -1]]
        count = 0
        while going and count < most:
            if stacked and count == len(stacked[0]):
                raise InputError(
                    "the loop takes more steps than its results have room for",
                    op=self.name,
                    expected=f"at most {count}",
                )
            condition, *found = body(self.body, [np.asarray(count, np.int64), *states, *others])
            going, states = bool(condition), found[: self.states]
            for whole, piece in zip(stacked, found[self.states :], strict=True):
                whole[count] = piece
            count += 1
        return (*states, *stacked, np.asarray(count, np.int64))


def _check_leading(operands: Sequence[TensorType], *expected: TensorType) -> None:
    if tuple(operands[: len(expected)]) != expected:
        raise IRError("the first operands decide how often bodies run", expected=expected, found=operands)


@operator("refuse")
class Refuse(Operator[tuple[()]]):
    """End the run (`InputError`): what stands for a branch that does not fit the shapes of the network.

    It takes nothing; its results, which are never made, are of any types.
    ``why``: what is wrong, a sentence."""

    GIVEN_RESULTS: ClassVar[bool] = True

    why: str

    def reference(self) -> np.ndarray:
        raise InputError(self.why, op=self.name)
