"""Computing where Ctrl-C can be heard: native code holds up the signal handlers of the thread that calls it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from .waiting import Latch

Result = TypeVar("Result")


class Asked:
    """Tells a computation whether it has been abandoned: nobody waits for its result any more.

    Attributes:
        flag: not 0 from then on; also for native code, which looks while it runs.
    """

    def __init__(self) -> None:
        self.flag = ctypes.c_int32(0)

    def __call__(self) -> bool:
        return self.flag.value != 0


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
    finished, abandoned = Latch(), Asked()

    def work() -> None:
        try:
            outcome.result = compute(abandoned)
        except BaseException as error:
            outcome.error = error
        finally:
            finished.open()

    thread = threading.Thread(target=work, name="tilewright-run", daemon=True)
    try:
        thread.start()
        finished.wait()
    except BaseException as error:
        abandoned.flag.value = 1
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
