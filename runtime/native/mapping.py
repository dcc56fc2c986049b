"""Mapping object code into this process: written first, then made executable, never both at once.

Of this process, the code may call a list of functions of the C library and nothing else.
"""

import contextlib
import ctypes
import mmap
import os
from functools import cache

import numpy as np

from tilewright.errors import ArtifactError

from .elf import MACHINES, damaged, parse
from .host import architecture, operating_system
from .link import exported, lay_out, link

_READ, _WRITE, _EXECUTE = 1, 2, 4
_MAP_32BIT = 0x40


_MATHEMATICS = """
    acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma fmax
    fmin fmod frexp hypot ldexp llrint llround log log10 log1p log2 lrint lround modf nearbyint pow remainder rint round
    roundeven scalbn sin sincos sinh sqrt tan tanh trunc
"""
_MEMORY = "bcmp memchr memcmp memcpy memmove memset"

MATHEMATICS = frozenset(name + suffix for name in _MATHEMATICS.split() for suffix in ("", "f"))
"""In double and single precision."""

ALLOWED = MATHEMATICS | {*_MEMORY.split()}
"""Every name that `resolve` offers: mathematics and memory."""


def supported() -> bool:
    """Whether this operating system and architecture can run object code: Linux on x86-64, AArch64 or RISC-V."""
    return operating_system() == "linux" and architecture() in MACHINES.values()


class NativeObject:
    """An ELF relocatable object, mapped and ready to be called; unmapped when the last reference goes.
    ``content``: the object. It will run with the rights of this process: the caller has decided to trust it.
    Raises ArtifactError: the object is damaged, is for another architecture, needs a function that is not offered, or
    the system refuses executable memory."""

    def __init__(self, content: bytes) -> None:
        elf = parse(content)
        if not supported() or elf.machine != architecture():
            raise damaged("cannot run here", f"Linux on {elf.machine}", f"{operating_system()} on {architecture()}")
        layout = lay_out(elf, mmap.PAGESIZE)
        self._memory = _allocate(layout.size, layout.low)
        self._base = np.frombuffer(self._memory, np.uint8).ctypes.data
        self._memory[: layout.size] = link(elf, layout, self._base, resolve)
        _synchronize_instructions(self._base, layout.text_end)
        _protect(self._base, layout.text_end, _READ | _EXECUTE)
        _protect(self._base + layout.text_end, layout.read_only_end - layout.text_end, _READ)
        self._symbols = exported(elf, layout)

    def exports(self, name: str) -> bool:
        """Whether it has a symbol for others."""
        return name in self._symbols

    def address(self, name: str) -> int:
        """The address of an exported symbol. Raises ArtifactError: the object does not export it."""
        if name not in self._symbols:
            raise damaged(f"does not export {name!r}")
        return self._base + self._symbols[name]


def _allocate(size: int, low: bool) -> mmap.mmap:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (_MAP_32BIT if low and architecture() == "x86_64" else 0)
    try:
        return mmap.mmap(-1, max(size, mmap.PAGESIZE), flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"no memory for {size} bytes of native code: {error}", stage="load native code") from error


def _protect(address: int, size: int, rights: int) -> None:
    if not size:
        return
    library = ctypes.CDLL(None, use_errno=True)
    if library.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), ctypes.c_int(rights)) != 0:
        raise ArtifactError(
            f"the system refuses executable memory: {os.strerror(ctypes.get_errno())}",
            stage="load native code",
            hint="Allow this process to map executable memory.",
        )


def _synchronize_instructions(address: int, size: int) -> None:
    """Make what was written visible to the instruction fetch, where the processor does not do so by itself.

    Linux does it as well for each page of new memory that becomes executable, which is what happens here: so that it
    does not matter where there is no such function."""
    library, name, *flags = _CACHES.get(architecture(), ("", ""))
    if library and size:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(library)[name](ctypes.c_void_p(address), ctypes.c_void_p(address + size), *flags)


_CACHES = {
    "aarch64": ("libgcc_s.so.1", "__clear_cache"),
    "riscv64": ("libc.so.6", "__riscv_flush_icache", ctypes.c_ulong(0)),
}
"""By architecture the function that takes two addresses, and for all threads, where it can be told which."""


@cache
def _libraries() -> tuple[ctypes.CDLL, ...]:
    libraries = [ctypes.CDLL(None)]
    # Where libm is a file of its own, the process need not have it loaded.
    with contextlib.suppress(OSError):
        libraries.append(ctypes.CDLL("libm.so.6"))
    return tuple(libraries)


@cache
def resolve(name: str) -> int:
    """The address of a C library function.
    Raises ArtifactError: the function is not on the list, or this machine's library lacks it."""
    if name not in ALLOWED:
        raise damaged(f"calls {name!r}, which is not among the functions that native code may call")
    for library in _libraries():
        try:
            function = library[name]
        except AttributeError:
            continue
        address = ctypes.cast(function, ctypes.c_void_p).value
        if address:
            return address
    raise damaged(f"calls {name!r}, which this machine's C library does not have")
