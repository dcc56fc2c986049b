"""What the calls of the Accelerator API raise: an exception that carries the documented return code."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from tilewright.errors import TilewrightError, TilewrightWarning

P = ParamSpec("P")
R = TypeVar("R")


class AcceleratorError(TilewrightError):
    """A call failed; ``code`` and ``args[0]`` are the documented return code, -1, and the text says what to do.

    Original: a plain ``Exception`` whose only argument is the code.
    """

    def __init__(self, message: str, **parts: Any) -> None:
        super().__init__(message, **parts)
        self.code = -1
        self.args = (self.code,)


class FlagWarning(TilewrightWarning):
    """A flag of the Accelerator API has no effect here."""


class SizeWarning(TilewrightWarning):
    """A size that was given for one of several inputs is not that of the model, which allows no other."""


class SaturationWarning(TilewrightWarning):
    """Numbers do not fit the number format of the device and are cut off; debug letter ``w`` asks for it."""


class ContainerError(AcceleratorError):
    """Images or results are no arrays; ``args[0]`` is the documented text."""

    def __init__(self, found: str) -> None:
        super().__init__("Input must be ndarray or tuple to ndarrays", found=found)
        self.args = (self.message,)


class InitError(AcceleratorError):
    """A network of the third generation could not be compiled or loaded; ``args[0]`` is the documented text."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Init failed: {reason}")
        self.args = ("Init failed",)


def _raising(kind: type[AcceleratorError] | type[InitError]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Have a method raise one kind of error, whatever it is that goes wrong."""

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @wraps(method)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return method(*args, **kwargs)
            except kind:
                raise
            except TilewrightError as error:
                raise kind(str(error)) from error

        return call

    return decorate


documented = _raising(AcceleratorError)
"""For methods: makes their errors those that the API documents."""

initialising = _raising(InitError)
"""For methods of the third generation that compile or load: makes their errors the one that says so."""
