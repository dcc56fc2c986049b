"""Mixtures of experts against onnxruntime."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked
from onnx_nodes import node_model as any_node_model

from tilewright.errors import ModelError, UnsupportedError

node_model = partial(any_node_model, domain="com.microsoft")

EXPERTS, WIDTH, INNER = 4, 16, 32


def real(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def experts(rng: np.random.Generator, rows: int, inner: int) -> list[np.ndarray | None]:
    inputs: list[np.ndarray | None] = [real(rng, 1, rows, WIDTH), real(rng, rows, EXPERTS)]
    return [*inputs, real(rng, EXPERTS, inner, WIDTH), real(rng, EXPERTS, inner), real(rng, EXPERTS, WIDTH, INNER)]


@pytest.mark.parametrize(
    ("rows", "k", "attributes"),
    [
        (5, 2, {"activation_type": "gelu"}),
        (5, 1, {"activation_type": "silu", "normalize_routing_weights": 1}),
        (1, 2, {"activation_type": "relu", "normalize_routing_weights": 1}),
        (1, 3, {"activation_type": "swiglu", "swiglu_fusion": 1}),
        (2, 2, {"activation_type": "swiglu", "swiglu_fusion": 1, "activation_alpha": 0.0}),
        (3, 2, {"activation_type": "swiglu", "swiglu_fusion": 1, "activation_alpha": 1.7, "swiglu_limit": 0.7}),
    ],
)
def test_experts(rows: int, k: int, attributes: dict[str, Any], rng: np.random.Generator) -> None:
    is_paired = attributes["activation_type"] == "swiglu"
    inputs = experts(rng, rows, INNER * (1 + is_paired))
    if is_paired:
        attributes["activation_beta"] = 1.0
    model = node_model("MoE", inputs, constants=range(2, 5), k=k, **attributes)
    assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize(("bits", "size", "rows"), [(4, 0, 1), (4, 16, 5), (8, 0, 5), (2, 16, 1)])
@pytest.mark.parametrize("has_zeros", [False, True])
def test_experts_of_integers(bits: int, size: int, rows: int, has_zeros: bool, rng: np.random.Generator) -> None:
    def layer(results: int, operands: int) -> list[np.ndarray | None]:
        blocks = (operands // size,) if size else ()
        line = (-(-results * bits // 8),) if not size else (results, -(-operands // size * bits // 8))
        packed = rng.integers(0, 256, (EXPERTS, results, operands * bits // 8)).astype(np.uint8)
        scales = rng.uniform(0.01, 0.02, (EXPERTS, results, *blocks)).astype(np.float32)
        zeros = rng.integers(0, 256, (EXPERTS, *line)).astype(np.uint8) if has_zeros else None
        return [packed, scales, zeros]

    (*first, first_zeros), (*last, last_zeros) = layer(INNER, WIDTH), layer(WIDTH, INNER)
    inputs = [*experts(rng, rows, INNER)[:2], *first, None, *last, real(rng, EXPERTS, WIDTH)]
    inputs += [None, None, None, first_zeros, last_zeros, None, np.abs(real(rng, rows, EXPERTS))]
    attributes: dict[str, Any] = {"k": 2, "normalize_routing_weights": 1, "activation_type": "silu"}
    attributes |= {"expert_weight_bits": bits} | ({"block_size": size} if size else {})
    model = node_model("QMoE", inputs, constants=(2, 3, 5, 6, 11, 12), **attributes)
    assert_imports_like_onnxruntime(model, inputs)
    inputs[6] = real(rng, 3)
    with pytest.raises(ModelError, match=r"the scales do not fit the weights; expected .* for blocks of"):
        import_checked(node_model("QMoE", inputs, constants=(2, 3, 5, 6, 11, 12), **attributes))


def test_experts_that_are_not_there(rng: np.random.Generator) -> None:
    inputs = experts(rng, 3, INNER)
    with pytest.raises(
        ModelError, match=r"the router does not fit; expected 1 to 4 experts of each of 3 rows, found 5"
    ):
        import_checked(node_model("MoE", inputs, k=5))
    with pytest.raises(UnsupportedError, match=r"this activation is not supported; expected relu, gelu.* found tanh"):
        import_checked(node_model("MoE", inputs, activation_type="tanh"))
    with pytest.raises(UnsupportedError, match="only weights in integers that are not packed before are supported"):
        import_checked(node_model("QMoE", [*inputs[:4], None, *inputs[:2]], quant_type="fp4"))
    for at, other in ((2, real(rng, 1, INNER, WIDTH)), (3, real(rng, EXPERTS, 1))):
        with pytest.raises(
            ModelError, match=r"weights or biases do not fit the router; expected weights of 4 experts, .* found f32"
        ):
            import_checked(node_model("MoE", [*inputs[:at], other, *inputs[at + 1 :]]))
