"""Processors that kernels can be generated for by name, on any machine.

Everything about one stands here, the caches included, so that code for it is the same wherever it is compiled.
"""

from __future__ import annotations

from typing import NamedTuple

PORTABLE = "portable"
"""The one name that depends on where it is said: the least capable target of the architecture of this machine."""


class NamedTarget(NamedTuple):
    """A level of processors.

    Attributes:
        name: that of the psABI, where that has one.
        triple: LLVM's name of architecture and system.
        tune: LLVM's name of the processor that code is scheduled for.
        features: LLVM names of the extensions that code may use.
        cache_kilobytes: capacity of the first and second level data caches, for blocking.
        others: further names.
    """

    name: str
    triple: str
    tune: str
    features: frozenset[str] = frozenset()
    cache_kilobytes: tuple[int, int] = (32, 512)
    others: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        """As the operating system names it."""
        return self.triple.partition("-")[0]


_X86_64, _AARCH64, _RISCV64 = (f"{name}-unknown-linux-gnu" for name in ("x86_64", "aarch64", "riscv64"))
# Of what a level of the psABI adds, what the generators or LLVM use.
_V2 = frozenset({"popcnt", "sse3", "sse4.1", "sse4.2", "ssse3"})
_V3 = _V2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
_VNNI = _V4 | {"avx512vnni"}
_AMX = _VNNI | {"amx-bf16", "amx-int8", "amx-tile", "avx512bf16", "avx512vbmi", "avxvnni"}

NAMED_TARGETS = (
    NamedTarget(PORTABLE, _X86_64, "generic"),
    NamedTarget("x86-64-v2", _X86_64, "x86-64-v2", _V2, others=("v2",)),
    NamedTarget("x86-64-v3", _X86_64, "x86-64-v3", _V3, others=("v3", "avx2")),
    NamedTarget("avx-vnni", _X86_64, "alderlake", _V3 | {"avxvnni"}, (32, 1024)),
    NamedTarget("x86-64-v4", _X86_64, "x86-64-v4", _V4, (32, 1024), ("v4",)),
    NamedTarget("avx512-vnni", _X86_64, "icelake-server", _VNNI, (32, 1024)),
    NamedTarget("amx", _X86_64, "sapphirerapids", _AMX, (48, 2048)),
    NamedTarget("aarch64", _AARCH64, "cortex-a72", others=(PORTABLE,)),
    NamedTarget("aarch64-dotprod", _AARCH64, "neoverse-n1", frozenset({"dotprod"}), (64, 512)),
    NamedTarget("aarch64-i8mm", _AARCH64, "neoverse-n2", frozenset({"dotprod", "i8mm"}), (64, 1024)),
    NamedTarget("riscv64", _RISCV64, "generic-rv64", others=(PORTABLE,)),
)
"""All of them, those of an architecture from the least to the most capable."""
