"""What a module offers, as sections of a page."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from types import ModuleType
from typing import Protocol

from tilewright.runtime.report.table import Column, Table

from .docstring import attributes, markdown, signature


def sections(module: ModuleType, documented: set[int]) -> Iterator[str]:
    """A section for each class and function in ``__all__``, a table of the constants, and none twice on a page."""
    members = {name: getattr(module, name) for name in getattr(module, "__all__", ())}
    shown = {name: each for name, each in members.items() if not inspect.ismodule(each) and id(each) not in documented}
    documented.update(id(each) for each in shown.values() if callable(each))
    classes = {name: each for name, each in shown.items() if inspect.isclass(each)}
    functions = {name: each for name, each in shown.items() if inspect.isroutine(each)}
    constants = {name: each for name, each in shown.items() if name not in classes and name not in functions}
    for name, each in classes.items():
        yield from _class(name, each, classes, functions)
    for name, each in functions.items():
        yield f"### `{name}{signature(each)}`\n\n{markdown(each.__doc__)}"
    if constants:
        yield _constants("constant", {name: repr(value) for name, value in constants.items()})


def _constants(title: str, values: Mapping[str, str]) -> str:
    table = Table([Column("name", title), Column("value", "value")])
    for name, value in values.items():
        table.add(name=f"`{name}`", value=f"`{value}`")
    return table.markdown().rstrip()


def _class(name: str, cls: type, others: Mapping[str, type], functions: Mapping[str, object]) -> Iterator[str]:
    if name != cls.__name__:
        yield f"### `{name}`\n\nAnother name of `{cls.__name__}`."
        return
    fields = getattr(cls, "model_fields", None)
    table = _fields(cls, fields) if fields is not None else _members(cls)
    given = "" if table or "__init__" not in _own(cls, others) else signature(cls)
    parts = [f"### class `{name}{given.partition(' -> ')[0]}`"]
    parts += [markdown(cls.__doc__, entry="Attributes", without="Attributes" if table else ""), table]
    bases = [f"`{base}`" for base, each in others.items() if each is not cls and issubclass(cls, each)]
    if bases:
        parts.append(f"With all of {', '.join(bases)}.")
    if issubclass(cls, Enum):
        parts.append(_constants("member", {each: str(value.value) for each, value in cls.__members__.items()}))
    constructor = _own(cls, others).get("__init__")
    if constructor is not None and constructor.__doc__:
        parts.append(markdown(constructor.__doc__))
    for member, value in _own(cls, others).items():
        if member.startswith("_") or not value.__doc__:
            continue
        function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        if function is functions.get(member):
            parts.append(f"#### `{name}.{member}`\n\nThe function `{member}`.")
        elif isinstance(value, property) and (first := getattr(value.fget, "__name__", member)) != member:
            parts.append(f"#### `{name}.{member}`\n\nAnother name of `{first}`.")
        elif isinstance(value, property):
            parts.append(f"#### `{name}.{member}`\n\n{markdown(value.__doc__)}")
        elif inspect.isfunction(function) and function.__name__ != member:
            parts.append(f"#### `{name}.{member}`\n\nAnother name of `{function.__name__}`.")
        elif inspect.isfunction(function):
            bound = not isinstance(value, staticmethod)
            parts.append(f"#### `{name}.{member}{signature(function, method=bound)}`\n\n{markdown(function.__doc__)}")
    yield "\n\n".join(part for part in parts if part)


def _own(cls: type, others: Mapping[str, type]) -> dict[str, object]:
    """The members of a class, and of those bases of ours that no section tells of; the nearest definition of each."""
    elsewhere = {base for each in others.values() if each is not cls and issubclass(cls, each) for base in each.__mro__}
    found: dict[str, object] = {}
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] == "tilewright" and base not in elsewhere:
            found = {**found, **{name: value for name, value in vars(base).items() if name not in found}}
    return found


def _members(cls: type) -> str:
    """The attributes that a class declares as members, in the order in which its constructor takes them."""
    declared = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
    types = {each.name: _MEMBER.fullmatch(str(each.type)) for each in declared}
    if not types or None in types.values():
        return ""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        texts.update(attributes(base.__doc__))
    columns = [Column("name", "attribute"), Column("type", "type"), Column("default", "default")]
    table = Table([*columns, Column("text", "meaning")])
    for each in declared:
        match = types[each.name]
        table.add(
            name=f"`{each.name}`",
            type=f"`{match[1] if match else ''}`",
            default=_shown_default(each.default),
            text=texts.get(each.name, ""),
        )
    return table.markdown().rstrip()


def _shown_default(default: object) -> str:
    if default is dataclasses.MISSING:
        return "required"
    if isinstance(default, (int, float, str, bytes)):
        return f"`{default!r}`"
    return "a new one"


_MEMBER = re.compile(r"Member\[(.*)\]")


class _Field(Protocol):
    """What is asked of a field of a pydantic model."""

    annotation: type | None
    default: object
    default_factory: Callable[..., object] | None
    validation_alias: object

    def is_required(self) -> bool: ...


def _fields(cls: type, fields: Mapping[str, _Field]) -> str:
    """The fields of a pydantic model, with what the docstrings of the class and its bases say of them."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        texts.update(attributes(base.__doc__))
    columns = [Column("name", "field"), Column("type", "type"), Column("default", "default"), Column("text", "meaning")]
    table = Table([*columns, Column("aliases", "also accepted as")])
    for name, field in fields.items():
        choices = getattr(field.validation_alias, "choices", [])
        table.add(
            name=f"`{name}`",
            type=f"`{inspect.formatannotation(field.annotation)}`",
            default=_default(field),
            text=texts.get(name, ""),
            aliases=", ".join(f"`{alias}`" for alias in choices if alias != name),
        )
    return table.markdown().rstrip()


def _default(field: _Field) -> str:
    if field.is_required():
        return "required"
    if field.default_factory in (list, dict):
        return f"`{field.default_factory()!r}`"
    return f"`{field.default!r}`" if field.default_factory is None else "depends on the others"
