"""Shapes on the command line: how they are spelled, and which of those of an artifact they name."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tilewright.errors import UsageError
from tilewright.limits import SHAPES

from .console import tell

if TYPE_CHECKING:
    from ..artifact.artifact import Artifact

SPELLED = "NAME=1,3,224,224"


def add_input_shape(
    parser: argparse._ActionsContainer, models: str = "", default: str = "the first.", meant: str = "the one to show"
) -> None:
    """Declare the option ``--input-shape``, which chooses one of the shapes of an artifact.
    ``models``: a sentence on what it is for models, for a command that takes these, too.
    ``meant``: what the command does with the shape.
    ``default``: which shape is meant without it."""
    words = f"Of an artifact of several shapes, {meant}, by that of an input or by an open extent (batch=4)."
    parser.add_argument(
        "--input-shape", action="append", default=[], metavar=SPELLED, help=f"{models}{words} Default: {default}"
    )


def add_imported(parser: argparse._ActionsContainer) -> None:
    """Declare the options ``--freeze`` and ``--bound`` of commands that read models beside other files."""
    frozen = "Make an input of a model a constant: numbers with commas between them, true or false, or a .npy file."
    parser.add_argument("--freeze", action="append", default=[], metavar="NAME=VALUE", help=frozen)
    bound = "The most that an element of a tensor of a model can be, where the data decide an extent by it."
    parser.add_argument("--bound", action="append", default=[], metavar="NAME=N", help=bound)


def chosen_shape(arguments: argparse.Namespace, artifact: Artifact, default: Artifact | None = None) -> Artifact:
    """The artifact in the shape that ``--input-shape`` names, or by default in the first; says on stderr which it is,
    where there are several and none is named."""
    from ..execution.shapes import shape_named, shape_of

    given = one_given(arguments.input_shape)
    if given:
        return shape_named(artifact, given)
    views = artifact.in_shapes()
    chosen = default if default is not None else views[0]
    if len(views) > 1:
        what = f"of {len(views)} shapes, this is {shape_of(chosen)}; --input-shape {SPELLED} names another"
        tell("note", what, quiet=arguments.quiet)
    return chosen


def one_given(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The one shape that texts give, by name, or none.
    Raises UsageError: as `parse_input_shapes`, or there are several."""
    given = parse_input_shapes(texts)
    if not isinstance(given, dict):
        raise UsageError("only one shape can be chosen", found=" ".join(texts))
    return given


def parse_input_shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]] | list[dict[str, tuple[int, ...]]]:
    """Shapes by name from texts such as ``image=1,3,224,224``, ``batch=1,4`` and ``sequence=32..512/32``.
    Returns what was given; where a name was given several times, a list of the first, the second, … of each such name.
    Raises UsageError: a text is of another form; names are given several times, but not equally often."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for text in texts or ():
        name, _, extents = text.rpartition("=")
        try:
            parts = extents.replace("x", ",").split(",") if extents else []
            shape = tuple(extent for part in parts for extent in _extents(part))
        except ValueError:
            name, shape = "", ()
        if not name:
            raise UsageError("wrong --input-shape", expected="NAME=1,3,224,224 or NAME=32..512/32", found=text)
        found.setdefault(name, []).append(shape)
    count = max(map(len, found.values()), default=1)
    for name, shapes in found.items():
        if len(shapes) not in (1, count):
            expected = f"1 or {count}, as for others"
            raise UsageError(f"--input-shape {name}=… is given {len(shapes)} times", expected=expected)
    each = [{name: shapes[index % len(shapes)] for name, shapes in found.items()} for index in range(count)]
    return each if count > 1 else each[0]


def _extents(text: str) -> Sequence[int]:
    """The numbers of ``4``, ``1..4`` or ``32..512/32``; ValueError for others."""
    first, dots, last = text.partition("..")
    last, slash, step = last.partition("/")
    if not dots:
        return (int(text),)
    start, end, distance = int(first), int(last), int(step) if slash else 1
    if distance < 1 or not 0 <= (end - start) // distance < SHAPES:
        raise UsageError(f"{text} is no range", expected=f"FIRST..LAST/STEP, of 1 to {SHAPES} {SHAPES.what}")
    return range(start, end + 1, distance)


def parse_frozen(texts: Sequence[str] | None, flag: str = "--freeze", form: str = "NAME=VALUE") -> dict[str, str]:
    """Values by name from texts such as ``sr=16000``. Raises UsageError: a text is of another form."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, _, value = text.rpartition("=")
        if not name or not value:
            raise UsageError(f"wrong {flag}", expected=form, found=text)
        found[name] = value
    return found


def parse_bounds(texts: Sequence[str] | None) -> dict[str, int]:
    """Numbers by name from texts such as ``steps=500``. Raises UsageError: a text is of another form."""
    found = parse_frozen(texts, "--bound", "NAME=N")
    for name, number in found.items():
        if not number.isdecimal():
            raise UsageError("wrong --bound", expected="NAME=N, a whole number", found=f"{name}={number}")
    return {name: int(number) for name, number in found.items()}
