"""What this machine is, read without LLVM: operating system, architecture and instruction-set extensions."""

import contextlib
import math
import os
import sys
from collections.abc import Iterable
from functools import cache

from .extensions import EXTENSIONS, usable

_NEVER_USED = """
    64bit adx aes amx-avx512 amx-complex amx-fp16 amx-fp8 amx-movrs amx-tf32 avx10.1 avx10.1-256 avx10.1-512
    avx512vp2intersect avxneconvert cldemote clflushopt clwb clzero cmov cmpccxadd crc crc32 cx16 cx8 enqcmd evex512
    fp-armv8 fsgsbase fxsr hreset invpcid kl lse lwp mmx movdir64b movdiri movrs mwaitx neon pclmul pconfig pku
    prefetchi prfchw ptwrite raoint rand rdpid rdpru rdrnd rdseed rtm sahf serialize sgx sha sha2 sha512 shstk sm3 sm4
    sse sse2 sve-aes sve-bitperm sve-sha3 sve-sm4 tsxldtrk uintr usermsr vaes vpclmulqdq waitpkg wbnoinvd widekl xsave
    xsavec xsaveopt xsaves
"""
"""What artifacts list whose compiler listed all that LLVM saw of a processor, although their kernels do not use it: all
processors of the architecture have it, it adds no instruction, or LLVM uses it only where a program names it."""

_TILES = frozenset({"amx-bf16", "amx-int8", "amx-tile"})
ASK_FOR_TILES = (158, 0x1023, 18)
"""arch_prctl of Linux on x86-64, what it is to do (ARCH_REQ_XCOMP_PERM), and the state that AMX needs."""

_AUXILIARY = {
    16: """
        fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3
        sm4 asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg
    """,
    26: """
        dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16
    """,
}
"""Entries of the auxiliary vector on AArch64, AT_HWCAP and AT_HWCAP2: the kernel's name of each bit from the lowest on
(Linux, arch/arm64/include/uapi/asm/hwcap.h)."""


def operating_system() -> str:
    """``linux``, ``darwin``, ``win32``, …"""
    return sys.platform


def architecture() -> str:
    """``x86_64``, ``aarch64``, … as the operating system calls it; empty where it does not say."""
    return os.uname().machine if hasattr(os, "uname") else ""


def features_of(information: str, machine: str) -> frozenset[str]:
    """LLVM names of the extensions in the text of ``/proc/cpuinfo`` that all cores have and kernels may use.

    Further flags of the text are there by the kernel's names: artifacts of other compilers may list them."""
    key = "flags" if machine == "x86_64" else "Features"
    lines = (line.partition(":") for line in information.splitlines())
    cores = [set(value.split()) for name, _, value in lines if name.strip() == key]
    flags = set[str].intersection(*cores) if cores else set[str]()
    table = EXTENSIONS.get(machine, {})
    present = {name for name, extension in table.items() if flags.issuperset(extension.flags)}
    return usable(machine, present) | (flags - table.keys())


@cache
def features() -> frozenset[str]:
    """:func:`features_of` this machine; empty where they cannot be read.

    On AArch64 they are what Linux tells the process, the same names as bits: ``/proc/cpuinfo`` is that of another
    machine under emulation and in some containers."""
    if architecture() == "aarch64":
        return features_of(f"Features: {' '.join(_told_by_linux())}", "aarch64")
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return features_of(file.read(), architecture())
    except OSError:
        return frozenset()


def _told_by_linux() -> list[str]:
    import ctypes

    try:
        ask = ctypes.CDLL(None).getauxval
    except (OSError, AttributeError):
        return []
    ask.argtypes, ask.restype = [ctypes.c_ulong], ctypes.c_ulong
    return [name for key, names in _AUXILIARY.items() for bit, name in enumerate(names.split()) if ask(key) >> bit & 1]


@cache
def tiles_permitted() -> bool:
    """Whether this process may use the registers of AMX, for which Linux is asked once for all threads and forks."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True).syscall(*ASK_FOR_TILES) == 0


def usable_here() -> frozenset[str]:
    """The extensions of the table that code for this machine may use in this process."""
    found = usable(architecture(), features())
    return found if "amx-tile" not in found or tiles_permitted() else found - _TILES


def processors() -> int:
    """Processors for the threads of this process: cores of its affinity, as far as its control groups give it time."""
    allowed: Iterable[int] = range(os.cpu_count() or 1)
    # Some systems have no such call, and some sandboxes refuse it.
    with contextlib.suppress(AttributeError, OSError):
        allowed = os.sched_getaffinity(0)
    topology = (f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list" for number in allowed)
    cores = {_text(path) or path for path in topology}
    return max(1, min(len(cores), math.ceil(min(_quota(), len(cores)))))


def _quota() -> float:
    """Processors whose time the control group of this process gets, as far as it can be told from inside.

    A container sees its group as the root; a service, or a job of a cluster, is in a group below, and shares what those
    around it get."""
    lines = (line.split(":", 2) for line in _text("/proc/self/cgroup").splitlines() if line.count(":") > 1)
    found = [math.inf]
    for _, controllers, group in (["", "", "/"], ["", "cpu", "/"], *lines):
        parts = [part for part in group.split("/") if part]
        for folder in ("".join(f"/{part}" for part in parts[:depth]) for depth in range(len(parts), -1, -1)):
            if not controllers:
                quota, _, period = _text(f"/sys/fs/cgroup{folder}/cpu.max").partition(" ")
            elif "cpu" in controllers.split(","):
                quota, period = (_text(f"/sys/fs/cgroup/cpu{folder}/cpu.cfs_{what}_us") for what in ("quota", "period"))
            else:
                break
            if quota.isdigit() and period.isdigit() and int(period):
                found.append(int(quota) / int(period))
    return min(found)


def _text(path: str) -> str:
    """What a small file of the system says; empty where there is none."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        return file.read().strip()
    return ""


def description() -> str:
    """All of this machine that generated code may depend on."""
    return " ".join([operating_system(), architecture(), *sorted(usable_here())])


def is_native(triple: str) -> bool:
    """Whether code for this LLVM triple is for the architecture of this machine."""
    return triple.partition("-")[0] == architecture()


def missing(triple: str, required: Iterable[str]) -> str | None:
    """Why code for a target cannot run on this machine, None when it can.
    ``triple``: LLVM triple of the target.
    ``required``: LLVM names of the extensions that the code may use, without signs."""
    if not is_native(triple):
        return f"it is for {triple.partition('-')[0]}, this machine is {architecture()}"
    lacking = sorted(set(required) - features() - set(_NEVER_USED.split()))
    if lacking:
        return f"this processor lacks {', '.join(lacking)}"
    if not _TILES.isdisjoint(required) and not tiles_permitted():
        return "the operating system does not permit this process to use AMX"
    return None
