"""Artifacts as an attacker makes them: whatever one part claims, all others agree with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from unittest import mock

import numpy as np
from artifact_samples import compile_object

from tilewright.codegen.cpu import program
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.package import Package, add_engine
from tilewright.errors import TilewrightError
from tilewright.ir.core import Module
from tilewright.ir.text.parser import parse_module
from tilewright.runtime.artifact.artifact import artifact_bytes
from tilewright.runtime.artifact.container import Section

TRAP = compile_object("define i32 @tilewright_run(ptr %c, i64 %f, i64 %l) { unreachable }")
"""Object code that must not run: that of strangers is never mapped."""


def package_of(module: Module) -> Package:
    """A planned module as engine ``float``, complete but for object code that is any good.

    Raises:
        TilewrightError: the compiler refuses it.
    """
    package = Package(module, "fp32", "0.1.0")
    with mock.patch.object(program, "assemble", lambda *arguments, **options: TRAP):
        add_engine(package, "float", module, TargetDescription.host(), report=lambda *progress: None)
    return package


def with_section(package: Package, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The artifact with another content of one section."""
    sections = [
        Section(part.name, part.kind, change(bytes(part.data))) if part.name == name else part
        for part in package.sections
    ]
    return artifact_bytes(package.manifest(), sections)


@cache
def _any_package() -> Package:
    module = parse_module(
        """
        module @any {
          func @main(%x: f32[2]) -> (%y: f32[2]) [arena_bytes=0] {
            %y = relu(%x) [on=cpu, at=[none]] : f32[2]
            return %y
          }
        }
        """
    )
    return package_of(module)


def forge(text: str, arrays: Mapping[str, np.ndarray]) -> bytes:
    """An artifact of engine ``float`` with this module text; manifest, constants and stages are those of the text,
    where it has a meaning at all.

    Args:
        arrays: those that the text may name by hash.
    """
    try:
        package = package_of(parse_module(text, arrays))
    except TilewrightError:
        package = _any_package()
    return with_section(package, "module.float", lambda _: text.encode(errors="surrogatepass"))
