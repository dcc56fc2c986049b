"""Memory between pages that nothing may touch: who reads or writes beyond a tensor ends the process at once."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import signal
import weakref
from typing import Literal

import numpy as np

PAGE = mmap.PAGESIZE
CANARY = 0xA5
NO_ACCESS = 0

Placement = Literal["end", "begin", "middle"]
PLACEMENTS: tuple[Placement, ...] = ("end", "begin", "middle")
"""Where a tensor lies in its pages: it ends with the last, begins with the first, or lies between canaries."""

_REGIONS: dict[int, tuple[int, int, int, str]] = {}
"""By address of the mapping: its end, the address and the size of what it guards, and what that is called."""

_LIBRARY = ctypes.CDLL(None, use_errno=True)


class GuardedMemory:
    """Bytes that end exactly where a guard page begins, or begin where one ends, as far as their alignment allows.

    Args:
        size: in bytes.
        name: for the report of a fault.
        alignment: of the first byte.
        misalignment: of the first byte for the placement ``middle``, modulo 64.

    Attributes:
        bytes: u8[size]; it and its views keep the memory alive.
        address: of the first byte, also where there is none.
    """

    def __init__(
        self, size: int, name: str, placement: Placement, *, alignment: int = 1, misalignment: int = 0
    ) -> None:
        pages = -(-size // PAGE) + (1 if placement == "middle" or not size else 0)
        memory = mmap.mmap(-1, (pages + 2) * PAGE)
        self._whole = np.frombuffer(memory, np.uint8)
        base = self._whole.ctypes.data
        for page in (base, base + (pages + 1) * PAGE):
            if _LIBRARY.mprotect(ctypes.c_void_p(page), ctypes.c_size_t(PAGE), NO_ACCESS):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        first, last = PAGE, (pages + 1) * PAGE
        places = {"end": (last - size) // alignment * alignment, "begin": first, "middle": first + 64 + misalignment}
        start = places[placement]
        self.address = base + start
        self.bytes = self._whole[start : start + size]
        self._slack = (self._whole[first:start], self._whole[start + size : last])
        for part in self._slack:
            part[:] = CANARY
        _REGIONS[base] = (base + (pages + 2) * PAGE, self.address, size, name)
        weakref.finalize(memory, _REGIONS.pop, base).atexit = False

    def check(self) -> None:
        """Fails if anything was written beside the bytes, where no guard page is."""
        before, after = self._slack
        assert (before == CANARY).all(), "written before the buffer"
        assert (after == CANARY).all(), "written behind the buffer"


def guarded_copy(array: np.ndarray, name: str, placement: Placement) -> np.ndarray:
    """A C-contiguous copy of an array between guard pages."""
    memory = GuardedMemory(array.nbytes, name, placement, alignment=array.itemsize)
    copy = memory.bytes.view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def describe(address: int) -> str:
    """What lies at an address where the process may not go."""
    for base, (end, start, size, name) in _REGIONS.items():
        if base <= address < end:
            distance = start - address if address < start else address - start - size
            where = f"{distance} bytes before" if address < start else f"{distance} bytes behind the end of"
            return f"{where} {name} ({size} bytes)"
    return f"{address:#x}, which is beside no guarded memory"


class _SignalAction(ctypes.Structure):
    """``struct sigaction`` of the C library of 64-bit Linux."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_uint8 * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


_WITH_INFORMATION = 4
_ADDRESS_IN_INFORMATION = 16
_ERROR_IN_CONTEXT = 192
_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_kept: list[object] = []


def report_faults() -> None:
    """Make a fault in native code say on stderr which guarded memory it hit, before the process dies as it would have.

    Linux on 64 bits only. To be called after ``faulthandler.enable``, whose handler comes next.
    """
    for number in (signal.SIGSEGV, signal.SIGBUS):
        previous = _SignalAction()

        # The faulting thread is in native code or dies anyway: running Python in its handler harms nobody.
        def handle(number: int, information: int, context: int, previous: _SignalAction = previous) -> None:
            address = ctypes.c_uint64.from_address(information + _ADDRESS_IN_INFORMATION).value
            access = "access"
            if platform.machine() == "x86_64":
                access = "write" if ctypes.c_uint64.from_address(context + _ERROR_IN_CONTEXT).value & 2 else "read"
            os.write(2, f"{signal.Signals(number).name}: {access} {describe(address)}\n".encode())
            _LIBRARY.sigaction(number, ctypes.byref(previous), None)

        function = _HANDLER(handle)
        action = _SignalAction(ctypes.cast(function, ctypes.c_void_p).value, flags=_WITH_INFORMATION)
        _LIBRARY.sigaction(number, ctypes.byref(action), ctypes.byref(previous))
        _kept.extend((function, previous))
