"""Passes over modules: one file a pass, in folders by theme. ``PASSES`` are all of them, by name."""

import importlib
import pkgutil

from .base import Pass

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

PASSES: dict[str, type[Pass]] = {cls.name: cls for cls in sorted(Pass.__subclasses__(), key=lambda cls: cls.name)}
