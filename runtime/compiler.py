"""The one door from the runtime up to the compiler, which it can do without."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

from tilewright.errors import TilewrightError


class NotInstalledError(TilewrightError):
    """A package that the compiler needs is not installed."""

    def __init__(self, what: str, package: str) -> None:
        super().__init__(
            f"{what} needs the package {package.partition('.')[0]!r}, which the runtime alone does not install",
            hint="Install Tilewright with its extra 'all': pip install 'tilewright[all]'",
        )


def is_installed() -> bool:
    """Whether what the compiler needs first of all is there; nothing is imported for the answer."""
    return find_spec("onnx") is not None


def missing_package(error: BaseException) -> str | None:
    """The package that an import did not find; ``None`` if the error is another, or one of our own files is missing."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None or error.name.startswith("tilewright"):
        return None
    return error.name


@contextmanager
def compiler_for(what: str) -> Iterator[None]:
    """What is imported from the compiler within may be missing.

    Args:
        what: what needs it, for the message.

    Raises:
        NotInstalledError: a package that it needs is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = missing_package(error)
        if package is None:
            raise
        raise NotInstalledError(what, package) from None


def reach(module: str, what: str) -> ModuleType:
    """A module of `tilewright.compiler`, for what lies below it; the APIs, which lie above, import what they use.

    Args:
        module: its name there, such as ``report.model``.
        what: what needs it, for the message.

    Raises:
        NotInstalledError: a package that it needs is not installed.
    """
    with compiler_for(what):
        return importlib.import_module(f"..compiler.{module}", __package__)
