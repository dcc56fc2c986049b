"""Asynchronous requests: order, bounds, failures, cancellation, threads."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from artifact_samples import expected, small_artifact

from tilewright.errors import InputError, RequestCancelledError, RequestTimeoutError, UsageError
from tilewright.runtime import Request, load
from tilewright.runtime.native.mapping import supported
from tilewright.runtime.request import Callback
from tilewright.runtime.request_queue import RequestQueue

PATIENCE = 120.0
"""Seconds after which a test that waits has failed."""


class Gate:
    """Work that waits until it is let go, and counts what runs at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Semaphore(0)
        self.order: list[int] = []
        self.at_once = 0
        self.most = 0
        self._lock = threading.Lock()

    def run(self, number: int) -> int:
        with self._lock:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            self.order.append(number)
        self.started.release()
        assert self.open.wait(PATIENCE)
        with self._lock:
            self.at_once -= 1
        return number


def request(work: Gate | Callable[[int], int], number: int, callback: Callback | None = None) -> Request[int]:
    return Request(partial(work.run if isinstance(work, Gate) else work, number), callback)


def test_requests_run_in_order_and_no_more_at_once_than_workers() -> None:
    for workers in (1, 3):
        gate = Gate()
        queue = RequestQueue(workers, 16)
        requests = [request(gate, number) for number in range(9)]
        for item in requests:
            queue.put(item, None)
        for _ in range(workers):
            assert gate.started.acquire(timeout=PATIENCE)
        assert sorted(item.status for item in requests) == ["queued"] * (9 - workers) + ["running"] * workers
        gate.open.set()
        assert [item.result(PATIENCE) for item in requests] == list(range(9))
        assert gate.most == workers
        assert gate.order[:workers] == sorted(gate.order[:workers])
        if workers == 1:
            assert gate.order == list(range(9))
        queue.close()


def test_a_full_queue_says_so_and_takes_more_later() -> None:
    gate = Gate()
    queue = RequestQueue(1, 2)
    queue.put(request(gate, 0), None)
    assert gate.started.acquire(timeout=PATIENCE)
    queue.put(request(gate, 1), 0)
    waiting = request(gate, 2)
    queue.put(waiting, 0)
    with pytest.raises(RequestTimeoutError) as caught:
        queue.put(request(gate, 3), 0)
    assert str(caught.value) == "the queue is full; expected room within 0 s, found 2 requests waiting"
    assert isinstance(caught.value, TimeoutError)
    assert waiting.cancel()
    replacement = request(gate, 4)
    queue.put(replacement, 0)
    late = request(gate, 5)
    thread = threading.Thread(target=queue.put, args=(late, None))
    thread.start()
    gate.open.set()
    thread.join(PATIENCE)
    assert late.result(PATIENCE) == 5
    assert gate.order == [0, 1, 4, 5]
    queue.close()


def test_waiting_ends_with_a_timeout() -> None:
    gate = Gate()
    queue = RequestQueue(1, 2)
    item = request(gate, 0)
    queue.put(item, None)
    assert gate.started.acquire(timeout=PATIENCE)
    assert not item.done()
    assert not item.wait(0.01)
    with pytest.raises(RequestTimeoutError, match=r"has not finished; expected within 0\.01 s, found running"):
        item.result(0.01)
    gate.open.set()
    assert item.result(PATIENCE) == 0
    assert item.done()
    assert item.status == "done"
    queue.close()


def test_cancelled_requests_never_run() -> None:
    gate = Gate()
    queue = RequestQueue(1, 4)
    finished: list[str] = []
    first, second = request(gate, 0), request(gate, 1, lambda item: finished.append(item.status))
    queue.put(first, None)
    queue.put(second, None)
    assert gate.started.acquire(timeout=PATIENCE)
    assert second.cancel()
    assert not second.cancel()
    assert not first.cancel()
    with pytest.raises(RequestCancelledError, match="cancelled before it ran"):
        second.result()
    gate.open.set()
    first.result(PATIENCE)
    queue.close()
    assert gate.order == [0]
    assert finished == ["cancelled"]


def test_closing_cancels_what_waits_and_finishes_what_runs() -> None:
    gate = Gate()
    queue = RequestQueue(1, 4)
    first, second = request(gate, 0), request(gate, 1)
    queue.put(first, None)
    queue.put(second, None)
    assert gate.started.acquire(timeout=PATIENCE)
    closing = threading.Thread(target=queue.close)
    closing.start()
    with pytest.raises(RequestCancelledError):
        second.result(PATIENCE)
    gate.open.set()
    closing.join(PATIENCE)
    assert first.status == "done"
    with pytest.raises(UsageError, match="the session is closed"):
        queue.put(request(gate, 2), None)
    queue.close()


def test_whoever_waits_for_room_learns_of_the_end() -> None:
    gate = Gate()
    queue = RequestQueue(1, 1)
    queue.put(request(gate, 0), None)
    assert gate.started.acquire(timeout=PATIENCE)
    queue.put(request(gate, 1), None)
    errors: list[BaseException] = []

    def put() -> None:
        try:
            queue.put(request(gate, 2), None)
        except UsageError as error:
            errors.append(error)

    thread = threading.Thread(target=put)
    thread.start()
    threading.Timer(0.05, gate.open.set).start()
    queue.close()
    thread.join(PATIENCE)
    assert len(errors) <= 1
    assert not thread.is_alive()


def test_errors_reach_the_waiter_and_the_worker_goes_on() -> None:
    def run(number: int) -> int:
        if number == 1:
            raise ZeroDivisionError("one")
        return number

    queue = RequestQueue(1, 4)
    items = [request(run, number) for number in range(3)]
    for item in items:
        queue.put(item, None)
    assert items[2].result(PATIENCE) == 2
    with pytest.raises(ZeroDivisionError, match="one"):
        items[1].result(PATIENCE)
    assert items[1].status == "failed"
    assert isinstance(items[1].error, ZeroDivisionError)
    assert items[0].error is None
    queue.close()


def test_callbacks_see_the_finished_request_and_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[str] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: reported.append(str(arguments.exc_value)))
    seen: list[tuple[str, bool]] = []

    def callback(item: Request) -> None:
        seen.append((item.status, item.done()))
        raise ValueError("the callback is wrong")

    queue = RequestQueue(1, 4)
    items = [request(int, number, callback) for number in range(2)]
    for item in items:
        queue.put(item, None)
    for item in items:
        item.result(PATIENCE)
    queue.close()
    assert seen == [("done", True)] * 2
    assert reported == ["the callback is wrong"] * 2


def test_a_callback_may_submit_but_never_waits_for_itself() -> None:
    outcome: list[object] = []
    again = [request(int, 10), request(int, 11)]

    def callback(item: Request) -> None:
        try:
            for other in again:
                queue.put(other, None)
        except RequestTimeoutError as error:
            outcome.append(error)

    queue = RequestQueue(1, 1)
    queue.put(request(int, 0, callback), None)
    assert again[0].result(PATIENCE) == 10
    queue.close()
    assert len(outcome) == 1


def test_callbacks_of_several_workers_may_close_at_once() -> None:
    both = threading.Barrier(2)

    def callback(_: Request) -> None:
        both.wait(PATIENCE)
        queue.close()

    queue = RequestQueue(2, 4)
    items = [request(int, number, callback) for number in range(2)]
    for item in items:
        queue.put(item, None)
    for item in items:
        assert item.returned.wait(10)
    queue.close()


needs_native = pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only")


@needs_native
def test_submitted_inputs_may_change_at_once() -> None:
    with load(small_artifact(), workers=2) as session:
        array = np.empty((2, 8), np.float32)
        requests = []
        for number in range(12):
            array[:] = number / 10
            requests.append(session.submit({"x": array}))
        for number, item in enumerate(requests):
            wanted = expected(np.full(16, number / 10, np.float32))
            np.testing.assert_allclose(item.result(PATIENCE)["y"], wanted, rtol=1e-6)


@needs_native
def test_many_threads_share_a_session() -> None:
    with load(small_artifact(), workers=2, queue=2) as session:
        wrong: list[object] = []

        def use(seed: int) -> None:
            generator = np.random.default_rng(seed)
            for turn in range(40):
                x = generator.random((2, 8), dtype=np.float32)
                y = (session.run({"x": x}) if turn % 2 else session.submit({"x": x}).result(PATIENCE))["y"]
                if not np.allclose(y, expected(x.ravel()), rtol=1e-6):
                    wrong.append((seed, turn))

        threads = [threading.Thread(target=use, args=(seed,)) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert wrong == []


@needs_native
def test_errors_of_kernels_reach_the_waiter() -> None:
    with load(small_artifact()) as session:
        item = session.submit({"x": np.full((2, 8), -1, np.float32)})
        with pytest.raises(InputError, match="step 'exponential'"):
            item.result(PATIENCE)
        assert item.status == "failed"


@needs_native
def test_a_forgotten_session_does_what_it_was_asked_to() -> None:
    for _ in range(2):
        requests = [submit({"x": np.ones((2, 8), np.float32)}) for submit in [load(small_artifact()).submit] * 3]
        gc.collect()
        for item in requests:
            np.testing.assert_allclose(item.result(PATIENCE)["y"], expected(np.ones(16, np.float32)), rtol=1e-6)


@needs_native
def test_a_forgotten_session_ends_its_workers() -> None:
    # Other tests may have left sessions that nobody has collected yet.
    others = {*threading.enumerate()}
    session = load(small_artifact())
    session.submit({"x": np.ones((2, 8), np.float32)}).result(PATIENCE)
    threads = [each for each in {*threading.enumerate()} - others if each.name.startswith("tilewright-worker")]
    assert threads
    gone = weakref.ref(session)
    del session
    gc.collect()
    assert gone() is None
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
