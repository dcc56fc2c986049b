"""What the calls of the Inference Engine API raise: the types that programs catch, with texts that say what to do."""

import os
from numbers import Integral, Real
from typing import Any, TypeGuard, TypeVar

from tilewright.errors import TilewrightError, TilewrightWarning, documented_as

from .constants import StatusCode

ValueT = TypeVar("ValueT")


class InferenceEngineError(TilewrightError, RuntimeError):
    """A call failed; what was a C++ exception of the original.
    ``status``: the code that the C++ call returned; the text begins with its name in brackets, unless it is
    ``GENERAL_ERROR``."""

    def __init__(self, message: str, status: StatusCode = StatusCode.GENERAL_ERROR, **parts: Any) -> None:
        marker = "" if status is StatusCode.GENERAL_ERROR else f"[{status.name}] "
        super().__init__(f"{marker}{message}", **parts)
        self.status = status


class WrongValueError(TilewrightError, ValueError):
    """An argument has a value that it cannot have."""


class WrongTypeError(TilewrightError, TypeError):
    """An argument is of a type that it cannot have."""


class WrongAttributeError(TilewrightError, AttributeError):
    """A property or an entry cannot have this value, or is not there; programs expect an ``AttributeError``."""


class WrongSettingError(TilewrightError, AttributeError, ValueError):
    """A precision or a layout that is not known. Releases raised either of both types here."""


class WrongIndexError(TilewrightError, IndexError):
    """There is nothing of this number."""


class MissingFileError(TilewrightError, FileNotFoundError):
    """A file of the network is not there."""


class UnknownNameError(TilewrightError, KeyError, AssertionError):
    """Nothing has this name. Releases until 2018 raised ``KeyError`` here, later ones ``AssertionError``."""


class DeviceWarning(TilewrightWarning):
    """Layers or requests were given to a device that is not there, and run on another."""


documented = documented_as(
    InferenceEngineError, *(RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, OSError)
)
"""For methods: makes their errors those that the API documents."""


def checked(value: object, kind: type[ValueT] | tuple[type[ValueT], ...], text: str, expected: str) -> ValueT:
    """A value of a class, or of one of several. Raises WrongTypeError: it is of another one."""
    if not isinstance(value, kind):
        raise WrongTypeError(text, expected=expected, found=type(value).__name__)
    return value


def checked_text(value: object, what: str, example: str) -> str:
    """A name. Raises WrongTypeError: it is no text."""
    return checked(value, str, f"{what} is named by text", f"such as {example}")


def checked_path(value: object, what: str) -> str:
    """A path as text. Raises WrongTypeError: it is none."""
    return os.fsdecode(checked(value, (str, os.PathLike), f"{what} is named by its path", "a path"))


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is a whole number, of Python or of NumPy."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether a value is a real number and not NaN."""
    return isinstance(value, Real) and not isinstance(value, bool) and value == value


def is_empty(value: object) -> bool:
    """Whether a program left something out: None, or empty text."""
    return value is None or (isinstance(value, str) and not value)


def shown(value: object) -> str:
    """A value of a program for a message; what raises when it is asked how it looks is named by its type."""
    try:
        return f"{(int(value) if is_whole(value) else value)!r:.60}"
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"


def bare(value: object) -> str:
    """A value of a program for a message that has no quotes around it."""
    return shown(value).strip("'")
