"""What networks of tokens begin with, and what they add to queries and keys, leaves the accelerator nowhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from device_runs import OPTIONS, assert_engines_agree
from onnx_networks import OnnxNetwork
from random_seeds import in_turn
from token_networks import attend, heads, joined, layer, rows, shape

from tilewright.compiler.driver import compile_to_memory
from tilewright.runtime.report.details import details_of


def convolved(net: OnnxNetwork) -> str:
    """[1, 20, 32] of a convolution over tokens and a function."""
    map = net.op("Conv", net.op("Transpose", "x", perm=[0, 2, 1]), net.some(32, 24, 3), pads=[1, 1])
    gate = net.op("Sigmoid", map)
    return net.op("Transpose", net.op("Mul", map, gate), perm=[0, 2, 1])


def normalized(net: OnnxNetwork, x: str) -> str:
    return net.op("LayerNormalization", x, net.some(32, about=1.0), net.some(32), axis=-1)


def known(net: OnnxNetwork, *extents: int) -> str:
    return net.number(net.rng.normal(size=extents).astype(np.float32))


def rotated_heads(net: OnnxNetwork) -> str:
    """Queries and keys that are normalised by heads, turned around and rotated by their positions."""
    angles = np.arange(20)[:, None] / 10.0 ** np.arange(8)
    cosine, sine = (net.number(np.tile(f(angles), (1, 2)).astype(np.float32)) for f in (np.cos, np.sin))

    def rotated(x: str) -> str:
        ends = (net.number(np.array([n], np.int64)) for n in (0, 8, 8, 16, 3))
        start, middle, half, end, axis = ends
        first = net.op("Slice", x, start, middle, axis)
        second = net.op("Neg", net.op("Slice", x, half, end, axis))
        turned = net.op("Concat", second, first, axis=-1)
        return net.op("Add", net.op("Mul", x, cosine), net.op("Mul", turned, sine))

    def made(*, is_placed: bool) -> str:
        apart = net.op("Reshape", rows(net, "x", 24, 32), shape(net, 1, -1, 2, 16))
        if is_placed:
            apart = net.op("LayerNormalization", apart, net.some(16), net.some(16, by=0.0), axis=-1)
        moved = net.op("Transpose", apart, perm=[0, 2, 1, 3])
        return rotated(moved) if is_placed else moved

    q, k, v = (made(is_placed=each) for each in (True, True, False))
    return joined(net, attend(net, q, k, v), 32)


def placed_keys(net: OnnxNetwork) -> str:
    """Learnt queries, and positions that are added behind the product that makes keys."""
    k, v = net.op("Add", rows(net, "x", 24, 32), known(net, 1, 20, 32)), rows(net, "x", 24, 32)
    q, k, v = (heads(net, each, 2, 16) for each in (known(net, 1, 5, 32), k, v))
    return joined(net, attend(net, q, k, v), 32)


def placed_tokens(net: OnnxNetwork) -> str:
    """Positions without the dimension of images, added to what convolutions make before a shortcut starts."""
    x = layer(net, net.op("Add", convolved(net), known(net, 20, 32)), 32)
    return normalized(net, x)


def normalized_before(net: OnnxNetwork) -> str:
    """A learnt token before the others, positions, and a normalisation of all before the first layer."""
    tokens = net.op("Concat", known(net, 1, 1, 32), rows(net, "x", 24, 32), axis=1)
    x = layer(net, normalized(net, net.op("Add", tokens, known(net, 1, 21, 32))), 32)
    return normalized(net, x)


def normalized_sum(net: OnnxNetwork) -> str:
    """Positions that a convolution makes of tokens, added to these and normalised with them."""
    x = rows(net, "x", 24, 32)
    x = layer(net, normalized(net, net.op("Add", x, convolved(net))), 32)
    return normalized(net, x)


def heads_behind(net: OnnxNetwork) -> str:
    """Heads of windows that stand behind their channels when a product reads them, as NesT has them."""

    def windows(x: str) -> str:
        apart = net.op("Reshape", rows(net, x, 24, 32), shape(net, 1, 2, 10, 2, 16))
        return net.op("Transpose", apart, perm=[0, 3, 1, 2, 4])

    q, k, v = (windows("x") for _ in range(3))
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 2, 4, 3]))
    behind = net.op("Transpose", net.op("MatMul", net.op("Softmax", scores, axis=-1), v), perm=[0, 2, 3, 4, 1])
    return rows(net, net.op("Reshape", behind, shape(net, 1, 20, 32)), 32, 32)


BLOCKS = (rotated_heads, placed_keys, placed_tokens, normalized_before, normalized_sum, heads_behind)


@pytest.mark.parametrize(("block", "machine"), in_turn(BLOCKS, ["m4096", "s256"]))
def test_one_program(block: Callable[[OnnxNetwork], str], machine: str, rng: np.random.Generator) -> None:
    net = OnnxNetwork(rng)
    model = net.model([1, 20, 24], rows(net, block(net), 32, 16))
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    assert {each.on for each in details_of(artifact).placement if each.op in ("attention", "conv")} == {"device"}
    assert len(artifact.manifest.device_programs) == 1
    found = assert_engines_agree(artifact, {"x": rng.normal(size=(1, 20, 24)).astype(np.float32)})
    assert len(np.unique(found)) > 20


def test_rows_that_attention_reads_stay_on_chip(rng: np.random.Generator) -> None:
    """Also where they come of a line of pixels, which clusters cannot share out by rows."""
    net = OnnxNetwork(rng)
    model = net.model([1, 20, 24], layer(net, normalized(net, convolved(net)), 32))
    artifact = compile_to_memory(model, OPTIONS)
    details = details_of(artifact)
    products = [each.name for each in details.placement if each.op == "conv"][1:4]
    places = {each.name: (each.memory, len(each.rows)) for each in details.maps}
    assert [places[name] for name in products] == [("chip", 4)] * 3
    assert_engines_agree(artifact, {"x": rng.normal(size=(1, 20, 24)).astype(np.float32)})
