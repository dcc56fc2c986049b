"""Running CPU programs: which object code, the artifact's own or what is generated again from its module text; and what
is said where a kernel refuses its operands.
"""

from __future__ import annotations

import ctypes
import importlib
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import tilewright
from tilewright.errors import ArtifactError, InputError, RegenerationWarning, TrustError, warn

from ..artifact.artifact import Artifact, checked_values
from ..artifact.manifest import CodeInfo, CpuProgramInfo, CpuStage, Engine, InnerStep, StepInfo
from ..native import host
from ..native.mapping import NativeObject, supported
from ..native.team_layout import HELP
from ..trust.verdict import Verdict, how_to_trust
from .buffers import Buffers
from .team import Team, scratch_bytes

if TYPE_CHECKING:
    from ..profile import StepTime

_SYSTEMS = "Linux on x86_64, aarch64 or riscv64"
_INSTALL = "pip install 'tilewright[compiler]'"


class CodePolicy(NamedTuple):
    """How object code may be had.
    ``verdict``: whether the artifact's own may run.
    ``regenerate``: whether it may be generated again, where the artifact's must not run or does not fit the processor.
    ``seconds``: processor time for that; None for what the size of the artifact allows."""

    verdict: Verdict
    regenerate: bool
    seconds: float | None = None


class ObjectCode(NamedTuple):
    """An ELF relocatable object that may run here, the bytes of arena that it needs, and the constants that it reads
    behind those of the artifact."""

    content: bytes
    arena_bytes: int
    constants: bytes = b""


def unfit(level: CodeInfo) -> str | None:
    """Why this machine cannot run object code, whoever made it; None when it can."""
    if not supported():
        return f"native code runs on {_SYSTEMS}, this is {_here()}"
    return host.missing(level.target.triple, level.target.features)


def fitting(program: CpuProgramInfo) -> tuple[CodeInfo, str | None]:
    """Of a program's own object code the most capable that this machine can run. If it can run none, the least capable,
    of those for its architecture if there are some, and why not."""
    reasons = {level: unfit(level) for level in program.levels}
    nearest = max(reversed(reasons), key=lambda level: host.is_native(level.target.triple))
    return next(((level, None) for level, reason in reasons.items() if reason is None), (nearest, reasons[nearest]))


def reasons_against(artifact: Artifact) -> list[str]:
    """Why this machine cannot run object code of all programs of an artifact, in all of its shapes; empty when it
    can."""
    programs = (program for each in artifact.manifest.each_shape for program in each.cpu_programs.values())
    return sorted({reason for program in programs if (reason := fitting(program)[1])})


def object_code(artifact: Artifact, program: str, policy: CodePolicy) -> ObjectCode:
    """Object code for a program that may and can run on this machine.

    Raises:
        TrustError: the artifact is not trusted, and its kernels must not be generated again or the compiler is not
            installed.
        ResourceError: generating them takes longer than the policy allows.
        ArtifactError: this system cannot run object code; or the artifact's does not fit this processor, and its
            kernels cannot be generated again; or it has changed since the file was opened.
        TilewrightError: the module text is wrong.
    """
    if not supported():
        raise ArtifactError(
            "CPU programs cannot run on this system", stage="load native code", expected=_SYSTEMS, found=_here()
        )
    entry = artifact.manifest.cpu_programs[program]
    level, reason = fitting(entry)
    if reason is None and policy.verdict.trusted:
        return ObjectCode(artifact.copy(level.code), level.arena_bytes)
    credentials = artifact.credentials
    if credentials.signed and not credentials.signature_fits:
        # Nothing is kept of what someone has changed, so that the warning comes each time.
        return _regenerate(artifact, program, reason, policy)
    # Late, as what measures is: most programs run the artifact's own and need neither.
    from ..trust import kernel_cache

    name = f"{artifact.shape}/{program}"
    kept = kernel_cache.Entry(credentials.digest, name, tilewright.__version__, host.description())
    found = kept.load() if policy.regenerate else None
    if found is not None:
        return ObjectCode(*found)
    code = _regenerate(artifact, program, reason, policy)
    kept.store(*code)
    return code


def _here() -> str:
    return f"{host.operating_system()} on {host.architecture() or 'an unknown architecture'}"


def _regenerate(artifact: Artifact, program: str, unfit_for: str | None, policy: CodePolicy) -> ObjectCode:
    """Object code for this machine, generated from the module text that the artifact holds.

    ``tilewright.codegen.package.regenerate(artifact, program, seconds)`` does the work. Its object exports the same
    entry point with the same steps, and stays within the arena that it asks for, the constants that it brings, and the
    constants, inputs and outputs that the manifest states, whatever the module text claims."""
    reason = unfit_for or policy.verdict.reason
    error = ArtifactError if unfit_for else TrustError
    remedy = (
        "Compile it with --target portable or for this processor" if unfit_for else how_to_trust(artifact.credentials)
    )
    what = f"the native code of {artifact.origin} does not run here: {reason}"
    if not policy.regenerate:
        raise error(
            f"{what}; and regenerate=False refuses to generate it again", stage="load native code", hint=f"{remedy}."
        )
    try:
        package = importlib.import_module("...codegen.package", __package__)
    except ImportError as missing:
        raise error(
            f"{what}; generating it again needs the compiler, which lacks {missing.name or missing}",
            stage="load native code",
            hint=f"{remedy}. Or install the compiler here: {_INSTALL}.",
        ) from None
    warn(f"{what}; it is generated again, which takes a while the first time", RegenerationWarning)
    return ObjectCode(*package.regenerate(artifact, program, policy.seconds))


ENTRY_POINT = "tilewright_run"

# A foreign function made by CFUNCTYPE releases the GIL while it runs.
_EntryPoint = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


class CpuExecutor:
    """Executes the CPU stages of an engine.

    Args:
        threads: how many compute one run, at most.

    Attributes:
        arena_bytes: size of the work memory that the code needs.
        constants: what the code reads behind the constants of the artifact.
        memory: see `runner.Executor`.

    Raises:
        ArtifactError: the program's code cannot be had or loaded (see `object_code`).
    """

    def __init__(self, artifact: Artifact, engine: Engine, policy: CodePolicy, threads: int) -> None:
        name = engine.cpu_program or ""
        self._artifact, self._program = artifact, name
        self._steps = artifact.manifest.cpu_programs[name].steps
        code, self.arena_bytes, self.constants = object_code(artifact, name, policy)
        self._native = NativeObject(code)
        self._run = _EntryPoint(self._native.address(ENTRY_POINT))
        self._threads = threads if self._native.exports(HELP) else 1
        self.memory = {"native code": len(code)}
        if self._threads > 1:
            self.memory["threads"] = (self._threads - 1) * scratch_bytes(self._native)

    def run(self, stage: CpuStage, buffers: Buffers) -> None:
        """Execute the steps of a stage, which end early where the run is abandoned.
        Raises InputError: a step refused the values that it was given, such as an index out of range; Abandoned: the
        run has been abandoned."""
        self._execute(buffers, stage.first, stage.last)

    def timed(self, stage: CpuStage, buffers: Buffers) -> list[StepTime]:
        """Execute the steps of a stage one by one, and measure each."""
        from ..profile import StepTime

        times: list[StepTime] = []
        for index in range(stage.first, stage.last):
            buffers.check_abandoned()
            start = perf_counter()
            helpers = self._execute(buffers, index, index + 1)
            elapsed = perf_counter() - start
            step = self._steps[index]
            times.append(StepTime(step, step.kernel or "", elapsed * 1e3, start, helpers))
        return times

    def _execute(self, buffers: Buffers, first: int, last: int) -> tuple[int, ...]:
        """Run steps; the numbers of the helpers that were called."""
        team = buffers.team
        if team is None and self._threads > 1:
            team = buffers.team = Team(self._native, self._threads)
        helpers: tuple[int, ...] = ()
        if team is None:
            failed = self._run(buffers.context, first, last)
        elif (pace := team.pace(first, last)).unlearnt:
            pace.unlearnt -= 1
            own = team.rest()
            try:
                failed = self._run(buffers.context, first, last)
            finally:
                team.rested(own)
        else:
            together = pace.next()
            lost, start = team.lost if together else 0.0, perf_counter()
            helpers = team.gather(together)
            try:
                failed = self._run(buffers.context, first, last)
            finally:
                team.dismiss()
            # A processor that others want is not had for nothing, even where this run is faster with it.
            pace.took(together, perf_counter() - start + (team.lost - lost if together else 0))
        if failed:
            buffers.check_abandoned()
            raise refusal(self._artifact, self._program, failed - 1, buffers)
        return helpers


_HINTS = {
    "bounded": "An extent that follows from the data has another value than the node, or --bound, allows.",
    "refuse": "The branch that they choose does not fit the shapes that the network was compiled for.",
    "loop": "It takes more steps than its results have room for.",
}
"""What is wrong with the operands of operators that take no indices."""


def refusal(artifact: Artifact, program: str, number: int, buffers: Buffers) -> InputError:
    """The error for a step of a CPU program, by its number: those of bodies follow the others."""
    entry = artifact.manifest.cpu_programs[program]
    steps: list[StepInfo | InnerStep] = [*entry.steps, *entry.inner]
    step = steps[number]
    function = f", in the function {step.function!r}" if isinstance(step, InnerStep) else ""
    error = InputError(
        f"the values that reach it are out of its range{function}",
        stage=f"step {step.name!r}",
        op=step.op,
        node=", ".join(step.loc) or None,
        hint=_HINTS.get(step.op, "Look for indices that are out of range in the inputs."),
    )
    # What the details say of memory nobody has checked, and without them the step is named all the same.
    with suppress(ArtifactError, LookupError, StopIteration, TypeError, ValueError):
        error.expected, error.found = _wrong_value(artifact, program, number, buffers)
    return error


def _wrong_value(artifact: Artifact, program: str, step: int, buffers: Buffers) -> tuple[str, str]:
    """What was expected of the first value of a step that is wrong, and what and where it is.
    Raises ArtifactError, LookupError, StopIteration, TypeError, ValueError: nothing, or nonsense, is known of it."""
    checked = next(each for each in checked_values(artifact, program) if each.step == step)
    values = buffers.view(checked.values)
    limits = list(zip(checked.least, checked.most, strict=True))
    least, most = np.array(limits if len(limits) > 1 else limits[0]).T
    place = tuple(np.argwhere((values < least) | (values > most))[0].tolist())
    expected = limits[place[-1] if len(limits) > 1 else 0]
    where = f" at {list(place)}" if place else ""
    return f"{expected[0]} to {expected[1]}", f"{values[place]}{where}"
