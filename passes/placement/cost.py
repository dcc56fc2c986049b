"""What an op costs on the device and on the host, and what it costs to move a tensor between them: estimates.

They decide where an op runs, never what it computes. The device takes what the cheapest tile of the op is priced at by
the search that chooses tiles (:mod:`tilewright.passes.device.tiling`), with all maps in DRAM and shared by clusters.
The host is three numbers, those of a core as it stands next to an FPGA. A tensor on its way takes the link of the card
once and is packed or unpacked by the host.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from ...ir.core import Op, Value
from ...ir.feature_map import map_shape
from ...ir.ops.shape import Reshape
from ...runtime.machines.cost import host_link_cycles
from ...runtime.machines.machine import Machine
from ..device.tiling.tile_search import Misfit, TileSearch
from .device_support.maps import maps_of

HOST_STEP_SECONDS = 1e-6
"""Of starting one kernel on the host, with caches that hold other data."""


@dataclass(frozen=True)
class CostModel:
    """Times in seconds.

    Attributes:
        host_macs_per_second: 8-bit multiply-accumulates of the host.
        host_bytes_per_second: elements that the host reads or writes where it does not multiply.
        clusters: of the machine, that share the work of each op.
    """

    machine: Machine
    host_macs_per_second: float
    host_bytes_per_second: float
    clusters: int = 1
    _known: dict[Hashable, float] = field(default_factory=dict[Hashable, float], init=False, repr=False)

    def on_host(self, op: Op) -> float:
        """Of one op on the CPU."""
        if isinstance(op.operator, Reshape):
            return 0.0
        elements = sum(value.type.elements for value in maps_of(op))
        return HOST_STEP_SECONDS + op.macs / self.host_macs_per_second + elements / self.host_bytes_per_second

    def on_device(self, op: Op, packed: bool = False) -> float:
        """Of one op that the device can run.

        Args:
            packed: whether the pixels of the map that it reads lie without padding.
        """
        if isinstance(op.operator, Reshape):
            return 0.0
        types = (value.type for value in (*op.inputs, *op.results))
        key = op.operator, packed, *((type.shape, type.quant is None) for type in types)
        if key not in self._known:
            search = TileSearch(op, self.machine, clusters=self.clusters, packed=packed)
            found = search.cheapest(self.machine, taken=0.0)
            assert not isinstance(found, Misfit), "the device can run the op"
            self._known[key] = found[0] / self.machine.clock_hertz
        return self._known[key]

    def moving(self, value: Value, packed: bool = False) -> float:
        """Of one tensor to the device or back, ``packed`` if its pixels have no padding there."""
        size = value.type.elements if packed else map_shape(value.type).padded_elements
        link = host_link_cycles(self.machine, size) / self.machine.clock_hertz
        return link + value.type.elements / self.host_bytes_per_second

    @property
    def message(self) -> float:
        """Of a message between host and device, however short."""
        return host_link_cycles(self.machine, 0) / self.machine.clock_hertz

    @property
    def region(self) -> float:
        """Of starting a region, and of learning that it is done."""
        return 2 * self.message
