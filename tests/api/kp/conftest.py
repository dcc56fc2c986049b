"""A network, and devices that nobody has connected."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from kp_networks import Network, compile_network, detector

from tilewright.runtime.api import kp
from tilewright.runtime.api.kp.devices import registry
from tilewright.runtime.api.kp.devices.device import DEVICES
from tilewright.runtime.api.kp.devices.models import LoadedModel


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return compile_network(tmp_path_factory.mktemp("kp"), detector())


@pytest.fixture(autouse=True)
def fresh_devices(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As when a program starts; afterwards, none is connected."""
    monkeypatch.delenv(DEVICES, raising=False)
    monkeypatch.setattr(registry, "_devices", {})
    yield
    for address in tuple(registry._groups):
        registry._release(address)


@pytest.fixture
def group(network: Network) -> kp.DeviceGroup:
    """A KL520 with the network."""
    connected = kp.core.connect_devices([1])
    kp.core.set_timeout(connected, 20_000)
    kp.core.load_model(connected, network.container())
    return connected


class Gate:
    """Holds up every inference until it is opened, or lets a few through."""

    def __init__(self) -> None:
        self._allowed = threading.Semaphore(0)
        self._arrived = threading.Semaphore(0)

    def wait(self) -> None:
        """For the device."""
        self._arrived.release()
        assert self._allowed.acquire(timeout=60)

    def arrived(self) -> None:
        """Return when the device has begun another inference."""
        assert self._arrived.acquire(timeout=60)

    def let(self, count: int) -> None:
        """Let so many inferences end."""
        self._allowed.release(count)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    made, run = Gate(), LoadedModel.run

    def held(self: LoadedModel, values: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        made.wait()
        return run(self, values)

    monkeypatch.setattr(LoadedModel, "run", held)
    yield made
    made.let(1000)
