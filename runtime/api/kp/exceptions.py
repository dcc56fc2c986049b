"""The exceptions of the API."""

from __future__ import annotations

from tilewright.errors import InputError

from .return_codes import ApiReturnCode


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


__all__ = ["ApiException", "ApiKPException"]
