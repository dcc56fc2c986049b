"""Tilewright: compile ONNX networks for an accelerator and the host CPU, and run them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from . import errors

if TYPE_CHECKING:
    from tilewright.compiler.containers.container import compile_container
    from tilewright.compiler.driver import compile_model as compile
    from tilewright.compiler.export import export_model as export
    from tilewright.compiler.quantization.ladder.quantize_model import quantize_model as quantize
    from tilewright.compiler.sweep.sweep import sweep
    from tilewright.runtime import Artifact, Request, Session, load
    from tilewright.runtime.api.comparison.comparison import compare

__version__ = "0.1.0"

__all__ = ["Artifact", "Request", "Session", "__version__", "compare", "compile", "compile_container", "errors"]
__all__ += ["export", "load", "quantize", "sweep"]

# Imported when they are asked for, so that importing the package costs nothing: the runtime needs NumPy, which takes
# most of its import time, and the compiler much more.
_LATE = {
    "Artifact": ("tilewright.runtime.artifact.artifact", "Artifact"),
    "Request": ("tilewright.runtime.request", "Request"),
    "Session": ("tilewright.runtime.session", "Session"),
    "compare": ("tilewright.runtime.api.comparison.comparison", "compare"),
    "compile_container": ("tilewright.compiler.containers.container", "compile_container"),
    "compile": ("tilewright.compiler.driver", "compile_model"),
    "export": ("tilewright.compiler.export", "export_model"),
    "quantize": ("tilewright.compiler.quantization.ladder.quantize_model", "quantize_model"),
    "sweep": ("tilewright.compiler.sweep.sweep", "sweep"),
    "load": ("tilewright.runtime.session", "load"),
}

# Type checkers do not see it, so that they report a name that is not there.
if not TYPE_CHECKING:

    @errors.resources("import of tilewright")
    def __getattr__(name: str) -> object:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, attribute = _LATE[name]
        if not module.startswith("tilewright.compiler."):
            return getattr(import_module(module), attribute)
        from signal import SIGINT

        compiler = import_module("tilewright.runtime.compiler").compiler_for(f"tilewright.{name}")
        # Packages that Ctrl-C left half imported would fail until the process ends.
        with compiler, import_module("tilewright.runtime.termination").orderly_termination({SIGINT}):
            return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
