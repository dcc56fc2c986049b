"""Why something does not go, before it is known which call is to say so."""

from __future__ import annotations

from tilewright.errors import TilewrightError

from .return_codes import ApiReturnCode


class Refusal(TilewrightError):
    """What a call, or the result of an inference that a later call receives, fails with.

    Attributes:
        code: the documented return code.
    """

    def __init__(
        self,
        code: ApiReturnCode,
        message: str,
        *,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, expected=expected, found=found, hint=hint)
        self.code = code
