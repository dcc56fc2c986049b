"""Runs kernels in tests: compiled for a target, on buffers with canaries around them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from tilewright.codegen.cpu.assemble import ENTRY, KernelCall, Location, assemble
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.errors import CodegenError
from tilewright.ir.core import Op
from tilewright.ir.layout import pack, physical_shape, unpack
from tilewright.runtime.native.mapping import NativeObject

TARGETS = ("host", "avx2", "portable")
GUARD = 4096
CANARY = 0xA5

_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@cache
def described(name: str) -> TargetDescription:
    """The target of this name; the test is skipped where this machine cannot run it."""
    try:
        return TargetDescription.named(name)
    except CodegenError as error:
        pytest.skip(str(error))


class Guarded:
    """A buffer with canary bytes on both sides."""

    def __init__(self, content: np.ndarray | int, *, offset: int = 4) -> None:
        size = content if isinstance(content, int) else content.nbytes
        # Aligned to its elements only, as the interface of kernels promises.
        self._memory = np.full(2 * GUARD + size + 64, CANARY, np.uint8)
        start = GUARD - (self._memory.ctypes.data + GUARD) % 64 + 64
        self._start = start if isinstance(content, int) else start - 64 + max(offset, content.itemsize)
        self._size = size
        if not isinstance(content, int):
            self.bytes[:] = np.ascontiguousarray(content).reshape(-1).view(np.uint8)

    @property
    def bytes(self) -> np.ndarray:
        return self._memory[self._start : self._start + self._size]

    @property
    def address(self) -> int:
        return self.bytes.ctypes.data if self._size else self._memory.ctypes.data + self._start

    def check(self) -> None:
        before, after = self._memory[: self._start], self._memory[self._start + self._size :]
        assert (before == CANARY).all(), "written before the buffer"
        assert (after == CANARY).all(), "written behind the buffer"


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

    Results start as garbage, so that an element which a kernel forgets is seen; that nothing but results and scratch
    is written is checked.
    """
    buffers: list[Guarded] = []
    calls: list[KernelCall] = []
    operands: list[list[Guarded]] = []
    results: list[list[Guarded]] = []
    for each in invocations:
        inputs = [Guarded(array) for array in each.operands]
        if each.in_place is None:
            blanks = [np.full(int(np.prod(shape)) * dtype.itemsize, CANARY, np.uint8) for shape, dtype in each.results]
            results.append([Guarded(blank, offset=8) for blank in blanks])
        else:
            results.append([inputs[each.in_place]])
        locations = range(len(buffers), len(buffers) + len(inputs) + len(results[-1]))
        calls.append(KernelCall(each.kernel, tuple(Location("input", i) for i in locations)))
        operands.append(inputs)
        buffers += [*inputs, *results[-1]]
    native = NativeObject(assemble(calls, target, len(buffers), 0))
    run = _RUN(native.address(ENTRY))
    scratch = Guarded(max((each.kernel.scratch_bytes for each in invocations), default=0))
    addresses = (ctypes.c_void_p * max(1, len(buffers)))(*(buffer.address for buffer in buffers))
    context = (ctypes.c_void_p * 3)(scratch.address, None, ctypes.addressof(addresses))
    found: list[list[np.ndarray] | None] = []
    for index, each in enumerate(invocations):
        refused = run(ctypes.addressof(context), index, index + 1)
        assert refused in (0, index + 1)
        for guarded in (*operands[index], *results[index], scratch):
            guarded.check()
        for place, array in enumerate(each.operands):
            if place != each.in_place:
                before = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
                assert (operands[index][place].bytes == before).all(), "an operand was written"
        arrays = zip(results[index], each.results, strict=True)
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
            [pack(array, value.type.layout) for value, array in zip(each.op.inputs, each.arrays, strict=True)],
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
