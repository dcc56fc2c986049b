"""Kernels called on NumPy arrays: many ops as the steps of one object, each with buffers of its own."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.codegen.cpu.assemble import ENTRY, KernelCall, Location, assemble
from tilewright.codegen.cpu.kernel import Kernel
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.ir.core import Op
from tilewright.ir.layout import pack, physical_shape, unpack
from tilewright.runtime.native.mapping import NativeObject

_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_GARBAGE = 0xA5


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


def _aligned_bytes(count: int) -> np.ndarray:
    whole = np.full(count + 64, _GARBAGE, np.uint8)
    start = -whole.ctypes.data % 64
    return whole[start : start + count]


def run_kernels(executions: Sequence[Execution], target: TargetDescription) -> list[tuple[np.ndarray, ...] | None]:
    """Results of each op as logical arrays, or ``None`` where its kernel refused its operands.

    Results start as garbage, so that an element which a kernel forgets is seen.
    """
    buffers: list[np.ndarray] = []
    calls: list[KernelCall] = []
    outputs: list[list[np.ndarray]] = []
    for execution in executions:
        first = len(buffers)
        for value, array in zip(execution.op.inputs, execution.arrays, strict=True):
            buffers.append(pack(array, value.type.layout))
        outputs.append([])
        for value in execution.op.results:
            dtype, shape = value.type.dtype, physical_shape(value.type)
            outputs[-1].append(_aligned_bytes(int(np.prod(shape)) * dtype.bytes).view(dtype.numpy).reshape(shape))
        if execution.in_place is not None:
            outputs[-1][0][...] = buffers[first + execution.in_place]
            buffers[first + execution.in_place] = outputs[-1][0]
        buffers += outputs[-1]
        calls.append(KernelCall(execution.kernel, tuple(Location("input", i) for i in range(first, len(buffers)))))
    native = NativeObject(assemble(calls, target, len(buffers), 0))
    scratch = _aligned_bytes(max((e.kernel.scratch_bytes for e in executions), default=0))
    table = (ctypes.c_void_p * max(1, len(buffers)))(*(b.ctypes.data for b in buffers))
    context = (ctypes.c_void_p * 3)(scratch.ctypes.data, None, ctypes.cast(table, ctypes.c_void_p))
    run = _RUN(native.address(ENTRY))
    results: list[tuple[np.ndarray, ...] | None] = []
    for index, execution in enumerate(executions):
        refused = run(ctypes.cast(context, ctypes.c_void_p), index, index + 1)
        assert refused in (0, index + 1)
        types = [value.type for value in execution.op.results]
        found = tuple(unpack(array, type) for array, type in zip(outputs[index], types, strict=True))
        results.append(None if refused else found)
    return results
