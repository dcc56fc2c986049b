"""A function of many items, computed by several processes, each of which may end without harm to the others."""

import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from tilewright.errors import CalibrationError, InputError, TilewrightError, UsageError

from ..execution.team import VARIABLE, thread_count

_PROGRAM = f"""
import sys
sys.path[:] = sys.argv[2:]
from {__name__} import serve
serve(int(sys.argv[1]))
"""
"""Finds modules where this process does, whatever its main program is."""

Function = Callable[[Any], Any]
"""Of an item. It, the items and the results are what processes can tell each other."""

Queue = deque[tuple[int, Any]]
"""Items, each with its number."""

Answers = Generator[tuple[int, Any], None, None]
"""What a function makes of each item, or a `Failed`, with its number, as soon as it is known; whoever takes them may
put more into the queue meanwhile. Closing the generator ends all work."""


class Failed(NamedTuple):
    """Why an item has no result.
    ``error``: what the function raised; None where the process ended.
    ``text``: the traceback, of wrong samples the message, or how the process ended."""

    error: Exception | None
    text: str


def attempt(function: Function, item: Any) -> Any:
    """What the function makes of an item, or a `Failed`, which can be told to other processes."""
    try:
        return function(item)
    except Exception as error:
        # Where in the code samples were found not to fit tells a user nothing.
        is_input = isinstance(error, (CalibrationError, InputError))
        text = f"{type(error).__name__}: {error}" if is_input else traceback.format_exc()
        try:
            told: Exception = pickle.loads(pickle.dumps(error))
        except Exception:
            told = TilewrightError(f"{type(error).__name__}: {error}")
        return Failed(told, text)


def pickle_of(function: Function) -> bytes:
    """What other processes are told of a function. Raises UsageError: it holds what they cannot be told of."""
    try:
        return pickle.dumps(function)
    except Exception as error:
        hint = "Give the model and calibration data as files, or let one process do it (jobs=1)."
        raise UsageError("other processes cannot be given the model or an option", found=error, hint=hint) from None


def in_processes(function: Function, queue: Queue, jobs: int) -> Answers:
    """What the function makes of the items of the queue.
    ``jobs``: processes that compute one item each; with 1 it is this one.
    Raises UsageError: the function is what no other process can be told."""
    if jobs < 2:
        while queue:
            number, item = queue.popleft()
            yield number, attempt(function, item)
        return
    pickled = pickle_of(function)
    working: dict[_Worker, int] = {}
    idle: list[_Worker] = []
    try:
        while True:
            while len(working) < jobs and queue:
                worker = idle.pop() if idle else _Worker(pickled, jobs)
                working[worker], item = queue.popleft()
                worker.begin(item)
            if not working:
                return
            ready = wait([worker.connection for worker in working])
            for worker in [each for each in working if each.connection in ready]:
                answer, number = worker.answer(), working.pop(worker)
                if worker.is_alive:
                    idle.append(worker)
                yield number, answer
    finally:
        for worker in (*working, *idle):
            worker.end()


def serve(descriptor: int) -> None:
    """What a worker process does: it is told a function, then items one by one, and answers each."""
    connection = Connection(descriptor)

    def told() -> Any:
        try:
            content = connection.recv_bytes()
        except (EOFError, OSError):
            # Whoever asked has ended, maybe in the middle of a word.
            sys.exit()
        return pickle.loads(content)

    function = told()
    while True:
        answer = pickle.dumps(attempt(function, told()))
        with suppress(OSError):
            connection.send_bytes(answer)


class _Worker:
    """A process of its own session, which Ctrl-C does not reach; so many share the processors of this machine."""

    def __init__(self, function: bytes, jobs: int) -> None:
        ours, its = socket.socketpair()
        threads = str(max(thread_count(None) // jobs, 1))
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(its.fileno()), *sys.path],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, VARIABLE: threads},
            )
        self.connection, self.is_alive = Connection(ours.detach()), True
        self._tell(function)

    def begin(self, item: Any) -> None:
        self._tell(pickle.dumps(item))

    def _tell(self, content: bytes) -> None:
        # Where it has ended already, its answer tells that.
        with suppress(OSError):
            self.connection.send_bytes(content)

    def answer(self) -> Any:
        """What it has found, or how it ended without."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self.end()
            code = self._process.returncode
            ended = f"signal {-code}" if code < 0 else f"exit code {code}"
            return Failed(None, f"the process that computed it ended by {ended}")

    def end(self) -> None:
        """End it, whatever it does."""
        self.is_alive = False
        self.connection.close()
        self._process.kill()
        self._process.wait()
