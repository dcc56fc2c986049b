"""Modules that nobody vouches for, planned, compiled and run between guard pages."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from guard_pages import PLACEMENTS, Placement
from kernel_harness import ENTRY, Guarded

from tilewright.codegen.cpu.assemble import KernelCall, Location, assemble
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm.target import NAMED_TARGETS, TargetDescription
from tilewright.codegen.cpu.program import build_cpu_program
from tilewright.ir.annotations import ALIAS
from tilewright.ir.core import Constant, Function, Module, Op, Value
from tilewright.ir.layout import bytes_of, pack
from tilewright.ir.op import Operator
from tilewright.ir.types import TensorType
from tilewright.ir.verify import verify
from tilewright.passes.cpu.choose_layouts import ChooseLayouts
from tilewright.passes.cpu.isolate_outputs import IsolateOutputs
from tilewright.passes.cpu.plan_cpu_memory import PlanCpuMemory
from tilewright.passes.pipeline import Pipeline
from tilewright.passes.placement.place_on_cpu import PlaceOnCpu
from tilewright.runtime.native.host import missing
from tilewright.runtime.native.mapping import NativeObject

from .mutation import pick

MOST_BYTES = 64 << 20
MOST_WORK = 1 << 28
"""Bytes of all tensors, and steps of the inner loops, of what is still run. More is legal, but it takes its time."""

_RUN = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


@cache
def targets() -> list[TargetDescription]:
    """This machine, and each level of processors that it can run the code of."""
    found = [TargetDescription.host()]
    for level in NAMED_TARGETS:
        if missing(level.triple, level.features) is None:
            found.append(TargetDescription.named(level.name))
    return found


def random_array(rng: np.random.Generator, type: TensorType) -> np.ndarray:
    """Elements of every kind: small ones, extreme ones, and any bits at all."""
    return random_array_of(rng, type.shape, type.dtype.numpy)


def random_array_of(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """As :func:`random_array`, for a shape and a dtype of NumPy."""
    kind = rng.integers(4)
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(np.bool_)
    if kind == 0:
        return rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype).reshape(shape)
    array = rng.integers(0 if dtype.kind == "u" else -4, 5, shape).astype(dtype)
    if kind == 1 and array.size:
        limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
        special = [limits.max, limits.min, *((np.nan, np.inf, -np.inf) if dtype.kind == "f" else ())]
        with np.errstate(all="ignore"):
            array.reshape(-1)[:: int(rng.integers(1, 4))] = np.array(pick(rng, special), dtype)
    return array


def single_op_module(
    operator: Operator,
    types: Sequence[TensorType | None],
    result_types: Sequence[TensorType] | None = None,
    constants: Mapping[int, np.ndarray] | None = None,
) -> Module:
    """One application of an operator; operands are parameters unless an array is given for them."""
    module = Module("hostile")
    function = module.add_function(Function("main"))
    operands: list[Value | None] = []
    for index, type in enumerate(types):
        if type is None:
            operands.append(None)
        elif constants and index in constants:
            operands.append(module.add_constant(f"c{index}", constants[index], type))
        else:
            operands.append(function.add_parameter(f"x{index}", type))
    op = function.append(operator, operands, result_types, loc=["hostile"])
    function.set_results(op.results, [f"y{index}" for index in range(len(op.results))])
    verify(module)
    return module


def _work(op: Op) -> int:
    """Steps of the inner loops of an op, roughly: windows are counted whole, wherever they lie."""
    window = math.prod(abs(extent) for extent in getattr(op.operator, "kernel", ()))
    results = sum(value.type.elements for value in op.results)
    return max(op.macs, results * max(1, window), sum(value.type.elements for value in op.inputs))


def is_small(module: Module) -> bool:
    """Whether a module runs within moments."""
    values = {value for op in module.ops for value in (*op.inputs, *op.results)}
    total = sum(bytes_of(value.type) for value in values)
    return total <= MOST_BYTES and sum(map(_work, module.ops)) <= MOST_WORK


def run_guarded(module: Module, rng: np.random.Generator) -> None:
    """Choose layouts, plan memory, and go on as :func:`compile_guarded`."""
    Pipeline((PlaceOnCpu(), ChooseLayouts(), IsolateOutputs(), PlanCpuMemory())).run(module)
    compile_guarded(module, rng)


def compile_guarded(module: Module, rng: np.random.Generator) -> None:
    """Compile ``main`` of a planned module for some target and run it once, unless it is large.

    The memory of the program lies between guard pages: as the compiler planned it, or each tensor on pages of its own.
    """
    placement = pick(rng, PLACEMENTS)
    function = module.main
    target = pick(rng, targets())
    if not is_small(module):
        build_cpu_program(module, target)
        return
    filled = [random_array(rng, p.type) for p in function.parameters]
    if rng.integers(2):
        _run_planned(module, target, filled, placement)
    else:
        _run_apart(function, target, filled, placement)


def _run_planned(module: Module, target: TargetDescription, arrays: Sequence[np.ndarray], placement: Placement) -> None:
    function, program = module.main, build_cpu_program(module, target)
    if program.arena_bytes > MOST_BYTES:
        return
    inputs = [Guarded(array, f"input {i}", placement) for i, array in enumerate(arrays)]
    outputs = [_blank(value, f"output {i}", placement) for i, value in enumerate(function.results)]
    arena = Guarded(program.arena_bytes, "the arena", placement)
    constants = Guarded(len(program.constants), "the constants", placement)
    constants.bytes[:] = np.frombuffer(program.constants, np.uint8)
    entry = NativeObject(program.object_code)
    addresses = (ctypes.c_void_p * max(1, len(inputs) + len(outputs)))(*(b.address for b in (*inputs, *outputs)))
    stop = ctypes.c_int32()
    places = arena.address, constants.address, ctypes.addressof(addresses), ctypes.addressof(stop)
    context = (ctypes.c_void_p * 5)(*places)
    for index, step in enumerate(program.steps):
        if step.kernel is None or _RUN(entry.address(ENTRY))(ctypes.addressof(context), index, index + 1):
            break
    for buffer in (*inputs, *outputs, arena, constants):
        buffer.check()


def _blank(value: Value, name: str, placement: Placement) -> Guarded:
    return Guarded(np.full(bytes_of(value.type) // value.type.dtype.bytes, 77, value.type.dtype.numpy), name, placement)


def _run_apart(
    function: Function, target: TargetDescription, arrays: Sequence[np.ndarray], placement: Placement
) -> None:
    buffers = {p: Guarded(a, f"%{p.name}", placement) for p, a in zip(function.parameters, arrays, strict=True)}
    steps: list[Op] = []
    for op in function.ops:
        for value in op.inputs:
            if isinstance(value, Constant) and value not in buffers:
                packed = pack(value.array, value.type.layout)
                buffers[value] = Guarded(packed, f"@{value.name} of {op.name}", placement)
        alias = ALIAS.get(op)
        for value in op.results:
            if alias is None or len(op.inputs) > 1:
                buffers[value] = _blank(value, f"result %{value.name} of {op.name}", placement)
            else:
                buffers[value] = buffers[op.inputs[alias]]
        # Parts that were planned side by side lie apart here, so a concatenation of them cannot be followed.
        if alias is not None and len(op.inputs) > 1:
            break
        if alias is None:
            steps.append(op)
    kernels = [lower(op, target) for op in steps]
    data = [np.frombuffer(kernel.data if kernel is not None else b"", np.int32) for kernel in kernels]
    own = [Guarded(array, f"data of {op.name}", placement) for op, array in zip(steps, data, strict=True)]
    unique = list({id(b): b for b in (*buffers.values(), *own)}.values())
    places = {id(buffer): index for index, buffer in enumerate(unique)}
    calls: list[KernelCall | None] = []
    for op, kernel, constants in zip(steps, kernels, own, strict=True):
        given = [buffers[value] for value in op.inputs] + [constants] * bool(kernel is not None and kernel.data)
        everything = (*given, *(buffers[value] for value in op.results))
        locations = tuple(Location("input", places[id(buffer)]) for buffer in everything)
        calls.append(None if kernel is None else KernelCall(kernel, locations))
    entry = NativeObject(assemble(calls, target, len(places), 0))
    stop = ctypes.c_int32()
    addresses = (ctypes.c_void_p * max(1, len(unique)))(*(buffer.address for buffer in unique))
    for index, call in enumerate(calls):
        if call is None:
            break
        scratch = Guarded(call.kernel.scratch_bytes, f"scratch of {call.kernel.name}", placement)
        context = (ctypes.c_void_p * 5)(scratch.address, None, ctypes.addressof(addresses), ctypes.addressof(stop))
        refused = _RUN(entry.address(ENTRY))(ctypes.addressof(context), index, index + 1)
        for buffer in (*unique, scratch):
            buffer.check()
        if refused:
            break
