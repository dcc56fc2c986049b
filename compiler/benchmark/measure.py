"""Times of contenders that take turns, and of fresh processes until the first result."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from tilewright.errors import TilewrightError
from tilewright.immutable import Immutable

from . import contenders

_LONGEST = 600
"""Seconds after which a fresh process is ended."""

_GLANCE, _MOST_GLANCES, _AT_REST = 0.005, 100, 0.1
"""Seconds between two looks at whether the process is at rest, how many there are at most before a turn, and the part
of one processor that it may still take then. Threads of the one before may go on spinning after its run, those of
onnxruntime for 40 ms: the next one would have a processor less, which only one that uses several would miss.
"""


class Times(Immutable):
    """Seconds of one run: the median and the quartiles by the clock, and the median of processor time."""

    median: float
    first_quartile: float
    third_quartile: float
    processor: float


class Start(Immutable):
    """A fresh process, medians of several.

    Attributes:
        seconds: from its start to the first result, by the clock.
        processor: seconds of processor time until then, of all threads.
        imported: of these, seconds by the clock that the import of the library took, NumPy included.
        peak_bytes: memory that it had at most; None where the system does not say.
    """

    seconds: float
    processor: float
    imported: float
    peak_bytes: int | None


def in_turn(names: Sequence[str], rounds: int) -> Iterator[tuple[int, str]]:
    """Who is next, and in which round; the order rotates, so that everyone follows everyone."""
    for number in range(rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            yield number, name


def take_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, report: Callable[[int], None] = lambda done: None
) -> dict[str, Times]:
    """Times of each, in rounds, so that what else the machine does meets all of them alike.

    Each first runs once that does not count: afterwards its threads are awake and its data is in the caches again.
    ``report``: called with the number of rounds that have begun."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number, name in in_turn([*runs], rounds):
        report(number)
        run = runs[name]
        _come_to_rest()
        run()
        start, processor = time.perf_counter(), time.process_time()
        run()
        found[name].append((time.perf_counter() - start, time.process_time() - processor))
    return {name: _times(samples) for name, samples in found.items()}


def _come_to_rest() -> None:
    """Wait until no thread of this process computes any more."""
    for _ in range(_MOST_GLANCES):
        start, processor = time.perf_counter(), time.process_time()
        time.sleep(_GLANCE)
        if time.process_time() - processor < _AT_REST * (time.perf_counter() - start):
            return


def _times(samples: Sequence[tuple[float, float]]) -> Times:
    clock, processor = (np.asarray(each) for each in zip(*samples, strict=True))
    low, median, high = (float(each) for each in np.percentile(clock, (25, 50, 75)))
    return Times(median, low, high, float(np.median(processor)))


def first_results(
    files: Mapping[str, str], threads: int, precision: str, inputs: Mapping[str, np.ndarray], rounds: int
) -> dict[str, Start]:
    """What fresh processes take, which take turns; by contender, of which ``files`` says what each loads.

    Python finds all modules compiled to bytecode, as after an installation: the first process of each, which does not
    count, compiles what it imports.
    Raises TilewrightError: one of them fails."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in files}
    with TemporaryDirectory(prefix="tilewright") as bytecode:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        environment["PYTHONPYCACHEPREFIX"] = bytecode
        for number, name in in_turn([*files], rounds + 1):
            sample = run_alone(name, files[name], threads, precision, inputs, environment)
            if number:
                found[name].append(sample)
    return {name: _start(samples) for name, samples in found.items()}


def run_alone(
    name: str,
    file: str,
    threads: int,
    precision: str,
    inputs: Mapping[str, np.ndarray],
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What one contender says of one run in a fresh process, which it may end as it likes: some crash on networks.
    Raises TilewrightError: it fails."""
    with TemporaryDirectory(prefix="tilewright") as folder:
        paths = {each: f"{folder}/{number}.npy" for number, each in enumerate(inputs)}
        for each, path in paths.items():
            np.save(path, inputs[each])
        words = [sys.executable, contenders.__file__, name, file, str(threads), precision, json.dumps(paths)]
        start = time.monotonic()
        ended = _ended(name, words, environment)
    found = json.loads(ended.stdout.splitlines()[-1])
    return {**found, "seconds": found["done"] - start}


def _ended(name: str, words: Sequence[str], environment: Mapping[str, str] | None) -> subprocess.CompletedProcess[str]:
    """A fresh process that has ended well."""
    try:
        ended = subprocess.run(
            words, capture_output=True, text=True, timeout=_LONGEST, check=False, env=environment, errors="replace"
        )
    except subprocess.TimeoutExpired:
        raise TilewrightError(f"a fresh process of {name} fails", found=f"no result in {_LONGEST} s") from None
    if ended.returncode < 0:
        raise TilewrightError(f"a fresh process of {name} fails", found=signal.strsignal(-ended.returncode))
    if ended.returncode:
        said = ended.stderr.strip().splitlines()[-1:]
        raise TilewrightError(f"a fresh process of {name} fails", found=" ".join(said) or str(ended.returncode))
    return ended


def _start(samples: Sequence[Mapping[str, Any]]) -> Start:
    seconds, processor, imported = (
        statistics.median(each[key] for each in samples) for key in ("seconds", "processor", "imported")
    )
    peaks = [each["peak_bytes"] for each in samples if each["peak_bytes"] is not None]
    return Start(seconds, processor, imported, int(statistics.median(peaks)) if peaks else None)
