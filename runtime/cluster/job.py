"""A job: a function of shards, which are tried again when they fail, noted when they are done, and told at the end."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import tilewright
from tilewright.errors import TilewrightError
from tilewright.immutable import Immutable

from ..commands.console import tell
from .computing import LOCAL, answers
from .notes import Notes, as_text, of_text
from .processes import Failed, Function

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

        Args:
            function: of a shard alone: what it gives must not depend on others, or on who calls it.
            files: paths of what it reads. If others have these names when the job goes on, it begins anew.
            keep: called here with each shard's number and result as it comes: what to note of it instead.

        Raises:
            ShardsFailedError: some shards failed as often as they may; all others are done and noted.
            TilewrightError: as `answers`, `Notes` and ``keep`` say.
        """
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
