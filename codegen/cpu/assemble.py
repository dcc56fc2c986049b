"""Kernels and the steps that call them, as one ELF relocatable object.

The entry point ``i32 tilewright_run(ptr context, i64 first, i64 last)`` runs the steps [first, last) in order. The
context holds the addresses of the arena, of the constants, and of a table of inputs and outputs. It returns 0, or 1
plus the index of the step whose kernel refused its operands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import llvmlite.binding as llvm

from tilewright.errors import CodegenError

from .kernel import Kernel
from .llvm.target import TargetDescription

ENTRY = "tilewright_run"
_CONTEXT = {"arena": 0, "constants": 1, "io": 2}


@dataclass(frozen=True)
class Location:
    """Where a tensor lies at run time.

    Attributes:
        memory: ``arena`` or ``constants`` (then ``position`` is a byte offset), ``input`` or ``output`` (an index).
    """

    memory: str
    position: int


@dataclass(frozen=True)
class KernelCall:
    """One step: a kernel and where its operands and results lie; ``None`` leaves the step to others."""

    kernel: Kernel | None
    tensors: tuple[Location, ...] = ()


def _address(name: str, location: Location, input_count: int) -> list[str]:
    """LLVM IR that computes an address; SSA names start with ``name``."""
    if location.memory in ("arena", "constants"):
        return [f"  {name} = getelementptr i8, ptr %{location.memory}, i64 {location.position}"]
    index = location.position + (input_count if location.memory == "output" else 0)
    return [
        f"  {name}.slot = getelementptr ptr, ptr %io, i64 {index}",
        f"  {name} = load ptr, ptr {name}.slot, align 8",
    ]


def entry_text(calls: Sequence[KernelCall], input_count: int, scratch: int) -> str:
    """LLVM IR of the entry point.

    Args:
        input_count: number of graph inputs; outputs follow them in the table.
        scratch: offset in the arena of the work memory that all kernels share.
    """
    lines = [f"define i32 @{ENTRY}(ptr %context, i64 %first, i64 %last) {{", "entry:"]
    for name, index in _CONTEXT.items():
        lines += [
            f"  %{name}.slot = getelementptr ptr, ptr %context, i64 {index}",
            f"  %{name} = load ptr, ptr %{name}.slot, align 8",
        ]
    lines += [
        f"  %scratch = getelementptr i8, ptr %arena, i64 {scratch}",
        "  br label %head",
        "head:",
        "  %step = phi i64 [ %first, %entry ], [ %following, %next ]",
        "  %more = icmp slt i64 %step, %last",
        "  br i1 %more, label %body, label %done",
        "body:",
        "  switch i64 %step, label %next [",
    ]
    lines += [f"    i64 {i}, label %step{i}" for i, call in enumerate(calls) if call.kernel is not None]
    lines += ["  ]"]
    statuses = []
    for index, call in enumerate(calls):
        kernel = call.kernel
        if kernel is None:
            continue
        lines.append(f"step{index}:")
        names = [f"%s{index}.{i}" for i in range(len(call.tensors))]
        for name, location in zip(names, call.tensors, strict=True):
            lines += _address(name, location, input_count)
        arguments = ", ".join([*(f"ptr {name}" for name in names), "ptr %scratch", "i64 0", f"i64 {kernel.units}"])
        lines += [f"  %status{index} = call i32 @{kernel.name}({arguments})", "  br label %checked"]
        statuses.append(f"[ %status{index}, %step{index} ]")
    if statuses:
        lines += [
            "checked:",
            f"  %status = phi i32 {', '.join(statuses)}",
            "  %good = icmp eq i32 %status, 0",
            "  br i1 %good, label %next, label %failed",
            "failed:",
            "  %number = trunc i64 %step to i32",
            "  %code = add i32 %number, 1",
            "  ret i32 %code",
        ]
    lines += ["next:", "  %following = add i64 %step, 1", "  br label %head", "done:", "  ret i32 0", "}"]
    return "\n".join(lines)


def _declarations(calls: Iterable[KernelCall]) -> str:
    """Declarations of the called kernels, each once."""
    declared: dict[str, str] = {}
    for call in calls:
        if call.kernel is not None:
            arguments = ", ".join(["ptr"] * (len(call.tensors) + 1) + ["i64", "i64"])
            declared[call.kernel.name] = f"declare i32 @{call.kernel.name}({arguments})"
    return "\n".join(declared.values())


def assemble(
    calls: Sequence[KernelCall],
    target: TargetDescription,
    input_count: int,
    scratch: int,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> bytes:
    """Object code of a program.

    Args:
        calls: the steps in order.
        report: called as ``report(done, total)`` while kernels are compiled.

    Raises:
        CodegenError: LLVM rejects a kernel's text (our own bug; the message says which kernel).
    """
    machine = target.machine()
    kernels = list({c.kernel.name: c.kernel for c in calls if c.kernel is not None}.values())
    whole = _parse(_declarations(calls) + "\n" + entry_text(calls, input_count, scratch), "the entry point")
    whole.triple = target.triple
    whole.data_layout = str(machine.target_data)
    for index, kernel in enumerate(kernels):
        module = _parse(kernel.text, kernel.name)
        module.triple = target.triple
        module.data_layout = str(machine.target_data)
        for function in module.functions:
            if not function.is_declaration and function.name != kernel.name:
                function.linkage = "internal"
        if not kernel.optimized:
            _optimize(module, machine)
        whole.link_in(module)
        report(index + 1, len(kernels))
    for function in whole.functions:
        if not function.is_declaration and function.name != ENTRY:
            function.linkage = "internal"
    try:
        whole.verify()
    except RuntimeError as error:
        raise CodegenError(f"LLVM rejects the program: {error}") from error
    return bytes(machine.emit_object(whole))


def _parse(text: str, what: str) -> llvm.ModuleRef:
    try:
        module = llvm.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CodegenError(f"LLVM rejects the text of {what}: {error}") from error
    return module


def _optimize(module: llvm.ModuleRef, machine: llvm.TargetMachine) -> None:
    """LLVM's passes without its vectorisers: kernels say themselves what is a vector."""
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False
    options.slp_vectorization = False
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
