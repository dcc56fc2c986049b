"""Mapping object code into this process: written first, then made executable, never both at once."""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

from tilewright.errors import ArtifactError

from . import host_functions
from .elf import damaged, parse
from .host import architecture, operating_system
from .link import exported, link, place

_READ, _WRITE, _EXECUTE = 1, 2, 4
_MAP_32BIT = 0x40


def supported() -> bool:
    """Whether this operating system and architecture can run object code: Linux on x86-64 or AArch64."""
    return operating_system() == "linux" and architecture() in ("x86_64", "aarch64")


class NativeObject:
    """An ELF relocatable object, mapped and ready to be called; unmapped when the last reference goes.

    Args:
        content: the object. It will run with the rights of this process: the caller has decided to trust it.

    Raises:
        ArtifactError: the object is damaged, is for another architecture, needs a function that is not offered, or the
            system refuses executable memory.
    """

    def __init__(self, content: bytes) -> None:
        elf = parse(content)
        if not supported() or elf.machine != architecture():
            raise damaged("cannot run here", f"Linux on {elf.machine}", f"{operating_system()} on {architecture()}")
        placement = place(elf, mmap.PAGESIZE)
        self._memory = _allocate(placement.size, placement.low)
        self._base = _address(self._memory)
        self._memory[:] = bytes(link(elf, placement, self._base, host_functions.resolve))
        _synchronize_instructions(self._base, placement.text_end)
        _protect(self._base, placement.text_end, _READ | _EXECUTE)
        _protect(self._base + placement.text_end, placement.read_only_end - placement.text_end, _READ)
        self._symbols = exported(elf, placement)

    def address(self, name: str) -> int:
        """The address of an exported symbol.

        Raises:
            ArtifactError: the object does not export it.
        """
        if name not in self._symbols:
            raise damaged(f"does not export {name!r}")
        return self._base + self._symbols[name]


def _allocate(size: int, low: bool) -> mmap.mmap:
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (_MAP_32BIT if low and architecture() == "x86_64" else 0)
    try:
        return mmap.mmap(-1, max(size, mmap.PAGESIZE), flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"no memory for {size} bytes of native code: {error}", stage="load native code") from error


def _address(memory: mmap.mmap) -> int:
    return np.frombuffer(memory, np.uint8).ctypes.data


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
    """On AArch64, make what was written visible to the instruction fetch; x86-64 does so by itself."""
    if architecture() != "aarch64" or not size:
        return
    try:
        clear = ctypes.CDLL("libgcc_s.so.1")["__clear_cache"]
    except (OSError, AttributeError):
        # The kernel also cleans the cache of a page when it becomes executable.
        return
    clear(ctypes.c_void_p(address), ctypes.c_void_p(address + size))
