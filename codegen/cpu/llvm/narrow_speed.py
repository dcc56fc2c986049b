"""How fast the processor of this machine multiplies vectors of bfloat16, which no flag tells: measured."""

import ctypes
import time
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from ....runtime.native.mapping import NativeObject
from .builder import FunctionBuilder
from .module import module_text, parse
from .target import TargetDescription, forks_wait, machine
from .types import BF16, F32, PTR, Register, Registers

_LANES, _SUMS, _TIMES, _TRIES = 16, 24, 500, 9
"""Of a vector; vectors of sums, enough for all that is under way; how often each is added to; measurements."""


def add_pairs(b: FunctionBuilder, total: Register, x: Register, w: Register) -> Register:
    """Sums of 16 lanes with products of the pairs in bfloat16 that each of as many words holds."""
    pairs = [b.convert("bitcast", each, BF16.of(2 * _LANES)) for each in (x, w)]
    return b.intrinsic("llvm.x86.avx512bf16.dpbf16ps.512", total.type, [total, *pairs])


def least_seconds(runs: Sequence[Callable[[], object]]) -> list[float]:
    """What each function takes at least; they take turns, as the clock of a processor may still rise."""
    seconds = np.empty((_TRIES, len(runs)))
    for turn, number in np.ndindex(seconds.shape):
        start = time.perf_counter()
        runs[number]()
        seconds[turn, number] = time.perf_counter() - start
    return seconds.min(0).tolist()


@cache
@forks_wait()
def products_gain() -> float:
    """How many times as many products of vectors are made in bfloat16 as in single precision."""
    target, vector, builders = TargetDescription.host(), F32.of(_LANES), list[FunctionBuilder]()
    memory = np.zeros(_LANES * (_SUMS + 1), np.float32)
    for name in ("narrow", "single"):
        b = FunctionBuilder(target, name, [("memory", PTR)])
        builders.append(b)

        def step(_: Register, sums: Registers, name: str = name, b: FunctionBuilder = b) -> Registers:
            x = b.load(vector, b.arguments[0])
            add = add_pairs if name == "narrow" else lambda b, total, x, w: b.fma(x, w, total)
            return tuple(add(b, total, x, x) for total in sums)

        starts = tuple(b.load(vector, b.arguments[0], vector.bytes * (1 + i)) for i in range(_SUMS))
        for index, total in enumerate(b.loop(0, _TIMES, step, starts)):
            b.store(total, b.arguments[0], vector.bytes * (1 + index))
        b.return_()
    native = NativeObject(machine(target).emit_object(parse(module_text(builders), "narrow", target, "single")))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    narrow, single = least_seconds([partial(function(native.address(b.name)), memory.ctypes.data) for b in builders])
    return 2 * single / narrow
