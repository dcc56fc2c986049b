"""What an op costs on the device and on the host, and what it costs to move a tensor between them: estimates.

They decide where an op runs, never what it computes. The device takes the larger of the steps of its unit and of DRAM
time, by the functions of :mod:`tilewright.runtime.machines.cost` over the whole op, on one cluster. The host is
three numbers, those of a core as it stands next to an FPGA. A tensor on its way takes the link of the card once and is
packed or unpacked by the host.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...ir.core import Op, Value
from ...ir.feature_map import is_depthwise, map_shape, window_of
from ...ir.ops.convolution import Conv
from ...ir.ops.shape import Reshape
from ...runtime.machines.cost import (
    Runs,
    dense_steps,
    depthwise_steps,
    dram_bytes,
    dram_cycles,
    host_link_cycles,
    vector_steps,
)
from ...runtime.machines.machine import CHANNEL_BLOCK, Machine
from .device_support.maps import is_weight, maps_of

HOST_STEP_SECONDS = 1e-6
"""Of starting one kernel on the host, with caches that hold other data."""


@dataclass(frozen=True)
class CostModel:
    """Times in seconds.

    Attributes:
        host_macs_per_second: 8-bit multiply-accumulates of the host.
        host_bytes_per_second: elements that the host reads or writes where it does not multiply.
    """

    machine: Machine
    host_macs_per_second: float
    host_bytes_per_second: float

    def on_host(self, op: Op) -> float:
        """Of one op on the CPU."""
        if isinstance(op.operator, Reshape):
            return 0.0
        elements = sum(value.type.elements for value in maps_of(op))
        return HOST_STEP_SECONDS + op.macs / self.host_macs_per_second + elements / self.host_bytes_per_second

    def on_device(self, op: Op) -> float:
        """Of one op that the device can run."""
        if isinstance(op.operator, Reshape):
            return 0.0
        machine = self.machine
        sizes = [map_shape(value.type).padded_elements for value in maps_of(op)]
        sizes += [value.type.elements for i, value in enumerate(op.inputs) if is_weight(op, i)]
        moved = sum(int(dram_bytes(machine, Runs(size))) for size in sizes)
        cycles = max(self._compute_cycles(op), dram_cycles(machine, moved, len(sizes)))
        return float(cycles + machine.timing.dram_latency) / machine.clock_hertz

    def _compute_cycles(self, op: Op) -> int:
        machine, window, target = self.machine, window_of(op), map_shape(op.result.type)
        pixels = target.images * target.height * target.width
        if not isinstance(op.operator, Conv):
            return int(vector_steps(machine, pixels * target.blocks * CHANNEL_BLOCK, window.taps))
        if is_depthwise(op):
            return int(depthwise_steps(machine, pixels, target.blocks, window.taps))
        group = op.operator.group
        inputs = _padded(op.inputs[0].type.shape[1] // group)
        outputs = _padded(target.channels // group) // CHANNEL_BLOCK
        return int(dense_steps(machine, pixels, outputs, window.taps, inputs)) * group

    def moving(self, value: Value) -> float:
        """Of one tensor to the device or back."""
        link = host_link_cycles(self.machine, map_shape(value.type).padded_elements) / self.machine.clock_hertz
        return link + value.type.elements / self.host_bytes_per_second

    @property
    def message(self) -> float:
        """Of a message between host and device, however short."""
        return host_link_cycles(self.machine, 0) / self.machine.clock_hertz

    @property
    def region(self) -> float:
        """Of starting a region, and of learning that it is done."""
        return 2 * self.message


def _padded(channels: int) -> int:
    return -(-channels // CHANNEL_BLOCK) * CHANNEL_BLOCK
