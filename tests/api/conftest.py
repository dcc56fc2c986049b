"""What all tests of the documented APIs share."""

from __future__ import annotations

import threading
from types import FrameType

import pytest

from tilewright.runtime.api import deadlock


@pytest.fixture(autouse=True)
def without_threads_of_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the threads that were there before the test, such as those of pytest-xdist: no program has them."""
    there = (deadlock._frames() or {}).keys() - {threading.get_ident()}
    frames = deadlock._frames

    def frames_of_the_program() -> dict[int, FrameType] | None:
        found = frames()
        if found is None:
            return None
        return {thread: frame for thread, frame in found.items() if thread not in there}

    monkeypatch.setattr(deadlock, "_frames", frames_of_the_program)
