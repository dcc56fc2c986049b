"""What every command prints with ``--json``: schemas, made of the types that the commands' functions are declared with.

One JSON Schema (2020-12) of everything for programs, and a page of tables for people.
"""

from __future__ import annotations

import json
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints, is_typeddict

from tilewright.runtime.commands import COMMANDS, GROUPS
from tilewright.runtime.commands.console import SCHEMA, Envelope
from tilewright.runtime.commands.parser import module_of
from tilewright.runtime.report.table import Column, Table

from .docstring import attributes, markdown, summary

Schema = dict[str, Any]

_NUMBER: Schema = {"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf", "nan"]}]}
_PLAIN: dict[Any, Schema] = {
    int: {"type": "integer"},
    float: _NUMBER,
    bool: {"type": "boolean"},
    str: {"type": "string"},
    type(None): {"type": "null"},
    object: {},
    Any: {},
}


@cache
def results(command: str) -> tuple[Any, ...]:
    """The types of what a command finds, without that of texts.

    Modules name them for type checkers alone, and import them late: so they are read again as these read them.
    """
    module = module_of(command)
    names: dict[str, Any] = {"__name__": module.__name__, "__package__": module.__package__}
    # In this module alone: others that are imported for the first time here may know each other by type only.
    source = Path(str(module.__file__)).read_text(encoding="utf-8").replace("if TYPE_CHECKING:", "if True:")
    exec(compile(source, str(module.__file__), "exec"), names)
    # Fields of classes that stand there are looked up in the module.
    vars(sys.modules[module.__name__]).update({k: v for k, v in names.items() if k not in vars(module)})
    found = get_type_hints(names["run"], names)["return"]
    return tuple(each for each in get_args(found) if each is not str)


class _Definitions:
    """Schemas of types, those of classes once, by their names."""

    def __init__(self) -> None:
        self.found: dict[str, Schema] = {}
        self.classes: dict[str, type] = {}

    def schema(self, hint: Any) -> Schema:
        """The schema of a type."""
        if hint in _PLAIN:
            return _PLAIN[hint]
        kind, arguments = get_origin(hint), get_args(hint)
        if kind is typing.Annotated:
            return self.schema(arguments[0])
        if kind in (Union, types.UnionType):
            return {"anyOf": [self.schema(each) for each in arguments]}
        if kind is typing.Literal:
            return {"enum": [*arguments]}
        if kind in (list, tuple, Sequence):
            return {"type": "array", "items": self.schema(arguments[0])}
        if kind in (dict, Mapping):
            return {"type": "object", "additionalProperties": self.schema(arguments[1])}
        name = hint.__name__
        if self.classes.setdefault(name, hint) is not hint and self.classes[name].__doc__ != hint.__doc__:
            raise ValueError(f"two classes are called {name}")
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._object(hint)
        return {"$ref": f"#/$defs/{name}"}

    def _object(self, cls: Any) -> Schema:
        properties = {}
        texts = texts_of(cls)
        for name, hint in members(cls).items():
            properties[name] = self.schema(hint)
            if name in texts:
                properties[name] = {**properties[name], "description": texts[name]}
        return {
            "type": "object",
            "description": summary(cls.__doc__),
            "properties": properties,
            "required": [*properties],
        }


def members(cls: Any) -> dict[str, Any]:
    """The fields of a dataclass, a named tuple or a typed dictionary with their types, in order."""
    hints = get_type_hints(cls, include_extras=False)
    if is_typeddict(cls):
        return hints
    names = [each.name for each in fields(cls)] if is_dataclass(cls) else cls._fields
    return {name: hints[name] for name in names}


def texts_of(cls: Any) -> dict[str, str]:
    """What docstrings say of fields."""
    found: dict[str, str] = {}
    bases = getattr(cls, "__orig_bases__", ()) if is_typeddict(cls) else cls.__mro__[1:]
    for base in (*reversed(bases), cls):
        found |= attributes(getattr(base, "__doc__", None))
    return found


def schema() -> Schema:
    """The schema of everything that is printed."""
    definitions = _Definitions()
    envelope = {name: definitions.schema(hint) for name, hint in members(Envelope).items()}
    by_command = []
    for command in COMMANDS:
        found = {"anyOf": [*(definitions.schema(each) for each in results(command)), {"type": "null"}]}
        by_command.append({"properties": {"command": {"const": command}, "result": found}})
    nothing = {"properties": {"command": {"type": "null"}, "result": {"type": "null"}}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What tilewright prints with --json",
        "type": "object",
        "properties": {**envelope, "schema": {"const": SCHEMA}},
        "required": [*envelope],
        "oneOf": [*by_command, nothing],
        "$defs": dict(sorted(definitions.found.items())),
    }


def schema_text() -> str:
    """The schema as a file."""
    return json.dumps(schema(), indent=1) + "\n"


def _spelled(hint: Any) -> str:
    """A type for people, with links to the tables of classes."""
    kind, arguments = get_origin(hint), get_args(hint)
    if kind is typing.Annotated:
        return _spelled(arguments[0])
    if kind in (Union, types.UnionType):
        return " or ".join(map(_spelled, arguments))
    if kind in (list, tuple, Sequence):
        return f"list of {_spelled(arguments[0])}"
    if kind in (dict, Mapping):
        return "object" if arguments[1] in (Any, object) else f"by name, {_spelled(arguments[1])}"
    plain = {int: "integer", float: "number", bool: "true or false", str: "text", type(None): "null"}
    if hint in plain or hint in (Any, object):
        return plain.get(hint, "anything")
    return f"[{hint.__name__}](#{hint.__name__.lower()})"


_HEAD = """\
# JSON

Made by `python tools/make_documents.py json` from the types that commands are declared with; do not edit.

With `--json` every command prints one JSON object to stdout, or writes it to the file behind (`--json found.json`):

| field | type | meaning |
|:--|:--|:--|
{envelope}

```sh
tilewright simulate resnet50.twa --json | jq .result.total.seconds
tilewright run missing.twa --random 1 --json | jq -r .error.hint
```

`schema` is {version}. It rises when a field goes or means something else; fields may be added any time. JSON has no
infinities and no NaN: they are the texts `inf`, `-inf` and `nan`. [json_schema.json](json_schema.json) says all of
this to programs, as JSON Schema. A command that writes its file to stdout (`-o -`) prints no JSON there.

"""


def document() -> str:
    """The page."""
    definitions = _Definitions()
    lines: list[str] = []
    table = Table([Column("command", "command"), Column("result", "result")])
    for command in (name for names in GROUPS.values() for name in names):
        for each in results(command):
            definitions.schema(each)
        table.add(command=f"`{command}`", result=" or ".join(map(_spelled, results(command))))
    lines += ["## Results", "", table.markdown()]
    rows = _rows(Envelope)
    classes = {**definitions.classes}
    for hint in members(Envelope).values():
        definitions.schema(hint)
    for name in sorted({**classes, **definitions.classes}):
        cls = definitions.classes[name]
        text = markdown(cls.__doc__, entry="Attributes", without="Attributes")
        lines += [f"### {name}", "", text, "", _rows(cls, head=True)]
    return _HEAD.format(envelope=rows.rstrip(), version=SCHEMA) + "\n".join(lines)


def _rows(cls: Any, *, head: bool = False) -> str:
    texts = texts_of(cls)
    table = Table([Column("field", "field"), Column("type", "type"), Column("text", "meaning")])
    for name, hint in members(cls).items():
        table.add(field=f"`{name}`", type=_spelled(hint), text=texts.get(name, ""))
    lines = table.markdown().splitlines()
    return "\n".join(lines if head else lines[2:]) + "\n"
