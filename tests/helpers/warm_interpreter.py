"""An interpreter that has imported what some programs import, and runs each of them in a fork of itself.

    python -m warm_interpreter SOCKET BEFORE PROGRAM

A program takes a second or less, the imports before it take two. Each starts from the same state: nothing but modules
is there, no thread and no object of an API.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

SECONDS = 300
"""What hangs is ended then."""

_LARGEST_REQUEST = 1 << 20


class WarmInterpreter:
    """Runs a program again and again; ended by :meth:`close`.

    Args:
        before: Python that runs once, in front of all.
        program: Python that runs each time, in a fork of that.
    """

    def __init__(self, before: str, program: str) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(SECONDS)
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._server = subprocess.Popen(
            [sys.executable, "-m", "warm_interpreter", str(theirs.fileno()), before, program],
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    def run(self, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
        """The exit status of the program with these arguments, negative after a signal, and what it prints to stdout
        and to stderr. Raises TimeoutError: it did not end; the interpreter is useless from here on."""
        request = {"words": words, "folder": str(folder), "environment": dict(environment)}
        with TemporaryFile("w+") as out, TemporaryFile("w+") as error:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [out.fileno(), error.fileno()])
            try:
                status = json.loads(self._socket.recv(_LARGEST_REQUEST))
            except TimeoutError:
                os.killpg(self._server.pid, signal.SIGKILL)
                raise
            out.seek(0)
            error.seek(0)
            return status, out.read(), error.read()

    def close(self) -> None:
        self._socket.close()
        self._server.wait()


def _serve(requests: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Fork for each request; its content and where its output goes, in the child, or None when there is no other."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, 2)
        if not message:
            return None
        child = os.fork()
        if not child:
            requests.close()
            return json.loads(message), descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        requests.send(json.dumps(os.waitstatus_to_exitcode(status)).encode())


def _become(request: dict[str, Any], outputs: list[int]) -> None:
    """Make this process what ``python -m`` would have started."""
    for output, standard in zip(outputs, (1, 2), strict=True):
        os.dup2(output, standard)
        os.close(output)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.path[0] = request["folder"]
    sys.path.remove(str(Path(__file__).parent))
    sys.argv[1:] = request["words"]


if __name__ == "__main__":
    _number, _before, _program = sys.argv[1:]
    exec(_before, {})
    gc.freeze()
    served = _serve(socket.socket(fileno=int(_number)))
    if served is not None:
        _become(*served)
        exec(_program, {"__name__": "__main__"})
