"""What a rule of the accelerator is: a small function whose docstring is what users read."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ...ir.core import Op, Value
from ...runtime.machines.machine import Machine


class Found(NamedTuple):
    """What breaks a rule.
    ``tensor``: the operand or result concerned.
    ``value``: what was found, to be read after the rule."""

    tensor: Value
    value: str


Rule = Callable[[Op[Any], Machine], "Found | None"]
"""``Op`` of the operators that it is a rule for."""


def text_of(rule: Rule) -> str:
    """The sentence of a rule, without its full stop."""
    return " ".join((rule.__doc__ or "").split()).rstrip(".")


def at_most(limit: int, sentence: str, numbers: Callable[[Op[Any]], tuple[int, ...]]) -> Rule:
    """The rule that says, in this sentence, that none of an op's ``numbers`` is larger than ``limit``."""

    def rule(op: Op[Any], machine: Machine) -> Found | None:
        found = numbers(op)
        return Found(op.result, listed(found)) if max(found) > limit else None

    rule.__doc__ = sentence
    return rule


def listed(numbers: tuple[int, ...]) -> str:
    """Numbers for a message: ``3 and 5``."""
    words = [str(number) for number in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
