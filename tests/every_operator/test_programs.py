"""Samples of the operators as whole CPU programs in the layouts that the compiler chooses, against the interpreter."""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterator

import llvmlite.binding as llvm
import numpy as np
import pytest
from generic_kernels import TARGET, assert_close, the_op
from grouped_tests import in_groups, naming
from guard_pages import CANARY, PLACEMENTS, Placement
from kernel_harness import TARGETS, Guarded, described
from operator_samples import Case, cases_of, make_case

from tilewright.codegen.cpu.assemble import ENTRY
from tilewright.codegen.cpu.families import lowerings
from tilewright.codegen.cpu.llvm.target import TargetDescription, machine
from tilewright.codegen.cpu.program import CpuCode, build_cpu_program
from tilewright.ir.interp import run as interpret
from tilewright.ir.op import REGISTRY
from tilewright.ir.ops.elementwise import Elementwise
from tilewright.ir.types import DType, TensorType
from tilewright.passes.cpu.choose_layouts import ChooseLayouts
from tilewright.passes.cpu.isolate_outputs import IsolateOutputs
from tilewright.passes.cpu.plan_cpu_memory import PlanCpuMemory
from tilewright.passes.pipeline import Pipeline
from tilewright.passes.placement.place_on_cpu import PlaceOnCpu

SINGLE = (
    *("conv", "matmul", "softmax", "log_softmax", "layer_norm", "rms_norm", "lrn"),
    *sorted(cls.name for cls in REGISTRY.values() if issubclass(cls, Elementwise)),
)
"""Operators whose samples of single precision and truth values get native kernels."""

NATIVE = (
    *SINGLE,
    *("arg_max", "arg_min", "attention", "average_pool", "conv_integer", "depth_to_space", "global_average_pool"),
    *("global_max_pool", "interleave", "matmul_integer", "max_pool", "reduce_log_sum_exp", "reduce_max", "reduce_mean"),
    *("reduce_min", "reduce_sum", "resize", "slice", "top_k", "transpose"),
)
"""Operators of which some samples have such, of whatever element types."""


def is_native(case: Case) -> bool:
    """Whether the kernel of a case is none that numba compiles."""
    op = the_op(case)
    for lowering in lowerings(type(op.operator)):
        if ".numba." in lowering.__module__:
            return False
        if lowering(op, TARGET) is not None:
            return True
    return False


def native_cases(name: str) -> Iterator[Case]:
    """Samples in row-major order, not quantised, that have native kernels or should."""
    for case in cases_of(name):
        types = [*case.sample.operand_types(), *(v.type for v in case.module.main.results)]
        present = [t for t in types if t is not None]
        if next(iter(case.sample.inputs), None) is None or any(t.layout or t.quant is not None for t in present):
            continue
        if (name in SINGLE and all(t.dtype in (DType.F32, DType.BOOL) for t in present)) or is_native(case):
            yield case


def execute(
    program: CpuCode, inputs: list[np.ndarray], outputs: list[TensorType], placement: Placement
) -> list[np.ndarray]:
    """Outputs of a program without reference steps; checks that it keeps to its buffers."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine.__wrapped__(program.target))
    engine.add_object_file(llvm.ObjectFileRef.from_data(program.object_code))
    engine.finalize_object()
    operands = [Guarded(array, f"input {i}", placement) for i, array in enumerate(inputs)]
    blank = [np.full(type.elements * type.dtype.bytes, CANARY, np.uint8).view(type.dtype.numpy) for type in outputs]
    results = [Guarded(array, f"output {i}", placement, offset=8) for i, array in enumerate(blank)]
    arena = Guarded(program.arena_bytes, "the arena", placement)
    constants = Guarded(len(program.constants), "the constants", placement)
    constants.bytes[:] = np.frombuffer(program.constants, np.uint8)
    io = (ctypes.c_void_p * (len(operands) + len(results)))(*(g.address for g in (*operands, *results)))
    stop = ctypes.c_int32()
    context = (ctypes.c_void_p * 5)(arena.address, constants.address, ctypes.addressof(io), ctypes.addressof(stop))
    prototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    status = prototype(engine.get_function_address(ENTRY))(context, 0, len(program.steps))
    assert status == 0
    for guarded in (*operands, *results, arena, constants):
        guarded.check()
    assert constants.bytes.tobytes() == program.constants
    return [g.bytes.copy().view(type.dtype.numpy).reshape(type.shape) for g, type in zip(results, outputs, strict=True)]


def check(case: Case, target: TargetDescription) -> None:
    case = make_case(case.name, case.sample)
    expected = interpret(case.module, case.inputs)
    Pipeline((PlaceOnCpu(), ChooseLayouts(), IsolateOutputs(), PlanCpuMemory())).run(case.module)
    function = case.module.main
    program = build_cpu_program(case.module, target, strict=True)
    types = [value.type for value in function.results]
    for placement in PLACEMENTS:
        found = execute(program, [case.inputs[p.name] for p in function.parameters], types, placement)
        for name, array in zip(function.result_names, found, strict=True):
            assert_close(array, expected[name], name)


@pytest.mark.parametrize("name", NATIVE)
def test_samples(name: str) -> None:
    """Of those of single precision every other one, and all others, on one target each."""
    seen: Counter[object] = Counter()
    for index, case in enumerate(native_cases(name), NATIVE.index(name)):
        types = tuple(str(array.dtype) for array in case.sample.inputs if array is not None)
        seen[types] += 1
        if not {*types} <= {"float32", "bool"} or seen[types] % 2:
            with naming(case):
                check(case, described(TARGETS[index // 2 % len(TARGETS)]))


@pytest.mark.sweep
@pytest.mark.parametrize("target", TARGETS)
@in_groups(NATIVE, native_cases)
def test_samples_on_every_target(case: Case, target: str) -> None:
    check(case, described(target))
