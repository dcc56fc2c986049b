"""What this machine is, read without LLVM: operating system, architecture and instruction-set extensions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import cache

_X86_NAMES = {
    "3dnowprefetch": "prfchw",
    "abm": "lzcnt",
    "amx_bf16": "amx-bf16",
    "amx_int8": "amx-int8",
    "amx_tile": "amx-tile",
    "avx512_bf16": "avx512bf16",
    "avx512_bitalg": "avx512bitalg",
    "avx512_fp16": "avx512fp16",
    "avx512_vbmi2": "avx512vbmi2",
    "avx512_vnni": "avx512vnni",
    "avx512_vp2intersect": "avx512vp2intersect",
    "avx512_vpopcntdq": "avx512vpopcntdq",
    "avx_ifma": "avxifma",
    "avx_ne_convert": "avxneconvert",
    "avx_vnni": "avxvnni",
    "avx_vnni_int16": "avxvnniint16",
    "avx_vnni_int8": "avxvnniint8",
    "bmi1": "bmi",
    "lahf_lm": "sahf",
    "lm": "64bit",
    "pclmulqdq": "pclmul",
    "pni": "sse3",
    "rdrand": "rdrnd",
    "sha_ni": "sha",
    "sse4_1": "sse4.1",
    "sse4_2": "sse4.2",
}
"""Where the kernel's name of an x86 extension differs from LLVM's."""

_X86_IMPLIED = {"abm": ("popcnt",), "sse4_2": ("crc32",)}
"""Further LLVM features that a kernel flag stands for."""

_AARCH64_NAMES = {
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdfhm": "fp16fml",
    "asimdhp": "fullfp16",
    "asimdrdm": "rdm",
    "atomics": "lse",
    "crc32": "crc",
    "fcma": "complxnum",
    "fp": "fp-armv8",
    "jscvt": "jsconv",
    "lrcpc": "rcpc",
    "sha512": "sha3",
}
"""Where the kernel's name of an AArch64 extension differs from LLVM's."""


_ON_DEMAND_ONLY = """
    cldemote clflushopt clwb clzero cmpccxadd enqcmd fsgsbase hreset invpcid kl lwp movdir64b movdiri mwaitx
    pconfig pku prefetchi prfchw ptwrite raoint rdpid rdpru rdrnd rdseed rtm serialize sgx shstk tsxldtrk uintr usermsr
    waitpkg wbnoinvd widekl xsave xsavec xsaveopt xsaves
"""
"""Extensions that a compiler uses only where a program names them, which kernels never do. The kernel hides some of
them (``rdseed`` on processors where it is faulty) although LLVM reports them."""


def operating_system() -> str:
    """``linux``, ``darwin``, ``win32``, …"""
    return sys.platform


def architecture() -> str:
    """``x86_64``, ``aarch64``, … as the operating system calls it; empty where it does not say."""
    return os.uname().machine if hasattr(os, "uname") else ""


def features_of(information: str, machine: str) -> frozenset[str]:
    """LLVM names of the extensions in the text of ``/proc/cpuinfo``; only those that every processor has."""
    key = "flags" if machine == "x86_64" else "Features"
    common: set[str] | None = None
    for line in information.splitlines():
        name, separator, value = line.partition(":")
        if separator and name.strip() == key:
            flags = set(value.split())
            common = flags if common is None else common & flags
    flags = common or set()
    if machine != "x86_64":
        return frozenset(_AARCH64_NAMES.get(flag, flag) for flag in flags)
    implied = {feature for flag in flags for feature in _X86_IMPLIED.get(flag, ())}
    return frozenset(_X86_NAMES.get(flag, flag) for flag in flags) | implied


@cache
def features() -> frozenset[str]:
    """LLVM names of this machine's instruction-set extensions; empty where ``/proc/cpuinfo`` cannot be read."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return features_of(file.read(), architecture())
    except OSError:
        return frozenset()


def description() -> str:
    """All of this machine that generated code may depend on."""
    return " ".join([operating_system(), architecture(), *sorted(features())])


def missing(triple: str, required: Iterable[str]) -> str | None:
    """Why code for a target cannot run on this machine, None when it can.

    Args:
        triple: LLVM triple of the target.
        required: LLVM names of the extensions that the code may use, without signs.
    """
    wanted, here = triple.partition("-")[0], architecture()
    if wanted != here:
        return f"it is for {wanted}, this machine is {here}"
    lacking = sorted(set(required) - features() - set(_ON_DEMAND_ONLY.split()))
    return f"this processor lacks {', '.join(lacking)}" if lacking else None
