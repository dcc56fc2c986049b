"""Functions that take the fields of a dataclass as keywords."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
Options = TypeVar("Options")
Result = TypeVar("Result")


def with_keywords(options: Callable[P, Options]) -> Callable[[Callable[[Options], Result]], Callable[P, Result]]:
    """Give a function that takes an object of a dataclass the signature of that class instead, and its documentation.

    Args:
        options: the dataclass; its fields have a ``documentation`` in their metadata.
    """
    signature = inspect.signature(options)
    helps = _helps(options)

    def decorate(function: Callable[[Options], Result]) -> Callable[P, Result]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            return function(options(*args, **kwargs))

        lines = [
            textwrap.fill(f"{name}: {helps[name]}", 112, subsequent_indent="    ") for name in signature.parameters
        ]
        arguments = textwrap.indent("\n".join(lines), "    ")
        call.__doc__ = f"{inspect.getdoc(function)}\n\nArgs:\n{arguments}\n"
        call.__dict__["__signature__"] = signature.replace(
            return_annotation=inspect.signature(function).return_annotation
        )
        return call

    return decorate


def _helps(options: object) -> dict[str, str]:
    assert dataclasses.is_dataclass(options)
    return {each.name: each.metadata["documentation"] for each in dataclasses.fields(options)}
