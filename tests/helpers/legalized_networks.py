"""Networks that the accelerator runs whole once they have its forms."""

from __future__ import annotations

import numpy as np
from before_after import clone, parse, random_inputs, run_pass
from device_runs import compile_for_device, run_on_device

from tilewright.ir import interp
from tilewright.passes.placement.device_support import reject
from tilewright.runtime.machines.machine import load

PASS = "legalize_for_device"
X = "<s=0x1.0p-4, z=3>"
W = "<s=0x1.0p-5, z=0>"
OTHER = "<s=0x1.8p-4, z=-9>"
ONES = 'dilations=[1, 1], group=1, act="none", act_args=[]'
M4096 = load("m4096")


def check(text: str, rng: np.random.Generator, *before: str) -> list[str]:
    """Legalise a network, all of which the accelerator can then run, and does; its operators.
    ``before``: passes that run first."""
    module = parse(text)
    original = clone(module)
    for name in (*before, PASS):
        run_pass(name, module)
    assert [reason for op in module.ops if (reason := reject(op, M4096)) is not None] == []
    inputs = random_inputs(original, rng)
    wanted = interp.run(original, inputs)
    for clusters in (1, 4):
        found = run_on_device(module, compile_for_device(clone(module), M4096, clusters), M4096, inputs)
        for name, array in wanted.items():
            np.testing.assert_array_equal(found[name], array)
    return [op.name for op in module.ops]
