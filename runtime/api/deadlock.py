"""Whether a thread that waits for another waits for nobody."""

import gc
import sys
import threading
from types import FrameType

from .. import waiting

_OURS = "tilewright-"


def nobody_else() -> bool:
    """Whether no other thread of this program can ever put or get anything again.

    None can that has ended, that belongs to Tilewright, that itself waits for another to put or get, or that joins such
    a thread. Any other might, however long that takes: then the answer is no. It is a moment's answer as to threads
    that end, so ask again."""
    before = waiting.latest_step()
    threads = {thread.ident: thread for thread in threading.enumerate()}
    if None in threads:
        return False  # One is just being started.
    frames = _frames()
    if frames is None:
        return False
    asking = threading.get_ident()
    helpless = all(_waits_in_vain(thread, threads, frames, {asking}) for thread in frames)
    return helpless and waiting.latest_step() is before


_looking = waiting.Guard()


def _frames() -> dict[int, FrameType] | None:
    """What each thread is in the middle of; None while another thread looks.

    Before Python 3.12 the garbage collector may run in the middle of this and let other threads run, which then wait
    for ever for a lock of the interpreter (CPython issue 106883)."""
    if sys.version_info >= (3, 12):
        return sys._current_frames()
    looking = _looking.lock
    if not looking.acquire(blocking=False):
        return None
    collects = gc.isenabled()
    try:
        gc.disable()
        return sys._current_frames()
    finally:
        if collects:
            gc.enable()
        looking.release()


def _waits_in_vain(
    thread: int, threads: dict[int | None, threading.Thread], frames: dict[int, FrameType], known: set[int]
) -> bool:
    if thread in known or thread not in frames:
        return True
    known = {*known, thread}
    described = threads.get(thread)
    if described is not None and (not described.is_alive() or described.name.startswith(_OURS)):
        return True
    if waiting.waits_for_others(thread):
        return True
    joined = _joined(frames[thread])
    # Who joins a thread that has ended goes on at once.
    if joined is None or joined.ident not in frames or not joined.is_alive():
        return False
    return _waits_in_vain(joined.ident, threads, frames, known)


def _joined(frame: FrameType | None) -> threading.Thread | None:
    """The thread that one joins without a limit of time."""
    for _ in range(2):
        if frame is None:
            return None
        if frame.f_code is threading.Thread.join.__code__:
            joined = frame.f_locals.get("self")
            unlimited = frame.f_locals.get("timeout") is None
            return joined if unlimited and isinstance(joined, threading.Thread) else None
        frame = frame.f_back
    return None
