"""Maps of 16 bits on the accelerator: every byte is that of the reference, tile by tile, and what stays on the host."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from before_after import assert_leaves_alone, random_inputs
from device_runs import generate, plan_for_device, run_on_device
from wide_networks import I8, I16, WideNetwork, wide_network

from tilewright.ir import interp
from tilewright.ir.annotations import CLUSTERS
from tilewright.ir.core import Op
from tilewright.ir.feature_map import in_bytes, is_depthwise, of_bytes
from tilewright.ir.ops.movement import Concat, DepthToSpace
from tilewright.ir.ops.pooling import GlobalAveragePool
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.outline_device import device_functions
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.placement.device_support import reject
from tilewright.runtime.machines.machine import load


@pytest.mark.parametrize(("machine", "clusters"), [("s256", 1), ("m4096", 4)])
def test_the_device_computes_the_integers_of_the_reference(
    machine: str, clusters: int, rng: np.random.Generator
) -> None:
    module = wide_network(rng)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    plan_for_device(module, load(machine), clusters)
    compiled = generate(module, load(machine))
    program = compiled.program
    names = Counter(item.MNEMONIC for stream in program.queues for item in program.instructions(stream))
    assert names["RQW"] and names["RQA"] and names["DWC"] and names["LUT"] and names["ELT"]
    for name, array in run_on_device(module, compiled, load(machine), inputs).items():
        np.testing.assert_array_equal(array, expected[name], name)


@pytest.mark.parametrize("seed", range(6))
def test_tile_programs_keep_their_bytes_whatever_the_tiles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    module = wide_network(rng)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    plan_for_device(module, load("m4096"))
    CLUSTERS.set(module.main, int(rng.integers(1, 5)))
    for op in module.main.ops:
        # Of maps of 16 bits, blocks go in pairs.
        tile = [int(rng.integers(1, 8)), int(rng.integers(1, 8)), 2 * int(rng.integers(1, 3)), 2]
        tile[3] = tile[2] if is_depthwise(op) else 2 * int(rng.integers(1, 4))
        op.annotations.update(tile=tuple(tile), stationary=str(rng.choice(["weights", "inputs"])))
        op.annotations.update({"split": str(rng.choice(["rows", "channels"]))} if rng.integers(2) else {})
    PlanDeviceMemory().run(module)
    LowerToTiles().run(module)
    for name, array in interp.run(module, inputs).items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name], name)
    kinds = Counter(op.name for function in device_functions(module) for op in function.ops)
    assert kinds["tile_conv_wide"] and kinds["tile_depthwise_wide"] and kinds["tile_requantize_wide"]
    assert kinds["tile_pool"] and kinds["tile_lookup"] and kinds["tile_combine"]


def test_the_bytes_of_numbers_are_the_numbers() -> None:
    numbers = np.arange(-(2**15), 2**15).reshape(64, 1024)[:, :1000]
    found = in_bytes(numbers)
    assert found.shape == (64, 2016)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(of_bytes(found, 1000), numbers)


def rejected(op: Op | None) -> str:
    assert op is not None
    found = reject(op, load("m4096"))
    return f"{found.rule}: {found.found}" if found is not None else ""


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_none_are_no_factors_of_integers(number: str) -> None:
    text = f"""
  const @k : f32[] = [{number}]
  func @main(%x: f32[3]) -> (%y: f32[3]) {{
    %y = mul(%x, @k) : f32[3]
    return %y
  }}"""
    assert_leaves_alone("wide_forms", text)


def test_what_stays_on_the_host_and_why(rng: np.random.Generator) -> None:
    made = WideNetwork(rng, I16, 1, 1024, 6, 6)
    assert "stay below 2^31 whatever the input is" in rejected(made.conv(made.x, I16, 16, 3).producer)
    grouped = made.conv(made.x, I16, 1024, 1, group=512).producer
    assert "dense or depthwise" in rejected(grouped)
    narrow = made.conv(made.x, I8, 1024, 1, group=1024)
    assert not rejected(narrow.producer)
    assert "i16 added to i8" in rejected(made.conv(narrow, I8, 1024, 1, residual=made.x).producer)
    few = made.conv(made.x, I16, 24, 1)
    joined = made.function.append(Concat(1), [few, few], names=["j"])
    assert "joined along channels have multiples of 16, but for the last of them: 24 channels" in rejected(joined)
    phases = made.function.append(DepthToSpace(2), [made.conv(made.x, I16, 96, 1)], names=["s"])
    assert "Phases of feature maps of i16 have multiples of 16 channels: 24 channels" in rejected(phases)
    mean = made.function.append(GlobalAveragePool(), [made.x], names=["p"])
    assert "Feature maps are i8 or u8" in rejected(mean)
