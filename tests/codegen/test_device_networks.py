"""Random quantised networks over random small machines: lowered, partitioned, outlined, and run as instructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from before_after import clone
from device_runs import compile_for_device, run_on_device
from quantized_graphs import random_quantized_graph
from random_machines import random_machine, write_machine
from random_seeds import seeds

from tilewright.ir import interp
from tilewright.ir.core import Constant, Module, Value
from tilewright.ir.ops.call import Call
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.device.outline_device import OutlineDevice
from tilewright.passes.pipeline import Pipeline
from tilewright.passes.placement.partition import Partition
from tilewright.runtime.machines.machine import Machine


def run(module: Module, machine: Machine, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of an outlined module: calls on the simulated device, everything else by reference."""
    values: dict[Value, np.ndarray] = {p: inputs[p.name] for p in module.main.parameters}

    def read(value: Value) -> np.ndarray:
        return value.array if isinstance(value, Constant) else values[value]

    for op in module.main.ops:
        if isinstance(op.operator, Call):
            function = module.functions[op.operator.callee]
            alone = Module(function.name)
            alone.constants = module.constants
            alone.functions["main"] = function
            arguments = {p.name: read(v) for p, v in zip(function.parameters, op.inputs, strict=True)}
            found = run_on_device(alone, compile_for_device(alone, machine), machine, arguments)
            values.update({v: found[name] for v, name in zip(op.results, function.result_names, strict=True)})
        else:
            results = interp.run_op(module, op, [read(v) if v is not None else None for v in op.operands])
            values.update(zip(op.results, results, strict=True))
    return {name: read(value) for name, value in zip(module.main.result_names, module.main.results, strict=True)}


@pytest.mark.parametrize("seed", seeds(10, 100))
def test_equals_the_reference(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(5000 + seed)
    module = random_quantized_graph(rng, groups=14, activations="i8" if seed % 3 else "u8")
    machine = random_machine(rng)
    path = write_machine(tmp_path / "machine.json", machine)
    after = clone(module)
    passes = (LegalizeForDevice(), Partition(path, keep_islands=True), OutlineDevice())
    Pipeline(passes).run(after)
    inputs = {p.name: rng.standard_normal(p.type.shape).astype(np.float32) for p in module.main.parameters}
    found = run(after, machine, inputs)
    for name, array in interp.run(module, inputs).items():
        np.testing.assert_array_equal(found[name], array)
