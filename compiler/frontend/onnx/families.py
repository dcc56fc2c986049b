"""The importers and exporters of every family of operators, found in their folder."""

import importlib
import pkgutil

from .exporter import EXPORTS
from .importer import IMPORTS
from .older_versions import reading_older
from .open_extents import open_layers  # noqa: F401  # pyright: ignore[reportUnusedImport]  # fills the rules of open shapes
from .operators import __path__ as folder

__all__ = ["EXPORTS", "IMPORTS"]

# Importing a family registers what it holds.
for _module in pkgutil.walk_packages(folder, f"{__package__}.operators."):
    importlib.import_module(_module.name)

IMPORTS.update({key: reading_older(key[1], handler) for key, handler in IMPORTS.items() if not key[0]})
