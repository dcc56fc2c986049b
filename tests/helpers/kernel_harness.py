"""Runs single kernels in tests: compiled for a target, on buffers with canaries around them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import llvmlite.binding as llvm
import numpy as np
import pytest

from tilewright.codegen.cpu.assemble import ENTRY, KernelCall, Location, assemble
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.spec import KernelSpec
from tilewright.errors import CodegenError

TARGETS = ("host", "avx2", "portable")
GUARD = 4096
CANARY = 0xA5


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


class Compiled:
    """A kernel as a function on arrays."""

    def __init__(self, kernel: Kernel, argument_count: int, target: TargetDescription) -> None:
        self.kernel = kernel
        locations = tuple(Location("input", index) for index in range(argument_count))
        self.object_code = assemble([KernelCall(kernel, locations)], target, argument_count, 0)
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target.machine())
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(self.object_code))
        self._engine.finalize_object()
        prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        self._run = prototype(self._engine.get_function_address(ENTRY))

    def __call__(
        self, operands: Sequence[np.ndarray], results: Sequence[tuple[tuple[int, ...], np.dtype]]
    ) -> list[np.ndarray]:
        """The results for the operands; checks that nothing else was written.

        Raises:
            IndexError: the kernel refused its data.
        """
        inputs = [Guarded(array) for array in operands]
        blanks = [np.full(int(np.prod(shape)) * dtype.itemsize, CANARY, np.uint8) for shape, dtype in results]
        outputs = [Guarded(blank, offset=8) for blank in blanks]
        scratch = Guarded(self.kernel.scratch_bytes)
        addresses = (ctypes.c_void_p * (len(inputs) + len(outputs)))(*(g.address for g in (*inputs, *outputs)))
        context = (ctypes.c_void_p * 3)(scratch.address, None, ctypes.addressof(addresses))
        status = self._run(context, 0, 1)
        for guarded in (*inputs, *outputs, scratch):
            guarded.check()
        for guarded, array in zip(inputs, operands, strict=True):
            before = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            assert (guarded.bytes == before).all(), "an operand was written"
        if status:
            raise IndexError("the kernel refused its data")
        return [g.bytes.copy().view(dtype).reshape(shape) for g, (shape, dtype) in zip(outputs, results, strict=True)]


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
    """Results of the kernel that a specification makes for a target, its work split over two calls."""
    count = len(spec.arguments)
    compiled = Compiled(in_two_calls(spec.generate(target), count), count, target)
    return compiled(operands, [(shape, np.dtype(dtype)) for shape, dtype in results])
