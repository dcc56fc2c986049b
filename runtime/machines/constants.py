"""The constants of the models of time and of energy, which a machine file states with their origins."""

from typing import Annotated

from tilewright.immutable import Immutable

from ..artifact.json_dataclasses import Bounds


class CycleConstants(Immutable):
    """Constants of the cycle model, in cycles unless said otherwise. None of them changes a result, only its time."""

    mac_setup: Annotated[int, Bounds(0, 1 << 16, "cycles", "decode and address setup of a MAC instruction")]
    mac_drain: Annotated[int, Bounds(0, 1 << 16, "cycles", "depth of the MAC pipeline, paid once an instruction")]
    vector_setup: Annotated[int, Bounds(0, 1 << 16, "cycles", "decode and setup of a vector instruction")]
    vector_drain: Annotated[int, Bounds(0, 1 << 16, "cycles", "depth of the vector pipeline")]
    divide: Annotated[int, Bounds(0, 1 << 10, "cycles", "extra cycles a lane group spends on one binary32 division")]
    transfer_setup: Annotated[int, Bounds(0, 1 << 16, "cycles", "descriptor setup of a DRAM transfer")]
    dram_latency: Annotated[int, Bounds(0, 1 << 20, "cycles", "first byte after a DRAM request")]
    dram_row_activation: Annotated[
        int, Bounds(0, 1 << 16, "cycles", "opening of a DRAM row, where a run begins in one that is not open")
    ]
    dram_turnaround: Annotated[int, Bounds(0, 1 << 16, "cycles", "change of DRAM from reading to writing or back")]
    barrier: Annotated[int, Bounds(0, 1 << 16, "cycles", "issue of a barrier or end")]
    signal: Annotated[
        int, Bounds(0, 1 << 16, "cycles", "from when an instruction is complete until all of its card see its counter")
    ]
    wait: Annotated[int, Bounds(0, 1 << 16, "cycles", "from when the last counter is seen until what waited starts")]


class EnergyConstants(Immutable):
    """Constants of the energy model. No program depends on them: they are not part of a machine, but of its file."""

    mac_picojoules: Annotated[
        float, Bounds(0, 10**6, "pJ", "energy of an 8-bit multiplication and its 32-bit addition", whole=False)
    ]
    sram_byte_picojoules: Annotated[
        float, Bounds(0, 10**6, "pJ", "energy of a byte that is read from a scratchpad or written to it", whole=False)
    ]
    dram_byte_picojoules: Annotated[
        float, Bounds(0, 10**6, "pJ", "energy of a byte that is read from DRAM or written to it", whole=False)
    ]
    idle_watts: Annotated[
        float, Bounds(0, 10**4, "W", "power of the accelerator's chip, whatever it does", whole=False)
    ]
    board_watts: Annotated[float, Bounds(0, 10**4, "W", "power of the rest of the card, whatever it does", whole=False)]
