"""Runs kernels in tests: compiled for a target, on buffers between guard pages."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import emulated_programs
import numpy as np
import pytest
from guard_pages import CANARY, PLACEMENTS, GuardedMemory, Placement

from tilewright.codegen.cpu.assemble import ENTRY, KernelCall, Location, assemble
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.ir.core import Op
from tilewright.ir.layout import pack, physical_shape, unpack
from tilewright.runtime.native.host import is_native, missing
from tilewright.runtime.native.mapping import NativeObject

_HERE, _LEVEL = TargetDescription.host(), TargetDescription.named("avx2")
_IS_LEVEL = (_HERE.features, _HERE.cache_bytes) == (_LEVEL.features, _LEVEL.cache_bytes)

TARGETS = ("avx2", "portable") if _IS_LEVEL else ("host", "avx2", "portable")
"""This machine is left out where it has what one of the others has: code for it is the same but for its order."""

EMULATED = tuple(emulated_programs.PROCESSORS)
"""Targets whose code runs under emulation, where there is one."""

_GOES_ON = ctypes.c_int32()

_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@cache
def described(name: str) -> TargetDescription:
    """The target of this name; the test is skipped where this machine cannot run it."""
    target = TargetDescription.named(name)
    if _is_emulated(target):
        emulated_programs.tools(name)
    elif (reason := missing(target.triple, target.features)) is not None:
        pytest.skip(reason)
    return target


def _is_emulated(target: TargetDescription) -> bool:
    return target.level in EMULATED and not is_native(target.triple)


class Guarded(GuardedMemory):
    """A buffer between guard pages, with a copy of an array or with nothing in it.

    Args:
        content: an array, which is aligned to its elements only, as the interface of kernels promises; or a number of
            bytes of work memory, aligned to 64.
        offset: how far an array lies beyond a multiple of 64 where no guard page decides.
    """

    def __init__(self, content: np.ndarray | int, name: str, placement: Placement, *, offset: int = 4) -> None:
        if isinstance(content, int):
            super().__init__(content, name, placement, alignment=64)
            self.bytes[:] = CANARY
        else:
            offset = max(offset, content.itemsize)
            super().__init__(content.nbytes, name, placement, alignment=content.itemsize, misalignment=offset)
            self.bytes[:] = np.ascontiguousarray(content).reshape(-1).view(np.uint8)


@dataclass(frozen=True)
class Invocation:
    """A kernel and what to call it on.

    Attributes:
        operands: arrays in physical order.
        results: shapes and dtypes, in physical order.
        in_place: the operand that the only result is written over.
    """

    kernel: Kernel
    operands: Sequence[np.ndarray]
    results: Sequence[tuple[tuple[int, ...], np.dtype]]
    in_place: int | None = None


def invoke(invocations: Sequence[Invocation], target: TargetDescription) -> list[list[np.ndarray] | None]:
    """Results of each kernel, or ``None`` where it refused its operands; all of them are steps of one object.

    Every tensor lies between guard pages, once at the end of its pages, once at their beginning and once unaligned in
    their middle, and the results must be the same. Results start as garbage, so that an element which a kernel forgets
    is seen; that nothing but results and scratch is written is checked. Under emulation there is one placement.
    """
    calls: list[KernelCall] = []
    count = 0
    for each in invocations:
        _check_marks(each)
        own = len(each.operands) + (len(each.results) if each.in_place is None else 1)
        calls.append(KernelCall(each.kernel, tuple(Location("input", count + i) for i in range(own))))
        count += own
    code = assemble(calls, target, count, 0)
    if _is_emulated(target):
        scratch = max((each.kernel.scratch_bytes for each in invocations), default=0)
        tensors = [(each.operands, each.results, each.in_place) for each in invocations]
        return emulated_programs.kernels(target.level, code, tensors, scratch)
    native = NativeObject(code)
    found = [_invoke(invocations, native, count, placement) for placement in PLACEMENTS]
    for other in found[1:]:
        for each, first, again in zip(invocations, found[0], other, strict=True):
            same = first is again is None or [a.tobytes() for a in first or ()] == [a.tobytes() for a in again or ()]
            assert same, f"{each.kernel.name}: results depend on where the tensors lie"
    return found[0]


def _check_marks(invocation: Invocation) -> None:
    """Fails if LLVM was told of a tensor that is written, or that lies where one is, that it is only read."""
    name = invocation.kernel.name.removesuffix("_in_two_calls")
    if found := re.search(rf"define i32 @{re.escape(name)}\((.*?)\)", invocation.kernel.text):
        written = range(len(invocation.operands), len(invocation.operands) + len(invocation.results))
        parameters = found[1].split(", ")
        for place in written if invocation.in_place is None else (invocation.in_place, written[0]):
            assert "readonly" not in parameters[place], f"{name}: {parameters[place]} is written"


def _invoke(
    invocations: Sequence[Invocation], native: NativeObject, count: int, placement: Placement
) -> list[list[np.ndarray] | None]:
    """What :func:`invoke` gives, for one placement of all ``count`` tensors."""
    run = _RUN(native.address(ENTRY))
    scratch_bytes = max((each.kernel.scratch_bytes for each in invocations), default=0)
    addresses = (ctypes.c_void_p * max(1, count))()
    end = 0
    found: list[list[np.ndarray] | None] = []
    for index, each in enumerate(invocations):
        stem = each.kernel.name
        operands = [Guarded(a, f"operand {i} of {stem}", placement) for i, a in enumerate(each.operands)]
        if each.in_place is None:
            blanks = [np.full(math.prod(shape) * d.itemsize, CANARY, np.uint8).view(d) for shape, d in each.results]
            results = [Guarded(a, f"result {i} of {stem}", placement, offset=8) for i, a in enumerate(blanks)]
        else:
            results = [operands[each.in_place]]
        scratch = Guarded(scratch_bytes, f"scratch of {stem}", placement)
        begin, end = end, end + len(operands) + len(results)
        addresses[begin:end] = [buffer.address for buffer in (*operands, *results)]
        context = (ctypes.c_void_p * 5)(
            scratch.address, None, ctypes.addressof(addresses), ctypes.addressof(_GOES_ON), None
        )
        refused = run(ctypes.addressof(context), index, index + 1)
        assert refused in (0, index + 1)
        for guarded in (*operands, *results, scratch):
            guarded.check()
        for place, array in enumerate(each.operands):
            if place != each.in_place:
                before = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                assert (operands[place].bytes == before).all(), "an operand was written"
        arrays = zip(results, each.results, strict=True)
        found.append(None if refused else [g.bytes.copy().view(d).reshape(s) for g, (s, d) in arrays])
    return found


def in_two_calls(kernel: Kernel, argument_count: int) -> Kernel:
    """The kernel called for the second half of its work items first, then for the first half."""
    names = [f"%t{i}" for i in range(argument_count)]
    parameters = ", ".join([*(f"ptr {name}" for name in names), "ptr %scratch"])
    name = f"{kernel.name}_in_two_calls"
    text = f"""{kernel.text}
define i32 @{name}({parameters}, i64 %begin, i64 %end) {{
  %middle = udiv i64 %end, 2
  %late = call i32 @{kernel.name}({parameters}, i64 %middle, i64 %end)
  %early = call i32 @{kernel.name}({parameters}, i64 %begin, i64 %middle)
  %status = or i32 %late, %early
  ret i32 %status
}}
"""
    return replace(kernel, name=name, text=text)


def run(
    spec: KernelSpec,
    target: TargetDescription,
    operands: Sequence[np.ndarray],
    results: Sequence[tuple[tuple[int, ...], type]],
) -> list[np.ndarray]:
    """Results of the kernel that a specification makes for a target, its work split over two calls.

    Raises:
        IndexError: the kernel refused its data.
    """
    kernel = in_two_calls(spec.generate(target), len(spec.arguments))
    shapes = [(shape, np.dtype(dtype)) for shape, dtype in results]
    (found,) = invoke([Invocation(kernel, operands, shapes)], target)
    if found is None:
        raise IndexError("the kernel refused its data")
    return found


@dataclass(frozen=True)
class Execution:
    """An op, its kernel and logical arrays for the operands that are present.

    Attributes:
        in_place: which of the arrays the only result is written over.
    """

    op: Op
    kernel: Kernel
    arrays: tuple[np.ndarray, ...]
    in_place: int | None = None


def run_kernels(executions: Sequence[Execution], target: TargetDescription) -> list[tuple[np.ndarray, ...] | None]:
    """Results of each op as logical arrays, or ``None`` where its kernel refused its operands."""
    invocations = [
        Invocation(
            each.kernel,
            [
                *(pack(array, value.type.layout) for value, array in zip(each.op.inputs, each.arrays, strict=True)),
                *([np.frombuffer(each.kernel.data, np.int32)] if each.kernel.data else []),
            ],
            [(physical_shape(value.type), value.type.dtype.numpy) for value in each.op.results],
            each.in_place,
        )
        for each in executions
    ]
    return [
        None
        if found is None
        else tuple(unpack(array, value.type) for array, value in zip(found, each.op.results, strict=True))
        for each, found in zip(executions, invoke(invocations, target), strict=True)
    ]
