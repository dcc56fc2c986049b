"""Jobs on a Dask cluster of several processes, workers of which are killed."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shard_functions import Squares

from tilewright.errors import UsageError
from tilewright.runtime.cluster.job import Job, ShardsFailedError, answers, in_shards
from tilewright.runtime.compiler import NotInstalledError

MISSING = "Dask is not installed: pip install 'tilewright[cluster]'"
SHARDS = in_shards(range(20), 3)
EXPECTED = [[n**2 for n in shard] for shard in SHARDS]


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    """Where a cluster of two processes is, each of which a nanny starts again."""
    distributed = pytest.importorskip("distributed", reason=MISSING)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1"
    ) as cluster:
        yield cluster.scheduler_address.replace("tcp://", "dask://")


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "marks").mkdir()
    return str(tmp_path / "marks")


def squares_of(results: list[Any]) -> list[list[int]]:
    return [each["squares"] for each in results]


def test_a_worker_that_is_killed_changes_no_result(place: str, marks: str, tmp_path: Path) -> None:
    squares = Squares(marks, deadly=4)
    assert squares_of(Job("squares", on=place)(squares, SHARDS)) == EXPECTED
    assert squares.calls()[3] >= 2
    assert [each.name for each in tmp_path.iterdir()] == ["marks"]


def test_a_shard_that_fails_is_told(place: str, marks: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resume = tmp_path / "done.jsonl"
    with pytest.raises(ShardsFailedError, match=r"squares: 1 of 7 shards failed; found 2\. The others are noted in"):
        Job("squares", on=place, retries=1, resume=resume)(Squares(marks, wrong=7), SHARDS)
    shown = capsys.readouterr().err
    assert "error: shard 2 failed 2 times, at last so:\nTraceback (most recent call last):\n" in shown
    assert "ValueError: 7 has no square\n" in shown
    assert resume.read_text().count("\n") == 6


def test_what_cannot_be_told_to_others_is_refused(place: str, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(UsageError, match="other processes cannot be given"):
        next(answers(lambda item: file, deque([(0, 1)]), place))


def test_no_scheduler_is_told() -> None:
    pytest.importorskip("distributed", reason=MISSING)
    from tilewright.runtime.cluster import dask_workers

    with socket.socket() as nobody, pytest.MonkeyPatch.context() as patch:
        nobody.bind(("127.0.0.1", 0))
        patch.setattr(dask_workers, "_PATIENCE", 1)
        host, port = nobody.getsockname()
        with pytest.raises(
            dask_workers.ClusterError, match=rf"no scheduler of Dask answers; expected one at tcp://{host}"
        ):
            next(answers(abs, deque([(0, 1)]), f"dask://{host}:{port}"))


def test_dask_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "tilewright.runtime.cluster.dask_workers", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(
        NotInstalledError, match=r"a Dask cluster needs the package 'distributed'.*tilewright\[cluster\]"
    ):
        answers(abs, deque([(0, 1)]), "dask://host:1")
