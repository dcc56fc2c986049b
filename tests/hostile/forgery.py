"""Artifacts as an attacker makes them: whatever one part claims, all others agree with it."""

from __future__ import annotations

import hashlib
import zlib
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

from .mutation import pick

TRAP = compile_object("define i32 @tilewright_run(ptr %c, i64 %f, i64 %l) { unreachable }")
"""Object code that must not run: that of strangers is never mapped."""


def package_of(module: Module) -> Package:
    """A planned module as engine ``float``, complete but for object code that is any good.

    Raises:
        TilewrightError: the compiler refuses it.
    """
    package = Package(module, "fp32", "0.1.0")
    with mock.patch.object(program, "assemble", lambda *arguments, **options: TRAP):
        add_engine(package, "float", module, [TargetDescription.host()], report=lambda *progress: None)
    return package


def with_section(package: Package, name: str, change: Callable[[bytes], bytes]) -> bytes:
    """The artifact with another content of one section."""
    sections = [
        Section(part.name, part.kind, change(bytes(part.data))) if part.name == name else part
        for part in package.sections
    ]
    return artifact_bytes(package.manifest(), sections)


_HEADER_BYTES, _ENTRY_BYTES = 256, 128
HEADER_FIELDS = ((8, 4), (12, 4), (16, 4), (24, 8), (64, 32), (96, 32), (128, 64), (192, 64))
ENTRY_FIELDS = ((0, 48), (48, 4), (52, 4), (56, 8), (64, 8), (72, 32), (104, 24))
"""Offsets and sizes of the numbers in the header of a container and in the entries of its table."""


def with_number(content: bytes, at: int, size: int, change: Callable[[int], int]) -> bytes:
    """An artifact with another number in its header or table, and with the digest and the checksum that fit it."""
    damaged = bytearray(content)
    old = int.from_bytes(damaged[at : at + size], "little")
    damaged[at : at + size] = (change(old) % (1 << 8 * size)).to_bytes(size, "little")
    count = int.from_bytes(damaged[16:20], "little")
    digested = bytes(damaged[:20]) + bytes(4) + bytes(damaged[24:32]) + bytes(_HEADER_BYTES - 32)
    table = bytes(damaged[_HEADER_BYTES : _HEADER_BYTES + count * _ENTRY_BYTES])
    damaged[32:64] = hashlib.sha256(digested + table).digest()
    damaged[20:24] = bytes(4)
    damaged[20:24] = zlib.crc32(damaged[:_HEADER_BYTES]).to_bytes(4, "little")
    return bytes(damaged)


def header_or_entry(rng: np.random.Generator, sections: int) -> tuple[int, int]:
    """Offset and size of a number in the header or table of a container."""
    entry = int(rng.integers(sections + 1))
    offset, size = pick(rng, ENTRY_FIELDS if entry else HEADER_FIELDS)
    return (_HEADER_BYTES + (entry - 1) * _ENTRY_BYTES + offset if entry else offset), size


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
