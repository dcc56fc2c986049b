"""Classification of many images: some are decoded, others computed, others read, all at once.

One thread, that of the caller, holds three sets of buffers: it fills one with the images that were decoded, while the
session computes the second and the results of the third are read. Threads of their own decode ahead.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from tilewright.errors import InputError

from ...request import Request
from ...request_queue import RequestQueue
from ...session import Session
from ...waiting import Waiters
from .classifier import Classifier

BUFFERS = 3
"""Batches between the start of their upload and the end of their download."""


class Stamps(NamedTuple):
    """When an image went through each stage, in seconds of a clock that only runs forward.

    All but the first are those of its batch. Upload is the copy into the buffers of the session; inference is what
    follows until the end of the last run, although the first images may be computed while others are still copied;
    download is what makes classes of the outputs."""

    start: float
    upload_start: float
    upload_end: float
    inference_start: float
    inference_end: float
    download_start: float
    download_end: float


class Classified(NamedTuple):
    """An image's best classes, uint32[5]."""

    file: str
    prediction: np.ndarray
    stamps: Stamps


class Skipped(NamedTuple):
    """A file that is no image, and why."""

    file: str
    reason: str


@dataclass
class Classification:
    """What came of the files, in their order.
    ``seconds``: from the start of the decoding threads to the last result."""

    results: list[Classified] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0


class Decoding:
    """Files that are decoded in order, not more than so many ahead of those that were taken.

    Args:
        files: what to decode.
        load: makes an input of a file; may be called by several threads at once.
        threads: how many; fewer where the system starts no more.
        ahead: how many may be decoded, or being decoded, and not taken.
        changed: called by a thread when it has decoded a file.
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
        self._left, self._load, self._changed = deque(files), load, changed
        self._ahead = max(ahead, threads)
        self._queue = RequestQueue(threads, self._ahead)
        self._begun: deque[tuple[str, Request[np.ndarray]]] = deque()
        self._begin()

    @property
    def is_over(self) -> bool:
        """Whether everything has been taken."""
        return not self._begun

    def has(self, images: int) -> bool:
        """Whether so many can be taken, or as many as are left."""
        return _are_done([request for _, request in islice(self._begun, images)])

    def take(self) -> tuple[str, Request[np.ndarray]]:
        """The next one, which must be there: its input of batch 1, or why there is none."""
        found = self._begun.popleft()
        self._begin()
        return found

    def stop(self) -> None:
        """Begin nothing more, and wait for what has been begun."""
        self._queue.close()

    def _begin(self) -> None:
        while self._left and len(self._begun) < self._ahead:
            file = self._left.popleft()
            request = Request(partial(self._load, file), lambda _: self._changed())
            self._queue.put(request, None)
            self._begun.append((file, request))


def _are_done(requests: Sequence[Request[Any]]) -> bool:
    # The last one is the last to finish: asking it first asks few.
    return all(request.done() for request in reversed(requests))


class _Batch(NamedTuple):
    files: list[tuple[str, float]]
    requests: list[Request]
    upload_start: float
    upload_end: float


def classify(
    session: Session,
    classifier: Classifier,
    files: Sequence[str],
    *,
    batch: int = 1,
    threads: int = 1,
    report: Callable[[int], None] = lambda done: None,
) -> Classification:
    """Classify images; what is none is skipped and named. Whatever else goes wrong, on whichever thread, ends it, and
    nothing is left running.

    Args:
        session: of the classifier's network; it computes as many images at once as it has workers.
        files: paths.
        batch: images that are handed to the session together; it changes when results come, not what they are.
        threads: how many decode.
        report: called with the number of files that are done with, on the thread of the caller.
    """
    found = Classification()
    changed = Waiters()
    pending: deque[_Batch] = deque()
    begin = monotonic()
    decoding = Decoding(files, classifier.load, threads=threads, ahead=2 * batch + threads, changed=changed.wake)
    try:
        while pending or not decoding.is_over:
            lock = changed.enter()
            is_read, is_room = bool(pending) and _are_done(pending[0].requests), len(pending) < BUFFERS
            is_due = is_read or (is_room and not decoding.is_over and decoding.has(batch))
            # Whatever happens from `enter` on ends the wait.
            changed.wait(lock, 0 if is_due else None)
            if is_read:
                found.results += _download(pending.popleft(), classifier)
            elif is_due:
                images = _usable(decoding, batch, found.skipped)
                if images:
                    pending.append(_upload(images, session, classifier, changed))
            report(len(found.results) + len(found.skipped))
    finally:
        decoding.stop()
        for each in pending:
            for request in each.requests:
                request.cancel()
    found.seconds = monotonic() - begin
    return found


def _usable(decoding: Decoding, batch: int, skipped: list[Skipped]) -> list[tuple[str, Request[np.ndarray]]]:
    """The next files that are images, as many as a batch holds where nothing has to be waited for."""
    images: list[tuple[str, Request[np.ndarray]]] = []
    while len(images) < batch and not decoding.is_over and decoding.has(1):
        file, request = decoding.take()
        if isinstance(request.error, InputError):
            skipped.append(Skipped(file, str(request.error)))
        else:
            request.result()
            images.append((file, request))
    return images


def _upload(
    images: list[tuple[str, Request[np.ndarray]]], session: Session, classifier: Classifier, changed: Waiters
) -> _Batch:
    start = monotonic()
    runs = classifier.runs([request.result() for _, request in images])
    requests = [session.submit(inputs, lambda _: changed.wake()) for inputs in runs]
    return _Batch([(file, request.started) for file, request in images], requests, start, monotonic())


def _download(batch: _Batch, classifier: Classifier) -> list[Classified]:
    start = monotonic()
    best = classifier.best([request.result() for request in batch.requests], len(batch.files))
    begun, ended = min(each.started for each in batch.requests), max(each.finished for each in batch.requests)
    inference = max(begun, batch.upload_end), max(ended, batch.upload_end)
    common = (batch.upload_start, batch.upload_end, *inference, start, monotonic())
    return [Classified(file, row, Stamps(begin, *common)) for (file, begin), row in zip(batch.files, best, strict=True)]
