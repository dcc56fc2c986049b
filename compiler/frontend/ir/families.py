"""The importers and exporters of every family of layers, found in their folder."""

import importlib
import pkgutil

from .document import LEGACY_VERSIONS, OPSET_VERSIONS, Document
from .exporter import EXPORTS
from .importer import LEGACY, LEGACY_TYPES, OPSET
from .layers import __path__ as folder

__all__ = ["EXPORTS", "LEGACY", "LEGACY_TYPES", "OPSET", "layer_types", "unknown_types"]

# Importing a family registers what it holds.
for _module in pkgutil.iter_modules(folder):
    importlib.import_module(f".layers.{_module.name}", __package__)


def unknown_types(document: Document) -> list[str]:
    """The types of its layers that cannot be imported, each with its operator set or the version of the file."""
    known = {*LEGACY, "input"} if document.is_legacy else {*OPSET, "Parameter", "Result"}
    found = {
        f"{layer.type} ({layer.version or f'IR version {document.version}'})"
        for layer in document.layers.values()
        if (layer.type.lower() if document.is_legacy else layer.type) not in known
    }
    return sorted(found)


def layer_types() -> dict[str, list[range]]:
    """The types of layers that files are imported with, each with the versions of files that have them."""
    found: dict[str, list[range]] = {}
    known = {LEGACY_VERSIONS: [*LEGACY_TYPES, "Input"], OPSET_VERSIONS: [*OPSET, "Parameter", "Result"]}
    for versions, types in known.items():
        for name in dict.fromkeys(types):
            found.setdefault(name, []).append(versions)
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))
