"""Where the maps of device functions lie, written down for the artifact."""

from __future__ import annotations

from ...ir.annotations import MAP
from ...ir.core import Module
from ...passes.device.outline_device import device_ops
from ...runtime.report.maps import PlacedMap


def maps(module: Module) -> list[PlacedMap]:
    """The result of each op of the device functions of a scheduled module."""
    placed = ((op.result.name, MAP.get(op)) for op in device_ops(module))
    return [PlacedMap(name, *place) for name, place in placed if place is not None]
