"""Computing where Ctrl-C can be heard: native code holds up the signal handlers of the thread that calls it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from .waiting import Latch

Result = TypeVar("Result")
Asked = Callable[[], bool]
"""Tells a computation whether it has been abandoned: nobody waits for its result any more."""


class Abandoned(Exception):
    """Ends a computation that has been abandoned."""


class _Outcome(Generic[Result]):
    result: Result
    error: BaseException | None = None


def compute_aside(compute: Callable[[Asked | None], Result]) -> Result:
    """What `compute` returns or raises, computed by a thread of its own while this one waits.

    An exception that a signal handler raises here, such as KeyboardInterrupt, goes out at once. The computation is then
    abandoned: it ends where it asks, and everything that it refers to lives until then. It does not keep the process
    from ending. Where no thread can be started, it is computed on this one, and is never abandoned.
    """
    outcome: _Outcome[Result] = _Outcome()
    finished, abandoned = Latch(), Latch()

    def work() -> None:
        try:
            outcome.result = compute(lambda: abandoned.is_open)
        except BaseException as error:
            outcome.error = error
        finally:
            finished.open()

    thread = threading.Thread(target=work, name="tilewright-run", daemon=True)
    try:
        thread.start()
        finished.wait()
    except BaseException as error:
        abandoned.open()
        if isinstance(error, RuntimeError) and thread.ident is None:
            return compute(None)
        raise
    if outcome.error is not None:
        try:
            raise outcome.error
        finally:
            # The traceback refers to this frame: without this, both would wait for the garbage collector.
            del outcome
    return outcome.result
