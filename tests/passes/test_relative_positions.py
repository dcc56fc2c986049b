"""Positions that are computed of queries and added to scores are maps of the accelerator, however they are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from device_runs import OPTIONS, assert_engines_agree
from onnx_networks import OnnxNetwork
from random_seeds import in_turn
from token_networks import rows, shape

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.pipeline import simplify_pipeline
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.ir.core import Module, is_op
from tilewright.ir.interp import run
from tilewright.ir.ops.attention import Attention
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.quantized import limits, stored
from tilewright.ir.text.printer import print_module
from tilewright.passes.attention.relative_positions import RelativePositions
from tilewright.runtime.report.details import details_of

HEIGHT, WIDTH = 4, 6
TOKENS = HEIGHT * WIDTH
Added = Callable[[OnnxNetwork, str, str], str]
"""Scores [4, tokens, tokens], of two images and heads, with what is computed of queries [4, tokens, 16]."""


def tables_for_rows_and_columns(net: OnnxNetwork, scores: str, q: str) -> str:
    """As SAM and ViTDet have it: a product for each row of pixels, one for each column, added one after the other."""
    pixels = net.op("Reshape", q, shape(net, 4, HEIGHT, WIDTH, 16))
    by_row = net.op("MatMul", pixels, net.some(HEIGHT, 16, HEIGHT))
    by_column = net.op("MatMul", net.op("Transpose", pixels, perm=[0, 2, 1, 3]), net.some(WIDTH, 16, WIDTH))
    by_column = net.op("Transpose", by_column, perm=[0, 2, 1, 3])
    apart = net.op("Reshape", scores, shape(net, 4, HEIGHT, WIDTH, HEIGHT, WIDTH))
    apart = net.op("Add", apart, net.op("Reshape", by_row, shape(net, 4, HEIGHT, WIDTH, HEIGHT, 1)))
    apart = net.op("Add", apart, net.op("Reshape", by_column, shape(net, 4, HEIGHT, WIDTH, 1, WIDTH)))
    return net.op("Reshape", apart, shape(net, 4, TOKENS, TOKENS))


def gathered(net: OnnxNetwork, scores: str, q: str, index: np.ndarray) -> str:
    """Distances are columns of one product, from which each pair of pixels takes its own."""
    of_all = net.op("MatMul", q, net.some(16, 2 * (HEIGHT + WIDTH)))
    picked = [
        net.op("GatherElements", of_all, net.number(np.broadcast_to(each, (4, *each.shape)).copy()), axis=2)
        for each in index
    ]
    return net.op("Add", scores, net.op("Add", *picked))


def distances(net: OnnxNetwork, scores: str, q: str) -> str:
    y, x = np.divmod(np.arange(TOKENS), WIDTH)
    down, right = y - y[:, None] + HEIGHT - 1, x - x[:, None] + 2 * HEIGHT - 2 + WIDTH
    return gathered(net, scores, q, np.stack([down, right]))


def far_apart(net: OnnxNetwork, scores: str, q: str) -> str:
    """One number of the products for rows is so large that sums with it lose what is for columns."""
    pixels = net.op("Reshape", q, shape(net, 4, HEIGHT, WIDTH, 16))
    table = (net.rng.normal(size=(HEIGHT, 16, HEIGHT)) * 0.3).astype(np.float32)
    table[0, 0, 0] = -1e9
    by_column = net.op("MatMul", net.op("Transpose", pixels, perm=[0, 2, 1, 3]), net.some(WIDTH, 16, WIDTH))
    by_column = net.op("Reshape", net.op("Transpose", by_column, perm=[0, 2, 1, 3]), shape(net, 4, TOKENS, 1, WIDTH))
    by_row = net.op("Reshape", net.op("MatMul", pixels, net.number(table)), shape(net, 4, TOKENS, HEIGHT, 1))
    return net.op("Add", scores, net.op("Reshape", net.op("Add", by_row, by_column), shape(net, 4, TOKENS, TOKENS)))


def distances_in_any_order(net: OnnxNetwork, scores: str, q: str) -> str:
    return gathered(net, scores, q, net.rng.integers(0, 2 * (HEIGHT + WIDTH), (2, TOKENS, TOKENS)))


def one_product(net: OnnxNetwork, scores: str, q: str) -> str:
    """The same for all queries."""
    return net.op("Add", scores, net.op("MatMul", q, net.some(16, TOKENS)))


def of_one_head_in_any_order(net: OnnxNetwork, scores: str, q: str) -> str:
    """Of which the other is a million times as large."""
    large, small = (
        net.op("Mul", q, net.number(np.array([a, b, a, b], np.float32).reshape(4, 1, 1))) for a, b in ((1e6, 0), (0, 1))
    )
    return distances_in_any_order(net, distances(net, scores, large), small)


def of_keys(net: OnnxNetwork, scores: str, q: str) -> str:
    """Not of queries alone."""
    return net.op("Add", distances(net, scores, q), net.op("Transpose", distances(net, scores, q), perm=[0, 2, 1]))


def network(net: OnnxNetwork, added: Added, *, is_map: bool = False) -> bytes:
    """Two heads of two images, [2, tokens, 24] or [2, 24, height, width] to [2, tokens, 16]."""
    of_images = [2, 24, HEIGHT, WIDTH] if is_map else [2, TOKENS, 24]
    if is_map:
        whole = net.op("Reshape", net.op("Conv", "x", net.some(96, 24, 1, 1)), shape(net, 2, 3, 2, 16, TOKENS))
        apart = net.op("Transpose", whole, perm=[1, 0, 2, 4, 3])
    else:
        apart = net.op("Reshape", rows(net, "x", 24, 96), shape(net, 2, TOKENS, 3, 2, 16))
        apart = net.op("Transpose", apart, perm=[2, 0, 3, 1, 4])
    ends = [net.number(np.array([each], np.int64)) for each in range(4)]
    parts = (net.op("Slice", apart, ends[n], ends[n + 1], ends[0]) for n in range(3))
    q, k, v = (net.op("Reshape", part, shape(net, 4, TOKENS, 16)) for part in parts)
    scaled = net.op("Mul", q, net.number(np.array(0.25, np.float32)))
    scores = net.op("MatMul", scaled, net.op("Transpose", k, perm=[0, 2, 1]))
    means = net.op("MatMul", net.op("Softmax", added(net, scores, q), axis=-1), v)
    beside = net.op("Transpose", net.op("Reshape", means, shape(net, 2, 2, TOKENS, 16)), perm=[0, 2, 1, 3])
    return net.model(of_images, rows(net, net.op("Reshape", beside, shape(net, 2, TOKENS, 32)), 32, 16))


def simplified(model: bytes) -> Module:
    module = import_model(model)
    simplify_pipeline().run(module)
    return module


FORMS = [
    (tables_for_rows_and_columns, False),
    (tables_for_rows_and_columns, True),
    (distances, True),
    (distances, False),
]


@pytest.mark.parametrize(("form", "machine"), in_turn(FORMS, ["m4096", "s256"]))
def test_one_program(form: tuple[Added, bool], machine: str, rng: np.random.Generator) -> None:
    added, is_map = form
    model = network(OnnxNetwork(rng), added, is_map=is_map)
    artifact = compile_to_memory(model, replace(OPTIONS, machine=machine))
    assert {each.on for each in details_of(artifact).placement if each.op in ("attention", "conv", "add")} == {"device"}
    assert len(artifact.manifest.device_programs) == 1
    of_images = (2, 24, HEIGHT, WIDTH) if is_map else (2, TOKENS, 24)
    found = assert_engines_agree(artifact, {"x": rng.normal(size=of_images).astype(np.float32)})
    assert len(np.unique(found)) > 20


@pytest.mark.parametrize("added", [tables_for_rows_and_columns, distances])
def test_what_is_computed_stays(added: Added, rng: np.random.Generator) -> None:
    module = simplified(network(OnnxNetwork(rng), added))
    x = rng.normal(size=(2, TOKENS, 24)).astype(np.float32)
    (expected,) = run(module, {"x": x}).values()
    assert RelativePositions().run(module).modified
    assert sum(is_op(op, Conv) for op in module.main.ops) == HEIGHT + WIDTH + 1
    np.testing.assert_allclose(next(iter(run(module, {"x": x}).values())), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("added", [distances_in_any_order, of_one_head_in_any_order, far_apart, one_product, of_keys])
def test_what_is_no_position_in_an_image_stays(added: Added, rng: np.random.Generator) -> None:
    module = simplified(network(OnnxNetwork(rng), added))
    before = print_module(module)
    assert not RelativePositions().run(module).modified
    assert print_module(module) == before


def test_ops_that_are_kept_stay(rng: np.random.Generator) -> None:
    module = simplified(network(OnnxNetwork(rng), distances))
    assert not RelativePositions(keep=("gather_elements",)).run(module).modified


def test_no_number_hides_a_key(rng: np.random.Generator) -> None:
    """The smallest integer of what is added would; the product that makes it saturates above."""
    quantized = quantize_module(import_model(network(OnnxNetwork(rng), distances)), OPTIONS)
    (attention,) = (op for op in quantized.main.ops if is_op(op, Attention))
    mask = attention.operands.mask
    assert mask is not None
    assert is_op(mask.producer, Conv)
    operator = mask.producer.operator
    assert operator.act == "clip"
    assert [stored(bound, mask.type) for bound in operator.act_args] == [limits(mask.type)[0] + 1, limits(mask.type)[1]]
