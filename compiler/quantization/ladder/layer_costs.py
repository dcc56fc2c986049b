"""What it costs to compute a layer in floating point instead of in integers, by the model that places ops."""

import os

from ....ir.clone import clone_module
from ....ir.core import Module
from ....passes.pipeline import Pipeline
from ....passes.placement.partition import Partition, seconds_apart
from ....runtime.machines.machine import DEFAULT
from ...options import CompileOptions
from ...pipeline import outline_pipeline


def layer_seconds(quantized: Module, options: CompileOptions) -> tuple[dict[str, float], dict[str, float]]:
    """By source node, what it takes in integers, and what the network takes longer if that one is computed in floating
    point, modelled.

    On the CPU that is what it takes in integers, for floating point takes about twice as long there. What the
    accelerator computes has to leave it, with its tensors, and may cut a region in two.

    Args:
        quantized: the network in integers, by the same options.
        options: which machine it is for, and whether the accelerator is among the engines.
    """
    placed, on_device = clone_module(quantized), "device" in (options.engines or ())
    machine = os.fspath(options.machine or DEFAULT)
    passes = outline_pipeline(machine, order=options.devices if on_device else "cpu").passes
    at = next(index for index, each in enumerate(passes) if isinstance(each, Partition))
    Pipeline(passes[: at + 1], "place").run(placed)
    partition = passes[at]
    assert isinstance(partition, Partition)
    model = partition.cost_model()
    leaving = seconds_apart(placed.main, model)
    here: dict[str, float] = {}
    more: dict[str, float] = {}
    for op in placed.main.ops:
        host = model.on_host(op)
        for node in op.loc:
            here[node] = here.get(node, 0.0) + (model.on_device(op) if op in leaving else host)
            more[node] = more.get(node, 0.0) + host + max(leaving.get(op, 0.0), 0.0)
    return here, more
