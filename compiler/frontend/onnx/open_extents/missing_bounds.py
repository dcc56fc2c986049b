"""What users are told of tensors that decide extents and have no bound: all of them at once."""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import TypeVar
from warnings import catch_warnings

from tilewright.errors import TilewrightError, UnsupportedError

from .extents import Extents
from .intervals import Extent

EXAMPLE = 1000
"""How large a hint says that something can be."""

MOST = 16
"""Imports that look for further tensors."""

T = TypeVar("T")


def bound_hint(open: Extents, extent: Extent) -> str:
    """How a user says how large an extent can be, with a space behind; nothing where no tensor of the model decides.
    ``open`` notes which one does."""
    name = open.source(extent)
    if name is None:
        return ""
    open.unbounded[name] = None
    return _hint([name])


def _hint(names: Collection[str]) -> str:
    words = " ".join(f"--bound {name}={EXAMPLE}" for name in names)
    what, given = "it" if len(names) == 1 else "each", dict.fromkeys(names, EXAMPLE)
    return f"Say how large {what} can be, such as {words} (bounds={given} in Python). "


def asking_for_all(imported: Callable[[Mapping[str, int], dict[str, None]], T], bounds: Mapping[str, int]) -> T:
    """What an import with bounds makes, which puts the tensors that it misses a bound for into its second argument.
    Raises UnsupportedError: the first one is missing; the hint names those as well that only an import with a bound for
    it gets to."""
    unbounded: dict[str, None] = {}
    try:
        return imported(bounds, unbounded)
    except UnsupportedError as error:
        first = _hint([*unbounded])
        if unbounded and error.hint is not None and first in error.hint:
            for _ in range(MOST):
                known = len(unbounded)
                with suppress(TilewrightError), catch_warnings(record=True):
                    imported({**bounds, **dict.fromkeys(unbounded, EXAMPLE)}, unbounded)
                if len(unbounded) == known:
                    break
            error.hint = error.hint.replace(first, _hint([*unbounded]))
        raise
