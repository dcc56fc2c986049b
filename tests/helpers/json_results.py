"""What commands print with ``--json``, held against the schema of the documents."""

from __future__ import annotations

import json
import math
from functools import cache
from typing import Any

from documents.json_schemas import Schema, schema

_TYPES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


@cache
def _schema() -> Schema:
    return schema()


def result_of(text: str) -> Any:
    """The result in what a command printed, which is as the schema says and has no field beside."""
    return printed(text)["result"]


def printed(text: str) -> dict[str, Any]:
    """All that a command printed, checked as for `result_of`."""
    found = json.loads(text, parse_constant=lambda name: pytest_fail(f"{name} is no JSON"))
    wrong = errors(found, _schema(), "")
    assert not wrong, wrong[:5]
    return found


def pytest_fail(message: str) -> None:
    raise AssertionError(message)


def errors(value: Any, rule: Schema, path: str) -> list[str]:
    """What in a value is otherwise than a schema says; an object may not have fields that it does not name."""
    if "$ref" in rule:
        return errors(value, _schema()["$defs"][rule["$ref"].rpartition("/")[2]], path)
    if "const" in rule and (value != rule["const"] or type(value) is not type(rule["const"])):
        return [f"{path} is {value!r}, not {rule['const']!r}"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"{path} is {value!r}, not one of {rule['enum']}"]
    kind = rule.get("type")
    if kind is not None and (not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return [f"{path} is {value!r:.80}, not of type {kind}"]
    if isinstance(value, float) and not math.isfinite(value):
        return [f"{path} is {value}"]
    found: list[str] = []
    for key in ("anyOf", "oneOf"):
        tried = [errors(value, each, path) for each in rule.get(key, ())]
        if tried and [] not in tried:
            found += min(tried, key=lambda each: (len(each), min(map(len, each))))
        if key == "oneOf" and tried.count([]) > 1:
            found.append(f"{path} is of several kinds")
    if isinstance(value, dict):
        known = rule.get("properties", {})
        found += [f"{path}.{name} is missing" for name in rule.get("required", ()) if name not in value]
        others = rule.get("additionalProperties")
        for name, each in value.items():
            below = known.get(name, others)
            if below is None and kind is not None and known:
                found.append(f"{path}.{name} is in no schema")
            elif below is not None:
                found += errors(each, below, f"{path}.{name}")
    if isinstance(value, list) and "items" in rule:
        found += [
            wrong for index, each in enumerate(value) for wrong in errors(each, rule["items"], f"{path}[{index}]")
        ]
    return found
