"""Maps of 16 bits on the accelerator: every byte is that of the reference, tile by tile, and what stays on the host."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from before_after import random_inputs
from device_runs import generate, plan_for_device, run_on_device

from tilewright.ir import interp
from tilewright.ir.annotations import CLUSTERS
from tilewright.ir.core import Function, Module, Op, Value
from tilewright.ir.feature_map import in_bytes, is_depthwise, of_bytes
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.pooling import MaxPool
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.device.lower_to_tiles import LowerToTiles
from tilewright.passes.device.outline_device import device_functions
from tilewright.passes.device.planning.plan_device_memory import PlanDeviceMemory
from tilewright.passes.placement.device_support import reject
from tilewright.runtime.machines.machine import load

I8, I16 = DType.I8, DType.I16


class Network:
    """Convolutions of one image, one after the other."""

    def __init__(self, rng: np.random.Generator, dtype: DType, *shape: int) -> None:
        self.rng = rng
        self.module = Module("network")
        self.function = self.module.add_function(Function("main", [("x", self.type(dtype, shape))]))
        self.x = self.function.parameters[0]

    def type(self, dtype: DType, shape: tuple[int, ...]) -> TensorType:
        scale = float(self.rng.uniform(1e-4, 2e-4) if dtype is I16 else self.rng.uniform(0.02, 0.04))
        return TensorType(shape, dtype, Quantization.per_tensor(scale, 0 if dtype is I16 else 5))

    def conv(self, x: Value, dtype: DType, outputs: int, kernel: int, stride: int = 1, **other: object) -> Value:
        """Depthwise where it has as many groups as channels; padded."""
        group, residual, act = other.get("group", 1), other.get("residual"), str(other.get("act", "none"))
        assert isinstance(group, int)
        shape = (outputs, x.type.shape[1] // group, kernel, kernel)
        weights = self.rng.integers(-127, 128, shape).astype(np.int8)
        scales = self.rng.uniform(0.5, 1.0, outputs) / (np.sqrt(np.prod(shape[1:])) * 127)
        zeros = [int(self.rng.integers(-3, 4))] * outputs
        quant = Quantization.per_channel(scales, 0, zeros)
        w = self.module.add_constant("w", weights, TensorType(shape, I8, quant))
        b = self.module.add_constant("b", self.rng.integers(-(2**16), 2**16, outputs).astype(np.int32))
        pad = kernel // 2
        operator = Conv((stride,) * 2, (pad,) * 4, (1, 1), group, act, (0.0, 3.0) if act == "clip" else ())
        extents = [-(-extent // stride) for extent in x.type.shape[2:]]
        assert isinstance(residual, Value | None)
        type = self.type(dtype, (x.type.shape[0], outputs, *extents))
        operands = [x, w, b, residual] if residual is not None else [x, w, b]
        return self.function.append(operator, operands, [type], names=["y"]).result


def network(rng: np.random.Generator) -> Module:
    """All ways in which convolutions read and make maps of 16 bits."""
    made = Network(rng, I8, 1, 5, 9, 7)
    a = made.conv(made.x, I16, 40, 3, act="relu")
    b = made.conv(a, I16, 40, 3, stride=2, group=40, act="clip")
    c = made.conv(b, I16, 24, 1)
    d = made.conv(c, I16, 24, 3, residual=c)
    e = made.conv(d, I8, 20, 3)
    f = made.conv(e, I8, 20, 1, residual=e)
    made.function.set_results([made.conv(f, I16, 33, 1)])
    return made.module


@pytest.mark.parametrize(("machine", "clusters"), [("s256", 1), ("m4096", 4)])
def test_the_device_computes_the_integers_of_the_reference(
    machine: str, clusters: int, rng: np.random.Generator
) -> None:
    module = network(rng)
    inputs = random_inputs(module, rng)
    expected = interp.run(module, inputs)
    plan_for_device(module, load(machine), clusters)
    compiled = generate(module, load(machine))
    program = compiled.program
    names = Counter(item.MNEMONIC for stream in program.queues for item in program.instructions(stream))
    assert names["RQW"] and names["RQA"] and names["DWC"]
    for name, array in run_on_device(module, compiled, load(machine), inputs).items():
        np.testing.assert_array_equal(array, expected[name], name)


@pytest.mark.parametrize("seed", range(6))
def test_tile_programs_keep_their_bytes_whatever_the_tiles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    module = network(rng)
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


def test_what_stays_on_the_host_and_why(rng: np.random.Generator) -> None:
    made = Network(rng, I16, 1, 1024, 6, 6)
    assert "stay below 2^31 whatever the input is" in rejected(made.conv(made.x, I16, 16, 3).producer)
    grouped = made.conv(made.x, I16, 1024, 1, group=512).producer
    assert "dense or depthwise" in rejected(grouped)
    narrow = made.conv(made.x, I8, 1024, 1, group=1024)
    assert "i16 to i8" in rejected(narrow.producer)
    assert "i16 added to i8" in rejected(made.conv(narrow, I8, 1024, 1, residual=made.x).producer)
    pool = made.function.append(MaxPool((2, 2), (1, 1), (0, 0, 0, 0), (1, 1)), [made.x], names=["p"])
    assert "Feature maps are i8 or u8" in rejected(pool)
