"""Ctrl-C at every point where Python lets a signal handler run: sessions stay usable, no accepted request is lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from artifact_samples import small_manifest, small_sections

from tilewright.runtime.artifact.artifact import write_artifact
from tilewright.runtime.native.mapping import supported

pytestmark = [
    pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only"),
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="trace functions of Python 3.13 see few instructions"),
]

SCRIPT = '''
import dis, itertools, sys, threading
from functools import cache
import numpy
import tilewright
from tilewright.errors import ResourceError
from tilewright.runtime.in_order import InOrder

PATIENCE = 120
CHECKED = {"CALL", "CALL_KW", "CALL_FUNCTION", "CALL_METHOD", "CALL_FUNCTION_KW", "CALL_FUNCTION_EX", "RESUME"}
X = {"x": numpy.ones((2, 8), numpy.float32)}

@cache
def names(code):
    return {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}

class Interrupt:
    """Raises KeyboardInterrupt behind the n-th call or beginning of a function."""

    def __init__(self, n):
        self.left, self.last = n, {}

    def __call__(self, frame, event, argument):
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event != "opcode":
            self.last.pop(frame, None)
        elif self.left:
            before, self.last[frame] = self.last.get(frame), names(frame.f_code).get(frame.f_lasti)
            self.left -= before in CHECKED
            if not self.left:
                raise KeyboardInterrupt
        return self

def run(session, requests):
    session.run(X)
def submit(session, requests):
    requests.append(session.submit(X))
def result(session, requests):
    for request in requests:
        request.result()
def cancel(session, requests):
    requests[-1].cancel()
def close(session, requests):
    session.close()
def put(session, requests):
    queue.put([X, X], 1)
def get(session, requests):
    queue.put([X], 1)
    queue.get()

use, waiting = globals()[sys.argv[2]], int(sys.argv[3])
for n in itertools.count(1):
    # What is to be cancelled must still wait then, however busy the machine is.
    session = tilewright.load(sys.argv[1], queue=8 if use is cancel else 2)
    used = threading.Event()
    if waiting:
        compute, patience = session._runner.run, PATIENCE if use is cancel else 0.01
        session._runner.run = lambda *arguments: (used.wait(patience), compute(*arguments))[1]
    requests = [session.submit(X) for _ in range(waiting)]
    queue = InOrder(session, 2)
    queue.put([X], 0)
    interrupt = Interrupt(n)
    # Python 3.12 tells of instructions only if a frame wants to know when the function is set.
    sys._getframe().f_trace_opcodes = sys.version_info >= (3, 12)
    sys.settrace(interrupt)
    try:
        use(session, requests)
    except (KeyboardInterrupt, ResourceError):
        pass
    except RuntimeError as error:
        # Of a condition of Python's own, interrupted before it has its lock again.
        assert isinstance(error.__context__, KeyboardInterrupt), error
    finally:
        sys.settrace(None)
        used.set()
    if use is not close:
        queue.put(None, "end")
        while queue.get(PATIENCE)[1] != "end":
            pass
        for tag in range(2):
            queue.put([X], tag, timeout=0)
        session.run(X)
        session.submit(X, timeout=PATIENCE).result(PATIENCE)
    for request in requests:
        assert request.wait(PATIENCE), request
    session.close()
    if interrupt.left:
        break
print(n > 10)
'''


@pytest.mark.parametrize(
    ("use", "waiting"),
    [("run", 0), ("submit", 0), ("submit", 3), ("result", 3), ("cancel", 3), ("close", 3), ("put", 0), ("get", 0)],
)
def test_ctrl_c_anywhere(tmp_path: Path, use: str, waiting: int) -> None:
    write_artifact(tmp_path / "small.twa", small_manifest(), small_sections())
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "small.twa"), use, str(waiting)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, "True\n"), ended.stderr
