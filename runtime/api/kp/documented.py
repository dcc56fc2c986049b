"""The one way in which functions of the API fail."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from tilewright.errors import TilewrightError

from .exceptions import ApiKPException
from .refusal import Refusal
from .return_codes import ApiReturnCode

P = ParamSpec("P")
R = TypeVar("R")


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
