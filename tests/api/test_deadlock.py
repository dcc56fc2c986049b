"""A wait for another thread ends in a diagnosis where none is left that could end it, and only there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import sleep

import numpy as np
import pytest
from artifact_samples import small_artifact

from tilewright.errors import UsageError
from tilewright.runtime import load
from tilewright.runtime.api.deadlock import nobody_else
from tilewright.runtime.in_order import InOrder
from tilewright.runtime.native.mapping import supported
from tilewright.runtime.waiting import waits_for_others

pytestmark = pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only")

PATIENCE = 120.0
X = [{"x": np.ones((2, 8), np.float32)}]


@pytest.fixture
def queue() -> Iterator[InOrder[int]]:
    with load(small_artifact()) as session:
        yield InOrder(session, 1)


def started(*targets: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=target) for target in targets]
    for thread in threads:
        thread.start()
    return threads


def joined(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_thread_that_is_alone_is_told(queue: InOrder[int]) -> None:
    queue.put(X, 0, hopeless=nobody_else)
    with pytest.raises(UsageError) as caught:
        queue.put(X, 1, hopeless=nobody_else)
    assert str(caught.value) == (
        "waiting would never end: no other thread of this program can change it; expected a free buffer, "
        "found results in all 1. Get results, on this thread or on another, before more is put."
    )
    assert queue.get(hopeless=nobody_else)[1] == 0
    with pytest.raises(UsageError) as caught:
        queue.get(hopeless=nobody_else)
    assert str(caught.value) == (
        "waiting would never end: no other thread of this program can change it; expected a result, "
        "found nothing put. Put inputs before results are waited for."
    )


def test_a_consumer_may_take_its_time(queue: InOrder[int]) -> None:
    got: list[int] = []

    def consume() -> None:
        for _ in range(3):
            sleep(0.3)
            got.append(queue.get()[1])

    threads = started(consume)
    for tag in range(3):
        queue.put(X, tag, hopeless=nobody_else)
    joined(*threads)
    assert got == [0, 1, 2]


def test_a_consumer_that_ends_meanwhile_leaves_nobody(queue: InOrder[int]) -> None:
    threads = started(lambda: sleep(0.2))
    queue.put(X, 0)
    with pytest.raises(UsageError, match="waiting would never end"):
        queue.put(X, 1, hopeless=nobody_else)
    joined(*threads)


def test_threads_that_all_wait_wait_for_nobody(queue: InOrder[int]) -> None:
    queue.put(X, 0)
    told: list[int] = []

    def put() -> None:
        try:
            queue.put(X, 1, hopeless=nobody_else)
        except UsageError:
            told.append(1)

    threads = started(*[put] * 5)
    # This thread joins them without a limit of time, and so can do nothing either.
    for thread in threads:
        thread.join()
    assert len(told) == 5


def test_one_of_two_queues_can_still_go_on(queue: InOrder[int]) -> None:
    other: InOrder[int] = InOrder(queue._session, 1)
    got: list[int] = []

    def between() -> None:
        for _ in range(50):
            _, tag = queue.get(hopeless=nobody_else)
            other.put(X, tag, hopeless=nobody_else)

    def at_the_end() -> None:
        for _ in range(50):
            got.append(other.get(hopeless=nobody_else)[1])

    threads = started(between, at_the_end)
    for tag in range(50):
        queue.put(X, tag, hopeless=nobody_else)
    joined(*threads)
    assert got == list(range(50))


def test_a_step_taken_before_others_are_asked_about_counts(queue: InOrder[int]) -> None:
    def took_the_result_before_all_waited() -> bool:
        got.append(queue.get()[1])
        return True

    got: list[int] = []
    queue.put(X, 0)
    queue.put(X, 1, hopeless=took_the_result_before_all_waited)
    assert got == [0]
    assert queue.get()[1] == 1


def test_a_thread_that_joins_for_a_limited_time_comes_back() -> None:
    answers: list[bool] = []

    def ask() -> None:
        sleep(0.1)  # until the main thread joins
        answers.append(nobody_else())

    (asking,) = started(ask)
    asking.join(PATIENCE)
    assert answers == [False]


def test_a_thread_that_joins_one_that_has_ended_goes_on(queue: InOrder[int]) -> None:
    class Ended(threading.Thread):
        """Between the end of its work and the return of who joins it."""

        def is_alive(self) -> bool:
            return False

    def wait() -> None:
        with suppress(UsageError):
            queue.get()

    ended = Ended(target=wait)
    ended.start()
    (joining,) = started(lambda: threading.Thread.join(ended))
    while not waits_for_others(ended.ident or 0):
        sleep(0.001)
    assert not nobody_else()
    queue.close()
    joined(joining)
