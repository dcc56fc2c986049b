"""The one form of all that ``--json`` prints, results and errors."""

from __future__ import annotations

from typing import TypedDict

from tilewright.errors import ErrorRecord, TilewrightError

from .console import exit_code

SCHEMA = 1
"""The version of the form, and of the results of all commands: it rises when a field goes or means something else."""


class Failure(ErrorRecord):
    """Why a command failed.

    Attributes:
        exit_code: of the process.
    """

    exit_code: int


class Envelope(TypedDict):
    """What ``--json`` prints.

    Attributes:
        schema: the version of this form and of all results.
        command: whose result it is; nothing where there is no such command.
        result: what the command found; nothing where it failed before.
        error: why it failed; nothing where it did not. A check that does not hold has a result as well.
    """

    schema: int
    command: str | None
    result: object
    error: Failure | None


def enveloped(
    command: str | None, result: object = None, error: TilewrightError | None = None, *, strict: bool = False
) -> str:
    """A result, or an error, or both, as JSON; ``strict`` decides the exit code, as for `exit_code`."""
    from ..report.table import json_text

    failure = None if error is None else Failure(**error.record(), exit_code=int(exit_code(error, strict=strict)))
    return json_text(Envelope(schema=SCHEMA, command=command, result=result, error=failure))
