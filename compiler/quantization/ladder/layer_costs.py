"""What it costs to compute a layer in floating point instead of in integers, by the model that places ops."""

from __future__ import annotations

import os

from ....ir.clone import clone_module
from ....ir.core import Module
from ....passes.pipeline import Pipeline
from ....passes.placement.partition import Partition, seconds_apart
from ....runtime.machines.machine import DEFAULT
from ...options import CompileOptions
from ...pipeline import attention_pipeline, outline_pipeline


def seconds_more(quantized: Module, options: CompileOptions) -> dict[str, float]:
    """By source node, what the network takes longer if that one is computed in floating point, modelled.

    On the CPU that is what it takes in integers, for floating point takes about twice as long there. What the
    accelerator computes has to leave it, with its tensors, and may cut a region in two.

    Args:
        quantized: the network in integers.
        options: which machine it is for, and whether the accelerator is among the engines.
    """
    placed, on_device = clone_module(quantized), "device" in (options.engines or ())
    machine = os.fspath(options.machine or DEFAULT)
    passes = outline_pipeline(machine, order=options.devices if on_device else "cpu").passes
    if on_device:
        attention_pipeline().run(placed)
    at = next(index for index, each in enumerate(passes) if isinstance(each, Partition))
    Pipeline(passes[: at + 1], "place").run(placed)
    partition = passes[at]
    assert isinstance(partition, Partition)
    model = partition.cost_model()
    leaving = seconds_apart(placed.main, model)
    found: dict[str, float] = {}
    for op in placed.main.ops:
        for node in op.loc:
            found[node] = found.get(node, 0.0) + model.on_host(op) + max(leaving.get(op, 0.0), 0.0)
    return found
