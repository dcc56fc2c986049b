"""Jobs: the same results wherever and whatever fails, what is noted, and what is told of shards that fail."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shard_functions import Squares

from tilewright.errors import InputError, UsageError
from tilewright.runtime.cluster import processes
from tilewright.runtime.cluster.job import Job, Notes, ShardsFailedError, answers, as_text, in_shards, of_text

Capture = pytest.CaptureFixture[str]
SHARDS = in_shards(range(20), 3)


def plain(results: list[Any]) -> list[Any]:
    return [{**each, "as array": (each["as array"].dtype.str, each["as array"].tolist())} for each in results]


def expected() -> list[Any]:
    return plain(
        [{"squares": [n**2 for n in shard], "as array": np.array(shard, np.int16), "third": 1 / 3} for shard in SHARDS]
    )


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def marks(tmp_path: Path) -> str:
    (tmp_path / "marks").mkdir()
    return str(tmp_path / "marks")


@pytest.mark.parametrize("workers", [1, 3])
def test_results_are_in_order_and_nothing_is_left(marks: str, workers: int, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    job = Job("squares", workers=workers, report=lambda *each: told.append(each))
    assert plain(job(Squares(marks), SHARDS)) == expected()
    assert told == [("squares", done, 7) for done in range(8)]
    assert [each.name for each in tmp_path.iterdir()] == ["marks"]


def test_a_process_that_is_killed_costs_its_shard_another_try(marks: str) -> None:
    squares = Squares(marks, deadly=10)
    assert plain(Job("squares", workers=2)(squares, SHARDS)) == expected()
    assert squares.calls() == {first: 1 + (first == 9) for first in range(0, 20, 3)}


@pytest.mark.parametrize("words", [b"", b"\0\0", b"\0\0\x10\0half"])
def test_a_process_ends_in_silence_when_nobody_asks_it_any_more(words: bytes) -> None:
    """Also where whoever did is interrupted while it tells what is to be computed."""
    ours, its = socket.socketpair()
    with its:
        command = [sys.executable, "-c", processes._PROGRAM, str(its.fileno()), *sys.path]
        process = subprocess.Popen(command, pass_fds=[its.fileno()], stderr=subprocess.PIPE)
    with ours:
        ours.sendall(words)
    assert process.communicate(timeout=120) == (None, b"")
    assert process.returncode == 0


def _refuse(shard: int) -> None:
    raise InputError(f"sample {shard} does not fit")


def test_samples_that_do_not_fit_are_told_without_a_traceback(tmp_path: Path, capsys: Capture) -> None:
    with pytest.raises(ShardsFailedError):
        Job("samples", resume=tmp_path / "done.jsonl")(_refuse, [4])
    assert capsys.readouterr().err == "error: shard 0 failed 3 times, at last so:\nInputError: sample 4 does not fit\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_shard_that_fails_is_told_and_the_others_are_kept(
    marks: str, workers: int, tmp_path: Path, capsys: Capture
) -> None:
    resume = tmp_path / "done.jsonl"
    failing = Squares(marks, wrong=7)
    job = Job("squares", workers=workers, retries=1, resume=resume)
    with pytest.raises(ShardsFailedError) as caught:
        job(failing, SHARDS)
    assert str(caught.value) == (
        f"squares: 1 of 7 shards failed; found 2. The others are noted in {str(resume)!r}: the same command goes on."
    )
    shown = capsys.readouterr().err
    assert shown.startswith("error: shard 2 failed 2 times, at last so:\nTraceback (most recent call last):\n")
    assert shown.endswith("\nValueError: 7 has no square\n")
    before = failing.calls()
    assert before == {first: 1 + (first == 6) for first in range(0, 20, 3)}
    with pytest.raises(ShardsFailedError):
        job(failing, SHARDS)
    # Of the failed one alone there are further tries.
    assert failing.calls() == {**before, 6: 4}
    # Another function is another job, in the same file.
    assert plain(job(Squares(marks), SHARDS)) == expected()
    assert plain(job(Squares(marks), SHARDS)) == expected()
    assert Squares(marks).calls() == {first: 2 + 3 * (first == 6) for first in range(0, 20, 3)}
    assert resume.read_text().count("\n") == 6 + 7


def test_a_job_goes_on_where_it_was_interrupted(marks: str, tmp_path: Path, capsys: Capture) -> None:
    def keep(number: int, result: dict[str, Any]) -> list[int]:
        if number == 4:
            raise KeyboardInterrupt
        return result["squares"]

    job = Job("squares", workers=1)
    with pytest.raises(KeyboardInterrupt):
        job(Squares(marks), SHARDS, keep=keep)
    (noted,) = tmp_path.glob("tilewright-squares-*.jsonl")
    assert capsys.readouterr().err == f"note: what is done is noted in {noted.name!r}: the same command goes on\n"
    noted.write_bytes(noted.read_bytes()[:-5])
    found = job(Squares(marks), SHARDS, keep=lambda number, result: result["squares"])
    assert found == [[n**2 for n in shard] for shard in SHARDS]
    # The line of the fourth was cut off.
    assert Squares(marks).calls() == {first: 1 + (first in (9, 12)) for first in range(0, 20, 3)}
    assert not noted.exists()


def test_a_job_whose_files_are_others_begins_anew(marks: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    job = Job("squares", resume=tmp_path / "done.jsonl")
    for content, calls in (("a", 1), ("a", 1), ("bc", 2)):
        if not data.exists() or data.read_text() != content:
            data.write_text(content)
        job(Squares(marks), SHARDS, [str(data), "memory://elsewhere"])
        assert set(Squares(marks).calls().values()) == {calls}


def test_results_are_text_and_back() -> None:
    result = {"a": [1, 2.5, float("inf"), -0.0, 1 / 3, "x", None, True], "b": {"c": np.arange(6.0).reshape(2, 3)}}
    found = of_text(as_text(result))
    assert repr(found["a"]) == repr(result["a"])
    np.testing.assert_array_equal(found["b"]["c"], result["b"]["c"], strict=True)


def test_files_of_something_else_are_refused_and_damage_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"\xff\xd8")
    with pytest.raises(
        UsageError, match=r"photo\.jpg' is no file of what is done of a job\. Give what is done another"
    ):
        Notes(path, "0" * 16)
    assert path.read_bytes() == b"\xff\xd8"
    with pytest.raises(InputError, match="cannot read"):
        Notes(tmp_path, "0" * 16)
    path = tmp_path / "done.jsonl"
    Notes(path, "ours").add(0, as_text({"a": np.zeros(3)}))
    good = path.read_bytes()
    for damaged in (
        good[:-3],
        good.replace(b'"ours"', b'"other"'),
        good.replace(b'"shard": 0', b'"shard": "x"'),
        good.replace(b'"shard"', b'"part"'),
        good.replace(b'compressed array": "', b'compressed array": "!'),
        good.replace(b'compressed array": "', b'compressed array": "~~~~~'),
        good.replace(b'{"job": "ours"', b'{"job": "ours", "job": ["ours"]'),
        good[:14] + b"\xff" + good[14:],
        b'{"job": "' + b"[" * 100_000,
    ):
        path.write_bytes(damaged)
        assert Notes(path, "ours").read() == {}
    path.write_bytes(good)
    assert [*Notes(path, "ours").read()] == [0]


def test_places_that_are_none() -> None:
    for on in ("dask", "dask://", "dask://host", "dask://:1", "tcp://host:1", "ray://host:1"):
        with pytest.raises(UsageError, match=r"no such place to compute; expected local or dask://HOST:PORT, found"):
            answers(abs, deque([(0, 1)]), on)
