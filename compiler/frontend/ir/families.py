"""The importers and exporters of every family of layers, found in their folders."""

from __future__ import annotations

import importlib
import pkgutil

from . import legacy, opset
from .exporter import EXPORTS
from .importer import LEGACY, OPSET

__all__ = ["EXPORTS", "LEGACY", "OPSET"]

# Importing a family registers what it holds.
for _folder in (legacy, opset):
    for _module in pkgutil.iter_modules(_folder.__path__):
        importlib.import_module(f"{_folder.__name__}.{_module.name}")
