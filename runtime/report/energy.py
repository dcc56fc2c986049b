"""Modelled energy of a network on the accelerator: counts of the cycle model by the constants of a machine file."""

from __future__ import annotations

from typing import NamedTuple

from ..machines.constants import EnergyConstants
from .simulation import SimulatedTotal


class Energy(NamedTuple):
    """What one inference takes, without CPU stages and transfers of the host.

    Attributes:
        joules: without what the chip and the board take whatever they do.
        chip_watts, board_watts: mean power of all cards that are used; the board's includes the chip's.
    """

    joules: float
    chip_watts: float
    board_watts: float


def modelled_energy(total: SimulatedTotal, constants: EnergyConstants) -> Energy:
    """Multiplications of the network, accesses of scratchpads and DRAM traffic at their prices, and what is taken
    whatever is done; ``total`` must take some time."""
    compute = (total.macs * constants.mac_picojoules + total.sram_bytes * constants.sram_byte_picojoules) * 1e-12
    memory = total.dram_bytes * constants.dram_byte_picojoules * 1e-12
    chip = constants.idle_watts * total.cards + compute / total.seconds
    board = chip + constants.board_watts * total.cards + memory / total.seconds
    return Energy(compute + memory, chip, board)
