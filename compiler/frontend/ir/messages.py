"""Errors that quote a file: what strangers write into files may be long, messages are to be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tilewright.errors import TilewrightError

SHOWN = 2000
"""Characters of each part of a message that are shown."""


@contextmanager
def readable_errors() -> Iterator[None]:
    """The door of whatever reads a document; also a decorator.

    Raises:
        TilewrightError: the one raised within, its parts without their middle where they are too long.
    """
    try:
        yield
    except TilewrightError as error:
        for part in ("message", "op", "node", "expected", "found", "hint"):
            whole = getattr(error, part)
            text = str(whole)
            if len(text) > SHOWN:
                setattr(error, part, f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}")
        error.args = (error.message,)
        raise
