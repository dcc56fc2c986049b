"""The one hierarchy of errors that users of Tilewright meet.

Standard library only, so that the runtime and the IR, which know nothing of each other, share one root.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypedDict, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

_SHOWN = 2000
"""Characters of each part of a message that are shown: what it quotes is as long as strangers like."""


def printable(text: str) -> str:
    """Escapes control characters, which names inside a model file may hold to play tricks with a terminal."""
    if all(map(str.isprintable, text.split("\n"))):
        return text
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def first_of(texts: Sequence[str], count: int = 3, between: str = ", ") -> str:
    """The first of many texts, and how many more there are."""
    return between.join(texts[:count]) + (f" and {len(texts) - count} more" if len(texts) > count else "")


def _legible(part: object) -> str:
    """A part of a message: printable, and without its middle where it is long."""
    text = str(part)
    if len(text) > _SHOWN:
        text = f"{text[: _SHOWN // 2]} … {text[-_SHOWN // 2 :]}"
    return printable(text)


_LONGEST_NAME = 200
"""Characters of a wrong name that are compared with known ones, which takes time for the product of both lengths."""


class ErrorRecord(TypedDict):
    """The fields of an error as texts, as shown, for programs.

    Attributes:
        type: the class, one of ``tilewright.errors`` or a subclass of these.
        text: the whole, as people read it.
        message: what went wrong.
        stage: the pass or stage that noticed it.
        op: the operator concerned.
        node: the name of the node in the source model.
        expected: what would have been right.
        found: what was there instead.
        hint: what can be done about it.
    """

    type: str
    text: str
    message: str
    stage: str | None
    op: str | None
    node: str | None
    expected: str | None
    found: str | None
    hint: str | None


class TilewrightError(Exception):
    """An error that names where it arose, what was expected, what was found and what to do.

    Each part is shown printable, and without its middle where it is long.

    Args:
        message: what went wrong, one sentence without a full stop at the end.
        stage: the pass or stage that noticed it, such as ``import`` or ``plan_cpu_memory``.
        op: the operator concerned.
        node: the name of the node in the source model.
        expected: what would have been right.
        found: what was there instead.
        hint: what the user can do about it, a sentence.
    """

    def __init__(
        self,
        message: str,
        *,
        stage: str | None = None,
        op: str | None = None,
        node: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(_legible(message))
        self.message = message
        self.stage = stage
        self.op = op
        self.node = node
        self.expected = expected
        self.found = found
        self.hint = hint

    def record(self) -> ErrorRecord:
        """The fields as texts, as shown, for programs: also the type of the error and its whole text."""
        parts = {name: getattr(self, name) for name in ("message", "stage", "op", "node", "expected", "found", "hint")}
        shown = {name: None if part is None else _legible(part) for name, part in parts.items()}
        return cast("ErrorRecord", {"type": type(self).__name__, "text": str(self), **shown})

    def __str__(self) -> str:
        where = (self.stage, self.op, f"node {self.node!r}" if self.node else None, self.message)
        text = ": ".join(_legible(part) for part in where if part)
        if self.expected is not None:
            text += f"; expected {_legible(self.expected)}"
        if self.found is not None:
            text += f"{',' if self.expected is not None else ';'} found {_legible(self.found)}"
        if self.hint:
            text += f"{'' if text.endswith('?') else '.'} {_legible(self.hint)}"
        return text


class UsageError(TilewrightError):
    """A command or call was put together wrongly (exit code 2)."""


class FailedCheckError(TilewrightError):
    """What a command was to check does not hold.

    Attributes:
        result: what it found, which the command prints or writes as if the check held.
    """

    def __init__(self, message: str, result: object = "", **parts: Any) -> None:
        super().__init__(message, **parts)
        self.result = result


class ModelError(TilewrightError):
    """The model file is damaged, inconsistent or not an ONNX model."""


class UnsupportedError(ModelError):
    """The model is valid but uses something that Tilewright does not implement (exit code 3 under ``--strict``)."""


class IRError(TilewrightError):
    """A module of the intermediate representation is wrong."""


class ParseError(IRError):
    """A textual module does not parse; the message ends with the line and a caret under what is wrong."""

    def __init__(self, message: str, *, line: int, column: int, text: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.text = text

    def __str__(self) -> str:
        # Of a long line a piece around the column.
        start = max(0, self.column - _SHOWN // 2) if len(self.text) > _SHOWN else 0
        shown = "".join(c if c.isprintable() else " " for c in self.text[start : start + _SHOWN])
        caret = " " * (self.column - 1 - start)
        where = f"{_legible(self.stage)}: " if self.stage else ""
        return f"{where}line {self.line}, column {self.column}: {_legible(self.message)}\n{shown}\n{caret}^"


class VerifyError(IRError):
    """A module breaks an invariant of the intermediate representation."""


class PassError(TilewrightError):
    """A pass failed, or broke what it declares about itself."""


class CodegenError(TilewrightError):
    """Code generation met something that it cannot express."""


class MachineError(TilewrightError):
    """A machine description is missing a field or is inconsistent, or a machine is not the one that a program was
    compiled for or has less than an option asks for."""


class InstructionError(TilewrightError):
    """A device instruction stream is malformed or unsafe."""


class ArtifactError(TilewrightError):
    """An artifact file is damaged, truncated or of another version."""


class TrustError(ArtifactError):
    """An artifact holds native code that this user does not trust, or a key cannot be relied on."""


class OutputError(TilewrightError):
    """A result cannot be written where it should go."""


class InputError(TilewrightError):
    """An inference input has the wrong name, shape or dtype, or a request is used wrongly."""


class CalibrationError(TilewrightError):
    """Calibration data is missing, empty, of the wrong shape, or not finite."""


class NoCalibrationError(CalibrationError):
    """A network in floating point cannot be quantised because no calibration data was given."""


class NothingToQuantizeError(CalibrationError):
    """Nothing in a network can be quantised; it can only stay in floating point."""


class RequestTimeoutError(TilewrightError, TimeoutError):
    """A request did not finish, or did not find room in the queue, within the time given."""


class RequestCancelledError(TilewrightError):
    """A request was cancelled before it ran, abandoned while it ran, or left behind in another process by a fork."""


class ResourceError(TilewrightError):
    """Something asks for more memory, work or nesting than the limits allow, or than this machine has."""


class TilewrightWarning(UserWarning):
    """What a user should know although the call went on, in one line."""


class KeyWarning(TilewrightWarning):
    """A key of this user cannot be used as it is."""


class RegenerationWarning(TilewrightWarning):
    """An artifact's native code is not used; its kernels are generated again, which takes seconds."""


class CalibrationWarning(TilewrightWarning):
    """Nothing tells the ranges of a network's values, which stay in floating point; or samples are not as they should
    be."""


class EncodingsWarning(TilewrightWarning):
    """Encodings are for tensors that the model lacks."""


class ClassesWarning(TilewrightWarning):
    """What a model says about classes is no tensor of numbers, such as their names; one stands in its place."""


class OperatorSetWarning(TilewrightWarning):
    """A model is of an operator set that is newer than what is known."""


def similar(name: str, known: Iterable[str], most: int = 1) -> str | None:
    """The question whether another name was meant, for a hint; None where no known one is like it."""
    # Late, because most programs make no such error.
    from difflib import get_close_matches

    close = get_close_matches(name[:_LONGEST_NAME], known, most, cutoff=0.7)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else None


def warn(message: str, category: type[TilewrightWarning]) -> None:
    """Issue a warning that Python shows with the line of the user's that led to it."""
    depth, frame = 1, sys._getframe()
    # Models put frames of pydantic between ours.
    between = (__package__, "pydantic")
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in between:
        depth, frame = depth + 1, frame.f_back
    warnings.warn(_legible(message), category, stacklevel=depth)


def resources(stage: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the door of a stage for what may run out anywhere behind it.

    Raises:
        ResourceError: memory ran out, nesting was too deep, or the interpreter ends and what it needs is not imported.
    """

    def guarded(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def inner(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except MemoryError as error:
                found = str(error) or None
                raise ResourceError("this machine does not have enough memory", stage=stage, found=found) from error
            except RecursionError as error:
                raise ResourceError("what it reads is nested too deeply", stage=stage) from error
            except ImportError as error:
                if not sys.is_finalizing():
                    raise
                hint = "Do it earlier, for example in a function for atexit."
                raise ResourceError("the interpreter ends and imports nothing more", stage=stage, hint=hint) from error

        return inner

    return guarded


def documented_as(
    kind: Callable[[str], TilewrightError], *known: type[Exception]
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the door of an API, which turns our errors into one that it documents, but for those it knows."""

    def guarded(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def inner(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except known:
                raise
            except TilewrightError as error:
                raise kind(str(error)) from error

        return inner

    return guarded
