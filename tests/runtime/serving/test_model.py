"""Requests that wait: in what order and how many together they are computed, how many may wait, and for how long."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from asgi_client import Answer, ask
from inference_requests import outputs_of, request_of

from tilewright.errors import InputError, ResourceError, UsageError
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.execution.buffers import Outputs
from tilewright.runtime.request import Callback, Request
from tilewright.runtime.request_queue import RequestQueue
from tilewright.runtime.serving.application import Application
from tilewright.runtime.serving.model import Batching, Model
from tilewright.runtime.waiting import Abandoned, Asked

PATH = "/v2/models/sums/infer"


def ends(batch: int, length: int = 3, sums: int = 1) -> tuple[list[TensorSpec], list[TensorSpec]]:
    return [TensorSpec("x", "i32", (batch, length))], [TensorSpec("y", "i32", (batch, sums))]


class Sums:
    """Sums of rows, computed when the door is open; no sum may be negative."""

    def __init__(self) -> None:
        self.door = threading.Event()
        self.batches: list[int] = []
        self.requests: list[Request[Outputs]] = []
        self.broken: Exception | None = None
        self._queue = RequestQueue(1, 1)

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        pass

    def submit(self, inputs: Mapping[str, np.ndarray], callback: Callback) -> Request[Outputs]:
        if self.broken is not None:
            raise self.broken
        request: Request[Outputs] = Request(lambda: self._computed(inputs["x"], request.abandoned), callback)
        self._queue.put(request, 0)
        self.requests.append(request)
        return request

    def _computed(self, x: np.ndarray, abandoned: Asked) -> Outputs:
        self.batches.append(len(x))
        while not self.door.wait(0.001):
            if abandoned():
                raise Abandoned
        y = x.sum(1, np.int32, keepdims=True)
        if (y < 0).any():
            raise InputError("a sum is negative")
        return {"y": y}


def served(
    engine: Sums, sizes: Sequence[int] = (1, 4), *, batched: bool = True, queue: int = 16, timeout: float = 20
) -> tuple[Application, Model]:
    shapes = [ends(size) for size in sizes]
    model = Model("sums", 1, engine, shapes, Batching("sums", shapes) if batched else None, 1, queue)
    return Application([model], "1", timeout), model


async def asked_together(
    application: Application, model: Model, engine: Sums, rows: Sequence[np.ndarray]
) -> list[Answer]:
    """The answers to requests that are all there before the first has been computed."""
    tasks = []
    for count, x in enumerate(rows, 1):
        body, headers = request_of({"x": x}, binary=True)
        tasks.append(asyncio.create_task(ask(application.asgi, PATH, body, headers)))
        while model.pending < count and not tasks[-1].done():
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
    engine.door.set()
    return await asyncio.gather(*tasks)


def test_what_waits_is_computed_together_and_everyone_gets_their_own(rng: np.random.Generator) -> None:
    engine = Sums()
    application, model = served(engine)
    rows = [rng.integers(0, 1000, (items, 3)).astype(np.int32) for items in (1, 1, 2, 3, 1, 1, 4)]
    answers = asyncio.run(asked_together(application, model, engine, rows))
    for x, found in zip(rows, answers, strict=True):
        assert found.status == 200
        np.testing.assert_array_equal(outputs_of(found.headers, found.body)["y"], x.sum(1, keepdims=True))
    # The first alone; 1, 2 and, past 3, which does not fit, 1; then 3 and 1; then 4.
    assert engine.batches == [1, 4, 4, 4]
    assert model.pending == 0


def test_what_is_wrong_with_one_concerns_no_other() -> None:
    engine = Sums()
    application, model = served(engine)
    rows = [np.full((1, 3), value, np.int32) for value in (1, 2, -3, 4)]
    answers = asyncio.run(asked_together(application, model, engine, rows))
    assert [each.status for each in answers] == [200, 200, 400, 200]
    assert answers[2].json == {"error": "a sum is negative"}
    assert outputs_of(answers[3].headers, answers[3].body)["y"] == 12
    assert engine.batches == [1, 4, 1, 1, 1]


class Watched(Sums):
    """Knows whether inputs are still there."""

    def __init__(self) -> None:
        super().__init__()
        self.door.set()
        self.seen: list[weakref.ref[np.ndarray]] = []

    def submit(self, inputs: Mapping[str, np.ndarray], callback: Callback) -> Request[Outputs]:
        self.seen.append(weakref.ref(inputs["x"]))
        request = super().submit(inputs, callback)
        self.requests.clear()
        return request


@pytest.mark.parametrize("value", [1, -1])
@pytest.mark.parametrize("batched", [True, False])
def test_inputs_are_gone_when_they_are_answered(value: int, batched: bool) -> None:
    """Without anyone looking for cycles, which happens rarely: bodies may be large."""
    engine = Watched()
    application, _ = served(engine, batched=batched)
    body, headers = request_of({"x": np.full((1, 3), value, np.int32)}, binary=True)
    gc.disable()
    try:
        assert asyncio.run(ask(application.asgi, PATH, body, headers)).status == (200 if value > 0 else 400)
        end = time.monotonic() + 20
        # The thread that has computed them may be about to let them go.
        while engine.seen[0]() is not None and time.monotonic() < end:
            time.sleep(0.01)
        assert engine.seen[0]() is None
    finally:
        gc.enable()


def test_too_many_are_told_to_come_later() -> None:
    engine = Sums()
    application, model = served(engine, batched=False, queue=2)
    rows = [np.full((1, 3), value, np.int32) for value in range(5)]
    answers = asyncio.run(asked_together(application, model, engine, rows))
    assert [each.status for each in answers] == [200, 200, 200, 429, 429]
    assert answers[3].json == {"error": "3 requests wait for 'sums' already. Try again later."}
    assert answers[3].headers["retry-after"] == "1"
    assert application.answered == {200: 3, 429: 2}


def test_who_waits_too_long_is_told_and_not_computed() -> None:
    engine = Sums()
    application, model = served(engine, batched=False, timeout=0.05)

    async def late() -> list[Answer]:
        body, headers = request_of({"x": np.ones((1, 3), np.int32)}, binary=True)
        found = await asyncio.gather(*(ask(application.asgi, PATH, body, headers) for _ in range(3)))
        engine.door.set()
        while model.pending:
            await asyncio.sleep(0.001)
        return [*found, await ask(application.asgi, PATH, [body[:9]], headers, ends=False)]

    answers = asyncio.run(late())
    assert [each.status for each in answers] == [504, 504, 504, 400]
    assert answers[0].json == {"error": "the outputs are not computed; expected within 0.05 s"}
    # On a busy machine it may be too late even to begin.
    assert engine.batches in ([], [1])
    assert [each.abandoned() for each in engine.requests] == [True]


def test_a_run_is_abandoned_when_nobody_waits_for_it_any_more() -> None:
    engine = Sums()
    _, model = served(engine)

    async def given_up() -> list[bool]:
        x = {"x": np.ones((1, 3), np.int32)}
        # The first alone, then the others together.
        tasks = [asyncio.create_task(model.infer(x)) for _ in range(3)]
        found: list[bool] = []
        for task, run in zip(tasks, (0, 1, 1), strict=True):
            while len(engine.requests) <= run:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            found.append(engine.requests[run].abandoned())
        return found

    assert asyncio.run(given_up()) == [True, False, True]


def test_an_answer_that_nobody_takes_has_its_place() -> None:
    """Otherwise the answers of clients that never read would take all memory."""
    engine = Sums()
    engine.door.set()
    application, model = served(engine, batched=False, queue=0)
    body, headers = request_of({"x": np.ones((1, 3), np.int32)}, binary=True)

    async def asked_while_unread() -> tuple[int, int, int]:
        taken, sent = asyncio.Event(), list[dict[str, object]]()

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, object]) -> None:
            sent.append(message)
            await taken.wait()

        scope = {"type": "http", "method": "POST", "path": PATH, "query_string": b"", "root_path": ""}
        scope["headers"] = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        unread = asyncio.create_task(application.asgi(scope, receive, send))  # pyright: ignore[reportArgumentType]
        while not sent:
            await asyncio.sleep(0.001)
        refused = await ask(application.asgi, PATH, body, headers)
        taken.set()
        await unread
        return refused.status, (await ask(application.asgi, PATH, body, headers)).status, model.pending

    assert asyncio.run(asked_while_unread()) == (429, 200, 0)


def test_a_body_that_does_not_come() -> None:
    application, model = served(Sums(), timeout=0.05)

    async def wait() -> int:
        sent: list[int] = []

        async def receive() -> dict[str, object]:
            return await asyncio.Future()

        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                sent.append(int(str(message["status"])))

        scope = {"type": "http", "method": "POST", "path": PATH, "headers": [], "query_string": b"", "root_path": ""}
        await application.asgi(scope, receive, send)  # pyright: ignore[reportArgumentType]
        return sent[0]

    assert asyncio.run(wait()) == 408
    assert model.pending == 0


def test_other_errors() -> None:
    engine = Sums()
    application, model = served(engine)
    engine.door.set()
    body, headers = request_of({"x": np.ones((1, 3), np.int32)}, binary=True)
    engine.broken = ResourceError("there is no memory")
    found = asyncio.run(ask(application.asgi, PATH, body, headers))
    assert (found.status, found.json) == (503, {"error": "there is no memory"})
    engine.broken = ValueError("secret")

    async def failed() -> tuple[int, object]:
        sent: list[Answer] = []
        with pytest.raises(ValueError, match="secret"):
            sent.append(await ask(application.asgi, PATH, body, headers))
        return model.pending, sent

    assert asyncio.run(failed()) == (0, [])
    assert application.answered == {503: 1, 500: 1}


@pytest.mark.parametrize("shape", [(5, 3), (0, 3), (1, 4), (3,), (), (1, 3, 1)])
def test_shapes_that_no_batch_holds(shape: tuple[int, ...]) -> None:
    application, _ = served(Sums())
    body, headers = request_of({"x": np.ones(shape, np.int32)}, binary=True)
    found = asyncio.run(ask(application.asgi, PATH, body, headers))
    assert (found.status, found.json) == (
        400,
        {
            "error": "the network has no shape that fits the inputs; expected x [-1, 3], with at most 4 for -1, "
            f"found x [{', '.join(map(str, shape))}]"
        },
    )


def test_batches_stand_in_the_metadata() -> None:
    application, _ = served(Sums())
    found = asyncio.run(ask(application.asgi, "/v2/models/sums")).json
    assert found["inputs"] == [{"name": "x", "datatype": "INT32", "shape": [-1, 3]}]
    assert found["outputs"] == [{"name": "y", "datatype": "INT32", "shape": [-1, 1]}]
    json.dumps(found)


@pytest.mark.parametrize(
    ("shapes", "error"),
    [
        (
            [ends(1)],
            "model 'm' has no batch but 1. Compile it for several, such as --input-shape batch=1,4,8, or leave ",
        ),
        (
            [([TensorSpec("x", "f32", (4, 3))], [TensorSpec("y", "f32", (3, 4))])],
            "requests for 'm' cannot be computed together; expected a first extent that all its inputs and outputs "
            "share, found x: f32[4,3] and y: f32[3,4]. Leave --batch out.",
        ),
        (
            [([TensorSpec("x", "f32", (4,))], [TensorSpec("y", "f32", ())])],
            "requests for 'm' cannot be computed together",
        ),
        (
            [([TensorSpec("x", "f32", (4, 3))], [TensorSpec("y", "f32", (4, 9), (-1, 0))])],
            "requests for 'm' cannot be computed together",
        ),
        (
            [ends(1), ends(4, sums=4)],
            "requests for 'm' cannot be computed together; expected outputs that the batch changes in the first extent "
            "alone",
        ),
    ],
)
def test_networks_without_a_batch(shapes: list[tuple[list[TensorSpec], list[TensorSpec]]], error: str) -> None:
    with pytest.raises(UsageError) as caught:
        Batching("m", shapes)
    assert str(caught.value).startswith(error)


def test_a_batch_for_each_length() -> None:
    batching = Batching("m", [ends(1), ends(4), ends(2, 5)])
    batching.check({"x": (2, 5)})
    with pytest.raises(InputError, match=r"expected x \[-1, 3\] or x \[-1, 5\], with at most 4 for -1"):
        batching.check({"x": (3, 5)})
    short, long = ({"x": np.ones((1, length), np.int32)} for length in (3, 5))
    assert (batching.room(short), batching.room(long)) == (4, 2)
    assert batching.joined([long])["x"].tolist() == [[1] * 5, [0] * 5]
