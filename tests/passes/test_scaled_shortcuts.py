"""Shortcuts whose channels are scaled, and normalisations of means, with which networks of maps end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from device_runs import OPTIONS, assert_engines_agree
from onnx_networks import OnnxNetwork
from random_seeds import in_turn
from token_networks import rows, shape

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.report.details import details_of


def convolved(net: OnnxNetwork, x: str, inputs: int) -> str:
    return net.op("Conv", x, net.some(16, inputs, 3, 3), net.some(16), pads=[1, 1, 1, 1])


def normalized(net: OnnxNetwork, x: str) -> str:
    return net.op("LayerNormalization", x, net.some(16, about=1.0), net.some(16), axis=-1)


def scaled_map(net: OnnxNetwork) -> str:
    """A shortcut and a normalised map less its means, times a factor for each channel, that only norms read."""

    def grouped(x: str) -> str:
        apart = net.op("Reshape", x, shape(net, 0, 1, -1))
        ones, zeros = (net.number(np.full(1, each, np.float32)) for each in (1, 0))
        apart = net.op("Reshape", net.op("InstanceNormalization", apart, ones, zeros), shape(net, 1, 16, 6, 6))
        return net.op("Add", net.op("Mul", apart, net.some(16, 1, 1, about=1.0)), net.some(16, 1, 1))

    x = convolved(net, "x", 3)
    pooled = net.op("AveragePool", grouped(x), kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=0)
    scaled = net.op("Mul", net.op("Sub", pooled, grouped(x)), net.some(16, 1, 1, about=1.0))
    return net.op("GlobalAveragePool", convolved(net, grouped(net.op("Add", x, scaled)), 16))


def scaled_tokens(net: OnnxNetwork) -> str:
    """What a convolution makes of maps, times a factor for each channel where pixels are tokens."""

    def tokens(x: str) -> str:
        return net.op("Transpose", net.op("Reshape", x, shape(net, 1, 16, 36)), perm=[0, 2, 1])

    x = convolved(net, "x", 3)
    scaled = net.op("Mul", tokens(convolved(net, x, 16)), net.some(16, about=1.0))
    return net.op("ReduceMean", normalized(net, net.op("Add", tokens(x), scaled)), axes=[1])


def scaled_stream(net: OnnxNetwork) -> str:
    """A shortcut itself times a factor for each channel."""
    x = net.op("Transpose", net.op("Reshape", convolved(net, "x", 3), shape(net, 1, 16, 36)), perm=[0, 2, 1])
    y = rows(net, normalized(net, x), 16, 16)
    x = net.op("Add", net.op("Mul", x, net.some(16, about=1.0)), y)
    return net.op("ReduceMean", normalized(net, x), axes=[1])


def normalized_mean(net: OnnxNetwork) -> str:
    """The mean of a sum, and that of rows and columns with channels last, are normalised."""
    x = convolved(net, "x", 3)
    mean = net.op("GlobalAveragePool", net.op("Add", x, convolved(net, x, 16)))
    return normalized(net, net.op("Reshape", mean, shape(net, 1, 16)))


def mean_of_rows(net: OnnxNetwork) -> str:
    """Tokens that are rows and columns again before their mean, channels last."""
    x = net.op("Transpose", net.op("Reshape", convolved(net, "x", 3), shape(net, 1, 16, 36)), perm=[0, 2, 1])
    x = normalized(net, rows(net, x, 16, 16))
    return net.op("ReduceMean", net.op("Reshape", x, shape(net, 1, 6, 6, 16)), axes=[1, 2])


BLOCKS = (scaled_tokens, scaled_stream, normalized_mean, mean_of_rows)


def compiled(block: Callable[[OnnxNetwork], str], machine: str, rng: np.random.Generator) -> Artifact:
    net = OnnxNetwork(rng)
    flat = net.op("Reshape", block(net), shape(net, 1, 16))
    model = net.model([1, 3, 6, 6], rows(net, flat, 16, 256))
    options = replace(OPTIONS, machine=machine)
    return compile_to_memory(model, options)


def on_host(artifact: Artifact) -> set[str]:
    return {each.op for each in details_of(artifact).placement if each.on != "device"}


def test_scaled_shortcuts_of_maps_stay_real(rng: np.random.Generator) -> None:
    assert "average_pool" in on_host(compiled(scaled_map, "m4096", rng))


@pytest.mark.parametrize(("block", "machine"), in_turn(BLOCKS, ["m4096", "s256"]))
def test_only_ends_are_on_the_host(block: Callable[[OnnxNetwork], str], machine: str, rng: np.random.Generator) -> None:
    artifact = compiled(block, machine, rng)
    assert len(artifact.manifest.device_programs) == 1
    assert on_host(artifact) <= {"quantize", "dequantize", "reshape"}
    found = assert_engines_agree(artifact, {"x": rng.normal(size=(1, 3, 6, 6)).astype(np.float32)})
    assert len(np.unique(found)) > 20


@pytest.mark.parametrize("why", ["output", "floating point", "kept", "large"])
def test_means_are_not_rounded_where_their_normalisation_is_of_floating_point(
    why: str, rng: np.random.Generator
) -> None:
    net = OnnxNetwork(rng)
    y = normalized_mean(net)
    last = net.op("Tanh", y) if why == "floating point" else rows(net, y, 16, 256)
    model = onnx.load_from_string(net.model([1, 3, 3, 40] if why == "large" else [1, 3, 6, 6], last))
    if why == "output":
        model.graph.output.append(onnx.helper.make_tensor_value_info(y, 1, None))
    options = CompileOptions(precision="int8", calibration="random", calibration_limit=2, engines="device,software")
    keep = ["layer_norm"] if why == "kept" else []
    details = details_of(compile_to_memory(model.SerializeToString(), replace(options, keep_float=keep)))
    found = {each.op: each for each in details.placement}
    assert "layer_norm" in found and "global_average_pool" in found
