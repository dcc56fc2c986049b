"""What the card draws, as modelled, and how that is divided among its supplies."""

from __future__ import annotations

from typing import NamedTuple

from ...artifact.artifact import Artifact
from ...report.simulation import simulate_artifact

_JOULES_PER_MAC, _JOULES_PER_BYTE = 1e-12, 100e-12
"""Of an 8-bit multiplication with its addition, and of a byte to or from DRAM: assumed, not measured on silicon."""


class Share(NamedTuple):
    """The share of a supply.

    Attributes:
        idle_watts: what it carries while nothing runs.
        of_runs: the part that it carries of what runs draw.
    """

    idle_watts: float
    of_runs: float


RAILS = {"12v_aux": Share(5.0, 0.5), "12v_pex": Share(5.0, 0.5), "vccint": Share(5.0, 0.7)}
"""Idle watts are assumed. The first two carry what the board draws, half each; the last what the FPGA does of it."""


def modelled_watts(artifact: Artifact) -> float:
    """What runs of a network draw while they follow one another without a gap; 0 where none of it is on the card."""
    if not artifact.manifest.device_programs:
        return 0.0
    total = simulate_artifact(artifact).total
    return (total.macs * _JOULES_PER_MAC + total.dram_bytes * _JOULES_PER_BYTE) / total.seconds
