"""An interpreter that has imported what most programs import, and runs each program in a fork of itself.

    python -m warm_interpreter SOCKET

A program takes a second or less, the imports before it take two. Each starts from the same state: nothing but modules
is there, no thread and no object of an API. What other tests have compiled is not compiled again (`shared_kernels`).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SECONDS = 300
"""What hangs is ended then."""

_IMPORTED = ("networkx", "numba", "numpy", "onnx", "PIL.Image", "tilewright.compiler.driver")
"""Nothing of an API: to bind names and to import what they stand for is the program's part. Nothing that starts
threads, which a fork would not have: not onnxruntime."""

_LARGEST_REQUEST = 1 << 20


class WarmInterpreter:
    """Runs programs as ``python -m tilewright.compat PROGRAM ARGUMENTS…`` does; ended by :meth:`close`."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(SECONDS)
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._server = subprocess.Popen(
            [sys.executable, "-m", "warm_interpreter", str(theirs.fileno())],
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
        theirs.close()

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], stdout: Path, stderr: Path
    ) -> int:
        """The exit status of a program, negative after a signal.

        Args:
            words: the program and its arguments.
            stdout, stderr: the files that get what it prints.

        Raises:
            TimeoutError: it did not end; the interpreter is useless from here on.
        """
        request = {"words": words, "folder": str(folder), "environment": dict(environment)}
        with stdout.open("wb") as out, stderr.open("wb") as error:
            socket.send_fds(self._socket, [json.dumps(request).encode()], [out.fileno(), error.fileno()])
            try:
                return json.loads(self._socket.recv(_LARGEST_REQUEST))
            except TimeoutError:
                os.killpg(self._server.pid, signal.SIGKILL)
                raise

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
    for name in _IMPORTED:
        importlib.import_module(name)
    importlib.import_module("shared_kernels").share_kernels()
    warnings.simplefilter("error", importlib.import_module("tilewright.errors").RegenerationWarning)
    gc.freeze()
    served = _serve(socket.socket(fileno=int(sys.argv[1])))
    if served is not None:
        _become(*served)
        importlib.import_module("tilewright.compat").main()
