"""Results in the order of their submissions: buffers, end markers, failures, threads, forks, and waits that end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from artifact_samples import expected, small_artifact, small_manifest, small_sections

from tilewright.errors import InputError, RequestCancelledError, RequestTimeoutError, UsageError
from tilewright.runtime import Session, load
from tilewright.runtime.artifact.artifact import write_artifact
from tilewright.runtime.in_order import InOrder
from tilewright.runtime.native.mapping import supported
from tilewright.runtime.waiting import waits_for_others

pytestmark = pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only")

PATIENCE = 120.0
"""Seconds after which a test that waits has failed."""
HERE = Path(__file__).parent


def x(number: float) -> dict[str, np.ndarray]:
    return {"x": np.full((2, 8), number, np.float32)}


def y(number: float) -> np.ndarray:
    return expected(x(number)["x"].ravel())


@pytest.fixture
def session() -> Iterator[Session]:
    with load(small_artifact(), workers=3) as session:
        yield session


Inputs = list[np.ndarray]
Outputs = dict[str, np.ndarray]


def compute_by(session: Session, run: Callable[[Callable[[Inputs], Outputs], Inputs], Outputs]) -> None:
    """Have a session compute by a function, which is given what it computes by otherwise."""
    compute = session._runner.run
    session._runner.run = lambda inputs, *_: run(compute, inputs)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def held(session: Session) -> Iterator[threading.Event]:
    """Nothing is computed until this is set."""
    go = threading.Event()

    def run(compute: Callable[[Inputs], Outputs], inputs: Inputs) -> Outputs:
        assert go.wait(PATIENCE)
        return compute(inputs)

    compute_by(session, run)
    yield go
    go.set()


def test_results_come_in_the_order_of_put_whichever_is_computed_first(session: Session) -> None:
    def slow_at_first(compute: Callable[[Inputs], Outputs], inputs: Inputs) -> Outputs:
        sleep(0.05 if inputs[0][0, 0] == 0 else 0)
        return compute(inputs)

    compute_by(session, slow_at_first)
    queue: InOrder[object] = InOrder(session, 3)
    tags = [{"name": 0}, None, ["a"]]
    for number, tag in enumerate(tags):
        queue.put([x(number)], tag)
    for number, tag in enumerate(tags):
        results, got = queue.get(PATIENCE)
        assert got is tag
        assert results is not None
        np.testing.assert_allclose(results[0]["y"], y(number), rtol=1e-6)


def test_a_batch_is_one_submission(session: Session) -> None:
    queue: InOrder[str] = InOrder(session, 1)
    for count in (5, 0, 1):
        queue.put([x(number) for number in range(count)], "batch")
        results, _ = queue.get(PATIENCE)
        assert results is not None
        assert len(results) == count
        for number, outputs in enumerate(results):
            np.testing.assert_allclose(outputs["y"], y(number), rtol=1e-6)


def test_runs_of_a_batch_may_be_of_several_sessions(session: Session) -> None:
    with load(small_artifact()) as other:
        compute_by(other, lambda compute, inputs: {"y": -compute(inputs)["y"]})
        queue: InOrder[int] = InOrder(session)
        queue.put([x(1), (other, x(2)), (session, x(3))], 0)
        results, _ = queue.get(PATIENCE)
    assert results is not None
    for outputs, wanted in zip(results, (y(1), -y(2), y(3)), strict=True):
        np.testing.assert_allclose(outputs["y"], wanted, rtol=1e-6)


def test_what_is_put_is_copied(session: Session, held: threading.Event) -> None:
    queue: InOrder[int] = InOrder(session)
    inputs, batch = x(1), []
    batch.append(inputs)
    queue.put(batch, 0)
    inputs["x"][:] = 7
    inputs.clear()
    batch.clear()
    held.set()
    results, _ = queue.get(PATIENCE)
    assert results is not None
    np.testing.assert_allclose(results[0]["y"], y(1), rtol=1e-6)


def test_buffers_are_taken_until_results_are_and_end_markers_take_none(session: Session, held: threading.Event) -> None:
    queue: InOrder[object] = InOrder(session, 2)
    queue.put([x(0)], 0)
    queue.put([x(1)], 1)
    queue.put(None, "end")
    with pytest.raises(RequestTimeoutError) as caught:
        queue.put([x(2)], 2, timeout=0)
    assert str(caught.value) == "there is no room yet; expected a free buffer within 0 s, found results in all 2"
    with pytest.raises(RequestTimeoutError) as caught:
        queue.get(0.01)
    assert str(caught.value) == "there is nothing yet; expected a result within 0.01 s, found none computed"
    held.set()
    assert [queue.get(PATIENCE)[1] for _ in range(2)] == [0, 1]
    assert queue.get(0) == (None, "end")
    queue.put([x(2)], 2, timeout=0)
    assert queue.get(PATIENCE)[1] == 2
    with pytest.raises(RequestTimeoutError, match="found nothing put"):
        queue.get(0)


def test_wrong_inputs_take_no_buffer(session: Session) -> None:
    queue: InOrder[int] = InOrder(session, 1)
    for wrong in ({"z": x(0)["x"]}, {"x": np.zeros((3, 3), np.float32)}):
        with pytest.raises(InputError):
            queue.put([x(1), wrong], 0, timeout=0)
    queue.put([x(1)], 1, timeout=0)
    assert queue.get(PATIENCE)[1] == 1


def test_what_goes_wrong_in_a_worker_is_raised_in_its_turn(session: Session) -> None:
    queue: InOrder[int] = InOrder(session, 3)
    for tag, number in enumerate((1, -1, 2)):  # the program fails for negative numbers
        queue.put([x(number)], tag)
    assert queue.get(PATIENCE)[1] == 0
    with pytest.raises(Exception, match="exponential"):
        queue.get(PATIENCE)
    assert queue.get(PATIENCE)[1] == 2


def test_closing_ends_every_wait_and_cancels_what_waits(session: Session, held: threading.Event) -> None:
    queue: InOrder[int] = InOrder(session, 1)
    queue.put([x(0) for _ in range(8)], 0)
    submission = queue.submissions[0]
    ended: list[str] = []

    def wait(call: Callable[[], object]) -> None:
        try:
            call()
        except UsageError as error:
            ended.append(error.message)

    threads = [threading.Thread(target=wait, args=(call,)) for call in (queue.get, lambda: queue.put([x(1)], 1))]
    for thread in threads:
        thread.start()
    while not waits_for_others(threads[1].ident or 0):
        sleep(0.001)
    requests = submission.parts[0]
    while sum(request.status == "running" for request in requests) < 3:
        sleep(0.001)
    queue.close()
    queue.close()
    for thread in threads:
        thread.join(PATIENCE)
    assert ended == ["the queue of results is closed"] * 2
    assert [request.status for request in requests] == ["running"] * 3 + ["cancelled"] * 5
    with pytest.raises(UsageError, match="closed"):
        queue.put(None, 0)
    held.set()
    session.run(x(0))


def test_nothing_is_lost_or_given_twice_among_many_threads(session: Session) -> None:
    queue: InOrder[int] = InOrder(session, 4)
    threads, each = 4, 100
    got: list[list[int]] = [[] for _ in range(threads)]

    def put(first: int) -> None:
        for number in range(first, first + each):
            queue.put([x(number / 1000)], number)

    def get(into: list[int]) -> None:
        while True:
            results, tag = queue.get()
            if results is None:
                return
            np.testing.assert_allclose(results[0]["y"], y(tag / 1000), rtol=1e-5)
            into.append(tag)

    producers = [threading.Thread(target=put, args=(index * each,)) for index in range(threads)]
    consumers = [threading.Thread(target=get, args=(into,)) for into in got]
    for thread in producers + consumers:
        thread.start()
    for thread in producers:
        thread.join(PATIENCE)
    for _ in consumers:
        queue.put(None, -1)
    for thread in consumers:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert sorted(tag for into in got for tag in into) == list(range(threads * each))
    for into in got:
        for first in range(0, threads * each, each):
            own = [tag for tag in into if first <= tag < first + each]
            assert own == sorted(own)


def test_it_is_freed_with_its_last_reference_and_keeps_no_result(session: Session) -> None:
    queue: InOrder[object] = InOrder(session)
    queue.put([x(1)], queue_tag := np.zeros(3))
    tag, queue_tag = weakref.ref(queue_tag), None
    queue.get(PATIENCE)
    assert tag() is None
    gc.disable()
    try:
        gone = weakref.ref(queue)
        del queue
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork")
def test_a_forked_process_has_the_results_and_fails_what_had_none(session: Session) -> None:
    queue: InOrder[int] = InOrder(session, 3)
    queue.put([x(0)], 0)
    while not queue.submissions[0].ready():
        sleep(0.001)
    go = threading.Event()
    compute_by(session, lambda compute, inputs: compute(inputs) if go.wait(PATIENCE) else {})
    queue.put([x(1)], 1)
    child = os.fork()
    if not child:
        signal.alarm(int(PATIENCE))
        status = 1
        try:
            assert queue.get(PATIENCE)[1] == 0
            with pytest.raises(RequestCancelledError):
                queue.get(PATIENCE)
            go.set()
            queue.put([x(2)], 2)
            assert queue.get(PATIENCE)[1] == 2
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go.set()
    assert [queue.get(PATIENCE)[1] for _ in range(2)] == [0, 1]


CTRL_C = """
import signal, sys, threading, time
import numpy as np
import tilewright
from tilewright.runtime.in_order import InOrder

session = tilewright.load(sys.argv[1])
x = {"x": np.ones((2, 8), np.float32)}
queue = InOrder(session, 1)
if sys.argv[2] == "put":
    queue.put([x], 0)
try:
    threading.Timer(0.3, signal.raise_signal, [signal.SIGINT]).start()
    queue.put([x], 1, hopeless=lambda: False) if sys.argv[2] == "put" else queue.get(hopeless=lambda: False)
except KeyboardInterrupt:
    if sys.argv[2] != "put":
        queue.put([x], 0)
    print(queue.get(20)[1])
"""


@pytest.mark.parametrize("use", ["put", "get"])
def test_ctrl_c_ends_a_wait_and_nothing_is_lost(tmp_path: Path, use: str) -> None:
    write_artifact(tmp_path / "small.twa", small_manifest(), small_sections())
    command = [sys.executable, "-c", CTRL_C, str(tmp_path / "small.twa"), use]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr
