"""Products of two maps without a softmax between, softmaxes of maps, and known rows, on the accelerator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from device_runs import OPTIONS, assert_engines_agree
from onnx_networks import OnnxNetwork
from random_seeds import in_turn
from token_networks import heads, joined, rows, shape

from tilewright.compiler.driver import compile_to_memory
from tilewright.runtime.report.details import details_of


def by_context(net: OnnxNetwork) -> str:
    """Queries by what keys, weighted along the tokens, and values make: factorised attention."""
    q, k, v = (heads(net, rows(net, "x", 24, 32), 2, 16) for _ in range(3))
    context = net.op("MatMul", net.op("Transpose", net.op("Softmax", k, axis=2), perm=[0, 1, 3, 2]), v)
    return joined(net, net.op("MatMul", q, context), 32)


def by_lambda(net: OnnxNetwork) -> str:
    """The same of maps, whose keys have their channels first, of one head for several of queries."""
    map = net.op("Transpose", "x", perm=[0, 2, 1])
    k, v = (net.op("Conv", map, net.some(n, 24, 1)) for n in (16, 32))
    context = net.op("MatMul", net.op("Softmax", k, axis=2), net.op("Transpose", v, perm=[0, 2, 1]))
    return net.op("MatMul", rows(net, "x", 24, 16), context)


def by_values(net: OnnxNetwork) -> str:
    """Values before weights, which are the softmax of another map."""
    weights = net.op("Softmax", rows(net, "x", 24, 20), axis=-1)
    v = net.op("Reshape", net.op("Transpose", rows(net, "x", 24, 32), perm=[0, 2, 1]), shape(net, 1, 32, 20))
    means = net.op("MatMul", v, net.op("Transpose", weights, perm=[0, 2, 1]))
    return net.op("Transpose", means, perm=[0, 2, 1])


def by_gram(net: OnnxNetwork) -> str:
    """How alike the channels of a map are, as a map."""
    map = net.op("Transpose", rows(net, "x", 24, 32), perm=[0, 2, 1])
    alike = net.op("MatMul", map, net.op("Transpose", map, perm=[0, 2, 1]))
    return net.op("Relu", alike)


def by_known_queries(net: OnnxNetwork) -> str:
    """Queries that are learnt, and known rows that are added to what they find and normalised with it."""
    asked = net.number(net.rng.normal(size=(1, 5, 32)).astype(np.float32))
    q, k, v = heads(net, asked, 2, 16), *(heads(net, rows(net, "x", 24, 32), 2, 16) for _ in range(2))
    scores = net.op("MatMul", q, net.op("Transpose", k, perm=[0, 1, 3, 2]))
    means = joined(net, net.op("MatMul", net.op("Softmax", scores, axis=-1), v), 32)
    total = net.op("Add", asked, rows(net, means, 32, 32))
    return net.op("LayerNormalization", total, net.some(32), net.some(32), axis=-1)


def by_groups(net: OnnxNetwork) -> str:
    """Four heads of queries, two of keys and values, as one node."""
    q, k, v = (rows(net, "x", 24, width) for width in (32, 16, 16))
    lengths, total = net.number(np.array([19], np.int32)), net.number(np.array(20, np.int32))
    operands = q, k, v, "", "", lengths, total
    return net.op("GroupQueryAttention", *operands, num_heads=4, kv_num_heads=2, domain="com.microsoft")


NETWORKS = (by_context, by_lambda, by_values, by_gram, by_known_queries, by_groups)
"""Each of one input, [1, 20, 24], and rows of 32 channels, of which a product is made then."""


@pytest.mark.parametrize(("block", "machine"), in_turn(NETWORKS, ["m4096", "s256"]))
def test_one_program(block: Callable[[OnnxNetwork], str], machine: str, rng: np.random.Generator) -> None:
    net = OnnxNetwork(rng)
    model = net.model([1, 20, 24], rows(net, block(net), 32, 16))
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    assert {each.on for each in details_of(artifact).placement if each.op == "attention"} == {"device"}
    assert len(artifact.manifest.device_programs) == 1
    found = assert_engines_agree(artifact, {"x": rng.normal(size=(1, 20, 24)).astype(np.float32)})
    assert len(np.unique(found)) > 20


def by_map_of(tokens: int) -> Callable[[OnnxNetwork], str]:
    """Weights that are the softmax of a map of as many columns as it has rows, as synthesizers have them."""

    def block(net: OnnxNetwork) -> str:
        return net.op("MatMul", net.op("Softmax", rows(net, "x", 24, tokens), axis=-1), rows(net, "x", 24, 32))

    return block


def by_softmaxes(net: OnnxNetwork) -> str:
    """Contexts that weights of their own multiply, which stay numbers: efficient attention."""
    q, k, v = (rows(net, "x", 24, 32) for _ in range(3))
    context = net.op("MatMul", net.op("Transpose", net.op("Softmax", k, axis=1), perm=[0, 2, 1]), v)
    return net.op("MatMul", net.op("Softmax", q, axis=2), context)


def by_few_columns(net: OnnxNetwork) -> str:
    """Products of 20 by 20 tokens, no whole blocks, of which 32 columns are made again."""
    q, k = (rows(net, "x", 24, 32) for _ in range(2))
    return rows(net, net.op("MatMul", q, net.op("Transpose", k, perm=[0, 2, 1])), 20, 32)


def by_large_matrices(net: OnnxNetwork) -> str:
    """Weights of a head that are 256 KiB."""
    q, k = (rows(net, "x", 24, 512) for _ in range(2))
    alike = net.op("MatMul", net.op("Transpose", q, perm=[0, 2, 1]), k)
    return rows(net, alike, 512, 32)


@pytest.mark.parametrize(
    ("block", "tokens", "placed"),
    [
        (by_map_of(336), 336, {"device"}),
        (by_map_of(352), 352, set()),
        (by_softmaxes, 20, set()),
        (by_few_columns, 20, set()),
        (by_large_matrices, 256, {"device"}),
        (by_large_matrices, 272, set()),
    ],
)
def test_what_the_accelerator_cannot_have_stays_a_product(
    block: Callable[[OnnxNetwork], str], tokens: int, placed: set[str], rng: np.random.Generator
) -> None:
    """Attention of the host would multiply by the identity, and matrix by matrix, a thousand times as long."""
    net = OnnxNetwork(rng)
    model = net.model([1, tokens, 24], rows(net, block(net), 32, 16))
    artifact = compile_to_memory(model, replace(OPTIONS, machine="s256"))
    assert {each.on for each in details_of(artifact).placement if each.op == "attention"} == placed


def test_known_rows_may_be_too_small_for_integers(rng: np.random.Generator) -> None:
    """Whose steps single precision would round to 0."""
    net = OnnxNetwork(rng)
    total = net.op("Add", net.number(np.full((1, 20, 32), 1e-44, np.float32)), rows(net, "x", 24, 32))
    last = net.op("LayerNormalization", total, net.some(32), net.some(32), axis=-1)
    artifact = compile_to_memory(net.model([1, 20, 24], rows(net, last, 32, 16)), OPTIONS)
    assert_engines_agree(artifact, {"x": rng.normal(size=(1, 20, 24)).astype(np.float32)})
