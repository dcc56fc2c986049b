"""The exceptions of the API, and the one way in which its functions fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from tilewright.errors import InputError, TilewrightError

from .enums import ApiReturnCode

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class ApiException(Exception):
    """A function of the API failed.

    Attributes:
        api_return_code: why, as a number with a name.
        function_name: which.
        result: what it would have returned; always None here.
        reason: what happened and what to do about it, which the original does not tell; it ends the text.
    """

    def __init__(
        self, api_return_code: ApiReturnCode, function_name: str, result: object = None, *, reason: str = ""
    ) -> None:
        super().__init__(api_return_code, function_name, result)
        self.api_return_code = ApiReturnCode(api_return_code)
        self.function_name = function_name
        self.result = result
        self.reason = reason

    def __str__(self) -> str:
        code = self.api_return_code
        text = f"Error raised in function: {self.function_name}. Error code: {code.value}. Description: {code}"
        return f"{text}. {self.reason}" if self.reason else text


class ApiKPException(ApiException):
    """What the functions of ``kp.core`` and ``kp.inference`` raise."""


class MemberTypeError(InputError, TypeError):
    """An attribute of a value is set to an object of the wrong type."""


class MemberValueError(InputError, ValueError):
    """An attribute of a value is set to what it cannot be."""


class Refusal(TilewrightError):
    """What a call, or the result of an inference that a later call receives, fails with; not yet known is which call.
    ``code``: the documented return code."""

    def __init__(self, code: ApiReturnCode, message: str, **parts: Any) -> None:
        super().__init__(message, **parts)
        self.code = code


def wrong(name: str, expected: str, found: object) -> Refusal:
    """The refusal of an argument."""
    code = ApiReturnCode.KP_ERROR_INVALID_PARAM_12
    return Refusal(code, f"{name} is wrong", expected=expected, found=f"{found!r:.80}")


def instance(name: str, value: object, kind: type[T]) -> T:
    """An argument that is an instance of a class. Raises Refusal: `KP_ERROR_INVALID_PARAM_12`."""
    if not isinstance(value, kind):
        raise wrong(name, kind.__name__, type(value).__name__)
    return value


def documented(function: Callable[P, R]) -> Callable[P, R]:
    """Make the errors of a function those that the API documents."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        name = getattr(function, "__name__", "")
        try:
            return function(*args, **kwargs)
        except Refusal as error:
            raise ApiKPException(error.code, name, reason=str(error)) from error
        except TilewrightError as error:
            raise ApiKPException(ApiReturnCode.KP_ERROR_INVALID_PARAM_12, name, reason=str(error)) from error
        except MemoryError as error:
            code = ApiReturnCode.KP_ERROR_MEMORY_ALLOCATION_FAILURE_9
            raise ApiKPException(code, name, reason="this machine does not have enough memory") from error

    return call


__all__ = ["ApiException", "ApiKPException"]
