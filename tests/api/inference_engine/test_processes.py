"""Requests when processes fork, are interrupted, or end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from api.inference_engine.conftest import Gate

import tilewright
from tilewright.runtime.api.inference_engine import ExecutableNetwork, IENetwork, IEPlugin

START = """
import sys, threading, time
import numpy as np
from tilewright.runtime.api.inference_engine import IENetwork, IEPlugin
from tilewright.runtime.api.inference_engine.execution.loaded import LoadedNetwork

network = IEPlugin("CPU").load(IENetwork(sys.argv[1]), num_requests=2)
"""

SLOW = """
compute = LoadedNetwork.compute
begun = threading.Event()

def slowly(self, arrays, items):
    begun.set()
    time.sleep(0.2)
    return compute(self, arrays, items)

LoadedNetwork.compute = slowly
"""


def ended(file: Path, text: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", START + text, str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize(
    "text",
    [
        "network.start_async(0); network.start_async(1); del network",
        "network.requests[0].set_completion_callback(lambda s, r: r.async_infer(), network.requests[0])\n"
        "network.start_async(0); time.sleep(0.05)",
        "begin = network.start_async(0); begun.wait(); sys.exit(3)",
    ],
    ids=["requests under way", "endless callbacks", "exit"],
)
def test_a_finished_program_ends(text: str, file: Path) -> None:
    found = ended(file, SLOW + text)
    assert (found.returncode, found.stderr) == (3 if "exit" in text else 0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_computes_itself(
    shared: ExecutableNetwork, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    expected = in_floats.run({"data": picture})["prob"].tobytes()
    assert shared.infer({"data": picture})["prob"].tobytes() == expected
    child = os.fork()
    if not child:
        status = 1
        try:
            shared.start_async(1, {"data": picture})
            found = shared.infer({"data": picture})["prob"].tobytes()
            if shared.requests[1].wait() == 0 and shared.requests[1].outputs["prob"].tobytes() == found == expected:
                status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_what_ran_when_a_process_was_forked_fails_there(file: Path, gate: Gate) -> None:
    network = IEPlugin("CPU").load(IENetwork(str(file)), 2)
    network.start_async(0)
    assert gate.arrived.wait(120)
    child = os.fork()
    if not child:
        status = 1
        try:
            gate.opened.set()
            first = network.requests[0]
            failed = first.wait() == -1 and first.is_idle
            first.infer()
            status = 0 if failed and first.wait() == 0 and network.wait() == 0 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    gate.opened.set()
    assert network.requests[0].wait() == 0


INTERRUPTED = (
    SLOW.replace("time.sleep(0.2)", "opened.wait()")
    + """
opened = threading.Event()
for call in (network.infer, network.requests[0].wait, network.wait):
    try:
        print("ready", flush=True)
        if call != network.infer and network.requests[0].is_idle:
            network.start_async(0)
        call()
        print("went on", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
opened.set()
network.requests[0].wait()
print(network.infer()["prob"].shape)
"""
)


def test_ctrl_c_ends_waiting(file: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", START + INTERRUPTED, str(file)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process:
        for _ in range(3):
            assert process.stdout.readline() == "ready\n"
            sleep(0.3)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
        assert process.stdout.readline() == "(1, 12)\n"
    assert process.returncode == 0
