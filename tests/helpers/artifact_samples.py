"""Small artifacts, made without the compiler: a CPU program of three steps written in LLVM's textual language."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache

import llvmlite.binding as llvm
import numpy as np
import pytest

from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.artifact.container import Section, SectionKind
from tilewright.runtime.artifact.manifest import (
    CpuProgramInfo,
    CpuStage,
    Engine,
    Manifest,
    ModelInfo,
    Processor,
    StepInfo,
    TensorSpec,
)

LENGTH = 16

PROGRAM = """
; y = exp(x * scale) element by element, where scale is a constant section entry; x must not be negative.
%Context = type { ptr, ptr, ptr }
@bias = internal constant [16 x float] zeroinitializer, align 64
declare float @expf(float)
declare ptr @memcpy(ptr, ptr, i64)

define internal void @scale(ptr %x, ptr %w, ptr %y) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %px = getelementptr float, ptr %x, i64 %i
  %pw = getelementptr float, ptr %w, i64 %i
  %pb = getelementptr float, ptr @bias, i64 %i
  %py = getelementptr float, ptr %y, i64 %i
  %vx = load float, ptr %px
  %vw = load float, ptr %pw
  %vb = load float, ptr %pb
  %product = fmul float %vx, %vw
  %sum = fadd float %product, %vb
  store float %sum, ptr %py
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, 16
  br i1 %more, label %loop, label %done
done:
  ret void
}

define internal i32 @exponential(ptr %x, ptr %y) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %store ]
  %px = getelementptr float, ptr %x, i64 %i
  %py = getelementptr float, ptr %y, i64 %i
  %v = load float, ptr %px
  %bad = fcmp olt float %v, 0.0
  br i1 %bad, label %failed, label %store
store:
  %e = call float @expf(float %v)
  store float %e, ptr %py
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, 16
  br i1 %more, label %loop, label %done
failed:
  ret i32 1
done:
  ret i32 0
}

define i32 @tilewright_run(ptr %context, i64 %first, i64 %last) {
entry:
  %arena = load ptr, ptr %context
  %pc = getelementptr %Context, ptr %context, i32 0, i32 1
  %constants = load ptr, ptr %pc
  %pio = getelementptr %Context, ptr %context, i32 0, i32 2
  %io = load ptr, ptr %pio
  %x = load ptr, ptr %io
  %pout = getelementptr ptr, ptr %io, i64 1
  %y = load ptr, ptr %pout
  %second = getelementptr i8, ptr %arena, i64 64
  br label %head
head:
  %step = phi i64 [ %first, %entry ], [ %next, %tail ]
  %more = icmp slt i64 %step, %last
  br i1 %more, label %body, label %done
body:
  switch i64 %step, label %tail [ i64 0, label %s0
                                  i64 1, label %s1
                                  i64 2, label %s2 ]
s0:
  call void @scale(ptr %x, ptr %constants, ptr %arena)
  br label %tail
s1:
  %code = call i32 @exponential(ptr %arena, ptr %second)
  %failed = icmp ne i32 %code, 0
  br i1 %failed, label %fail, label %tail
s2:
  %copied = call ptr @memcpy(ptr %y, ptr %second, i64 64)
  br label %tail
tail:
  %next = add i64 %step, 1
  br label %head
fail:
  %number = add i64 %step, 1
  %number32 = trunc i64 %number to i32
  ret i32 %number32
done:
  ret i32 0
}
"""

LINUX_TRIPLES = {name: f"{name}-unknown-linux-gnu" for name in ("x86_64", "aarch64", "riscv64")}


def compile_object(
    text: str, triple: str | None = None, *, code_model: str = "small", relocation: str = "pic"
) -> bytes:
    """The ELF relocatable object for LLVM text; for another architecture when `triple` says so."""
    if triple is None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        triple = llvm.get_process_triple()
    else:
        llvm.initialize_all_targets()
        llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(codemodel=code_model, reloc=relocation, opt=2)
    module = llvm.parse_assembly(text)
    module.triple = triple
    module.verify()
    return machine.emit_object(module)


@cache
def program_object() -> bytes:
    """The object of `PROGRAM` for this machine."""
    return compile_object(PROGRAM)


def weights() -> np.ndarray:
    """The constants of the program, f32[16]."""
    return np.linspace(0.5, 2.0, LENGTH, dtype=np.float32)


def expected(x: np.ndarray) -> np.ndarray:
    """What the program computes."""
    return np.exp(x * weights())


def small_manifest() -> Manifest:
    """The manifest of `PROGRAM`: input x f32[2,8], output y f32[16], engine ``float``."""
    return Manifest(
        compiler_version="0.1.0",
        model=ModelInfo("small", ""),
        precision="fp32",
        inputs=(TensorSpec("x", "f32", (2, 8)),),
        outputs=(TensorSpec("y", "f32", (LENGTH,)),),
        engines={"float": Engine((CpuStage("main", 0, 3),))},
        cpu_programs={
            "main": CpuProgramInfo(
                code="main.code",
                constants="main.constants",
                module="main.module",
                arena_bytes=128,
                target=Processor(llvm.get_process_triple(), "generic", ()),
                steps=(
                    StepInfo("scale", "mul", "scale", ("Mul_0",), macs=16, bytes=192),
                    StepInfo("exponential", "exp", "exponential", ("Exp_1",), bytes=128),
                    StepInfo("copy", "reshape", "memcpy", ("Reshape_2",), bytes=128),
                ),
            )
        },
        details={"options": {"precision": "fp32"}},
    )


def small_sections(code: bytes | None = None) -> list[Section]:
    """The sections that `small_manifest` refers to."""
    return [
        Section("main.code", SectionKind.CODE, program_object() if code is None else code),
        Section("main.module", SectionKind.MODULE, b"module @small {}"),
        Section("main.constants", SectionKind.CONSTANTS, weights().tobytes()),
    ]


def small_artifact(**changes: object) -> bytes:
    """The whole file; `changes` replaces fields of the manifest."""
    return artifact_bytes(replace(small_manifest(), **changes), small_sections())  # pyright: ignore[reportArgumentType]


def with_compiler(monkeypatch: pytest.MonkeyPatch, arena_bytes: int = 4096) -> list[str]:
    """Stand in for the compiler, which generates `PROGRAM` for any program; what it was asked for."""
    asked: list[str] = []

    class Package:
        @staticmethod
        def regenerate(artifact: Artifact, program: str, seconds: float | None) -> tuple[bytes, int, bytes]:
            asked.append(f"{program}: {artifact.text('main.module')}")
            return program_object(), arena_bytes, b""

    monkeypatch.setitem(sys.modules, "tilewright.codegen.package", Package)
    return asked
