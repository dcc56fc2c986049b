"""Sessions: an artifact loaded for one engine, ready to run."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tilewright.errors import ArtifactError, UsageError

from .artifact.artifact import Artifact
from .artifact.manifest import ENGINES, Engine, Stage, TensorSpec
from .buffers import Buffers, bytes_of, check_inputs
from .cpu import CpuExecutor
from .device import DeviceExecutor, check_machine
from .profile import Profile, StepTime, combine
from .reference import ReferenceExecutor
from .request import Callback, Outputs, Request, RequestQueue

if TYPE_CHECKING:
    from .machine import Machine


class Executor(Protocol):
    """What executes the stages of one kind for an engine; several threads may call it at once."""

    def __init__(self, artifact: Artifact, engine: Engine) -> None: ...

    def run(self, stage: Any, buffers: Buffers) -> None: ...

    def timed(self, stage: Any, buffers: Buffers) -> list[StepTime]: ...


EXECUTORS: dict[str, type[Executor]] = {
    "cpu": CpuExecutor,
    "reference": ReferenceExecutor,
    "device": DeviceExecutor,
}
"""The executor for each kind of stage."""

_COMPILE_FOR = {
    "device": "Compile the model with precision int8 for a machine.",
    "software": "Compile the model with precision int8.",
    "float": "Compile the model with precision fp32.",
}

Source = str | os.PathLike[str] | bytes | bytearray | memoryview


def load(
    source: Source | Artifact,
    *,
    engine: str | None = None,
    machine: Machine | str | Path | None = None,
    threads: int | None = None,
    workers: int = 1,
    queue: int = 16,
) -> Session:
    """Load an artifact.

    Args:
        source: path of a ``.twa`` file, its content, or an opened artifact.
        engine: ``device``, ``software`` or ``float``; by default the first of these that the artifact holds.
        machine: the accelerator at hand, or the name or path of its description, which must be the one that the
            artifact was compiled for; for engine ``device`` only.
        threads: threads that compute one request; this build uses one.
        workers: how many submitted requests run at once.
        queue: how many further requests may wait.

    Raises:
        ArtifactError: the artifact is damaged, cannot be read, or does not hold the engine.
        MachineError: the machine is another than the artifact was compiled for; the message says how they differ.
        InstructionError: a device program is damaged or unsafe.
        TrustError: its native code must not run here and the compiler is not installed.
        UsageError: an argument is out of range.
    """
    if engine is not None and engine not in ENGINES:
        raise UsageError("unknown engine", expected=" or ".join(ENGINES), found=repr(engine))
    if threads not in (None, 1):
        raise UsageError("this build runs one thread per request", expected="threads=1 or None", found=repr(threads))
    for name, value in (("workers", workers), ("queue", queue)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is out of range", expected="an integer of at least 1", found=repr(value))
    artifact = source if isinstance(source, Artifact) else Artifact.open(source)
    chosen = choose_engine(artifact, engine)
    if machine is not None:
        if chosen != "device":
            raise UsageError(
                f"engine {chosen!r} runs on no machine", expected="engine device", hint="Leave the machine out."
            )
        # Here and not above: artifacts without a device program need none of it.
        from . import machine as machines

        at_hand = machine if isinstance(machine, machines.Machine) else machines.load(machine)
        check_machine(artifact, artifact.manifest.engines[chosen], at_hand)
    return Session(artifact, chosen, workers, queue)


def choose_engine(artifact: Artifact, engine: str | None) -> str:
    """The engine asked for, or the preferred one that the artifact holds.

    Raises:
        ArtifactError: the artifact does not hold it.
    """
    held = [name for name in ENGINES if name in artifact.manifest.engines]
    if engine is None:
        return held[0]
    if engine not in held:
        raise ArtifactError(
            f"{artifact.origin} does not hold engine {engine!r}",
            stage="load artifact",
            expected=" or ".join(held),
            found=engine,
            hint=_COMPILE_FOR[engine],
        )
    return engine


class _Runner:
    """Runs one engine with as many sets of buffers as there are runs at a time. Knows nothing of the session."""

    def __init__(self, artifact: Artifact, engine: Engine) -> None:
        manifest = artifact.manifest
        program = manifest.cpu_programs[engine.cpu_program] if engine.cpu_program is not None else None
        self.outputs = manifest.outputs
        self._inputs = len(manifest.inputs)
        self._constants = bytes_of(artifact.section(program.constants) if program else memoryview(b""))
        executors: dict[str, Executor] = {}
        for stage in engine.stages:
            if stage.kind not in EXECUTORS:
                raise ArtifactError(f"this build cannot run stages of kind {stage.kind!r}", stage="load artifact")
            if stage.kind not in executors:
                executors[stage.kind] = EXECUTORS[stage.kind](artifact, engine)
        native = executors.get("cpu")
        self._arena_bytes = program.arena_bytes if program else 0
        if isinstance(native, CpuExecutor):
            self._arena_bytes = max(self._arena_bytes, native.arena_bytes)
        self.stages: list[tuple[Executor, Stage]] = [(executors[stage.kind], stage) for stage in engine.stages]
        self._lock = threading.Lock()
        self._free: list[Buffers] = [self._allocate()]

    def _allocate(self) -> Buffers:
        return Buffers(self._arena_bytes, self._constants, self._inputs, self.outputs)

    def acquire(self) -> Buffers:
        with self._lock:
            if self._free:
                return self._free.pop()
        return self._allocate()

    def release(self, buffers: Buffers) -> None:
        buffers.release()
        with self._lock:
            self._free.append(buffers)

    def run(self, inputs: list[np.ndarray]) -> Outputs:
        buffers = self.acquire()
        try:
            buffers.bind(inputs)
            for executor, stage in self.stages:
                executor.run(stage, buffers)
            return {spec.name: array for spec, array in zip(self.outputs, buffers.outputs, strict=True)}
        finally:
            self.release(buffers)

    def timed(self, inputs: list[np.ndarray]) -> list[StepTime]:
        buffers = self.acquire()
        try:
            buffers.bind(inputs)
            return [time for executor, stage in self.stages for time in executor.timed(stage, buffers)]
        finally:
            self.release(buffers)


class Session:
    """A network ready to run; made by `load`. Use it as a context manager, or call `close` when done.

    All methods may be called from several threads at once.

    Attributes:
        artifact: what it was loaded from.
        engine: ``device``, ``software`` or ``float``.
    """

    def __init__(self, artifact: Artifact, engine: str, workers: int, queue: int) -> None:
        self.artifact = artifact
        self.engine = engine
        self._runner = _Runner(artifact, artifact.manifest.engines[engine])
        self._queue = RequestQueue(self._runner.run, workers, queue)
        self._closed = False
        # Also ends the workers of a session that nobody closed, when it is collected or the process ends.
        self._finalizer = weakref.finalize(self, self._queue.close)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs: name, dtype (``f32``, `.numpy` for NumPy's) and shape."""
        return self.artifact.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs: name, dtype and shape."""
        return self.artifact.manifest.outputs

    def run(self, inputs: Mapping[str, np.ndarray]) -> Outputs:
        """The outputs for these inputs, by name, in new arrays.

        Raises:
            InputError: an input is unknown, missing, of the wrong shape or dtype, or holds values out of range.
            UsageError: the session is closed.
        """
        self._check_open()
        return self._runner.run(check_inputs(inputs, self.inputs, copy=False))

    def submit(
        self, inputs: Mapping[str, np.ndarray], callback: Callback | None = None, *, timeout: float | None = None
    ) -> Request:
        """Run in the background; the inputs are copied, so the caller may change them at once.

        Args:
            callback: called with the request when it has finished, by the thread that ran it.
            timeout: seconds to wait for room in the queue; by default as long as it takes.

        Raises:
            InputError: an input is unknown, missing, or of the wrong shape or dtype.
            RequestTimeoutError: there was no room in the queue within the time.
            UsageError: the session is closed.
        """
        self._check_open()
        request = Request(check_inputs(inputs, self.inputs, copy=True), callback)
        self._queue.put(request, timeout)
        return request

    def profile(self, inputs: Mapping[str, np.ndarray] | None = None, *, rounds: int = 10) -> Profile:
        """Times of the whole network and of each step, medians over `rounds` runs after one that does not count.

        Args:
            inputs: as for `run`; by default zeros for integers and the same normal random numbers for floats each time.

        Raises:
            InputError: as for `run`.
            UsageError: the session is closed, or `rounds` is less than 1.
        """
        self._check_open()
        if rounds < 1:
            raise UsageError("rounds is out of range", expected="at least 1", found=rounds)
        arrays = check_inputs(inputs if inputs is not None else self._sample_inputs(), self.inputs, copy=False)
        self._runner.run(arrays)
        whole: list[float] = []
        steps: list[list[StepTime]] = []
        for _ in range(rounds):
            start = perf_counter()
            self._runner.run(arrays)
            whole.append((perf_counter() - start) * 1e3)
            steps.append(self._runner.timed(arrays))
        return Profile(self.engine, rounds, float(np.median(whole)), combine(steps))

    def _sample_inputs(self) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(0)
        return {
            spec.name: generator.standard_normal(spec.shape).astype(spec.numpy)
            if spec.numpy.kind == "f"
            else np.zeros(spec.shape, spec.numpy)
            for spec in self.inputs
        }

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the session is closed")

    def close(self) -> None:
        """Cancel requests that wait, let those that run finish, and end the workers. Idempotent."""
        self._closed = True
        self._finalizer()

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(map(str, specs)) for specs in (self.inputs, self.outputs))
        state = ", closed" if self._closed else ""
        return f"<Session {self.artifact.origin!r}, engine {self.engine!r}{state}: {inputs} -> {outputs}>"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
