"""Reading affinity files: which ops the user wants on the device and which on the CPU."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Union, cast

from tilewright.errors import InputError, ParseError, UsageError
from tilewright.limits import AFFINITY

from ..passes.placement.partition import PLACES, Affinity
from ..runtime.artifact.json_dataclasses import plain
from ..runtime.files.input_file import contents

AffinitySource = Union[Sequence[tuple[str, str]], Mapping[str, str], str, "os.PathLike[str]"]
"""What users may give: pairs, a mapping, or the path of a file."""

# A name, in quotes if it holds an equals sign, and a place; in each position one way to go on, for time is linear then.
_ENTRY = re.compile(r"""("(?:\\.|[^"\\])*"\s*|[^"=][^=]*|)=\s*(.*)""")
_LINE_END = re.compile("\r\n?|\n")


def read_affinity(path: str | os.PathLike[str]) -> Affinity:
    """The affinity that a file states.

    The file is a JSON object ``{"Conv_0": "cpu"}``, or has lines ``Conv_0 = cpu``, where ``#`` starts a comment at
    the beginning of a line or after a space. A name with ``=`` in it is written in double quotes. Places are
    ``device`` and ``cpu``, in any case.
    Raises InputError: the file cannot be read; ParseError: with line and column: neither form, an unknown place, or a
    name given twice."""
    name = os.fspath(path)
    try:
        text = contents(name, AFFINITY, f"the affinity file {name!r}").decode()
    except UnicodeDecodeError:
        raise InputError(f"cannot read the affinity file {name!r}: it is not text in UTF-8") from None
    try:
        return parse_affinity(text)
    except ParseError as error:
        error.message = f"affinity file {name!r}: {error.message}"
        raise


def parse_affinity(text: str) -> Affinity:
    """As :func:`read_affinity`, from the contents of the file."""
    return _parse_json(text) if text.lstrip().startswith("{") else _parse_lines(text)


def affinity_of(source: AffinitySource) -> Affinity:
    """As :func:`read_affinity`, from a file, a mapping or pairs. Raises UsageError: a place is unknown."""
    if isinstance(source, (str, os.PathLike)):
        return read_affinity(source)
    try:
        entries = dict(source)
    except (TypeError, ValueError):
        expected = "pairs of a name and a place"
        raise UsageError("wrong affinity", expected=expected, found=f"{source!r:.60}") from None
    for name, place in entries.items():
        if str(place).lower() not in PLACES:
            raise UsageError(f"unknown place for {name!r}", expected=" or ".join(PLACES), found=place)
    return tuple((name, str(place).lower()) for name, place in entries.items())


def _error(message: str, text: str, line: int, column: int = 1) -> ParseError:
    lines = _lines(text)
    return ParseError(message, line=line, column=column, text=lines[min(line, len(lines)) - 1])


def _lines(text: str) -> list[str]:
    """Lines as files have them; names may hold more of what ``splitlines`` takes for their ends."""
    return _LINE_END.split(text)


def _parse_json(text: str) -> Affinity:
    try:
        entries = cast("list[tuple[str, object]]", plain(text, list))
    except json.JSONDecodeError as error:
        raise _error(f"not JSON: {error.msg}", text, error.lineno, error.colno) from None
    except ValueError as error:
        raise _error(f"not JSON: {error}", text, 1) from None
    found: dict[str, str] = {}
    for name, place in entries:
        if name in found:
            raise _error(f"{name!r} is given twice", text, *_position_of(text, name, found))
        if not isinstance(place, str) or place.lower() not in PLACES:
            what = "a list or an object" if isinstance(place, list) else json.dumps(place)
            message = f"expected device or cpu for {name!r}, found {what}"
            raise _error(message, text, *_position_of(text, name, found))
        found[name] = place.lower()
    return tuple(found.items())


def _position_of(text: str, name: str, before: Mapping[str, str]) -> tuple[int, int]:
    """Line and column of a key: of its second occurrence if it was there before."""
    spellings = "|".join({re.escape(json.dumps(name)), re.escape(json.dumps(name, ensure_ascii=False))})
    starts = [match.start() for match in re.finditer(rf"(?:{spellings})\s*:", text)] if len(name) < 1000 else []
    offset = starts[min(int(name in before), len(starts) - 1)] if starts else 0
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


def _parse_lines(text: str) -> Affinity:
    found: dict[str, str] = {}
    for number, line in enumerate(_lines(text), 1):
        content = "" if line.lstrip().startswith("#") else line.partition(" #")[0].rstrip()
        if not content:
            continue
        start = len(content) - len(content.lstrip()) + 1
        content = content.lstrip()
        entry = _ENTRY.fullmatch(content)
        if entry is None:
            raise _error("expected NAME = device or NAME = cpu", text, number, start)
        try:
            name = json.loads(entry[1].rstrip()) if entry[1].startswith('"') else entry[1].rstrip()
        except ValueError:
            raise _error("malformed name", text, number, start) from None
        if not name:
            raise _error("expected a name before '='", text, number, start)
        if entry[2].lower() not in PLACES:
            message = f"expected device or cpu for {name!r}, found {entry[2]!r}"
            raise _error(message, text, number, start + entry.start(2))
        if name in found:
            raise _error(f"{name!r} is given twice", text, number, start)
        found[name] = entry[2].lower()
    return tuple(found.items())
