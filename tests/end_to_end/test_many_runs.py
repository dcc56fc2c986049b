"""One session under load: several threads at once, and thousands of runs one after the other."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from network_files import digits_model

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.session import Session, load

ENGINES = ("device", "software", "float")
THREADS = 6


@cache
def artifact() -> Artifact:
    options = CompileOptions(
        precision="int8", engines="device,software,float", calibration="random", calibration_limit=2
    )
    return compile_to_memory(digits_model().SerializeToString(), options)


@pytest.fixture(params=ENGINES)
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    with load(artifact(), engine=request.param, workers=3, queue=4) as session:
        yield session


def images(session: Session, rng: np.random.Generator, count: int) -> list[dict[str, np.ndarray]]:
    (spec,) = session.inputs
    return [{spec.name: rng.random(spec.shape, np.float32)} for _ in range(count)]


def answer(session: Session, inputs: dict[str, np.ndarray]) -> bytes:
    (array,) = session.run(inputs).values()
    return array.tobytes()


def test_threads_do_not_disturb_each_other(session: Session, rng: np.random.Generator) -> None:
    inputs = images(session, rng, 8)
    expected = [answer(session, each) for each in inputs]
    assert len(set(expected)) == len(inputs), "every image has an answer of its own"

    def work(thread: int) -> list[bool]:
        order = [(thread + i) % len(inputs) for i in range(50)]
        return [answer(session, inputs[i]) == expected[i] for i in order]

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(all(right) for right in pool.map(work, range(THREADS)))


def test_submitted_and_direct_runs_mix(session: Session, rng: np.random.Generator) -> None:
    inputs = images(session, rng, 40)
    requests = [session.submit(each) for each in inputs]
    expected = [answer(session, each) for each in inputs]
    found = [next(iter(request.result(60).values())).tobytes() for request in requests]
    assert found == expected


def resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="this system does not tell the memory in use")
def test_memory_stays_flat(session: Session, rng: np.random.Generator) -> None:
    inputs = images(session, rng, 4)
    for i in range(100):
        session.run(inputs[i % 4])
    sizes = [resident_bytes()]
    for _ in range(3):
        for i in range(200):
            session.run(inputs[i % 4])
        sizes.append(resident_bytes())
    # One more kilobyte for each run would be 200 kB each time; allocators may take a step now and then.
    assert min(after - before for before, after in itertools.pairwise(sizes)) < 1 << 17


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="this system does not tell the memory in use")
@pytest.mark.parametrize("engine", ENGINES)
def test_loading_again_and_again_takes_no_more_memory(engine: str, rng: np.random.Generator) -> None:
    def load_and_run(times: int) -> int:
        for _ in range(times):
            with load(artifact(), engine=engine) as session:
                session.submit(images(session, rng, 1)[0]).result(60)
        gc.collect()
        return resident_bytes()

    sizes = [load_and_run(15), load_and_run(25), load_and_run(25), load_and_run(25)]
    # A session has more than 50 kilobytes of its own; 25 of them would be 1.25 MB each time. Allocators may take a
    # step now and then, as large as that, but not at every turn.
    assert min(after - before for before, after in itertools.pairwise(sizes)) < 3 << 18
