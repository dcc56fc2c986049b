"""What a tile op costs: its instruction, which has no addresses yet, by the cost function of instructions.

Of addresses only those in DRAM count, and they are known.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from tilewright.errors import PassError

from ....ir.core import Op
from ....ir.tile.instructions import LINE, Places, instruction
from ....ir.tile.program import cluster_of
from ....runtime.isa import Instruction, Queue, build
from ....runtime.machines.cost import cost
from ....runtime.machines.machine import Machine
from ..planning.scratchpads import place_bytes


class OpCost(NamedTuple):
    """What an op of a tile program costs, alone.

    Attributes:
        queue: that it is an instruction of.
        cluster: whose.
        unit: cycles that the unit is busy, without waiting for DRAM.
        dram: cycles that the DRAM is busy.
        latency: cycles from then until it is complete.
    """

    queue: Queue
    cluster: int
    unit: int
    dram: float
    latency: int


def op_cost(op: Op, places: Places, machine: Machine) -> OpCost:
    """The cost of an op whose operands and result are noted in ``places``.

    Raises:
        PassError: the op is none of a tile program.
    """
    found = instruction(op, places)
    if found is None:
        raise PassError("the op is no instruction", op=op.name, node=op.node)
    name, fields = found
    if name in ("LoadWeights", "LoadParameters"):
        fields |= {"region": 0, "offset": 0, "length": -(-place_bytes(op) // LINE)}
    elif "offset" in fields:
        # What counts of the address is where in a burst it begins.
        fields["offset"] %= machine.dram_burst_bytes
    item = build(name, fields)
    unit, dram, latency = _priced(item, machine)
    return OpCost(item.QUEUES[0], cluster_of(op), unit, dram, latency)


@lru_cache(1 << 14)
def _priced(item: Instruction, machine: Machine) -> tuple[int, float, int]:
    price = cost(item, machine)
    return price.unit, price.dram(machine), price.latency
