"""Fewer runs of Python's garbage collector while a network is compiled.

Compiling makes millions of objects, most of which stay until its end. The collector looks at the new ones each time
that there are some hundreds more, at all of them every now and then, and finds little: some seven per cent of the time.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

OBJECTS = 1_000_000
"""New ones until the collector runs, where a program asks for no more."""


class _Collector:
    """The collector of this process, which all threads share."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._compiling = 0
        self._before = gc.get_threshold()

    @contextmanager
    def rarely(self) -> Iterator[None]:
        """It runs rarely until the last of those who ask for that is done; off stays off."""
        with self._lock:
            if not self._compiling:
                self._before = gc.get_threshold()
                if 0 < self._before[0] < OBJECTS:
                    gc.set_threshold(OBJECTS, *self._before[1:])
            self._compiling += 1
        try:
            yield
        finally:
            with self._lock:
                self._compiling -= 1
                if not self._compiling and gc.get_threshold()[0] == OBJECTS:
                    gc.set_threshold(*self._before)


_COLLECTOR = _Collector()
rarely_collected = _COLLECTOR.rarely
