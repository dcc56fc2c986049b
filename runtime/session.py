"""Sessions: an artifact loaded for one engine, ready to run."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.errors import ArtifactError, UsageError, resources
from tilewright.limits import check_count, check_seconds, check_timeout

from .artifact.artifact import Artifact
from .artifact.manifest import ENGINES, TensorSpec
from .execution.buffers import Outputs, check_arrays, check_inputs, check_out, written_to
from .execution.cpu import CodePolicy
from .execution.runner import Runner, Runners
from .execution.shapes import naming_shape
from .execution.team import thread_count
from .request_queue import RequestQueue
from .waiting import Abandoned, Asked, Result, Watchdog, compute_aside

if TYPE_CHECKING:
    from pathlib import Path

    from .machines.machine import Machine
    from .profile import HostTime, Profile, StepTime
    from .request import Callback, Request

_LONG = 1.0
"""Seconds after which a user may want to interrupt a run."""

_watchdog = Watchdog(0.05)
"""Of runs that end soon, or never, as their inputs say."""

Source = str | os.PathLike[str] | bytes | bytearray | memoryview


@resources("load artifact")
def load(
    source: Source | Artifact,
    *,
    engine: str | None = None,
    machine: Machine | str | Path | None = None,
    threads: int | None = None,
    workers: int = 1,
    queue: int = 16,
    trust: str | None = None,
    regenerate: bool = True,
    copy: bool = True,
    memory_limit: int | None = None,
    time_limit: float | None = None,
    pad: str | Sequence[str] = (),
) -> Session:
    """Load an artifact.

    Args:
        source: path of a ``.twa`` file, its content, or an opened artifact.
        engine: ``device``, ``software`` or ``float``; by default ``device`` where a machine is given, else
            ``software`` where the artifact holds it, which computes the same integers without a simulator, else what it
            holds.
        machine: the accelerator at hand, or the name or path of its description, which must be the one that the
            artifact was compiled for; for engine ``device`` only.
        threads: threads that compute one request on the CPU; by default one for each core that this process may use,
            or as many as the environment variable ``TILEWRIGHT_THREADS`` says, up to four for each processor, and never
            more. Results do not depend on it. All sessions and workers of a process share these threads, so that there
            are never more at work.
        workers: how many submitted requests run at once.
        queue: how many further requests may wait.
        trust: whose native code may run: ``sha256:`` and the digest of the artifact, or ``ed25519:`` and the public
            key that it must be signed by; no other artifact is loaded then. By default the code of artifacts that this
            user made on this machine, or that are signed by a key which this user trusts.
        regenerate: whether kernels may be generated again, with a `RegenerationWarning`, where the native code must not
            run or does not fit this processor. That takes the compiler, which then works on what the artifact says.
        copy: read a file into memory of this process's own, so that nothing which happens to the file later concerns
            the session. Otherwise it is mapped, and processes share its memory; see `Artifact.open` for what must not
            happen to it then.
        memory_limit: bytes that the session may take while one run is computed: the artifact unless it is mapped,
            native code, work memory, inputs and outputs, and the memories of the simulator. Each further run at a time
            takes all but the first two again. Where kernels are generated, the compiler's memory comes on top.
        time_limit: seconds of processor time that generating kernels again may take; by default 7 and one more for each
            50 KB of artifact.
        pad: names of open extents of the model, such as ``batch``, of an artifact of several shapes. Inputs that have
            none of the shapes are padded with zeros at the end of these extents, to the smallest shape that holds them;
            outputs are cut back to what was given. Along a batch of which the network computes each item by itself,
            they are what they would be without. Along another extent, such as a sequence, zeros are data as others are,
            unless an input tells the network what counts; and an output without that extent is of all of it.

    Raises:
        ArtifactError: the artifact is damaged, cannot be read, or does not hold the engine.
        MachineError: the machine is another than the artifact was compiled for; the message says how they differ.
        InstructionError: a device program is damaged or unsafe. Those of further shapes are proved when a run has such
            a shape for the first time; ``tilewright verify`` proves all.
        TrustError: it is not what `trust` requires; or its native code must not run here, and the compiler is not
            installed or must not be used.
        ResourceError: it takes more memory or time than the limits allow, or more memory than this machine has.
        UsageError: an argument is out of range, or the artifact cannot be padded so.
    """
    if engine is not None and engine not in ENGINES:
        raise UsageError("unknown engine", expected=" or ".join(ENGINES), found=repr(engine))
    together = thread_count(threads)
    workers, queue = check_count("workers", workers), check_count("queue", queue)
    memory_limit = None if memory_limit is None else check_count("memory_limit", memory_limit)
    if not isinstance(regenerate, bool):
        raise UsageError("regenerate is no truth value", expected="True or False", found=repr(regenerate))
    check_seconds("time_limit", time_limit)
    if not copy and not isinstance(source, (str, os.PathLike)):
        raise UsageError("only files can be mapped", expected="a path with copy=False", found=type(source).__name__)
    is_open = isinstance(source, Artifact)
    names = [pad] if isinstance(pad, str) else list(pad) if isinstance(pad, Sequence) else [pad]
    if not all(isinstance(name, str) for name in names):
        raise UsageError("wrong pad", expected="names of open extents, such as 'batch'", found=f"{pad!r:.60}")
    artifact = source if is_open else Artifact.open(source, copy=copy, memory_limit=memory_limit)
    policy = CodePolicy(artifact.judge(trust), regenerate, time_limit)
    chosen = choose_engine(artifact, engine, None if machine is None else "device")
    if machine is not None:
        if chosen != "device":
            raise UsageError(
                f"engine {chosen!r} runs on no machine", expected="engine device", hint="Leave the machine out."
            )
        # Here and not above: artifacts without a device program need none of it.
        from .execution.device import check_machine
        from .machines import machine as machines

        at_hand = machine if isinstance(machine, machines.Machine) else machines.load(machine)
        views = artifact.in_shapes()
        for each in views:
            with naming_shape(each, len(views)):
                check_machine(each, each.manifest.engines[chosen], at_hand)
    runners = Runners(artifact, chosen, policy, memory_limit, together, names)
    session = Session(artifact, chosen, runners, workers, queue)
    limits = {"memory_limit": memory_limit, "time_limit": time_limit, "regenerate": regenerate, "copy": copy}
    given = {"engine": chosen, "machine": machine, "threads": threads, "workers": workers, "queue": queue}
    again = os.path.abspath(source) if isinstance(source, (str, os.PathLike)) else artifact
    digest = artifact.credentials.digest_text
    session._load_again = partial(_load_same, digest, again, **given, **limits, trust=trust, pad=names)
    return session


def _load_same(digest: str, source: Source | Artifact, **given: Any) -> Session:
    limits = {name: given[name] for name in ("copy", "memory_limit")}
    artifact = source if isinstance(source, Artifact) else Artifact.open(source, **limits)
    artifact.judge(given["trust"])
    # Before anything is made of it: no code of another artifact is loaded, and nothing has to be closed.
    if artifact.credentials.digest_text != digest:
        text = f"{artifact.origin} is no longer the artifact that the session was loaded from"
        raise ArtifactError(text, stage="load artifact", hint="Load it again, or give other versions other paths.")
    session = load(artifact, **{**given, "copy": True})
    session._load_again = partial(_load_same, digest, source, **given)
    return session


def choose_engine(artifact: Artifact, engine: str | None, preferred: str | None = None) -> str:
    """The engine asked for; or the preferred one, or ``software``, or another one that the artifact holds.
    Raises ArtifactError: the artifact does not hold it."""
    held = [name for name in ENGINES if name in artifact.manifest.engines]
    if engine is None:
        return next(name for name in (preferred, "software", *held) if name in held)
    if engine not in held:
        precision = "" if engine == "float" else "--precision int8 "
        raise ArtifactError(
            f"{artifact.origin} does not hold engine {engine!r}",
            stage="load artifact",
            expected=" or ".join(held),
            found=engine,
            hint=f"Compile the model with {precision}--engines {','.join([*held, engine])}.",
        )
    return engine


def _as_they_are(outputs: Outputs) -> Outputs:
    return outputs


class Session:
    """A network ready to run; made by `load`. Use it as a context manager, or call `close` when done.

    All methods may be called from several threads at once.

    Attributes:
        artifact: what it was loaded from.
        engine: ``device``, ``software`` or ``float``.
    """

    def __init__(self, artifact: Artifact, engine: str, runners: Runners, workers: int, queue: int) -> None:
        self.artifact = artifact
        self.engine = engine
        self._runners = runners
        self._runner = runners.first
        self._queue = RequestQueue(workers, queue)
        self._closed = False
        self._load_again = partial(load, artifact, engine=engine)
        # A session that is forgotten does what it was asked to; a worker itself may be what collects it.
        weakref.finalize(self, self._queue.end).atexit = False

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs: name, dtype (``f32``, `.numpy` for NumPy's) and shape, which is the first of several."""
        return self.artifact.manifest.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs: name, dtype and shape, which is the first of several."""
        return self.artifact.manifest.outputs

    @property
    def shapes(self) -> tuple[dict[str, tuple[int, ...]], ...]:
        """Every shape that the network was compiled for, by the names of its inputs; a run has that of what it gets."""
        return tuple(dict(shapes) for shapes in self._runners.table.shapes)

    @resources("run")
    def run(self, inputs: Mapping[str, np.ndarray], *, out: Mapping[str, np.ndarray] | None = None) -> Outputs:
        """The outputs for these inputs, by name, in new arrays, or in those of `out`.

        Args:
            inputs: an array for each input by name.
            out: arrays that receive outputs of these names when the run has succeeded: of the dtype and the shape of
                the output, C-contiguous, writable, and apart from each other and from all inputs.

        Ctrl-C interrupts it on the main thread, and the session can be used on. What was begun is abandoned at the next
        step of the network; until then it may read the inputs.

        Raises:
            InputError: an input is unknown, missing, of the wrong shape or dtype, or holds values out of range; or an
                array of `out` is not as it must be.
            ResourceError: this machine does not have enough memory.
            UsageError: the session is closed.
        """
        self._check_open()
        runner, arrays, cut = self._bound(inputs, copy=False)
        if out is not None:
            check_out(out, runner.outputs, inputs)
        found = cut(self._compute(runner, partial(runner.run, arrays)))
        return found if out is None else written_to(out, found)

    @resources("run")
    def run_timed(self, inputs: Mapping[str, np.ndarray]) -> tuple[Outputs, list[StepTime]]:
        """As `run`, with the time of each step of this run, in order of execution.

        Raises:
            InputError, ResourceError, UsageError: as for `run`.
        """
        self._check_open()
        runner, arrays, cut = self._bound(inputs, copy=False)
        outputs, times = self._compute(runner, partial(runner.timed, arrays))
        return cut(outputs), times

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise InputError unless a run takes inputs of these shapes, by name, as they are or padded."""
        self._runners.table.fit(shapes)

    def _bound(
        self, inputs: Mapping[str, np.ndarray], *, copy: bool
    ) -> tuple[Runner, list[np.ndarray], Callable[[Outputs], Outputs]]:
        """What runs the shape that inputs have, these as it takes them, and what its outputs are to go through."""
        table = self._runners.table
        if len(table.shapes) == 1:
            return self._runner, check_inputs(inputs, self.inputs, copy=copy), _as_they_are
        check_arrays(inputs, self.inputs)
        fit = table.fit({name: array.shape for name, array in inputs.items()})
        cut = partial(table.padding.cut, fit=fit) if fit.given else _as_they_are
        inputs = table.padding.padded(inputs, fit) if fit.given else inputs
        return self._runners[fit.number], check_inputs(inputs, table.specs(fit.number), copy=copy), cut

    def _compute(self, runner: Runner, compute: Callable[[Asked | None], Result]) -> Result:
        """Compute where Ctrl-C can be heard, if that may take long; signals come to the main thread."""
        if not (runner.may_be_long or runner.endless) or threading.current_thread() is not threading.main_thread():
            return compute(None)
        if not runner.may_be_long:
            with suppress(Abandoned):
                return _watchdog.attempt(compute)
        start = perf_counter()
        result = compute_aside(compute)
        runner.may_be_long = perf_counter() - start > (_watchdog.seconds if runner.endless else _LONG)
        return result

    @resources("submit")
    def submit(
        self, inputs: Mapping[str, np.ndarray], callback: Callback | None = None, *, timeout: float | None = None
    ) -> Request[Outputs]:
        """Run in the background; the inputs are copied, so the caller may change them at once.

        Args:
            callback: called with the request when it has finished, by the thread that ran it.
            timeout: seconds to wait for room in the queue; by default as long as it takes.

        Raises:
            InputError: an input is unknown, missing, or of the wrong shape or dtype.
            RequestTimeoutError: there was no room in the queue within the time.
            ResourceError: this machine does not have enough memory, or cannot start a thread.
            UsageError: the session is closed, the timeout is no number, or the callback cannot be called.
        """
        self._check_open()
        check_timeout(timeout)
        if callback is not None and not callable(callback):
            raise UsageError("the callback cannot be called", expected="a function", found=type(callback).__name__)
        # Not above: futures take a twentieth of the time that a fresh process needs for a result.
        from .request import Request

        runner, arrays, cut = self._bound(inputs, copy=True)
        request: Request[Outputs] = Request(lambda: cut(runner.run(arrays, request.abandoned)), callback)
        self._queue.put(request, timeout)
        return request

    @resources("profile")
    def profile(self, inputs: Mapping[str, np.ndarray] | None = None, *, rounds: int = 10) -> Profile:
        """Times of the whole network and of each step, medians over `rounds` runs after one that does not count.

        Args:
            inputs: as for `run`; by default zeros for integers and the same normal random numbers for floats each time.

        Raises:
            InputError, ResourceError: as for `run`.
            UsageError: the session is closed, or `rounds` is less than 1.
        """
        from .profile import Profile, combine

        runner, arrays = self._measured_inputs(inputs, rounds)
        run, timed = partial(runner.run, arrays), partial(runner.timed, arrays)
        self._compute(runner, run)
        whole: list[float] = []
        steps: list[list[StepTime]] = []
        for _ in range(rounds):
            start = perf_counter()
            self._compute(runner, run)
            whole.append((perf_counter() - start) * 1e3)
            steps.append(self._compute(runner, timed)[1])
        return Profile(self.engine, rounds, float(np.median(whole)), combine(steps))

    @resources("profile")
    def host_times(self, inputs: Mapping[str, np.ndarray] | None = None, *, rounds: int = 5) -> list[HostTime]:
        """What this CPU does between and around device programs, in order, and the median time of each such piece.

        Device programs run once, in the simulator, so that each piece gets the values that it would.

        Args:
            inputs: as for `profile`.
            rounds: how often each piece is measured, after once that does not count.

        Raises:
            InputError, ResourceError: as for `run`.
            UsageError: the session is closed, or `rounds` is less than 1.
        """
        runner, arrays = self._measured_inputs(inputs, rounds)
        return self._compute(runner, partial(runner.host_times, arrays, rounds))

    def _measured_inputs(self, inputs: Mapping[str, np.ndarray] | None, rounds: int) -> tuple[Runner, list[np.ndarray]]:
        """What is measured, so many times; see `profile`."""
        self._check_open()
        check_count("rounds", rounds)
        return self._bound(inputs if inputs is not None else self._sample_inputs(), copy=False)[:2]

    def _sample_inputs(self) -> dict[str, np.ndarray]:
        draw = np.random.default_rng(0).standard_normal
        drawn = ((spec, draw(spec.shape) if spec.numpy.kind == "f" else np.zeros(spec.shape)) for spec in self.inputs)
        return {spec.name: np.asarray(array, spec.numpy) for spec, array in drawn}

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the session is closed")

    def close(self) -> None:
        """Cancel requests that wait, let those that run finish, and end the workers. Idempotent."""
        self._closed = True
        self._queue.close()

    def __reduce__(self) -> tuple[Callable[[], Session], tuple[()]]:
        """Pickled by the arguments of `load` and the path, or by its content where it was loaded from memory, so that
        another process loads it for itself and judges there whether its native code may run. Where another artifact
        lies at the path by then, that is an ArtifactError.
        Raises UsageError: it is closed."""
        self._check_open()
        return self._load_again, ()

    def _repr_html_(self) -> str:
        state = ", closed" if self._closed else ""
        return self.artifact.html(f"Session {self.artifact.origin}, engine {self.engine}{state}")

    def __repr__(self) -> str:
        inputs, outputs = (", ".join(map(str, specs)) for specs in (self.inputs, self.outputs))
        state = ", closed" if self._closed else ""
        return f"<Session {self.artifact.origin!r}, engine {self.engine!r}{state}: {inputs} -> {outputs}>"

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
