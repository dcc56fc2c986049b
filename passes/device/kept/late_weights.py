"""How long arrays wait for weights, by what clusters share out.

A price knows one op. Clusters that share out rows all hold the same weights: these are loaded once, but take as much of
each scratchpad as all of them, where clusters that share out channels hold a part each. What they take is room for
weights of the ops behind, which come late where layers with many weights, mostly the last ones, stand behind layers
beside which the DRAM has time.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from tilewright.immutable import Immutable

from ....ir.annotations import SPLIT, Split
from ....ir.core import Op
from ....ir.feature_map import convolution_maps, is_packed, is_product
from ....runtime.machines.cost import handover
from ....runtime.machines.machine import Machine
from ....runtime.machines.vector_unit import vector_drain
from ..boxes import blocks_made
from ..channel_blocks import blocks_read
from ..tiling.convolution_price import weight_bytes
from ..tiling.tile_price import Share
from ..tiling.tile_search import least_steps


class _Needs(Immutable):
    """What a product takes.

    Attributes:
        cycles: steps of the arrays, whatever is shared out, and what lies between the last of them and the first of the
            next op. With more of them weights would come late less, and of what the DRAM bounds the price is the same.
        held: bytes of weights on the cluster that has most.
        cycles_of_a_byte: of these, in which the DRAM loads the weights of all clusters.
    """

    cycles: float
    held: float
    cycles_of_a_byte: float


class LateWeights:
    """Of the ops of a function, as they are split at the time."""

    def __init__(self, ops: Sequence[Op], machine: Machine, clusters: int) -> None:
        self._products = [op for op in ops if is_product(op)]
        self._machine, self._clusters = machine, clusters
        timing, seen = machine.timing, handover(machine)
        # Sums are made maps, which others are sent and which the next op reads.
        self._between = timing.mac_drain + vector_drain(machine, False) + 3 * seen + timing.transfer_setup
        self._known: dict[tuple[Op, Split | None], _Needs] = {}

    def _needs(self, op: Op) -> _Needs:
        split = SPLIT.get(op)
        if (op, split) not in self._known:
            (source, target), reads = convolution_maps(op), blocks_read(op)
            share, packed = Share(self._clusters, split), is_packed(op.inputs[0])
            blocks = np.array([target.blocks, share.blocks(target.blocks, blocks_made(op))])
            # Weights for blocks of channels that are none are not loaded.
            part = float(reads.mean()) if reads is not None else 1.0
            whole, held = (weight_bytes(op, blocks, np.array(source.blocks), packed) * part).tolist()
            cycles = least_steps(op, self._machine, self._clusters) + self._between
            self._known[op, split] = _Needs(cycles, held, whole / held / self._machine.dram_bytes_per_cycle)
        return self._known[op, split]

    def cycles(self) -> float:
        """Cycles for which weights are waited for, if they come from DRAM one behind the other, each as soon as the ops
        ahead leave room for it, and nothing else uses that."""
        busy = time = loaded = taken = 0.0
        # Bytes that are held, and when they no longer are.
        ahead: deque[tuple[float, float]] = deque()
        for each in map(self._needs, self._products):
            left = each.held
            taken += left
            while taken > self._machine.weight_bytes and ahead:
                freed, end = ahead.popleft()
                beyond = min(taken - self._machine.weight_bytes, left)
                loaded = max(loaded + (left - beyond) * each.cycles_of_a_byte, end)
                left, taken = beyond, taken - freed
            loaded += left * each.cycles_of_a_byte
            busy, time = busy + each.cycles, max(time + each.cycles, loaded)
            ahead.append((each.held, time))
        return time - busy
