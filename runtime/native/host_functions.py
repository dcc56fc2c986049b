"""The functions of the C library that native code may call. Anything else in an object is refused."""

from __future__ import annotations

import contextlib
import ctypes
from functools import cache

from .elf import damaged


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_MATHEMATICS = _names("""
    acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma fmax
    fmin fmod frexp hypot ldexp llrint llround log log10 log1p log2 lrint lround modf nearbyint pow remainder rint round
    roundeven scalbn sin sincos sinh sqrt tan tanh trunc
""")
_MEMORY = _names("bcmp memchr memcmp memcpy memmove memset")

ALLOWED = frozenset([*_MATHEMATICS, *(name + "f" for name in _MATHEMATICS), *_MEMORY])
"""Every name that `resolve` offers: mathematics in double and single precision, and memory."""


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

    Raises:
        ArtifactError: the function is not on the list, or this machine's library lacks it.
    """
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
