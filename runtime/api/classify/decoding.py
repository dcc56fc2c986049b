"""Images decoded ahead by several threads, and handed out in order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from itertools import count
from time import monotonic
from typing import NamedTuple

import numpy as np

from tilewright.errors import ResourceError

from ...waiting import Waiters


class Decoded(NamedTuple):
    """What became of a file: an input of batch 1, or why there is none; and when that began, in seconds."""

    file: str
    start: float
    image: np.ndarray | BaseException


class Decoding:
    """Threads that decode files, in order, not more than so many ahead of those that were taken.

    Args:
        files: what to decode.
        load: makes an input of a file; may be called by several threads at once.
        threads: how many; fewer where the system starts no more.
        ahead: how many may be decoded, or being decoded, and not taken.
        changed: called by a thread when it has decoded a file.

    Raises:
        ResourceError: no thread can be started.
    """

    def __init__(
        self,
        files: Sequence[str],
        load: Callable[[str], np.ndarray],
        *,
        threads: int,
        ahead: int,
        changed: Callable[[], None],
    ) -> None:
        self._files, self._load, self._changed = files, load, changed
        self._ahead = max(ahead, threads)
        self._found: dict[int, Decoded] = {}
        self._taken = self._there = 0
        self._stopped = False
        self._room = Waiters()
        self._next = count()
        self._threads: list[threading.Thread] = []
        for index in range(min(threads, len(files))):
            thread = threading.Thread(target=self._work, name=f"tilewright-decode-{index}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                if self._threads:
                    break  # Those that there are do all the work.
                raise ResourceError(f"no thread can be started to decode images: {error}", stage="classify") from error
            self._threads.append(thread)

    @property
    def is_over(self) -> bool:
        """Whether everything has been taken."""
        return self._taken == len(self._files)

    def has(self, images: int) -> bool:
        """Whether so many can be taken, or as many as are left."""
        while self._there in self._found:
            self._there += 1
        return self._there >= min(self._taken + images, len(self._files))

    def take(self) -> Decoded:
        """The next one, which must be there."""
        found = self._found.pop(self._taken)
        self._taken += 1
        self._room.wake()
        return found

    def stop(self) -> None:
        """Begin nothing more, and wait for what has been begun."""
        self._stopped = True
        self._room.wake()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _work(self) -> None:
        for index in self._next:
            while not self._stopped and index < len(self._files) and index >= self._taken + self._ahead:
                lock = self._room.enter()
                is_due = self._stopped or index < self._taken + self._ahead
                self._room.wait(lock, 0 if is_due else None)
            if self._stopped or index >= len(self._files):
                return
            file, start = self._files[index], monotonic()
            try:
                image: np.ndarray | BaseException = self._load(file)
            except BaseException as error:
                image = error
            self._found[index] = Decoded(file, start, image)
            self._changed()
