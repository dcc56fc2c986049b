"""How signals end what runs: orderly, and never in the middle of an import."""

import _thread
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import FrameType

DEFAULTS = {
    getattr(signal, name): default
    for name, default in (
        ("SIGINT", signal.default_int_handler),
        ("SIGTERM", signal.SIG_DFL),
        ("SIGHUP", signal.SIG_DFL),
    )
    if hasattr(signal, name)
}
"""Signals that end a program, and what handles each where nobody has said otherwise."""

_AGAIN = 0.02
"""Seconds until a signal that came at a wrong moment is sent again."""


@contextmanager
def orderly_termination(signals: Collection[int] = DEFAULTS.keys()) -> Iterator[None]:
    """Until the end of the block SIGINT raises KeyboardInterrupt, and the others SystemExit of code 128 + their number
    as shells have it.

    So what is half written is taken away. While something is imported they wait until it is there, because an extension
    module that is stopped while it initialises may end the process. A signal that someone ignores (``nohup``) or
    handles stays theirs; outside the main thread, which alone may handle signals, nothing changes."""
    main_thread = threading.main_thread()
    is_main = threading.current_thread() is main_thread
    ours = [
        each for each, default in DEFAULTS.items() if each in signals and is_main and signal.getsignal(each) is default
    ]
    imports = _imports(sys._getframe())
    waiting: list[int] = []
    is_over, sending = False, threading.Lock()

    def handle(number: int, frame: FrameType | None) -> None:
        if is_over:
            waiting.append(number)
        elif _imports(frame) > imports:
            waiting.append(number)
            # Not by `threading`, whose locks the interrupted code may hold.
            _thread.start_new_thread(send_again, (number,))
        else:
            _raise(number)

    def send_again(number: int) -> None:
        time.sleep(_AGAIN)
        with sending:
            if not is_over and main_thread.ident is not None:
                # Whoever handles it by then, such as a server, has it.
                waiting.remove(number)
                signal.pthread_kill(main_thread.ident, number)

    for each in ours:
        signal.signal(each, handle)
    try:
        yield
    finally:
        with sending:
            is_over = True
        for each in ours:
            signal.signal(each, DEFAULTS[each])
    if waiting:
        _raise(waiting[0])


def _imports(frame: FrameType | None) -> int:
    """How many frames belong to imports."""
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename == "<frozen importlib._bootstrap>"
        frame = frame.f_back
    return count


def _raise(number: int) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
