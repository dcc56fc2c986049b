"""Running CPU programs: native code for the host processor, and what is said where a kernel refuses its operands."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from time import perf_counter

import numpy as np

from tilewright.errors import ArtifactError, InputError

from ..artifact.artifact import Artifact
from ..artifact.checked import checked_values
from ..artifact.manifest import CpuStage, Engine, InnerStep, StepInfo
from ..native.mapping import NativeObject
from ..native.team_layout import HELP
from ..profile import StepTime
from .buffers import Buffers
from .native_code import CodePolicy, object_code
from .team import Team, scratch_bytes

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

        Raises:
            InputError: a step refused the values that it was given, such as an index out of range.
            Abandoned: the run has been abandoned.
        """
        self._execute(buffers, stage.first, stage.last)

    def timed(self, stage: CpuStage, buffers: Buffers) -> list[StepTime]:
        """Execute the steps of a stage one by one, and measure each."""
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
        else:
            pace = team.pace(first, last)
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
    "bounded": "An extent that follows from the data has another value than the node allows.",
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

    Raises:
        ArtifactError, LookupError, StopIteration, TypeError, ValueError: nothing, or nonsense, is known of it.
    """
    checked = next(each for each in checked_values(artifact, program) if each.step == step)
    values = buffers.view(checked.values)
    limits = list(zip(checked.least, checked.most, strict=True))
    least, most = np.array(limits if len(limits) > 1 else limits[0]).T
    place = tuple(np.argwhere((values < least) | (values > most))[0].tolist())
    expected = limits[place[-1] if len(limits) > 1 else 0]
    where = f" at {list(place)}" if place else ""
    return f"{expected[0]} to {expected[1]}", f"{values[place]}{where}"
