"""Runs: the stages of an engine in order, on sets of buffers that are kept for the next run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from tilewright.errors import ArtifactError, ResourceError, resources

from ..artifact.artifact import Artifact
from ..artifact.manifest import Engine, Stage
from ..waiting import Asked
from .buffers import Buffers, Outputs, bytes_of
from .cpu import CodePolicy, CpuExecutor
from .shapes import ShapeTable, naming_shape

if TYPE_CHECKING:
    from ..profile import HostTime, StepTime

ResultT = TypeVar("ResultT")


class Executor(Protocol):
    """What executes the stages of one kind for an engine; several threads may call it at once."""

    def __init__(self, artifact: Artifact, engine: Engine, policy: CodePolicy, threads: int, /) -> None: ...

    @property
    def memory(self) -> Mapping[str, int]:
        """Bytes that it takes of its own, by what for: while the session is open, and for one run."""
        ...

    def run(self, stage: Any, buffers: Buffers) -> None: ...

    def timed(self, stage: Any, buffers: Buffers) -> list[StepTime]: ...


# Late: most networks run on the CPU alone, and a fresh process would wait for the others.
def _reference(*given: Any) -> Executor:
    from .reference import ReferenceExecutor

    return ReferenceExecutor(*given)


def _device(*given: Any) -> Executor:
    from .device import DeviceExecutor

    return DeviceExecutor(*given)


EXECUTORS: dict[str, Callable[[Artifact, Engine, CodePolicy, int], Executor]] = {
    "cpu": CpuExecutor,
    "reference": _reference,
    "device": _device,
}
"""What makes the executor for each kind of stage."""


class Runner:
    """Runs one engine with as many sets of buffers as there are runs at a time. Knows nothing of the session.

    Args:
        memory_limit: bytes that it may take with one run at a time; None for no limit.
        threads: how many compute one run, at most.

    Attributes:
        may_be_long: whether the next run may hold up Ctrl-C, for Python runs no signal handlers during native code: the
            first may, others if the one before took long.
        endless: whether the inputs may make a run take any time.
        own_bytes: what it takes with one run at a time, without the artifact.

    Raises:
        ResourceError: it takes more memory than the limit or than there is.
        TilewrightError: an executor cannot execute its stages.
    """

    def __init__(
        self, artifact: Artifact, engine: Engine, policy: CodePolicy, memory_limit: int | None = None, threads: int = 1
    ) -> None:
        manifest = artifact.manifest
        program = manifest.cpu_programs[engine.cpu_program] if engine.cpu_program is not None else None
        self.outputs, self._results = manifest.outputs, manifest.results
        self._names = tuple(spec.name for spec in self.outputs)
        self._inputs = len(manifest.inputs)
        self._arena_bytes = program.arena_bytes if program else 0
        memory = {
            "artifact": 0 if artifact.mapped else artifact.length,
            "inputs and outputs": sum(spec.bytes for spec in (*manifest.inputs, *manifest.results)),
        }
        # Before anything is made, and again when it is known.
        self._check_memory(memory, memory_limit)
        constants = manifest.constants_of(engine)
        self._constants = bytes_of(artifact.section(constants) if constants is not None else memoryview(b""))
        executors: dict[str, Executor] = {}
        for stage in engine.stages:
            if stage.kind not in EXECUTORS:
                raise ArtifactError(f"this build cannot run stages of kind {stage.kind!r}", stage="load artifact")
            if stage.kind not in executors:
                executor = executors[stage.kind] = EXECUTORS[stage.kind](artifact, engine, policy, threads)
                memory.update(executor.memory)
                if isinstance(executor, CpuExecutor):
                    self._arena_bytes = max(self._arena_bytes, executor.arena_bytes)
                    if executor.constants:
                        self._constants = bytes_of(memoryview(self._constants.tobytes() + executor.constants))
                        memory["constants"] = len(self._constants)
        self._check_memory(memory, memory_limit)
        self.own_bytes = sum(memory.values()) - memory["artifact"] + self._arena_bytes
        self.may_be_long = "cpu" in executors
        self.endless = any(step.endless for step in program.steps) if program else False
        self.stages: list[tuple[Executor, Stage]] = [(executors[stage.kind], stage) for stage in engine.stages]
        self._engine = engine
        # Without a lock, which a process forked meanwhile would find locked: taking and adding are atomic.
        self._free: list[Buffers] = [self._allocate()]

    def _check_memory(self, memory: Mapping[str, int], limit: int | None) -> None:
        everything = {**memory, "work memory": self._arena_bytes}
        needed = sum(everything.values())
        if limit is not None and needed > limit:
            raise ResourceError(
                "the artifact does not fit the memory limit",
                stage="load artifact",
                expected=f"at most {limit} bytes",
                found=f"{needed} bytes: {', '.join(f'{size} of {what}' for what, size in everything.items() if size)}",
            )

    def _allocate(self) -> Buffers:
        return Buffers(self._arena_bytes, self._constants, self._inputs, self._results)

    def _bound(
        self, inputs: list[np.ndarray], abandoned: Asked | None, compute: Callable[[Buffers], ResultT]
    ) -> ResultT:
        """What a run with these inputs computes on buffers of its own."""
        try:
            buffers = self._free.pop()
        except IndexError:
            buffers = self._allocate()
        try:
            buffers.bind(inputs, abandoned)
            return compute(buffers)
        finally:
            buffers.release()
            self._free.append(buffers)

    @resources("run")
    def run(self, inputs: list[np.ndarray], abandoned: Asked | None = None) -> Outputs:
        """The outputs for checked inputs, by name.
        Raises ResourceError: no memory for buffers or outputs; Abandoned: `abandoned` said so between two steps;
        TilewrightError: a step refused the values that it was given."""
        return self._bound(inputs, abandoned, self._run)

    def _run(self, buffers: Buffers) -> Outputs:
        for executor, stage in self.stages:
            buffers.check_abandoned()
            executor.run(stage, buffers)
        return self._outputs_in(buffers)

    @resources("run")
    def timed(self, inputs: list[np.ndarray], abandoned: Asked | None = None) -> tuple[Outputs, list[StepTime]]:
        """The outputs, as of `run`, and the time of each step."""

        def measured(buffers: Buffers) -> tuple[Outputs, list[StepTime]]:
            times: list[StepTime] = []
            for executor, stage in self.stages:
                buffers.check_abandoned()
                times += executor.timed(stage, buffers)
            return self._outputs_in(buffers), times

        return self._bound(inputs, abandoned, measured)

    @resources("run")
    def host_times(self, inputs: list[np.ndarray], rounds: int, abandoned: Asked | None = None) -> list[HostTime]:
        """What the host does between and around device programs, and the median time of each such piece.

        Device programs run once, so that each piece gets what it would; memory is as it was before each repetition. The
        first repetition of a piece does not count.
        ``rounds``: repetitions that count, at least 1."""
        from ..profile import HostTime, host_pieces

        def measured(buffers: Buffers) -> list[HostTime]:
            found: list[HostTime] = []
            done = 0
            for piece in host_pieces(self._engine):
                # What stands between pieces is on the device.
                for executor, stage in self.stages[done : piece.first]:
                    buffers.check_abandoned()
                    executor.run(stage, buffers)
                found.append(HostTime(piece, self._host_time(self.stages[piece.first : piece.last], buffers, rounds)))
                done = piece.last
            return found

        return self._bound(inputs, abandoned, measured)

    @staticmethod
    def _host_time(stages: list[tuple[Executor, Stage]], buffers: Buffers, rounds: int) -> float:
        """The median time of stages of the host together, in milliseconds."""
        before = buffers.copy()
        times: list[float] = []
        for _ in range(rounds + 1):
            buffers.restore(before)
            start = perf_counter()
            for executor, stage in stages:
                executor.run(stage, buffers)
            times.append((perf_counter() - start) * 1e3)
        return float(np.median(times[1:]))

    def _outputs_in(self, buffers: Buffers) -> Outputs:
        arrays = buffers.outputs
        if len(arrays) == len(self.outputs):
            return dict(zip(self._names, arrays, strict=True))
        # A count below 0 would be one from the end.
        counts = [max(0, int(array)) for array in arrays[len(self.outputs) :]]
        return {spec.name: spec.cut(array, counts) for spec, array in zip(self.outputs, arrays, strict=False)}


class Runners:
    """A runner for each shape of an artifact. That of the first is there at once, others when they are asked for.
    ``first``: the runner of the first shape."""

    def __init__(
        self, artifact: Artifact, engine: str, policy: CodePolicy, limit: int | None, threads: int, pad: Sequence[str]
    ) -> None:
        self._artifacts, self._engine, self._policy = artifact.in_shapes(), engine, policy
        self._limit, self._threads = limit, threads
        self.table = ShapeTable(self._artifacts, pad)
        self.first = self._make(0, limit)
        # Without a lock, which a process forked meanwhile would find locked: two threads may make the same.
        self._others: dict[int, Runner] = {}

    def _make(self, number: int, limit: int | None) -> Runner:
        artifact = self._artifacts[number]
        with naming_shape(artifact, len(self._artifacts)):
            return Runner(artifact, artifact.manifest.engines[self._engine], self._policy, limit, self._threads)

    def __getitem__(self, number: int) -> Runner:
        if number == 0:
            return self.first
        found = self._others.get(number)
        if found is None:
            held = sum(each.own_bytes for each in (self.first, *self._others.values()))
            try:
                found = self._make(number, None if self._limit is None else self._limit - held)
            except ResourceError:
                if not self._others:
                    raise
                # What the others took is free as soon as their runs have ended.
                self._others.clear()
                return self[number]
            self._others[number] = found
        return found
