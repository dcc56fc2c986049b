"""The importers and exporters of every family of operators, found in their folder."""

from __future__ import annotations

import importlib
import pkgutil

from .exporter import EXPORTS
from .importer import IMPORTS
from .older_versions import reading_older
from .operators import __path__ as folder

__all__ = ["EXPORTS", "IMPORTS"]

# Importing a family registers what it holds.
for _module in pkgutil.iter_modules(folder):
    importlib.import_module(f".operators.{_module.name}", __package__)

IMPORTS.update({key: reading_older(key[1], handler) for key, handler in IMPORTS.items() if not key[0]})
