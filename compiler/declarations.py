"""Options as fields of dataclasses: what declares one, checks one, and makes keywords of them."""

import inspect
import operator
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import Field, field, fields
from functools import wraps
from typing import Any, ParamSpec, SupportsFloat, SupportsIndex, TypeVar, cast

from tilewright.errors import UsageError, similar

T = TypeVar("T")
P = ParamSpec("P")
Keywords = TypeVar("Keywords")
Result = TypeVar("Result")

_CLASSES: dict[str, type] = {"str": str, "bytes": bytes, "Mapping": Mapping, "Sequence": Sequence, "None": type(None)}
"""By type hint, without what stands in brackets. Other classes are known by name, so as not to be imported for it."""

_LATER = ("Source", "Declaration", "GivenShapes")
"""Hints of options that are checked by what reads them."""


def check_type(name: str, value: object, hints: str) -> Any:
    """An argument, refused if it has the wrong type, which type checkers know but programs may not.
    Returns it as it is, but what stands for a number, such as NumPy's, as ``int`` or ``float``.
    Raises UsageError: names the argument."""
    for hint in hints.split(" | "):
        with suppress(TypeError, ValueError, OverflowError):
            if hint == "int":
                return int(operator.index(cast("SupportsIndex", value)))
            if hint == "float" and hasattr(value, "__float__"):
                return float(cast("SupportsFloat", value))
        if _fits(value, hint):
            return bool(value) if hint == "bool" else value
    found = f"{type(value).__name__} {value!r:.60}"
    raise UsageError(f"option {name!r} has the wrong type", expected=hints, found=found)


def _fits(value: object, hint: str) -> bool:
    base, _, inner = hint.partition("[")
    if base in _LATER:
        return True
    if base in ("ProgressReport", "Shares"):
        return callable(value)
    if base == "Sequence" and isinstance(value, (list, tuple, str)):
        return not isinstance(value, str) and all(_fits(each, inner[:-1]) for each in value)
    if base == "os.PathLike":
        # Those of bytes, as os.scandir(b".") gives them, are none that Python's paths take.
        return isinstance(value, os.PathLike) and isinstance(os.fspath(value), str)
    if base in _CLASSES:
        return isinstance(value, _CLASSES[base])
    return base in (each.__name__ for each in type(value).__mro__)


def option(
    default: T,
    help: str,
    *,
    group: str | None = None,
    metavar: str | None = None,
    flag: str | None = None,
    choices: Sequence[str | int] = (),
    repeatable: bool = False,
    needs: str | None = None,
    in_python: str = "",
) -> T:
    """Declare an option: a dataclass field with what documentation and command line must know beside its name.

    Args:
        group: under which heading the help of the command lists it; without one the command does not take it.
        metavar: what stands for the value there.
        flag: how the command spells the option, if not as its name with dashes.
        repeatable: whether the command takes it several times.
        in_python: what ``help`` leaves out because it concerns programs alone.
        needs: ``int8`` for an option of that precision alone, ``calibration`` for one that goes with such data.
    """
    known = {"help": help, "group": group, "metavar": metavar, "flag": flag, "choices": choices, "needs": needs}
    documentation = f"{help} {in_python}"
    return field(default=default, metadata={**known, "repeatable": repeatable, "documentation": documentation})


def flag_of(declared: Field) -> str:
    """The flag of an option on the command line."""
    return declared.metadata["flag"] or f"--{declared.name.replace('_', '-')}"


def with_keywords(
    options: Callable[P, Keywords], name: str
) -> Callable[[Callable[[Keywords], Result]], Callable[P, Result]]:
    """Give a function that takes an object of a dataclass the signature of that class instead, and its documentation.
    ``options``: the dataclass; its fields have a ``documentation`` in their metadata.
    ``name``: what users call the function, for messages."""
    signature = inspect.signature(options)
    assert all(isinstance(each.type, str) for each in fields(cast("Any", options))), "check_type takes hints as texts"
    helps = {each.name: each.metadata["documentation"] for each in fields(cast("Any", options))}

    def decorate(function: Callable[[Keywords], Result]) -> Callable[P, Result]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                unknown = next((each for each in kwargs if each not in signature.parameters), "")
                hint = similar(unknown, signature.parameters) or ("Give options by name." if len(args) > 1 else "")
                raise TypeError(f"{name}() {error}{f'. {hint}' if hint else ''}") from None
            return function(options(*args, **kwargs))

        lines = [textwrap.fill(f"{key}: {helps[key]}", 112, subsequent_indent="    ") for key in signature.parameters]
        arguments = textwrap.indent("\n".join(lines), "    ")
        call.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n{arguments}\n"
        call.__dict__["__signature__"] = signature.replace(
            return_annotation=inspect.signature(function).return_annotation
        )
        return call

    return decorate
