"""What a quantised network takes, and each of its layers, by the model that places ops."""

import os

from tilewright.immutable import Immutable

from ....ir.annotations import ON
from ....ir.clone import clone_module
from ....ir.core import Module
from ....passes.pipeline import Pipeline
from ....passes.placement.partition import Partition, seconds_apart, seconds_together
from ....runtime.machines.machine import DEFAULT
from ....runtime.machines.machine import load as load_machine
from ...device.units import clusters_of
from ...options import CompileOptions
from ...pipeline import outline_pipeline


class LayerCosts(Immutable):
    """Modelled seconds.
    ``total``: of the network, on the accelerator and on the host, with what goes from one to the other.
    ``more``: by source node, what the network takes longer if that one is computed in floating point."""

    total: float
    more: dict[str, float]


def layer_costs(quantized: Module, options: CompileOptions) -> LayerCosts:
    """What a network in integers takes.

    In floating point the CPU takes about twice as long. What the accelerator computes has to leave it for that, with
    its tensors, and may cut a region in two.
    ``quantized``: the network, by the same options.
    ``options``: which machine it is for, and whether the accelerator is among the engines."""
    placed, on_device = clone_module(quantized), "device" in (options.engines or ())
    machine = os.fspath(options.machine or DEFAULT)
    order, clusters = options.devices if on_device else "cpu", clusters_of(options, load_machine(machine))
    passes = outline_pipeline(machine, order=order, clusters=clusters).passes
    at = next(index for index, each in enumerate(passes) if isinstance(each, Partition))
    Pipeline(passes[: at + 1], "place").run(placed)
    partition = passes[at]
    assert isinstance(partition, Partition)
    model = partition.cost_model()
    leaving = seconds_apart(placed.main, model)
    more: dict[str, float] = {}
    for op in placed.main.ops:
        host = model.on_host(op)
        for node in op.loc:
            more[node] = more.get(node, 0.0) + host + max(leaving.get(op, 0.0), 0.0)
    # Placement has no need of it: of what is wider than a byte, the CPU multiplies half as many a second.
    wide = [op for op in placed.main.ops if op.macs and ON.get(op) == "cpu" and op.inputs[0].type.dtype.bytes > 1]
    total = seconds_together(placed.main, model) + sum(op.macs for op in wide) / model.host_macs_per_second
    return LayerCosts(total, more)
