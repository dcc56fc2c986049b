"""Runs cases in forked children: each is refused by a TilewrightError or runs, and anything else is a failure.

The parent has imported and prepared all that the cases share. A child runs many cases one after another and says before
each which it is, so that the parent knows whom a signal or a time limit hit; the rest is run by a new child.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import json
import os
import re
import resource
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from guard_pages import report_faults

from tilewright.errors import TilewrightError

from .generator import Generator

SECONDS = 20
"""Processor time of one case."""

CLOCK = 120
"""Seconds of one case by the clock, which a busy machine or a case that waits for something takes."""

PATIENCE = 120
"""Seconds for a child to begin, and to say where it is: on a busy machine either may take longer than a short case."""

BYTES = 2 << 30
"""Address space of one case, beside what the process has when it begins."""

MESSAGE = 20_000
"""Characters of an error message: strangers shall not fill logs either."""

CASES_OF_CHILD = 100

_LATE = "did not finish within"

REFUSED, RAN, FAILED = "refused", "ran", "failed"


@dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes:
        outcome: ``refused``, ``ran`` or ``failed``.
        detail: the class of the error that refused it, or what went wrong.
        exhausted: whether memory ran out, after which a process is not what it was.
    """

    outcome: str
    detail: str = ""
    exhausted: bool = False


@dataclass
class Report:
    """What became of the cases of a generator.

    Attributes:
        refused: how often, by class of error.
        failures: what went wrong, by seed.
        slowest: seconds of the slowest case.
        slowest_seed: which that was.
    """

    generator: str
    ran: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)
    slowest: float = 0.0
    slowest_seed: int | None = None

    @property
    def cases(self) -> int:
        return self.ran + self.refused.total() + len(self.failures)

    def add(self, seed: int, verdict: Verdict, seconds: float) -> None:
        if seconds > self.slowest:
            self.slowest, self.slowest_seed = seconds, seed
        if verdict.outcome == RAN:
            self.ran += 1
        elif verdict.outcome == REFUSED:
            self.refused[verdict.detail] += 1
        else:
            self.failures[seed] = verdict.detail

    def text(self, shown: int = 8) -> str:
        """The failures for people, each with the line that reproduces it; of like ones the first."""
        kinds: dict[str, list[int]] = {}
        for seed, detail in self.failures.items():
            kinds.setdefault(_kind(detail), []).append(seed)
        parts = [
            f"{reproduction(self.generator, seeds[0])}    ({len(seeds)} like it)\n{self.failures[seeds[0]].rstrip()}"
            for seeds in list(kinds.values())[:shown]
        ]
        if len(kinds) > shown:
            parts.append(f"... and {len(kinds) - shown} further kinds of failures")
        return "\n\n".join(parts)


def reproduction(generator: str, seed: int) -> str:
    """The command that runs one case again."""
    return f"PYTHONPATH=tests:tests/helpers python -m hostile.reproduce {generator} {seed}"


def _kind(detail: str) -> str:
    """What failures of one root have in common: where a traceback ends and what it says, but for numbers."""
    places = re.findall(r'File "([^"]*)", line \d+,? in (\w+)', detail)
    last = detail.rstrip().rpartition("\n")[2] if "Traceback" in detail else detail.partition("\n")[0]
    return f"{places[-1:]} {re.sub(r'[0-9a-fx-]*[0-9]+', '0', last)[:60]}"


def run_case(generator: Generator, seed: int) -> Verdict:
    """Run a case in this process."""
    try:
        generator.case(seed).run()
    except TilewrightError as error:
        return _refusal(error)
    except BaseException as error:
        return Verdict(FAILED, traceback.format_exc(), _is_exhaustion(error))
    return Verdict(RAN)


def _refusal(error: TilewrightError) -> Verdict:
    try:
        text = str(error)
        text.encode()
    except Exception:
        return Verdict(FAILED, f"the error's message cannot be shown:\n{traceback.format_exc()}")
    if not error.args or not text:
        return Verdict(FAILED, f"an error without a message:\n{traceback.format_exc()}")
    if len(text) > MESSAGE:
        return Verdict(FAILED, f"a message of {len(text)} characters:\n{text[:200]}\n{_stack(error)}")
    return Verdict(REFUSED, type(error).__name__, _is_exhaustion(error))


def _stack(error: BaseException) -> str:
    return "".join(traceback.format_tb(error.__traceback__))


def _is_exhaustion(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
            return True
        error = error.__cause__ or error.__context__
    return False


def _limit(kind: int, soft: int) -> None:
    resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))


def _limit_case() -> None:
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[0])
    _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + BYTES)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(usage.ru_utime + usage.ru_stime) + SECONDS + 1)


def _child(generator: Generator, seeds: Sequence[int], report: int, diagnostics: int) -> NoReturn:
    """Run cases and write a line of JSON before and after each to the descriptor ``report``."""
    os.dup2(diagnostics, 1)
    os.dup2(diagnostics, 2)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _limit(resource.RLIMIT_CORE, 0)
    faulthandler.enable(2)
    faulthandler.register(signal.SIGXCPU, 2, chain=True)
    report_faults()
    for seed in seeds:
        os.write(report, b"\n")
        _limit_case()
        verdict = run_case(generator, seed)
        _limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
        line = json.dumps([verdict.outcome, verdict.detail[-8000:], verdict.exhausted])
        os.write(report, f"{line}\n".encode())
        if verdict.exhausted:
            break
    os._exit(0)


class _Child:
    """A forked process that runs cases."""

    def __init__(self, generator: Generator, seeds: Sequence[int]) -> None:
        self._diagnostics = os.memfd_create("diagnostics")
        receive, send = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self._process = os.fork()
        if not self._process:
            try:
                _child(generator, seeds, send, self._diagnostics)
            finally:
                os._exit(70)
        os.close(send)
        self._lines = os.fdopen(receive, "rb", buffering=0)
        self._pending = b""

    def _line(self, seconds: float) -> bytes | None:
        """The next line; ``None`` when the child ended. Raises TimeoutError."""
        end = time.monotonic() + seconds
        while b"\n" not in self._pending:
            if not select.select([self._lines], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            piece = self._lines.read(65536)
            if not piece:
                return None
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def verdict(self) -> Verdict | None:
        """What became of the next case; ``None`` when there is none."""
        try:
            if self._line(PATIENCE) is None:
                return None
            line = self._line(CLOCK)
        except TimeoutError:
            # On this signal faulthandler says where each thread is, also in native code, and the process ends.
            os.kill(self._process, signal.SIGABRT)
            with contextlib.suppress(TimeoutError):
                while self._line(PATIENCE) is not None:
                    pass
            os.kill(self._process, signal.SIGKILL)
            return Verdict(FAILED, f"{_LATE} {CLOCK} s\n{self._said()}", True)
        if line is None:
            _, status = os.waitpid(self._process, 0)
            self._process = 0
            return Verdict(FAILED, f"the process ended: {_ending(status)}\n{self._said()}", True)
        return Verdict(*json.loads(line))

    def _said(self) -> str:
        size = os.fstat(self._diagnostics).st_size
        said = os.pread(self._diagnostics, 6000, max(0, size - 6000)).decode(errors="replace")
        return "\n".join(line for line in said.splitlines() if line and not line.startswith("Extension modules"))

    def close(self) -> None:
        if self._process:
            os.kill(self._process, signal.SIGKILL)
            os.waitpid(self._process, 0)
        self._lines.close()
        os.close(self._diagnostics)


def _ending(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit status {os.WEXITSTATUS(status)}"


def run_forked(generator: Generator, seeds: Sequence[int]) -> Report:
    """Run the cases of these seeds."""
    report = Report(generator.name)
    rest = list(seeds)
    while rest:
        child = _Child(generator, rest[:CASES_OF_CHILD])
        begin = time.monotonic()
        done = 0
        try:
            while (verdict := child.verdict()) is not None:
                now = time.monotonic()
                seed = rest[done]
                if verdict.outcome == FAILED and verdict.exhausted and (done or verdict.detail.startswith(_LATE)):
                    verdict = _alone(generator, seed, verdict)
                report.add(seed, verdict, now - begin)
                done += 1
                begin = time.monotonic()
                if verdict.exhausted:
                    break
        finally:
            child.close()
        del rest[: max(1, done)]
    return report


def _alone(generator: Generator, seed: int, verdict: Verdict) -> Verdict:
    """What becomes of a case that failed after others, when it is alone: but for time, a failure in any case."""
    child = _Child(generator, [seed])
    try:
        again = child.verdict() or verdict
    finally:
        child.close()
    if again.outcome == FAILED or verdict.detail.startswith(_LATE):
        return again
    return Verdict(FAILED, f"only after the {CASES_OF_CHILD} cases before it: {verdict.detail}", True)
