"""Processes that are forked off: their sessions work, and what belongs to their parents fails there."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import llvmlite.binding as llvm
import numpy as np
import pytest
import shared_kernels
from artifact_samples import expected, small_artifact

from tilewright.blocks import cached_property
from tilewright.codegen.cpu import assemble
from tilewright.codegen.cpu.llvm import module, target
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.numba.generation import function
from tilewright.errors import CodegenError, RequestCancelledError, UsageError
from tilewright.runtime import Request, Session, load
from tilewright.runtime.api.accelerator.networks.binary import Batch
from tilewright.runtime.api.accelerator.networks.loaded import LoadedNetwork
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.execution.buffers import allocate_arena
from tilewright.runtime.native.mapping import supported
from tilewright.runtime.request_queue import RequestQueue

pytestmark = [
    pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork"),
]

X = np.random.default_rng(0).random((2, 8), dtype=np.float32)
PATIENCE = 120
"""Seconds after which a process or thread that waits has failed."""


def in_child(work: Callable[[], object]) -> None:
    """Do something in a forked process, which must go well and not hang."""
    child = os.fork()
    if not child:
        signal.alarm(PATIENCE)
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def check(session: Session) -> None:
    for seed in range(3):
        x = X + seed
        np.testing.assert_allclose(session.run({"x": x})["y"], expected(x.ravel()), rtol=1e-6)
        np.testing.assert_allclose(session.submit({"x": x}).result(PATIENCE)["y"], expected(x.ravel()), rtol=1e-6)


def test_sessions_work_in_the_child_and_in_the_parent() -> None:
    with load(small_artifact(), workers=2) as session:
        in_child(lambda: check(session))
        done = session.submit({"x": X})
        done.result(PATIENCE)

        def use() -> None:
            np.testing.assert_allclose(done.result()["y"], expected(X.ravel()), rtol=1e-6)
            check(session)
            session.close()
            with pytest.raises(UsageError, match="the session is closed"):
                session.run({"x": X})

        in_child(use)
        in_child(lambda: in_child(use))
        in_child(session.close)
        check(session)


def test_memory_is_not_shared_with_the_child() -> None:
    arena = allocate_arena(4096)

    def write() -> None:
        arena[:] = 1

    in_child(write)
    assert not arena.any()


class Gate:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.started = threading.Event()

    def run(self, number: int) -> int:
        self.started.set()
        assert self.open.wait(PATIENCE)
        return number


def request(gate: Gate, number: int, callback: Callable[[Request], object] | None = None) -> Request[int]:
    return Request(lambda: gate.run(number), callback)


def test_requests_of_the_parent_fail_in_the_child() -> None:
    gate = Gate()
    queue = RequestQueue(1, 4)
    called: list[Request] = []
    running, waiting, cancelled = request(gate, 0, called.append), request(gate, 1, called.append), request(gate, 2)
    for item in (running, waiting, cancelled):
        queue.put(item, None)
    assert gate.started.wait(PATIENCE)
    cancelled.cancel()

    def use() -> None:
        for item, status in ((running, "running"), (waiting, "queued")):
            with pytest.raises(RequestCancelledError) as caught:
                item.result()
            assert str(caught.value) == (
                "the request belongs to the process that this one was forked from; "
                f"found it was {status}. Submit it again in this process."
            )
            assert item.status == "cancelled"
            assert not item.cancel()
        with pytest.raises(RequestCancelledError, match="cancelled before it ran"):
            cancelled.result()
        gate.open.set()
        again = request(gate, 3)
        queue.put(again, None)
        assert again.result(PATIENCE) == 3
        queue.close()
        assert called == []

    in_child(use)
    gate.open.set()
    assert [item.result(PATIENCE) for item in (running, waiting)] == [0, 1]
    queue.close()
    assert called == [running, waiting]


def test_locks_that_other_threads_hold_do_not_hold_up_the_child() -> None:
    """As a worker holds them for a moment now and then."""
    gate = Gate()
    queue = RequestQueue(1, 4)
    running = request(gate, 0)
    queue.put(running, None)
    assert gate.started.wait(PATIENCE)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with queue._monitor.lock, running._lock:
            held.set()
            assert release.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE)

    def use() -> None:
        with pytest.raises(RequestCancelledError):
            running.result()
        queue.close()

    in_child(use)
    release.set()
    holder.join(PATIENCE)
    gate.open.set()
    queue.close()


def test_a_lock_that_a_thread_holds_while_a_session_opens_is_free_in_the_child() -> None:
    """As when one thread makes the first inference and another starts a process."""
    network = LoadedNetwork(Artifact.open(small_artifact()), Batch(), "float")
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with network.sessions._guard.lock:
            held.set()
            assert release.wait(PATIENCE)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(PATIENCE)
    in_child(lambda: check(network.sessions.by("float")))
    release.set()
    holder.join(PATIENCE)
    network.close()


FORKING_CALLBACK = """
import os, signal, sys
import numpy, tilewright
children = []
x = {"x": numpy.ones((2, 8), numpy.float32)}
with tilewright.load(sys.argv[1], workers=2) as session:
    def callback(done):
        child = os.fork()
        if child:
            children.append(child)
            return
        signal.alarm(int(sys.argv[2]))
        numpy.testing.assert_array_equal(done.result()["y"], session.run(x)["y"])
        if sys.argv[3] == "True":
            session.submit(x).result()
    session.submit(x, callback).result()
    session.run(x)
    session.submit(x).result()
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.mark.parametrize("submits", [False, True])
def test_a_callback_may_fork(submits: bool, tmp_path: Path) -> None:
    """The thread that goes on in the child is a worker of the parent: the child ends with it.

    In a process of its own: a child that ends like this runs the destructors of all that its parent has loaded, and
    those of onnxruntime abort in a child.
    """
    (tmp_path / "a.twa").write_bytes(small_artifact())
    command = [sys.executable, "-c", FORKING_CALLBACK, str(tmp_path / "a.twa"), str(PATIENCE), str(submits)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert (done.returncode, done.stdout) == (0, "[0]\n"), done.stderr


HOST = TargetDescription.host()
TEXT = "define void @f() { ret void }"
GENERATING: dict[str, tuple[object, str, Callable[[], object]]] = {
    "parsing": (llvm, "parse_assembly", lambda: module.parse(TEXT, "f", HOST)),
    "optimising": (llvm, "create_pass_builder", lambda: module.optimized(TEXT, "f", HOST)),
    "linking": (assemble, "machine", lambda: shared_kernels._link(TEXT, ["f"], [], HOST, lambda *_: None)),
    "numba": (function, "llvm_text", lambda: function.numba_text("f", lambda: 0, (), 0)),
}
"""What is called while LLVM and numba hold their locks, and what calls it, with nothing of a cache."""


@pytest.mark.parametrize("stage", GENERATING)
def test_forking_waits_while_kernels_are_generated(stage: str) -> None:
    """The compiler has locks that would stay locked in the child."""
    owner, name, generate = GENERATING[stage]
    began, end, free = threading.Event(), threading.Event(), target._generating

    def work(*_: object, **__: object) -> None:
        began.set()
        assert end.wait(PATIENCE)
        raise RuntimeError("enough")

    def use() -> None:
        assert end.is_set()
        assert free.acquire(blocking=False)

    with mock.patch.object(owner, name, work), ThreadPoolExecutor(1) as pool:
        generated = pool.submit(generate)
        assert began.wait(PATIENCE)
        threading.Timer(0.1, end.set).start()
        in_child(use)
        with pytest.raises((RuntimeError, CodegenError), match="enough"):
            generated.result(PATIENCE)
    # Who generates kernels may fork meanwhile.
    with target.forks_wait():
        in_child(free.release)


_session: Session


def _double(seed: int) -> np.ndarray:
    x = X + seed
    y = _session.submit({"x": x}).result(PATIENCE)["y"]
    np.testing.assert_array_equal(_session.run({"x": x})["y"], y)
    return y


def test_a_pool_of_forked_processes_shares_a_session() -> None:
    global _session
    with load(small_artifact()) as _session:
        _session.submit({"x": X}).result(PATIENCE)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(_double, range(8)).get(PATIENCE)
        for seed, y in enumerate(found):
            np.testing.assert_allclose(y, expected((X + seed).ravel()), rtol=1e-6)
        check(_session)


def test_an_attribute_that_another_thread_computes_is_computed_in_the_child() -> None:
    class Slow:
        def __init__(self, compute: Callable[[], int]) -> None:
            self.compute = compute

        @cached_property
        def value(self) -> int:
            return self.compute()

    gate = Gate()
    slow = Slow(lambda: gate.run(3))
    with ThreadPoolExecutor(1) as pool:
        computed = pool.submit(lambda: slow.value)
        assert gate.started.wait(PATIENCE)

        def use() -> None:
            assert [Slow(lambda: 4).value] == [4]
            slow.compute = lambda: 5
            assert slow.value == slow.value == 5

        in_child(use)
        gate.open.set()
        assert computed.result(PATIENCE) == slow.value == 3
