"""Tables that programs import from ``openvino.inference_engine.constants`` and ``openvino.inference_engine.ie_api``."""

from __future__ import annotations

import numpy as np

from .devices.names import NAMES
from .layouts import Layout
from .precisions import DTYPES, supported_precisions
from .status import StatusCode, WaitMode

__all__ = [
    "StatusCode",
    "WaitMode",
    "format_map",
    "known_plugins",
    "layout_int_to_str_map",
    "layout_str_to_enum",
    "supported_precisions",
]

layout_int_to_str_map: dict[int, str] = {int(layout): layout.name for layout in Layout}
"""The names of layouts by their numbers."""

layout_str_to_enum: dict[str, Layout] = {layout.name: layout for layout in Layout}
"""Layouts by their names."""

format_map: dict[str, type[np.generic]] = {name: dtype.type for name, dtype in DTYPES.items()}
"""The NumPy types of precisions."""

known_plugins: list[str] = list(NAMES)
"""The devices that have a name; not all of them are here."""
