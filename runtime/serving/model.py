"""One network that is served: requests that wait for it, and how they are computed, one by one or laid behind one
another along the first extent, as far as a shape holds them.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from tilewright.errors import InputError, UsageError

from ..artifact.manifest import TensorSpec
from ..execution.buffers import Outputs
from ..execution.shapes import shape_text
from ..request import Callback, Request
from .protocol import DATATYPES, RefusedError, Shapes

Ends = tuple[Sequence[TensorSpec], Sequence[TensorSpec]]
"""Inputs and outputs of a network in one of its shapes."""

_Item = tuple[tuple[int, ...], ...]
"""The shapes of the inputs for one item of a batch."""


class Batching:
    """How many items can be computed together, which the network has to compute each by itself.
    ``shapes``: its inputs and outputs in each shape.
    ``largest``: items that can be computed together.
    Raises UsageError: it has no batch, or one of 1."""

    def __init__(self, name: str, shapes: Sequence[Ends]) -> None:
        self._sizes: dict[_Item, list[int]] = {}
        results: dict[_Item, _Item] = {}
        for inputs, outputs in shapes:
            tensors = [*inputs, *outputs]
            sizes = {spec.shape[:1] for spec in tensors}
            item, result = (tuple(spec.shape[1:] for spec in specs) for specs in (inputs, outputs))
            if () in sizes or len(sizes) != 1 or any(spec.counts for spec in tensors) or not inputs:
                raise _without_batch(name, "a first extent that all its inputs and outputs share", tensors)
            if results.setdefault(item, result) != result:
                raise _without_batch(name, "outputs that the batch changes in the first extent alone", tensors)
            self._sizes.setdefault(item, []).append(sizes.pop()[0])
        self.largest = max(map(max, self._sizes.values()))
        if self.largest < 2:
            raise UsageError(
                f"model {name!r} has no batch but 1",
                hint="Compile it for several, such as --input-shape batch=1,4,8, or leave --batch out.",
            )

    def check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise InputError for shapes of inputs that no batch holds."""
        sizes = self._sizes.get(tuple(shape[1:] for shape in shapes.values()), [0])
        counts = {shape[:1] for shape in shapes.values()}
        if len(counts) != 1 or not (counts := counts.pop()) or not 1 <= counts[0] <= max(sizes):
            known = (
                shape_text({name: (-1, *rest) for name, rest in zip(shapes, item, strict=True)}) for item in self._sizes
            )
            raise InputError(
                "the network has no shape that fits the inputs",
                expected=f"{' or '.join(known)}, with at most {self.largest} for -1",
                found=shape_text(shapes),
            )

    def room(self, inputs: Mapping[str, np.ndarray]) -> int:
        """Items that can be computed together with one of these inputs, itself included."""
        return max(self._sizes[_item(inputs)])

    def joined(self, parts: Sequence[Mapping[str, np.ndarray]]) -> Mapping[str, np.ndarray]:
        """The inputs of several requests behind one another, and zeros up to the next batch that there is."""
        count = sum(len(next(iter(part.values()))) for part in parts)
        size = min(each for each in self._sizes[_item(parts[0])] if each >= count)
        if len(parts) == 1 and count == size:
            return parts[0]
        found: dict[str, np.ndarray] = {}
        for name, first in parts[0].items():
            rest = np.zeros((size - count, *first.shape[1:]), first.dtype)
            found[name] = np.concatenate([*(part[name] for part in parts), rest])
        return found


def _item(inputs: Mapping[str, np.ndarray]) -> _Item:
    return tuple(array.shape[1:] for array in inputs.values())


def _without_batch(name: str, expected: str, tensors: Sequence[TensorSpec]) -> UsageError:
    return UsageError(
        f"requests for {name!r} cannot be computed together",
        expected=expected,
        found=" and ".join(map(str, tensors)),
        hint="Leave --batch out.",
    )


class Engine(Protocol):
    """What computes a network: a session."""

    def submit(self, inputs: Mapping[str, np.ndarray], callback: Callback) -> Request[Outputs]:
        """Compute in a thread, and call back from there."""
        ...

    def check_shapes(self, shapes: Shapes) -> None:
        """Raise InputError for shapes that it does not take."""
        ...


class _Run(NamedTuple):
    jobs: "Sequence[_Job]"
    request: Request[Outputs]


@dataclass(eq=False)
class _Job:
    inputs: Mapping[str, np.ndarray]
    items: int
    outputs: asyncio.Future[Outputs] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    alone: bool = False
    run: _Run | None = None


class Model:
    """A network, its requests and its figures; for one event loop.

    Args:
        shapes: inputs and outputs in each shape of the network.
        batching: how requests are computed together, where they are.
        workers: how many runs there are at once.
        queue: how many requests may wait.
        ran: told of each run how many items of requests it computed.

    Attributes:
        inputs: name and type of each input, with the largest shape that it takes.
        outputs: the same of outputs.
        pending: requests that have been let in and have no answer yet.
        most: how many these may be.
    """

    def __init__(
        self,
        name: str,
        version: int,
        engine: Engine,
        shapes: Sequence[Ends],
        batching: Batching | None,
        workers: int,
        queue: int,
        ran: Callable[[int], None] = lambda items: None,
    ) -> None:
        self.name, self.version = name, version
        self.inputs, self.outputs = (_largest(each) for each in zip(*shapes, strict=True))
        self.pending, self.most = 0, queue + workers * (1 if batching is None else batching.largest)
        self.ran = ran
        self._engine, self._shapes, self._batching, self._workers = engine, shapes, batching, workers
        self._waiting: deque[_Job] = deque()
        self._running = 0

    def metadata(self, versions: Sequence[int]) -> dict[str, object]:
        """What the protocol tells of a model."""
        tensors: dict[str, object] = {}
        for kind, specs in zip(("inputs", "outputs"), zip(*self._shapes, strict=True), strict=True):
            each = zip(*specs, strict=True)
            tensors[kind] = [
                {"name": same[0].name, "datatype": DATATYPES[same[0].dtype], "shape": self._extents(same)}
                for same in each
            ]
        return {"name": self.name, "versions": [*map(str, versions)], "platform": "tilewright", **tensors}

    def _extents(self, specs: Sequence[TensorSpec]) -> list[int]:
        """The extents of a tensor in every shape, -1 where they differ."""
        extents = zip(*(spec.shape for spec in specs), strict=True)
        found = [each[0] if len({*each}) == 1 else -1 for each in extents]
        open_ones = [count >= 0 for count in specs[0].counts] or [False] * len(found)
        if self._batching is not None:
            open_ones[0] = True
        return [-1 if is_open else extent for extent, is_open in zip(found, open_ones, strict=True)]

    def check_shapes(self, shapes: Shapes) -> None:
        """Raise InputError for shapes of inputs that it does not take."""
        if self._batching is None:
            self._engine.check_shapes(shapes)
        else:
            self._batching.check(shapes)

    def enter(self) -> None:
        """Let a request in, before its body is read; `leave` has to follow. Raises RefusedError: there are too many."""
        if self.pending >= self.most:
            raise RefusedError(429, f"{self.pending} requests wait for {self.name!r} already", hint="Try again later.")
        self.pending += 1

    def leave(self) -> None:
        """A request is answered."""
        self.pending -= 1

    async def infer(self, inputs: Mapping[str, np.ndarray]) -> Outputs:
        """The outputs for inputs of shapes that it takes.
        Raises TilewrightError: as a run of the session."""
        items = 1 if self._batching is None else next(iter(inputs.values())).shape[0]
        job = _Job(inputs, items)
        self._waiting.append(job)
        self._start()
        try:
            return await job.outputs
        except asyncio.CancelledError:
            if job.run is not None and all(each.outputs.done() for each in job.run.jobs):
                job.run.request.abandon()
            raise
        finally:
            # A run knows its requests: what these hold would stay until somebody looks for cycles.
            job.run = None

    def _start(self) -> None:
        while self._running < self._workers and (jobs := self._take()):
            self._running += 1
            try:
                self._submit(jobs)
            except Exception as error:
                self._deliver(jobs, None, error)

    def _submit(self, jobs: Sequence[_Job]) -> None:
        loop = asyncio.get_running_loop()
        inputs = jobs[0].inputs
        if self._batching is not None:
            inputs = self._batching.joined([job.inputs for job in jobs])

        def finished(request: Request[Outputs]) -> None:
            outputs = request.result() if request.error is None else None
            # The loop is closed where the server was told to end at once.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finished, jobs, outputs, request.error)

        run = _Run(jobs, self._engine.submit(inputs, finished))
        for job in jobs:
            job.run = run
        self.ran(sum(job.items for job in jobs))

    def _take(self) -> list[_Job]:
        """The requests of the next run: the one that waits longest, and what can be computed with it."""
        waiting = deque(job for job in self._waiting if not job.outputs.done())
        self._waiting = waiting
        if not waiting:
            return []
        jobs = [waiting.popleft()]
        if self._batching is None or jobs[0].alone:
            return jobs
        room = self._batching.room(jobs[0].inputs) - jobs[0].items
        for job in tuple(waiting):
            if job.items <= room and not job.alone and _item(job.inputs) == _item(jobs[0].inputs):
                waiting.remove(job)
                jobs.append(job)
                room -= job.items
        return jobs

    def _finished(self, jobs: Sequence[_Job], outputs: Outputs | None, error: BaseException | None) -> None:
        self._deliver(jobs, outputs, error)
        self._start()

    def _deliver(self, jobs: Sequence[_Job], outputs: Outputs | None, error: BaseException | None) -> None:
        self._running -= 1
        if isinstance(error, InputError) and len(jobs) > 1:
            # The values of one are wrong, and the others have nothing to do with it.
            for job in reversed(jobs):
                job.alone = True
                self._waiting.appendleft(job)
            return
        position = 0
        for job in jobs:
            end = position + job.items
            if job.outputs.done():
                # Whoever waited has given up.
                pass
            elif outputs is None:
                job.outputs.set_exception(error or AssertionError("a run without outputs"))
            elif self._batching is None:
                job.outputs.set_result(outputs)
            else:
                job.outputs.set_result({name: array[position:end] for name, array in outputs.items()})
            position = end


def _largest(specs: Sequence[Sequence[TensorSpec]]) -> tuple[TensorSpec, ...]:
    """Each tensor in the shape, of several, that has most elements."""
    return tuple(max(same, key=lambda spec: spec.bytes) for same in zip(*specs, strict=True))
