"""Bring ops on quantised types into the forms that the accelerator has."""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.core import Module
from ..base import Pass, Record
from ..invariants import PLAIN, UNPLANNED
from ..pattern import Driver
from . import legalization_rules as device_form_rules


@dataclass(frozen=True)
class LegalizeForDevice(Pass):
    """Applies the rules of :mod:`tilewright.passes.device.legalization_rules` until none matches.

    Products with constant matrices become convolutions, with a kernel as large as the map where the map was flattened
    before; padding goes into windows; splits become slices; clamps that saturation does anyway go; constants get the
    shape of maps. No output changes by a bit, and ops in floating point keep their form but for movements that cancel.

    Comes after the ops have quantised types and before they get their places.
    """

    requires = (PLAIN, UNPLANNED)
    ensures = (PLAIN,)

    def apply(self, module: Module, record: Record) -> bool:
        return Driver(device_form_rules.RULES).run(module, record)
