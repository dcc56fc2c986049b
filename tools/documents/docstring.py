"""Docstrings and signatures as Markdown."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator

_SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):$")
_TITLES = {"Args": "Arguments", "Raises": "Errors"}
_ENTRY = re.compile(r"^(Raises (?=\w+: )|(?=``\w+``: ))(.+(?:\n(?!Raises \w+: |``\w+``: ).+)*)", re.MULTILINE)
_NEXT_ERROR = re.compile(r"; (?=\w+(?:Error|Exception): )")
_ITEM = re.compile(r"(\*{0,2}\w[\w., ]*?): (.*)", re.DOTALL)
_ORIGINAL = "Original:"


def markdown(docstring: str | None, *, entry: str = "Args", without: str = "") -> str:
    """A docstring as Markdown: its sections as lists, one of them left out perhaps; what the original does marked.
    ``entry``: the section that what its text says of one name is of."""
    blocks = _blocks(_sectioned(docstring, entry))
    return "\n\n".join(_block(block) for block in blocks if not without or not block.startswith(f"{without}:\n"))


def summary(docstring: str | None) -> str:
    """The first paragraph, on one line."""
    return _code(" ".join(_sectioned(docstring).split("\n\n")[0].split()))


def attributes(docstring: str | None) -> dict[str, str]:
    """What a docstring says of each attribute."""
    for block in _blocks(_sectioned(docstring, "Attributes")):
        if block.startswith("Attributes:"):
            return {name: _code(text) for names, text in _items(block) for name in names}
    return {}


def signature(function: Callable[..., object], *, method: bool = False) -> str:
    """The parameters and what is returned, with types and defaults as they are written."""
    found = inspect.signature(function)
    parameters = [each.replace(annotation=_plain(each.annotation)) for each in found.parameters.values()]
    return str(found.replace(parameters=parameters[method:], return_annotation=_plain(found.return_annotation)))


class _Plain(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _plain(annotation: object) -> object:
    return _Plain(annotation) if isinstance(annotation, str) else annotation


def _sectioned(docstring: str | None, title: str = "Args") -> str:
    """A docstring in which what its text ends with, an argument or an attribute and errors, stands in sections."""

    def section(match: re.Match[str]) -> str:
        entry = " ".join(match[2].split())
        items = _NEXT_ERROR.split(entry) if match[1] else [entry.replace("``", "", 2)]
        return "\n".join(["", f"{'Raises' if match[1] else title}:", *(f"    {each}" for each in items)])

    return _ENTRY.sub(section, inspect.cleandoc(docstring or ""))


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs; a section, whose items may have paragraphs of their own, is one, and so is code with empty lines."""
    block: list[str] = []
    for line in text.split("\n"):
        whole = bool(block) and (_SECTION.match(block[0]) is not None or block[0].startswith("    "))
        ends = line and not line.startswith(" ") if whole else not line
        if ends and block:
            yield "\n".join(block).rstrip()
            block = []
        if line or block:
            block.append(line)
    if block:
        yield "\n".join(block).rstrip()


def _block(block: str) -> str:
    if not _SECTION.match(block.split("\n")[0]):
        text = _code(block)
        if text.startswith(_ORIGINAL):
            return f"*{_ORIGINAL}*{text.removeprefix(_ORIGINAL)}"
        return _verbatim(text)
    title = block.partition(":")[0]
    lines = [f"{_TITLES.get(title, title)}:", ""]
    for names, text in _items(block):
        shown = ", ".join(f"`{name}`" for name in names)
        lines.append(f"- {shown}: {_code(text)}" if names else f"- {_code(text)}")
    return "\n".join(lines)


def _items(block: str) -> Iterator[tuple[list[str], str]]:
    """The names and the text of each item of a section; no names where it has paragraphs instead of items."""
    heading, _, body = block.partition("\n")
    has_items = not heading.startswith(("Returns", "Yields"))
    for item in re.split(r"\n(?=\S)" if has_items else r"\n\n", textwrap.dedent(body)):
        joined = " ".join(item.split())
        match = _ITEM.fullmatch(joined) if has_items else None
        if match:
            yield [name.strip() for name in match[1].split(",")], match[2]
        else:
            yield [], joined


def _verbatim(text: str) -> str:
    """Blocks that a docstring indents are code, in Python where they begin so."""
    if not text.startswith("    "):
        return text
    language = "python" if text.startswith("    import ") else ""
    return f"```{language}\n{textwrap.dedent(text)}\n```"


def _code(text: str) -> str:
    return text.replace("``", "`")
