"""Machines evaluated by several processes, each of which may end without harm to the others."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Generator, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait

from tilewright.errors import TilewrightError, UsageError

from ..options import CompileOptions
from ..progress import silent
from .evaluation import Model, Outcome, evaluate

_PROGRAM = f"""
import sys
sys.path[:] = sys.argv[2:]
from {__package__}.evaluation import serve
serve(int(sys.argv[1]))
"""
"""Finds modules where this process does, whatever its main program is."""


def outcomes(
    model: Model, options: CompileOptions, machines: Sequence[str], jobs: int
) -> Generator[tuple[int, Outcome], None, None]:
    """What becomes of each machine, with its number, as soon as it is known; closing the iterator ends all work.

    Args:
        machines: texts of their files.
        jobs: processes that evaluate one each; with 1 it is this one.

    Raises:
        TilewrightError: as `evaluate` says.
        UsageError: the model or an option is what no other process can be told.
    """
    if min(jobs, len(machines)) < 2:
        for number, machine in enumerate(machines):
            yield number, evaluate(model, options, machine)
        return
    left = iter(enumerate(machines))
    working: dict[_Worker, int] = {}
    idle: list[_Worker] = []
    try:
        while True:
            while len(working) < jobs and (following := next(left, None)) is not None:
                worker = idle.pop() if idle else _Worker(model, replace(options, report=silent))
                working[worker] = following[0]
                worker.begin(following[1])
            if not working:
                return
            ready = wait([worker.connection for worker in working])
            for worker in [each for each in working if each.connection in ready]:
                outcome, number = worker.answer(), working.pop(worker)
                if worker.is_alive:
                    idle.append(worker)
                yield number, outcome
    finally:
        for worker in (*working, *idle):
            worker.end()


class _Worker:
    """A process of its own session, which Ctrl-C does not reach."""

    def __init__(self, model: Model, options: CompileOptions) -> None:
        ours, its = socket.socketpair()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(its.fileno()), *sys.path],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.connection, self.is_alive = Connection(ours.detach()), True
        try:
            self.connection.send((model, options))
        except OSError:
            # It has ended already, which its answer tells.
            return
        except Exception as error:
            self.end()
            hint = "Give the model and calibration data as files, or let one process do it (jobs=1)."
            raise UsageError("other processes cannot be given the model or an option", found=error, hint=hint) from None

    def begin(self, machine: str) -> None:
        try:
            self.connection.send(machine)
        except OSError:
            return

    def answer(self) -> Outcome:
        """What it has found, or how it ended without."""
        try:
            found: Outcome | TilewrightError = self.connection.recv()
        except (EOFError, OSError):
            self.end()
            code = self._process.returncode
            ended = f"signal {-code}" if code < 0 else f"exit code {code}"
            return Outcome(None, f"the process that evaluated it ended by {ended}", is_final=False)
        if isinstance(found, TilewrightError):
            raise found
        return found

    def end(self) -> None:
        """End it, whatever it does."""
        self.is_alive = False
        self.connection.close()
        self._process.kill()
        self._process.wait()
