"""Samples of the operators as whole CPU programs in the layouts that the compiler chooses, against the interpreter."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import llvmlite.binding as llvm
import numpy as np
import pytest
from grouped_tests import in_groups, naming
from guard_pages import CANARY, PLACEMENTS, Placement
from kernel_harness import TARGETS, Guarded, described
from operator_samples import Case, cases_of, make_case

from tilewright.codegen.cpu.assemble import ENTRY
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

NATIVE = (
    "conv",
    "matmul",
    "softmax",
    "log_softmax",
    "layer_norm",
    "rms_norm",
    "lrn",
    *sorted(cls.name for cls in REGISTRY.values() if issubclass(cls, Elementwise)),
)
"""Operators whose samples of single precision and truth values get native kernels."""


def float_cases(name: str) -> Iterator[Case]:
    for case in cases_of(name):
        types = [*case.sample.operand_types(), *(v.type for v in case.module.main.results)]
        plain = all(
            t is None or (t.dtype in (DType.F32, DType.BOOL) and not t.layout and t.quant is None) for t in types
        )
        if plain and case.sample.inputs[0] is not None:
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
            size = np.abs(expected[name][np.isfinite(expected[name])]).max(initial=1.0)
            np.testing.assert_allclose(array, expected[name], rtol=1e-5, atol=1e-5 * size)


@pytest.mark.parametrize("name", NATIVE)
def test_samples(name: str) -> None:
    """Every other one on one target."""
    for index, case in enumerate([*float_cases(name)][::2], NATIVE.index(name)):
        with naming(case):
            check(case, described(TARGETS[index % len(TARGETS)]))


@pytest.mark.sweep
@pytest.mark.parametrize("target", TARGETS)
@in_groups(NATIVE, float_cases)
def test_samples_on_every_target(case: Case, target: str) -> None:
    check(case, described(target))
