"""A job: a function of shards, which are tried again when they fail, noted when they are done, and told at the end.

Notes are a file of lines, one for each shard that is done, which only grows. A line names its job by a digest; one that
was cut off, or is of another job, says nothing. Results are what JSON holds, and arrays.
"""

import base64
import hashlib
import io
import json
import os
import pickle
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import tilewright
from tilewright import limits
from tilewright.errors import OutputError, TilewrightError, UsageError
from tilewright.immutable import Immutable

from ..commands.console import tell
from ..compiler import NotInstalledError
from ..files.input_file import contents
from .processes import Answers, Failed, Function, Queue, in_processes

LOCAL = "local"
_DASK = "dask://"


def answers(function: Function, queue: Queue, on: str = LOCAL, workers: int = 1) -> Answers:
    """What a function makes of the items of a queue, in any order, each with its number.
    ``on``: `LOCAL`, or ``dask://HOST:PORT`` of the scheduler of a Dask cluster, whose workers have Tilewright.
    ``workers``: processes, where they are local.
    Raises UsageError: there is no such place, or the function is what no other process can be told; NotInstalledError:
    Dask is not installed; ClusterError: there is no cluster with workers."""
    if on == LOCAL:
        return in_processes(function, queue, workers)
    host, _, port = on.removeprefix(_DASK).rpartition(":")
    if not on.startswith(_DASK) or not host or not port.isdecimal():
        raise UsageError("there is no such place to compute", expected=f"{LOCAL} or {_DASK}HOST:PORT", found=on)
    try:
        from .dask_workers import on_dask
    except ModuleNotFoundError as error:
        raise NotInstalledError("computing on a Dask cluster", error.name or "distributed") from None
    return on_dask(function, queue, f"tcp://{host}:{port}")


_ARRAY = "compressed array"


def as_text(result: object) -> str:
    """A result as JSON."""
    return json.dumps(result, default=_packed)


def _packed(value: object) -> dict[str, str]:
    assert isinstance(value, np.ndarray)
    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return {_ARRAY: base64.b85encode(zlib.compress(file.getvalue(), 1)).decode()}


def of_text(text: str | bytes) -> Any:
    """A result again."""
    return json.loads(text, object_hook=_unpacked)


def _unpacked(value: dict[str, Any]) -> Any:
    if value.keys() != {_ARRAY}:
        return value
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(base64.b85decode(value[_ARRAY]), limits.NOTED_ARRAY)
    return np.load(io.BytesIO(content), allow_pickle=False)


class Notes:
    """The file of a job.
    ``path``: of the file, which need not be there.
    ``job``: digest of the job.
    Raises UsageError: it is a file of something else; InputError: it cannot be read."""

    def __init__(self, path: Path, job: str) -> None:
        self._path, self._job = path, job
        self._text = contents(os.fspath(path), limits.NOTES) if path.exists() else b""
        if self._text and not self._text.startswith(b'{"job": "'):
            hint = "Give what is done another name with --resume."
            raise UsageError(f"{os.fspath(path)!r} is no file of what is done of a job", hint=hint)

    def read(self) -> dict[int, Any]:
        """What is noted of this job: results by number of the shard."""
        found: dict[int, Any] = {}
        for line in self._text.splitlines():
            try:
                noted = of_text(line)
                if noted["job"] == self._job:
                    found[int(noted["shard"])] = noted["result"]
            except (ValueError, KeyError, TypeError, EOFError, RecursionError, zlib.error):
                continue
        return found

    def add(self, shard: int, result: str) -> None:
        """Note a result, which is JSON. Raises OutputError: it cannot be written."""
        # What was cut off ends here.
        line = "" if not self._text or self._text.endswith(b"\n") else "\n"
        self._text = b""
        line += f'{{"job": "{self._job}", "shard": {shard}, "result": {result}}}\n'
        try:
            with open(self._path, "ab", buffering=0) as file:
                file.write(line.encode())
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {os.fspath(self._path)!r}: {error.strerror or error}") from None


SHOWN = 3
"""Failed shards whose tracebacks are shown; of others their number is told."""


class ShardsFailedError(TilewrightError):
    """Some shards of a job failed; what is done of it is noted."""


class Job(Immutable):
    """How functions of shards are computed.

    Attributes:
        stage: what reports and errors call it.
        on, workers: where, as for `answers`.
        retries: how often a shard that failed is tried again.
        resume: the file of what is done; by default one in this folder, named after the job, which goes when all is.
        report: called as shards are done with.
    """

    stage: str
    on: str = LOCAL
    workers: int = 1
    retries: int = 2
    resume: Path | None = None
    report: Callable[[str, int, int], None] = lambda stage, done, total: None

    def __call__(
        self,
        function: Function,
        shards: Sequence[Any],
        files: Iterable[str] = (),
        keep: Callable[[int, Any], Any] = lambda number, result: result,
    ) -> list[Any]:
        """What the function makes of each shard, in order, as JSON and arrays have it.
        ``function``: of a shard alone: what it gives must not depend on others, or on who calls it.
        ``files``: paths of what it reads. If others have these names when the job goes on, it begins anew.
        ``keep``: called here with each shard's number and result as it comes: what to note of it instead.
        Raises ShardsFailedError: some shards failed as often as they may; all others are done and noted;
        TilewrightError: as `answers`, `Notes` and ``keep`` say."""
        stamps = [(path, status.st_size, status.st_mtime_ns) for path in files if (status := _status(path))]
        told = pickle.dumps((tilewright.__version__, self.stage, function, shards, stamps))
        digest = hashlib.sha256(told).hexdigest()[:16]
        path = self.resume or Path(f"tilewright-{self.stage}-{digest}.jsonl")
        notes, total = Notes(path, digest), len(shards)
        done = {number: result for number, result in notes.read().items() if number < total}
        queue = deque((number, shard) for number, shard in enumerate(shards) if number not in done)
        tries: Counter[int] = Counter()
        failed: dict[int, Failed] = {}
        self.report(self.stage, len(done), total)
        with closing(answers(function, queue, self.on, self.workers)) as found, _interruption(path):
            for number, answer in found:
                tries[number] += 1
                if not isinstance(answer, Failed):
                    kept = as_text(keep(number, answer))
                    notes.add(number, kept)
                    done[number] = of_text(kept)
                    self.report(self.stage, len(done), total)
                elif tries[number] <= self.retries:
                    queue.append((number, shards[number]))
                else:
                    failed[number] = answer
        if failed:
            for number in sorted(failed)[:SHOWN]:
                tell(
                    "error", f"shard {number} failed {tries[number]} times, at last so:\n{failed[number].text.rstrip()}"
                )
            raise ShardsFailedError(
                f"{len(failed)} of {total} shards failed",
                stage=self.stage,
                found=", ".join(map(str, sorted(failed)[:20])),
                hint=f"The others are noted in {os.fspath(path)!r}: the same command goes on.",
            )
        if self.resume is None:
            path.unlink(missing_ok=True)
        return [done[number] for number in range(total)]


@contextmanager
def _interruption(path: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if path.exists():
            tell("note", f"what is done is noted in {os.fspath(path)!r}: the same command goes on")
        raise


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def in_shards(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """The items in order, so many to a shard."""
    return [items[first : first + size] for first in range(0, len(items), size)]
