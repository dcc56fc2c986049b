"""Random settings of the device: odd machines of several clusters and cards, and how much of one works on what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from random_machines import odd_machine

from tilewright.compiler.device.units import check_batch, check_units
from tilewright.compiler.options import CompileOptions
from tilewright.errors import UsageError
from tilewright.runtime.machines.machine import Machine, load

CLUSTERS, CARDS = 4, 2
"""A machine has at most so many."""


@dataclass(frozen=True)
class Setting:
    """A machine, and options of the driver with which it computes a batch."""

    machine: Machine
    clusters: int
    cards: int
    images_per_cluster: int | None
    effort: str

    def options(self, base: CompileOptions, path: str) -> CompileOptions:
        """These options with the setting's; ``path`` is the machine as a file."""
        return replace(
            base,
            machine=path,
            clusters=self.clusters,
            cards=self.cards,
            images_per_cluster=self.images_per_cluster,
            effort=self.effort,
        )


def random_settings(rng: np.random.Generator, batch: int, count: int) -> list[Setting]:
    """Different ones that a batch of so many images can be computed with, a machine of its own for each."""
    found: list[Setting] = []
    for first in _choices(rng, batch):
        machine, clusters, cards, each = first
        effort = "normal" if rng.random() < 0.25 else "quick"
        found.append(Setting(machine, clusters, cards, each, effort))
        if len(found) == count:
            return found
    raise AssertionError("there is always one image on all clusters")


def _choices(rng: np.random.Generator, batch: int) -> Iterator[tuple[Machine, int, int, int | None]]:
    """Numbers of cards and clusters, mostly all, then a mode of the batch among those that these allow."""
    while True:
        machine = some_machine(rng)
        clusters, cards = (
            most if rng.random() < 0.7 else int(rng.integers(1, most + 1)) for most in (machine.clusters, machine.cards)
        )
        fitting = [each for each in (None, *range(1, batch + 1)) if _is_possible(machine, clusters, cards, each, batch)]
        if fitting:
            shared = [each for each in fitting if each is not None]
            whole = None in fitting and (not shared or rng.random() < 0.5)
            yield machine, clusters, cards, None if whole else int(rng.choice(shared))


def _is_possible(machine: Machine, clusters: int, cards: int, each: int | None, batch: int) -> bool:
    options = CompileOptions(clusters=clusters, cards=cards, images_per_cluster=each)
    check_units(options, machine)
    try:
        check_batch(options, machine, batch)
    except UsageError:
        return False
    return True


def some_machine(rng: np.random.Generator) -> Machine:
    """As odd as can be, or a sample in which some maps stay on chip and some do not; of any number of clusters."""
    if rng.random() < 0.5:
        machine = odd_machine(rng)
    else:
        kept = int(rng.choice([16, 32, 64, 256])) << 10
        machine = replace(load(str(rng.choice(["m4096", "s256"]))), maps_bytes=kept)
    # Over a link that takes no time even small networks are worth cutting.
    is_fast = rng.random() < 0.7
    return replace(
        machine,
        name="setting",
        clusters=int(rng.choice([1, *range(2, CLUSTERS + 1), *range(2, CLUSTERS + 1)])),
        cards=int(rng.choice([1, *range(2, CARDS + 1), *range(2, CARDS + 1)])),
        dram_bytes=1 << 28,
        link_latency=0 if is_fast else machine.link_latency,
        link_bytes_per_second=10**13 if is_fast else machine.link_bytes_per_second,
    )
