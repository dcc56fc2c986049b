"""Networks that several tests of the Accelerator API tell things of."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import tilewright
from tilewright.compiler.demo import MODEL
from tilewright.runtime.api.accelerator.facts import Facts, Generation, Network
from tilewright.runtime.api.accelerator.flags import Flags
from tilewright.runtime.artifact.manifest import ENGINES
from tilewright.runtime.machines.machine import load


@pytest.fixture(scope="session")
def integer_network() -> Network:
    """The digits network on the accelerator S256."""
    artifact = tilewright.compile(MODEL, calibration="random", calibration_limit=2, machine="s256", engines=ENGINES)
    return Network(artifact)


@pytest.fixture(scope="session")
def float_network() -> Network:
    """The digits network in floating point, of which nothing runs on an accelerator."""
    return Network(tilewright.compile(MODEL))


@pytest.fixture
def facts_of() -> Callable[..., Facts]:
    """Makes the facts of an object with these networks loaded."""

    def make(*networks: Network, generation: Generation = 2) -> Facts:
        return Facts(Flags(), generation, load("s256"), networks)

    return make
