"""All operators, one module a family. Importing this package finds the families and fills the registry."""

import importlib
import pkgutil

from ..op import REGISTRY

for _family in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_family.name)

__all__ = ["REGISTRY"]
