"""Instruction-set extensions that kernels may use: what the compiler switches on, and what the runtime asks for.

An extension that is not in the table is switched on for no kernel and required of no processor, whatever LLVM says that
a processor has. The table is what the generators name and what LLVM makes unasked of the arithmetic, conversions and
loops of kernels; of what only the generators name it says how, and only code that does so needs it. It lies here
because the runtime, which reads it without LLVM, stands below the compiler.
"""

from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple


class Extension(NamedTuple):
    """An extension.
    ``flags``: the kernel's names of it in ``/proc/cpuinfo``; a processor that has it has all of them.
    ``needs``: LLVM names of extensions that LLVM would use with it.
    ``asked``: for what LLVM uses only where it is asked to: what stands in the LLVM IR of all code that does."""

    flags: tuple[str, ...]
    needs: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()


_AVX512 = ("avx2", "f16c", "fma")

_X86_64 = {
    "amx-bf16": Extension(("amx_bf16",), ("amx-tile",), ("llvm.x86.tdpbf16ps",)),
    "amx-int8": Extension(("amx_int8",), ("amx-tile",), tuple(f"llvm.x86.tdpb{s}d" for s in ("ss", "su", "us", "uu"))),
    "amx-tile": Extension(("amx_tile",), (), ("llvm.x86.tile", "llvm.x86.ldtilecfg", "llvm.x86.sttilecfg")),
    "avx": Extension(("avx",), ("sse4.2",)),
    "avx2": Extension(("avx2",), ("avx",)),
    "avx512bf16": Extension(("avx512_bf16",), ("avx512bw",), ("bfloat", "llvm.x86.avx512bf16.")),
    "avx512bitalg": Extension(("avx512_bitalg",), ("avx512bw",)),
    "avx512bw": Extension(("avx512bw",), ("avx512f",)),
    "avx512cd": Extension(("avx512cd",), ("avx512f",)),
    "avx512dq": Extension(("avx512dq",), ("avx512f",)),
    "avx512f": Extension(("avx512f",), _AVX512),
    "avx512fp16": Extension(("avx512_fp16",), ("avx512bw", "avx512dq", "avx512vl")),
    "avx512ifma": Extension(("avx512ifma",), ("avx512f",)),
    "avx512vbmi": Extension(("avx512vbmi",), ("avx512bw",)),
    "avx512vbmi2": Extension(("avx512_vbmi2",), ("avx512bw",)),
    "avx512vl": Extension(("avx512vl",), ("avx512f",)),
    "avx512vnni": Extension(("avx512_vnni",), ("avx512f",)),
    "avx512vpopcntdq": Extension(("avx512_vpopcntdq",), ("avx512f",)),
    "avxifma": Extension(("avx_ifma",), ("avx2",)),
    "avxvnni": Extension(("avx_vnni",), ("avx2",)),
    "avxvnniint16": Extension(("avx_vnni_int16",), ("avx2",)),
    "avxvnniint8": Extension(("avx_vnni_int8",), ("avx2",)),
    "bmi": Extension(("bmi1",)),
    "bmi2": Extension(("bmi2",)),
    "f16c": Extension(("f16c",), ("avx",)),
    "fma": Extension(("fma",), ("avx",)),
    "gfni": Extension(("gfni",)),
    "lzcnt": Extension(("abm",)),
    "movbe": Extension(("movbe",)),
    "popcnt": Extension(("popcnt",)),
    "sse3": Extension(("pni",)),
    "sse4.1": Extension(("sse4_1",), ("ssse3",)),
    "sse4.2": Extension(("sse4_2",), ("sse4.1",)),
    "ssse3": Extension(("ssse3",), ("sse3",)),
}

_AARCH64 = {
    "dotprod": Extension(("asimddp",)),
    "fullfp16": Extension(("asimdhp", "fphp")),
    "i8mm": Extension(("i8mm",)),
    "sve": Extension(("sve",), ("fullfp16",)),
    "sve2": Extension(("sve2",), ("sve",)),
}

EXTENSIONS: Mapping[str, Mapping[str, Extension]] = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""By architecture, as the operating system names it, then by LLVM's name."""


def usable(architecture: str, present: Set[str]) -> frozenset[str]:
    """Of the extensions ``present``, those of the table whose prerequisites are present as well.

    A hypervisor may hide one from a machine and leave what builds upon it."""
    table = EXTENSIONS.get(architecture, {})
    found = frozenset(present & table.keys())
    while lacking := {name for name in found if not found.issuperset(table[name].needs)}:
        found -= lacking
    return found


def needed(architecture: str, allowed: Iterable[str], text: str) -> tuple[str, ...]:
    """Of the extensions that code is ``allowed``, sorted, those that it needs where its LLVM IR is ``text``."""
    table = EXTENSIONS.get(architecture, {})
    asked = {name: table[name].asked for name in allowed}
    return tuple(sorted(name for name, marks in asked.items() if not marks or any(mark in text for mark in marks)))
