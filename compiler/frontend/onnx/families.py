"""The importers and exporters of every family of operators, found in the folder above."""

from __future__ import annotations

import importlib
import pkgutil

from .. import __path__ as folder
from .exporter import EXPORTS
from .importer import IMPORTS

__all__ = ["EXPORTS", "IMPORTS"]

# Importing a family registers what it holds.
for _module in pkgutil.iter_modules(folder):
    if not _module.ispkg:
        importlib.import_module(f"..{_module.name}", __package__)
