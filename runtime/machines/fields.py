"""The fields of a machine file, as `Machine`, `CycleConstants` and `EnergyConstants` declare them."""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple, get_type_hints

from tilewright.errors import MachineError, similar

from .constants import CycleConstants, EnergyConstants
from .machine import REDUCIBLE, Machine, MachineFile

PARTS: Mapping[str, type] = {"": Machine, "timing.": CycleConstants, "energy.": EnergyConstants}
"""What begins the names of fields, and the class that declares them."""

AS_BUILT = "as built"
"""The origin of a number of which a file says nothing."""


class MachineField(NamedTuple):
    """A number of a machine file.

    Attributes:
        name: as files nest them, with a dot: ``timing.divide``.
        unit: empty for a count.
        minimum, maximum: what it may be; rules between fields may allow less.
        multiple: what it must be a multiple of.
        whole: whether it has no fraction.
        kind: ``build`` for a fact of the hardware; ``time`` for an assumption of the cycle model, which changes no
            result; ``energy`` for one of the energy model, which is no part of the machine.
        reducible: whether a schedule may be made as if there were less of it.
        meaning: what it is, in words.
    """

    name: str
    unit: str
    minimum: float
    maximum: float
    multiple: int
    whole: bool
    kind: str
    reducible: bool
    meaning: str


@cache
def machine_fields() -> dict[str, MachineField]:
    """All numbers of a machine file, by name, in the order of declaration."""
    return {found.name: found for prefix, cls in PARTS.items() for found in _fields(prefix, cls)}


def _fields(prefix: str, cls: type) -> Iterator[MachineField]:
    kind = {"": "build", "timing.": "time", "energy.": "energy"}[prefix]
    for name, hint in get_type_hints(cls, include_extras=True).items():
        # What is no number has no bounds: the name, and the parts.
        for bounds in getattr(hint, "__metadata__", ()):
            yield MachineField(
                *(prefix + name, bounds.unit, bounds.minimum, bounds.maximum, bounds.multiple, bounds.whole),
                *(kind, name in REDUCIBLE, bounds.doc),
            )


def field_named(name: str) -> MachineField:
    """The field of this name. Raises MachineError: there is none."""
    found = machine_fields().get(name)
    if found is None:
        hint = similar(name, machine_fields()) or "`tilewright machine explain` lists them."
        raise MachineError(f"a machine has no field {name!r:.60}", hint=hint)
    return found


_NUMBER = re.compile(r"(-?[0-9]{1,20}(?:\.[0-9]{1,20})?)(?:([kMGT])|([KMGT])i)?", re.ASCII)


def read_number(text: str) -> float:
    """A number with ``k`` behind it for a thousand, ``Ki`` for 1024, ``M``, ``Mi`` and so on for more, or with none; an
    ``int`` if it is whole.
    Raises ValueError: it is none."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r:.40} is no number such as 4, 0.85, 19.2G or 64Ki")
    digits, decimal, binary = match.groups()
    powers = "_kMGT".index(decimal or "_"), "_KMGT".index(binary or "_")
    found = Decimal(digits) * 1000 ** powers[0] * 1024 ** powers[1]
    return int(found) if found == int(found) else float(found)


def values_of(file: MachineFile) -> dict[str, float]:
    """The numbers of a machine file by the names of fields, without those of an energy model that it does not state."""
    parts: dict[str, Any] = {"": file.machine, "timing.": file.machine.timing, "energy.": file.energy}
    found: dict[str, float] = {}
    for name in machine_fields():
        prefix, _, own = name.rpartition(".")
        part = parts[f"{prefix}." if prefix else ""]
        if part is not None:
            found[name] = getattr(part, own)
    return found
