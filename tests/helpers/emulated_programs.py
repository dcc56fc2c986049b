"""Programs in C for other architectures, run under emulation: those that a compiler and qemu are installed for.

``tools/cross_compilers.sh`` brings both without root; tests that need one which is missing are skipped. Each level of
processors runs on one that has its extensions and no others, so that code which uses more fails.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

PROCESSORS = {"aarch64": "cortex-a53", "aarch64-dotprod": "neoverse-n1", "aarch64-i8mm": "max", "riscv64": "rv64"}
"""By level the processor that qemu is to be."""

Call = tuple[Sequence[np.ndarray], Sequence[tuple[tuple[int, ...], np.dtype]], int | None]
"""Operands of a kernel, shapes and element types of its results, and the operand that the only one is written over."""

_CALLS = Path(__file__).with_name("kernel_calls.c")


def _tool(name: str) -> str:
    return shutil.which(name) or pytest.skip(f"{name} is not installed, see tools/cross_compilers.sh")


def tools(level: str) -> tuple[str, str]:
    """The emulator and the C compiler of a level; without them the test is skipped, best before it makes anything."""
    architecture = level.partition("-")[0]
    return _tool(f"qemu-{architecture}"), _tool(f"{architecture}-linux-gnu-gcc")


def linked(level: str, folder: Path, *parts: str | Path) -> list[str]:
    """The command that runs a static program of sources, objects and options of the compiler, made in a folder."""
    emulator, compiler = tools(level)
    program = folder / f"program.{level}"
    words = [compiler, "-static", *map(str, parts), "-lm", "-o", str(program)]
    subprocess.run(words, cwd=folder, check=True, timeout=300)
    return [emulator, "-cpu", PROCESSORS[level], str(program)]


def kernels(level: str, code: bytes, calls: Sequence[Call], scratch: int) -> list[list[np.ndarray] | None]:
    """Results of kernels that are the steps of one object; ``None`` of one that refuses its operands."""
    tensors: list[list[np.ndarray]] = []
    for operands, results, in_place in calls:
        blank = [np.full(shape, 0x5A, dtype) for shape, dtype in results] if in_place is None else []
        tensors.append([*operands, *blank])
    flat = [array.tobytes() for own in tensors for array in own]
    content = struct.pack("=qqq", scratch, len(flat), len(calls))
    content += b"".join(struct.pack("=q", len(each)) + each for each in flat)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "kernels.o").write_bytes(code)
        command = linked(level, Path(folder), _CALLS, "kernels.o")
        found = subprocess.run(command, input=content, capture_output=True, timeout=600, check=True).stdout
    at = 4 * len(calls)
    refused = np.frombuffer(found, np.int32, len(calls))
    answers: list[list[np.ndarray] | None] = []
    for (operands, results, in_place), own, status in zip(calls, tensors, refused, strict=True):
        parts = []
        for each in own:
            parts.append(found[at : at + each.nbytes])
            at += each.nbytes
        written = parts[len(operands) :] if in_place is None else [parts[in_place]]
        made = [np.frombuffer(part, d).reshape(s) for part, (s, d) in zip(written, results, strict=True)]
        answers.append(None if status else made)
    assert at == len(found)
    return answers
