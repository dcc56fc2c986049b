"""Classification of many images: some are decoded, others computed, others read, all at once.

One thread, that of the caller, holds three sets of buffers: it fills one with the images that were decoded, while the
session computes the second and the results of the third are read. Threads of their own decode ahead.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import NamedTuple

import numpy as np

from tilewright.errors import InputError

from ...request import Request
from ...session import Session
from ...waiting import Waiters
from .classifier import Classifier
from .decoding import Decoded, Decoding

BUFFERS = 3
"""Batches between the start of their upload and the end of their download."""


class Stamps(NamedTuple):
    """When an image went through each stage, in seconds of a clock that only runs forward.

    All but the first are those of its batch. Upload is the copy into the buffers of the session; inference is what
    follows until the end of the last run, although the first images may be computed while others are still copied;
    download is what makes classes of the outputs.
    """

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

    Attributes:
        seconds: from the start of the decoding threads to the last result.
    """

    results: list[Classified] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    seconds: float = 0.0


class _Batch(NamedTuple):
    files: list[tuple[str, float]]
    requests: list[Request]
    upload_start: float
    upload_end: float

    def is_done(self) -> bool:
        # The last one is the last to finish: asking it first asks few.
        return all(request.done() for request in reversed(self.requests))


def classify(
    session: Session,
    classifier: Classifier,
    files: Sequence[str],
    *,
    batch: int = 1,
    threads: int = 1,
    report: Callable[[int], None] = lambda done: None,
) -> Classification:
    """Classify images; what is none is skipped and named.

    Args:
        session: of the classifier's network; it computes as many images at once as it has workers.
        files: paths.
        batch: images that are handed to the session together; it changes when results come, not what they are.
        threads: how many decode.
        report: called with the number of files that are done with, on the thread of the caller.

    Raises:
        TilewrightError: whatever else goes wrong, on whichever thread. Nothing is left running.
    """
    found = Classification()
    changed = Waiters()
    pending: deque[_Batch] = deque()
    begin = monotonic()
    decoding = Decoding(files, classifier.load, threads=threads, ahead=2 * batch + threads, changed=changed.wake)
    try:
        while pending or not decoding.is_over:
            lock = changed.enter()
            is_read, is_room = bool(pending) and pending[0].is_done(), len(pending) < BUFFERS
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


def _usable(decoding: Decoding, batch: int, skipped: list[Skipped]) -> list[Decoded]:
    """The next files that are images, as many as a batch holds where nothing has to be waited for."""
    images: list[Decoded] = []
    while len(images) < batch and not decoding.is_over and decoding.has(1):
        decoded = decoding.take()
        if isinstance(decoded.image, InputError):
            skipped.append(Skipped(decoded.file, str(decoded.image)))
        elif isinstance(decoded.image, BaseException):
            raise decoded.image
        else:
            images.append(decoded)
    return images


def _upload(images: list[Decoded], session: Session, classifier: Classifier, changed: Waiters) -> _Batch:
    start = monotonic()
    arrays = [each.image for each in images if isinstance(each.image, np.ndarray)]
    requests = [session.submit(inputs, lambda _: changed.wake()) for inputs in classifier.runs(arrays)]
    return _Batch([(each.file, each.start) for each in images], requests, start, monotonic())


def _download(batch: _Batch, classifier: Classifier) -> list[Classified]:
    start = monotonic()
    best = classifier.best([request.result() for request in batch.requests], len(batch.files))
    begun, ended = min(each.started for each in batch.requests), max(each.finished for each in batch.requests)
    inference = max(begun, batch.upload_end), max(ended, batch.upload_end)
    common = (batch.upload_start, batch.upload_end, *inference, start, monotonic())
    return [Classified(file, row, Stamps(begin, *common)) for (file, begin), row in zip(batch.files, best, strict=True)]
