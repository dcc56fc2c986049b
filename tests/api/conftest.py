"""What all tests of the documented APIs share."""

from __future__ import annotations

import threading
from pathlib import Path
from types import FrameType

import pytest
from shared_files import made_once

import tilewright
from tilewright.runtime.api import deadlock


@pytest.fixture(autouse=True)
def without_threads_of_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the threads that were there before the test, such as those of pytest-xdist: no program has them."""
    there = (deadlock._frames() or {}).keys() - {threading.get_ident()}
    # One that ends leaves its number to the next.
    known = {thread.ident: thread for thread in threading.enumerate()}
    frames = deadlock._frames

    def frames_of_the_program() -> dict[int, FrameType] | None:
        found = frames()
        if found is None:
            return None
        now = {thread.ident: thread for thread in threading.enumerate()}
        return {
            thread: frame
            for thread, frame in found.items()
            if thread not in there or now.get(thread) is not known.get(thread)
        }

    monkeypatch.setattr(deadlock, "_frames", frames_of_the_program)


def _compile(model: Path, file: Path) -> None:
    tilewright.compile(model, output=file, effort="quick")


@pytest.fixture(scope="session")
def mobilenet(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of mobilenet_v2 on 224x224, which brings its quantisation; not to be written to."""
    model = data_folder / "models" / "mobilenet_v2_1.0_224_qdq.onnx"
    return made_once(tmp_path_factory, "mobilenet_v2.twa", lambda file: _compile(model, file))
