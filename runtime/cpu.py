"""Running CPU programs: native code for the host processor."""

from __future__ import annotations

import ctypes
import importlib
import os
import threading
from time import perf_counter
from typing import NamedTuple

from tilewright.errors import ArtifactError, InputError, TrustError
from tilewright.limits import GENERATION_BYTES_PER_SECOND, GENERATION_SECONDS

from .artifact.artifact import Artifact
from .artifact.manifest import CpuStage, Engine
from .buffers import Buffers
from .native import host
from .native.mapping import NativeObject, supported
from .profile import StepTime

ENTRY_POINT = "tilewright_run"

# The compiler has locks of its own, which a process that is forked off while another thread generates kernels would
# find locked for ever: so forking waits until that is done. A thread may also fork while it generates kernels itself.
_generating = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_generating.acquire, after_in_parent=_generating.release, after_in_child=_generating.release
    )

# A foreign function made by CFUNCTYPE releases the GIL while it runs.
_EntryPoint = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class CodePolicy(NamedTuple):
    """How object code may be had.

    Attributes:
        seconds: processor time for generating it; None for what the size of the artifact allows.
    """

    seconds: float | None = None

    def generation_seconds(self, artifact: Artifact) -> float:
        """Processor time that generating kernels of this artifact may take."""
        if self.seconds is not None:
            return self.seconds
        return GENERATION_SECONDS + artifact.length / GENERATION_BYTES_PER_SECOND


def object_code(artifact: Artifact, program: str, policy: CodePolicy) -> tuple[bytes, int]:
    """Object code for a program that may and can run on this machine: the artifact's own, or generated again.

    Returns:
        The object, and the bytes of arena that it needs.

    Raises:
        TrustError: the artifact is not trusted and the compiler is not installed.
        ArtifactError: this system cannot run object code; or the artifact's does not fit this processor and the
            compiler is not installed; or it has changed since the file was opened.
    """
    if not supported():
        raise ArtifactError(
            "CPU programs cannot run on this system",
            stage="load native code",
            expected="Linux on x86_64 or aarch64",
            found=f"{host.operating_system()} on {host.architecture() or 'an unknown architecture'}",
        )
    entry = artifact.manifest.cpu_programs[program]
    unfit = host.missing(entry.target.triple, entry.target.features)
    if unfit is not None:
        return _regenerate(artifact, program, policy, unfit, ArtifactError)
    objection = artifact.trust_objection
    if objection is not None:
        return _regenerate(artifact, program, policy, objection, TrustError)
    return artifact.copy(entry.code), entry.arena_bytes


def _regenerate(
    artifact: Artifact, program: str, policy: CodePolicy, reason: str, error: type[ArtifactError]
) -> tuple[bytes, int]:
    """Object code for this machine, generated from the module text that the artifact holds, and its bytes of arena.

    ``tilewright.codegen.package.regenerate(artifact, program, seconds)`` does the work. Its object exports the same
    entry point with the same steps, and stays within that arena, the constants, inputs and outputs that the manifest
    states, whatever the module text claims.

    Args:
        reason: why the code in the artifact does not run, for the message.
        error: what to raise where the compiler is not installed.

    Raises:
        ArtifactError: of type `error`, when the compiler or a package that it needs is not installed.
        ResourceError: it takes longer than the policy allows.
        TilewrightError: the module text is wrong.
    """
    try:
        package = importlib.import_module("..codegen.package", __package__)
    except ImportError as missing:
        raise error(
            f"the native code of {artifact.origin} does not run here: {reason}; generating it again needs the "
            f"compiler, which lacks {missing.name or missing}",
            stage="load native code",
            hint="Install it with: pip install 'tilewright[compiler]', or compile the model on this machine.",
        ) from missing
    with _generating:
        return package.regenerate(artifact, program, policy.generation_seconds(artifact))


class CpuExecutor:
    """Executes the CPU stages of an engine.

    Attributes:
        arena_bytes: size of the work memory that the code needs.
        memory: see `runner.Executor`.

    Raises:
        ArtifactError: the program's code cannot be had or loaded (see `object_code`).
    """

    def __init__(self, artifact: Artifact, engine: Engine, policy: CodePolicy) -> None:
        name = engine.cpu_program or ""
        self._steps = artifact.manifest.cpu_programs[name].steps
        code, self.arena_bytes = object_code(artifact, name, policy)
        self.memory = {"native code": len(code)}
        self._native = NativeObject(code)
        self._run = _EntryPoint(self._native.address(ENTRY_POINT))

    def run(self, stage: CpuStage, buffers: Buffers) -> None:
        """Execute the steps of a stage; one by one where the run can be abandoned between them.

        Raises:
            InputError: a step refused the values that it was given, such as an index out of range.
            Abandoned: the run has been abandoned.
        """
        if buffers.abandoned is None:
            self._execute(buffers, stage.first, stage.last)
            return
        for index in range(stage.first, stage.last):
            buffers.check_abandoned()
            self._execute(buffers, index, index + 1)

    def timed(self, stage: CpuStage, buffers: Buffers) -> list[StepTime]:
        """Execute the steps of a stage one by one, and measure each.

        Raises:
            InputError, Abandoned: as for `run`.
        """
        times: list[StepTime] = []
        for index in range(stage.first, stage.last):
            buffers.check_abandoned()
            start = perf_counter()
            self._execute(buffers, index, index + 1)
            elapsed = perf_counter() - start
            step = self._steps[index]
            times.append(StepTime(step, step.kernel or "", elapsed * 1e3))
        return times

    def _execute(self, buffers: Buffers, first: int, last: int) -> None:
        failed = self._run(buffers.context, first, last)
        if failed:
            step = self._steps[failed - 1]
            raise InputError(
                "the values that reach it are out of its range",
                stage=f"step {step.name!r}",
                op=step.op,
                node=", ".join(step.loc) or None,
                hint="Look for indices that are out of range in the inputs.",
            )
