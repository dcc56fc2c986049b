"""What it means to a command to be told to end: SIGTERM, and SIGHUP when its terminal goes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def orderly_termination() -> Iterator[None]:
    """Until the end of the block such a signal raises SystemExit, of code 128 + its number as shells have it.

    So what is half written is taken away. A signal that someone ignores (``nohup``) or handles stays theirs; outside
    the main thread, which alone may handle signals, nothing changes.
    """
    is_main = threading.current_thread() is threading.main_thread()
    ours = [each for each in _SIGNALS if is_main and signal.getsignal(each) is signal.SIG_DFL]
    for each in ours:
        signal.signal(each, _exit)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
