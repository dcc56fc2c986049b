"""The one door from the runtime up to the compiler, which it can do without."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

from tilewright.errors import TilewrightError

_PACKAGES = {"PIL": "Pillow"}
"""What packages are called whose modules have another name."""

_EXTRAS = {
    "Pillow": "pictures",
    "h5py": "simulator",
    "pydantic": "simulator",
    **dict.fromkeys(("dask", "distributed", "fsspec"), "cluster"),
    **dict.fromkeys(("h11", "prometheus_client", "starlette", "uvicorn"), "serve"),
}
"""Which extra installs a package, but for those of the compiler."""

_PEERS = ("onnxruntime", "openvino")
"""Packages that are compared with, which no extra installs."""


class NotInstalledError(TilewrightError):
    """A package that the compiler needs is not installed.
    ``what``: what needs it.
    ``module``: of it."""

    def __init__(self, what: str, module: str) -> None:
        name = module.partition(".")[0]
        package = _PACKAGES.get(name, name)
        extra, hint = _EXTRAS.get(package, "compiler"), f"Install it: pip install {package}"
        if package not in _PEERS:
            hint = f"Install Tilewright with its extra {extra!r}: pip install 'tilewright[{extra}]'"
        lack = "which the runtime alone does not install"
        if package == "numpy":
            # The runtime does install it: this is another Python, or one that may not read its packages.
            lack, hint = (
                f"which is not there for {sys.executable or 'this Python'}",
                "Install it there: pip install numpy",
            )
        super().__init__(f"{what} needs the package {package!r}, {lack}", hint=hint)


FIRST = "onnx"
"""What the compiler needs first of all."""


def is_installed() -> bool:
    """Whether what the compiler needs first of all is there; nothing is imported for the answer."""
    return find_spec(FIRST) is not None


def missing_package(error: BaseException, *, by_compiler: bool = False) -> str | None:
    """The module that an import did not find; ``None`` if the error is another, or one of our own files is missing.
    ``by_compiler``: whether the compiler is what imported it. Where that is not installed at all, the answer is what it
    needs first of all, whatever it came upon first."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None or error.name.startswith("tilewright"):
        return None
    return error.name if not by_compiler or is_installed() else FIRST


@contextmanager
def compiler_for(what: str) -> Iterator[Callable[[str], ModuleType]]:
    """What is imported from the compiler within may be missing.

    Yields what imports a module of `tilewright.compiler` by its name there, such as ``report.model``, for what lies
    below the compiler; the APIs, which lie above, import what they use.
    ``what``: what needs it, for the message.
    Raises NotInstalledError: a package that it needs is not installed."""
    try:
        yield lambda name: importlib.import_module(f"..compiler.{name}", __package__)
    except ModuleNotFoundError as error:
        package = missing_package(error, by_compiler=True)
        if package is None:
            raise
        raise NotInstalledError(what, package) from None
