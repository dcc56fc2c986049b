"""The machines of a sweep: each value of each field with each of the others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from math import prod
from typing import Any

from tilewright.errors import MachineError, UsageError
from tilewright.immutable import Immutable

from ...runtime.machines.fields import field_named, read_number, values_of
from ...runtime.machines.machine import FORMAT_VERSION, MachineFile, read_file

MOST = 10_000
"""Machines of a sweep."""


class Combination(Immutable):
    """One machine of a sweep.

    Attributes:
        values: of the fields that are set, in their order.
        text: the machine file.
        file: what the text says; None where there is no such machine.
        error: why not; empty where there is.
    """

    values: tuple[float, ...]
    text: str
    file: MachineFile | None
    error: str


def parse_settings(texts: Iterable[str]) -> dict[str, list[float]]:
    """Values by field from texts such as ``maps_bytes=64Ki,128Ki``.

    Raises:
        UsageError: a text is of another form, or gives a field again.
    """
    found: dict[str, list[float]] = {}
    for text in texts:
        name, _, values = text.partition("=")
        if name in found:
            raise UsageError(f"--set {name}=… is given twice", hint="Give all values of a field at once.")
        try:
            found[name] = [read_number(each) for each in values.split(",")]
        except ValueError as error:
            expected = "FIELD=NUMBER,… such as maps_bytes=64Ki,128Ki"
            raise UsageError(f"wrong --set: {error}", expected=expected, found=f"{text:.80}") from None
    return found


def combinations(base: MachineFile, settings: Mapping[str, Sequence[float]]) -> list[Combination]:
    """Every machine that differs from ``base`` in the fields that are set, in order of their values.

    Raises:
        MachineError: there is no such field, or it is one of an energy model that the file does not state.
        UsageError: nothing is set, a field has no value or one twice, or there are too many machines.
    """
    if not settings:
        raise UsageError("a sweep has nothing to vary", hint="Give it fields with --set maps_bytes=64Ki,128Ki.")
    stated = values_of(base)
    for name, values in settings.items():
        if field_named(name).name not in stated:
            hint = "Give it a file with the object 'energy'."
            raise MachineError(f"machine {base.machine.name!r} states no energy model to set {name!r} of", hint=hint)
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UsageError(f"a value of {name!r} is no number", expected="int or float", found=f"{value!r:.60}")
        if not values or len({*values}) != len(values):
            raise UsageError(f"the values of {name!r} must differ", expected="one at least", found=f"{values!r:.60}")
    count = prod(map(len, settings.values()))
    if count > MOST:
        raise UsageError("a sweep is of too many machines", expected=f"at most {MOST}", found=count)
    every = product(*map(sorted, settings.values()))
    return [combination(base, dict(zip(settings, values, strict=True))) for values in every]


def combination(base: MachineFile, values: Mapping[str, float]) -> Combination:
    """The machine that differs from ``base`` in these values."""
    described: dict[str, Any] = {"format": FORMAT_VERSION, **base.machine.to_dictionary()}
    if base.energy is not None:
        described["energy"] = asdict(base.energy)
    for name, value in values.items():
        part, _, own = name.rpartition(".")
        (described[part] if part else described)[own] = value
    text = json.dumps(described)
    try:
        return Combination((*values.values(),), text, read_file(text, base.machine.name), "")
    except MachineError as error:
        return Combination((*values.values(),), text, None, str(error))
