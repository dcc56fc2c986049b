"""The engine of one card, as most tests of instructions want it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tilewright.runtime.isa.program import Program
from tilewright.runtime.machines.machine import Machine
from tilewright.runtime.simulator.functional import CardsEngine
from tilewright.runtime.simulator.memory import CardMemory


class FunctionalEngine:
    """The loaded device program of a card that runs alone.

    Args, and what is raised, are those of :class:`CardsEngine`, for one card.
    """

    def __init__(self, program: Program, machine: Machine, constants: Mapping[str, NDArray[np.uint8]]) -> None:
        self._cards = CardsEngine((program,), machine, (constants,))
        self.program = program
        self.machine = machine
        self.verified = self._cards.verified

    def run(self, contents: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
        """Execute the program, as `CardsEngine.run`."""
        return self._cards.run((contents,))[0]

    def execute(self, memory: CardMemory) -> None:
        """Execute the program on given memories, which must have been made for it."""
        self._cards.execute((memory,))
