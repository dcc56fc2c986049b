"""Many threads with one session: each gets its own results, and an error stays where it arose."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

import tilewright
from tilewright.errors import ResourceError, TilewrightError
from tilewright.runtime.api.classify.classifier import Classifier
from tilewright.runtime.api.classify.pipeline import Decoding, classify

from .conftest import Task

CALLERS, CALLS = 8, 25


def test_callers_do_not_meet(task: Task, expected: list[tuple[str, list[int]]], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no image")
    known, before = dict(expected), set(threading.enumerate())
    wrong: list[object] = []

    with tilewright.load(task.artifact, engine="software", workers=2, queue=3) as session:
        classifier = Classifier(session.artifact)

        def call(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(CALLS):
                files = chance.choices([*known, str(tmp_path / "bad.png"), str(tmp_path / "none.png")], k=7)
                found = classify(session, classifier, files, batch=chance.randint(1, 9), threads=chance.randint(1, 3))
                images = [file for file in files if file in known]
                predictions = [(each.file, each.prediction.tolist()) for each in found.results]
                if predictions != [(file, known[file]) for file in images]:
                    wrong.append(files)
                if [each.file for each in found.skipped] != [file for file in files if file not in known]:
                    wrong.append(found.skipped)

        threads = [threading.Thread(target=call, args=(seed,), daemon=True) for seed in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads)
    assert not wrong
    assert not set(threading.enumerate()) - before


def test_a_session_that_is_closed_meanwhile_ends_it(task: Task, expected: list[tuple[str, list[int]]]) -> None:
    session = tilewright.load(task.artifact, engine="software")
    classifier = Classifier(session.artifact)
    ended: list[str] = []

    def call() -> None:
        try:
            classify(session, classifier, [expected[0][0]] * 5000, batch=2)
        except TilewrightError as error:
            ended.append(str(error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(0.05)
    session.close()
    thread.join(60)
    assert not thread.is_alive()
    assert ended == ["the session is closed"] or ended == ["the request was cancelled before it ran"]


def test_threads_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(ResourceError, match=r"^submit: no thread can be started to run requests: can't start new"):
        Decoding(["a"], lambda file: pytest.fail("decoded"), threads=2, ahead=2, changed=lambda: None)
