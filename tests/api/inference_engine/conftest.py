"""Networks for pictures, loaded and not, and a gate that requests wait at."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from ir_networks import picture_network

import tilewright
from tilewright.runtime.api.inference_engine import ExecutableNetwork, IENetwork, IEPlugin
from tilewright.runtime.api.inference_engine.execution.loaded import LoadedNetwork
from tilewright.runtime.profile import StepTime

SHAPE = (1, 3, 32, 32)


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The .xml file of a network for pictures: input ``data``, output ``prob``."""
    return picture_network(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="session")
def samples(file: Path) -> Path:
    """Inputs for calibration."""
    found = file.with_name("samples.npz")
    np.savez(found, data=np.random.default_rng(1).uniform(0, 255, (8, *SHAPE[1:])).astype(np.float32))
    return found


@pytest.fixture
def network(file: Path) -> IENetwork:
    return IENetwork.from_ir(str(file), str(file.with_suffix(".bin")))


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, SHAPE).astype(np.float32)


@pytest.fixture(scope="session")
def in_floats(file: Path) -> Iterator[tilewright.Session]:
    with tilewright.load(tilewright.compile(file)) as session:
        yield session


@pytest.fixture(scope="session")
def in_integers(file: Path, samples: Path) -> Iterator[tilewright.Session]:
    with tilewright.load(tilewright.compile(file, calibration=samples), engine="software") as session:
        yield session


@pytest.fixture(scope="session")
def shared(file: Path) -> ExecutableNetwork:
    """A network on the CPU with three requests, for tests that leave them idle."""
    return IEPlugin("CPU").load(IENetwork(str(file)), num_requests=3)


class Gate:
    """What requests wait at before they compute.

    Attributes:
        arrived: set when one has come.
        opened: set to let all go on.
        error: raised instead of computing, if there is one.
    """

    def __init__(self) -> None:
        self.arrived, self.opened = threading.Event(), threading.Event()
        self.error: Exception | None = None


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Requests wait until the gate is opened, at the end of the test if not before."""
    made = Gate()
    compute = LoadedNetwork.compute

    def wait_and_compute(
        self: LoadedNetwork, arrays: Mapping[str, np.ndarray], items: int
    ) -> tuple[dict[str, np.ndarray], list[StepTime]]:
        made.arrived.set()
        assert made.opened.wait(60)
        if made.error is not None:
            raise made.error
        return compute(self, arrays, items)

    monkeypatch.setattr(LoadedNetwork, "compute", wait_and_compute)
    yield made
    made.opened.set()
