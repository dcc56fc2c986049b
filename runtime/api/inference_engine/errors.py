"""What the calls of the Inference Engine API raise: the types that programs catch, with texts that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from tilewright.errors import TilewrightError, TilewrightWarning

from .status import StatusCode

P = ParamSpec("P")
R = TypeVar("R")


class InferenceEngineError(TilewrightError, RuntimeError):
    """A call failed; what was a C++ exception of the original.

    Attributes:
        status: the code that the C++ call returned; the text begins with its name in brackets, unless it is
            ``GENERAL_ERROR``.
    """

    def __init__(
        self,
        message: str,
        status: StatusCode = StatusCode.GENERAL_ERROR,
        *,
        node: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        marker = "" if status is StatusCode.GENERAL_ERROR else f"[{status.name}] "
        super().__init__(f"{marker}{message}", node=node, expected=expected, found=found, hint=hint)
        self.status = status


class WrongValueError(TilewrightError, ValueError):
    """An argument has a value that it cannot have."""


class WrongTypeError(TilewrightError, TypeError):
    """An argument is of a type that it cannot have."""


class WrongAttributeError(TilewrightError, AttributeError):
    """A property or an entry cannot have this value, or is not there; programs expect an ``AttributeError``."""


class WrongSettingError(TilewrightError, AttributeError, ValueError):
    """A precision or a layout that is not known. Releases raised either of both types here."""


class MissingFileError(TilewrightError, FileNotFoundError):
    """A file of the network is not there."""


class UnknownNameError(TilewrightError, KeyError, AssertionError):
    """Nothing has this name. Releases until 2018 raised ``KeyError`` here, later ones ``AssertionError``."""


class DeviceWarning(TilewrightWarning):
    """Layers were given to a device that is not there, and run on another."""


class FunctionWarning(TilewrightWarning):
    """Something that a program asks for has no effect here."""


def documented(method: Callable[P, R]) -> Callable[P, R]:
    """Make the errors of a method those that the API documents."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(*args, **kwargs)
        except (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, OSError):
            raise
        except TilewrightError as error:
            raise InferenceEngineError(str(error)) from error

    return call
