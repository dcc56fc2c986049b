"""Tilewright: compile ONNX networks for an accelerator and the host CPU, and run them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.compiler.driver import compile_model as compile
    from tilewright.runtime.session import load

__version__ = "0.1.0"

__all__ = ["__version__", "compile", "load"]


def __getattr__(name: str) -> Any:
    # Late, so that importing the package costs nothing: the runtime needs numpy, which takes most of its import time.
    if name == "load":
        from tilewright.runtime.session import load

        return load
    if name == "compile":
        from tilewright.compiler.driver import compile_model

        return compile_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
