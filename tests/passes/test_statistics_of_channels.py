"""Means and maxima over the channels of each pixel, of which attention over places is made."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from before_after import parse
from device_runs import OPTIONS, assert_engines_agree
from legalized_networks import X, check
from onnx_networks import OnnxNetwork
from random_seeds import in_turn

from tilewright.compiler.driver import compile_to_memory
from tilewright.ir import interp
from tilewright.passes.base import Record
from tilewright.passes.pattern import Driver
from tilewright.passes.quantization.integer_rules import RULES


@pytest.mark.parametrize(
    ("channels", "form"),
    in_turn(
        [1, 2, 5, 16, 17, 24, 33, 96],
        [("3,5", "i8", True), ("3,5", "u8", False), ("7", "i8", True)],
        always=("7", "i8", True),
    ),
)
def test_the_largest_of_channels_is_that_of_halves(
    channels: int, form: tuple[str, str, bool], rng: np.random.Generator
) -> None:
    pixels, dtype, is_kept = form
    found = check(
        f"""
  func @main(%x: {dtype}[2,{channels},{pixels}]{X}) -> (%y: {dtype}[2,{"1," * is_kept}{pixels}]{X}) {{
    %m = max(%x, %x) : {dtype}[2,{channels},{pixels}]{X}
    %y = reduce_max(%m) {{axes=[1], keepdims={"true" if is_kept else "false"}}} : {dtype}[2,{"1," * is_kept}{pixels}]{X}
    return %y
  }}""",
        rng,
    )
    assert found.count("max") - 1 == (channels - 1).bit_length()


@pytest.mark.parametrize("is_kept", [True, False])
@pytest.mark.parametrize("machine", ["m4096", "s256"])
def test_attention_over_places_is_one_program(machine: str, is_kept: bool, rng: np.random.Generator) -> None:
    """As CBAM has it: both of each pixel, and a convolution over them that scales all channels."""
    net = OnnxNetwork(rng)
    map = net.op("Relu", net.op("Conv", "x", net.some(24, 3, 3, 3), pads=[1, 1, 1, 1]))
    kinds = ("ReduceMean", "ReduceMax")
    parts = [net.op(kind, map, axes=[1], keepdims=int(is_kept)) for kind in kinds]
    if not is_kept:
        extents = net.number(np.array([1, 1, 6, 7], np.int64))
        parts = [net.op("Reshape", part, extents) for part in parts]
    places = net.op("Sigmoid", net.op("Conv", net.op("Concat", *parts, axis=1), net.some(1, 2, 3, 3), pads=[1] * 4))
    model = net.model([1, 3, 6, 7], net.op("Conv", net.op("Mul", map, places), net.some(16, 24, 1, 1)))
    options = replace(OPTIONS, machine=machine)
    artifact = compile_to_memory(model, options)
    assert len(artifact.manifest.device_programs) == 1
    found = assert_engines_agree(artifact, {"x": rng.normal(size=(1, 3, 6, 7)).astype(np.float32)})
    assert len(np.unique(found)) > 20


def test_means_of_channels_are_rounded_once(rng: np.random.Generator) -> None:
    """A product with a share of one each, in its accumulators; also where the mean is read without the dimension."""
    text = """
  func @main(%x: i8[2,24,3,5]<s=0x1.0p-4, z=3>) -> (%y: i8[2,3,5]<s=0x1.0p-5, z=-9>) {
    %r = dequantize(%x) : f32[2,24,3,5]
    %m = reduce_mean(%r) {axes=[1], keepdims=false} : f32[2,3,5]
    %y = quantize(%m) : i8[2,3,5]<s=0x1.0p-5, z=-9>
    return %y
  }"""
    module = parse(text)
    Driver(RULES).run(module, Record("integer_rules"))
    assert [op.name for op in module.ops] == ["conv", "reshape"]
    x = rng.integers(-128, 128, (2, 24, 3, 5), np.int8)
    (found,) = interp.run(module, {"x": x}).values()
    expected = np.rint((x.astype(np.float64) - 3).mean(1) / 16 * 32) - 9
    np.testing.assert_allclose(found, np.clip(expected, -128, 127), atol=1)
    assert (found == np.clip(expected, -128, 127)).mean() > 0.9
