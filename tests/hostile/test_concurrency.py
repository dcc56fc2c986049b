"""Sessions under load: every result right, nothing lost, nothing hangs, memory stays.

The default run takes seconds; ``pytest -m sweep tests/hostile/test_concurrency.py`` takes about ten minutes.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import numpy as np
import pytest
from artifact_samples import small_artifact
from network_files import digits_artifact

from tilewright.errors import InputError, RequestCancelledError, UsageError
from tilewright.runtime import Request, Session, load
from tilewright.runtime.native.mapping import supported

pytestmark = [
    pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]

PATIENCE = 120
"""Seconds after which something that waits has failed."""
THREADS = 8


def short_and_long(short: float, long: float) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("amount", [short, pytest.param(long, marks=pytest.mark.sweep)])


def images(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((1, 1, 8, 8), np.float32) for _ in range(count)]


def results(session: Session, inputs: list[np.ndarray]) -> list[bytes]:
    (name,) = (spec.name for spec in session.inputs)
    return [b"".join(y.tobytes() for y in session.run({name: x}).values()) for x in inputs]


@contextmanager
def together(work: Callable[[int], object], threads: int = THREADS) -> Iterator[list[object]]:
    """Threads that each do the work of a number, and must end in time after the block; yields what went wrong."""
    wrong: list[object] = []

    def one(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            wrong.append(error)

    running = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield wrong
    finally:
        for thread in running:
            thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in running)


@pytest.mark.parametrize("separate", [False, True])
@short_and_long(0.5, 120)
def test_threads_get_the_bytes_of_one(amount: float, separate: bool) -> None:
    inputs = images(16)
    sessions = [load(digits_artifact(), workers=2) for _ in range(THREADS if separate else 1)]
    wanted = results(sessions[0], inputs)
    end = monotonic() + amount
    counts = [0] * THREADS

    def use(number: int) -> None:
        session = sessions[number % len(sessions)]
        ((name, output),) = ((session.inputs[0].name, session.outputs[0].name),)
        while not counts[number] or monotonic() < end:
            which = (number + counts[number]) % len(inputs)
            x = {name: inputs[which]}
            found = session.run(x) if counts[number] % 2 else session.submit(x).result(PATIENCE)
            assert found[output].tobytes() == wanted[which]
            counts[number] += 1

    with together(use) as wrong:
        sleep(amount)
    assert wrong == []
    for session in sessions:
        session.close()
    print(f"{sum(counts)} runs of {THREADS} threads on {len(sessions)} sessions")


@short_and_long(15, 150)
def test_submitting_and_closing_at_once(amount: float) -> None:
    """Every request that was accepted ends, well or cancelled, and its callback is called once."""
    content = small_artifact()
    outcomes = {"done": 0, "cancelled": 0, "refused": 0}
    for turn in range(int(amount)):
        session = load(content, workers=1 + turn % 3, queue=1 + turn % 5)
        accepted: list[Request] = []
        called: list[Request] = []
        refused: list[UsageError] = []

        def use(number: int, session: Session, accepted: list, called: list, refused: list) -> None:
            x = np.full((2, 8), number, np.float32)
            try:
                for _ in range(50):
                    accepted.append(session.submit({"x": x}, called.append))
            except UsageError as error:
                refused.append(error)

        with together(lambda n, p=(session, accepted, called, refused): use(n, *p), 4) as wrong:
            sleep(turn % 10 * 2e-4)
            session.close()
        assert wrong == []
        for request in accepted:
            assert request.wait(PATIENCE)
            assert isinstance(request.error, RequestCancelledError) or request.error is None
            outcomes[request.status] += 1
        assert sorted(map(id, called)) == sorted(map(id, accepted))
        outcomes["refused"] += len(refused)
    print(outcomes)


@short_and_long(15, 1000)
def test_forking_under_load(amount: float) -> None:
    """A child runs, submits and closes while its parent does."""
    inputs = images(4)
    session = load(digits_artifact(), workers=2)
    wanted = results(session, inputs)
    name = session.inputs[0].name
    ended = threading.Event()

    def use(number: int) -> None:
        while not ended.is_set():
            if number % 2:
                assert results(session, inputs) == wanted
                continue
            with load(digits_artifact()) as other:
                (y,) = other.submit({name: inputs[0]}).result(PATIENCE).values()
                assert y.tobytes() == wanted[0]

    def in_child() -> None:
        assert results(session, inputs) == wanted
        for request in [session.submit({name: x}) for x in inputs]:
            request.result(PATIENCE)
        with load(digits_artifact()) as other:
            assert results(other, inputs) == wanted
        session.close()

    with together(use, 4) as wrong:
        try:
            for _ in range(int(amount)):
                child = os.fork()
                if not child:
                    status = 1
                    try:
                        signal.alarm(PATIENCE)
                        in_child()
                        status = 0
                    finally:
                        os._exit(status)
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                requests = [session.submit({name: x}) for x in inputs]
                for request, expected in zip(requests, wanted, strict=True):
                    (y,) = request.result(PATIENCE).values()
                    assert y.tobytes() == expected
        finally:
            ended.set()
    assert wrong == []
    session.close()


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@short_and_long(1000, 20000)
def test_memory_stays(amount: float) -> None:
    """Over runs, submissions, failures, and sessions that are opened and closed or forgotten."""
    inputs = images(1)[0]
    session = load(digits_artifact(), workers=2)
    name = session.inputs[0].name

    def use(turns: int) -> None:
        for turn in range(turns):
            session.run({name: inputs})
            session.submit({name: inputs}).result(PATIENCE)
            with pytest.raises(InputError):
                session.run({name: inputs[0]})
            if turn % 20 == 0:
                with load(digits_artifact()) as other:
                    other.run({name: inputs})
                load(digits_artifact()).submit({name: inputs}).result(PATIENCE)

    use(300)
    before = resident_bytes()
    use(int(amount))
    grown = resident_bytes() - before
    session.close()
    print(f"{grown / 2**20:.1f} MiB more after {int(amount)} turns")
    assert grown < 8 * 2**20
