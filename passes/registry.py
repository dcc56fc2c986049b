"""All passes by name: one file a pass, in the folders beside this file."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from .base import Pass

for _module in pkgutil.walk_packages([str(Path(__file__).parent)], f"{__package__}."):
    # What stands beside the folders is what passes are made with; some of it imports this file.
    if _module.name.count(".") > __name__.count("."):
        importlib.import_module(_module.name)

_FOUND = [cls for cls in Pass.__subclasses__() if cls.__module__.startswith(f"{__package__}.")]

PASSES: dict[str, type[Pass]] = {cls.name: cls for cls in sorted(_FOUND, key=lambda cls: cls.name)}
