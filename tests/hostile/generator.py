"""What a generator of hostile input is, and the table of all of them."""

from __future__ import annotations

import importlib
import pkgutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """One hostile input.

    Attributes:
        description: the input as far as people can read it, for who reproduces the case.
        run: what is done with it. Raises TilewrightError where the input is refused.
    """

    description: str
    run: Callable[[], object]


Make = Callable[[np.random.Generator], Case]


@dataclass(frozen=True)
class Generator:
    """Hostile inputs of one kind, one for each seed.

    Attributes:
        make: an input from random numbers. May raise TilewrightError, which is a refusal.
        prepare: what all cases share and is better done once, before the process is forked.
        cases: how many a sweep runs.
    """

    name: str
    make: Make
    prepare: Callable[[], object]
    cases: int

    def case(self, seed: int) -> Case:
        """The input of a seed: the same in each run, on each machine."""
        return self.make(np.random.default_rng([zlib.crc32(self.name.encode()), seed]))


GENERATORS: dict[str, Generator] = {}


def generator(
    name: str, *, prepare: Callable[[], object] = lambda: None, cases: int = 10_000
) -> Callable[[Make], Make]:
    """Register a generator."""

    def register(make: Make) -> Make:
        GENERATORS[name] = Generator(name, make, prepare, cases)
        return make

    return register


def load_generators() -> dict[str, Generator]:
    """Every generator by name."""
    from . import generators

    for module in pkgutil.iter_modules(generators.__path__):
        importlib.import_module(f"{generators.__name__}.{module.name}")
    return dict(sorted(GENERATORS.items()))
