"""What this machine is, read without LLVM: operating system, architecture and instruction-set extensions."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from functools import cache

from .extensions import EXTENSIONS, usable

_NEVER_USED = """
    64bit adx aes amx-avx512 amx-bf16 amx-complex amx-fp16 amx-fp8 amx-int8 amx-movrs amx-tf32 amx-tile avx10.1
    avx10.1-256 avx10.1-512 avx512bf16 avx512vp2intersect avxneconvert cldemote clflushopt clwb clzero cmov cmpccxadd
    crc crc32 cx16 cx8 enqcmd evex512 fp-armv8 fsgsbase fxsr hreset invpcid kl lse lwp mmx movdir64b movdiri movrs
    mwaitx neon pclmul pconfig pku prefetchi prfchw ptwrite raoint rand rdpid rdpru rdrnd rdseed rtm sahf serialize sgx
    sha sha2 sha512 shstk sm3 sm4 sse sse2 sve-aes sve-bitperm sve-sha3 sve-sm4 tsxldtrk uintr usermsr vaes vpclmulqdq
    waitpkg wbnoinvd widekl xsave xsavec xsaveopt xsaves
"""
"""What artifacts list whose compiler listed all that LLVM saw of a processor, although their kernels do not use it: all
processors of the architecture have it, it adds no instruction, or LLVM uses it only where a program names it."""


def operating_system() -> str:
    """``linux``, ``darwin``, ``win32``, …"""
    return sys.platform


def architecture() -> str:
    """``x86_64``, ``aarch64``, … as the operating system calls it; empty where it does not say."""
    return os.uname().machine if hasattr(os, "uname") else ""


def features_of(information: str, machine: str) -> frozenset[str]:
    """LLVM names of the extensions in the text of ``/proc/cpuinfo`` that all cores have and kernels may use.

    Further flags of the text are there by the kernel's names: artifacts of other compilers may list them.
    """
    key = "flags" if machine == "x86_64" else "Features"
    lines = (line.partition(":") for line in information.splitlines())
    cores = [set(value.split()) for name, _, value in lines if name.strip() == key]
    flags = set[str].intersection(*cores) if cores else set[str]()
    table = EXTENSIONS.get(machine, {})
    present = {name for name, extension in table.items() if flags.issuperset(extension.flags)}
    return usable(machine, present) | (flags - table.keys())


@cache
def features() -> frozenset[str]:
    """:func:`features_of` this machine; empty where ``/proc/cpuinfo`` cannot be read."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return features_of(file.read(), architecture())
    except OSError:
        return frozenset()


def description() -> str:
    """All of this machine that generated code may depend on."""
    return " ".join([operating_system(), architecture(), *sorted(usable(architecture(), features()))])


def missing(triple: str, required: Iterable[str]) -> str | None:
    """Why code for a target cannot run on this machine, None when it can.

    Args:
        triple: LLVM triple of the target.
        required: LLVM names of the extensions that the code may use, without signs.
    """
    wanted, here = triple.partition("-")[0], architecture()
    if wanted != here:
        return f"it is for {wanted}, this machine is {here}"
    lacking = sorted(set(required) - features() - set(_NEVER_USED.split()))
    return f"this processor lacks {', '.join(lacking)}" if lacking else None
