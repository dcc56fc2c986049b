"""What exports of language models are made of, against onnxruntime: positions, grouped heads, caches."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked
from onnx_nodes import node_model as any_node_model

from tilewright.errors import ModelError, ResourceError, UnsupportedError

node_model = partial(any_node_model, domain="com.microsoft")

HEADS, GROUPS, WIDTH = 4, 2, 16


def real(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def grouped(
    rng: np.random.Generator, lengths: list[int], rows: int, room: int, **attributes: Any
) -> tuple[onnx.ModelProto, list[np.ndarray | None]]:
    """A node of GroupQueryAttention, ``lengths`` of which are the positions of each sequence after this step."""
    batch = len(lengths)
    inputs: list[np.ndarray | None] = [real(rng, batch, rows, n * WIDTH) for n in (HEADS, GROUPS, GROUPS)]
    inputs += [real(rng, batch, GROUPS, room, WIDTH) if room else None for _ in range(2)]
    inputs += [np.array(lengths, np.int32) - 1, np.array(max(lengths), np.int32)]
    if attributes.get("do_rotary"):
        inputs += [real(rng, 16, WIDTH // 2) for _ in range(2)]
    return any_node_model(
        "GroupQueryAttention",
        inputs,
        domain="com.microsoft",
        constants=(6, 7, 8),
        outputs=3,
        num_heads=HEADS,
        kv_num_heads=GROUPS,
        **attributes,
    ), inputs


@pytest.mark.parametrize(
    ("rows", "room", "attributes"),
    [
        (5, 0, {}),
        (1, 6, {"do_rotary": 1}),
        (3, 6, {"do_rotary": 1, "rotary_interleaved": 1, "scale": 0.2}),
        (4, 6, {"local_window_size": 3}),
        (2, 6, {"softcap": 2.0}),
        (3, 6, {"smooth_softmax": 1}),
    ],
)
def test_grouped_heads(rows: int, room: int, attributes: dict[str, Any], rng: np.random.Generator) -> None:
    assert_imports_like_onnxruntime(*grouped(rng, [rows + room], rows, room, **attributes))


@pytest.mark.parametrize(("lengths", "room"), [([7, 4], 6), ([4, 7], 9), ([7], 12)])
def test_sequences_of_several_lengths(lengths: list[int], room: int, rng: np.random.Generator) -> None:
    model, inputs = grouped(rng, lengths, 1, room, do_rotary=1)
    # What onnxruntime leaves behind the end of a sequence in its cache is nobody's.
    del model.graph.output[1:]
    assert_imports_like_onnxruntime(model, inputs)


def test_queries_keys_and_values_in_one(rng: np.random.Generator) -> None:
    model, inputs = grouped(rng, [7], 1, 6)
    bias = [None, None, None, real(rng, 1, HEADS, 1, 7)]
    packed = [real(rng, 1, 1, (HEADS + 2 * GROUPS) * WIDTH), None, None, *inputs[3:], *bias]
    attributes: dict[str, Any] = {"num_heads": HEADS, "kv_num_heads": GROUPS}
    model = node_model("GroupQueryAttention", packed, constants=(6,), outputs=3, **attributes)
    assert_imports_like_onnxruntime(model, packed)


def test_sinks_take_weight_from_the_keys(rng: np.random.Generator) -> None:
    _, inputs = grouped(rng, [7, 7], 1, 6)
    inputs += [*[None] * 4, real(rng, HEADS)]
    attributes: dict[str, Any] = {"num_heads": HEADS, "kv_num_heads": GROUPS}
    model = node_model("GroupQueryAttention", inputs, constants=(6,), outputs=3, **attributes)
    assert_imports_like_onnxruntime(model, inputs)


def test_what_grouped_heads_do_not_have(rng: np.random.Generator) -> None:
    with pytest.raises(UnsupportedError, match="attribute 'qk_output' is not supported"):
        import_checked(grouped(rng, [7], 1, 6, qk_output=1)[0])
    with pytest.raises(ModelError, match=r"there is no such total length; expected 1 to 5, .* have room for, found 7"):
        import_checked(grouped(rng, [7], 1, 4)[0])
    model, _ = grouped(rng, [7], 1, 6)
    model.graph.node[0].attribute[0].i = 3
    with pytest.raises(ModelError, match="the heads of keys do not divide those of queries; found 3 and 4"):
        import_checked(model)
    model.graph.node[0].attribute[0].i = 0
    with pytest.raises(ModelError, match="the heads of keys do not divide those of queries; found 0 and 4"):
        import_checked(model)
    model, _ = grouped(rng, [7], 1, 6)
    model.graph.node[0].input[2] = ""
    with pytest.raises(ModelError, match="keys and values come both, or both within the queries; found one of the two"):
        import_checked(model)
    with pytest.raises(ModelError, match="tables of positions do not fit the heads; expected two alike of at most 8 p"):
        import_checked(node_model("RotaryEmbedding", [real(rng, 1, 2, 16), np.array([3]), *[real(rng, 16, 9)] * 2]))
    inputs = [real(rng, 1, 2, 16), np.array([3]), *[real(rng, 16, 4)] * 2]
    with pytest.raises(ModelError, match=r"'rotary_embedding_dim'; expected 8, two of each of their 4 pairs, found 4$"):
        import_checked(node_model("RotaryEmbedding", inputs, num_heads=2, rotary_embedding_dim=4))


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("form", ["heads", "side by side", "first position", "part"])
def test_rotated_positions(form: str, interleaved: int, rng: np.random.Generator) -> None:
    shapes = {"heads": (2, 3, 5, 8), "part": (2, 5, 48)}
    places = np.array([3]) if form in ("first position", "part") else rng.integers(0, 16, (2, 5))
    inputs = [real(rng, *shapes.get(form, (2, 5, 32))), places, real(rng, 16, 4), real(rng, 16, 4)]
    attributes: dict[str, Any] = {"num_heads": 4, "rotary_embedding_dim": 8} if form == "part" else {}
    model = node_model("RotaryEmbedding", inputs, constants=(2, 3), interleaved=interleaved, **attributes)
    assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("form", ["heads", "side by side", "own angles", "part"])
def test_rotated_positions_of_the_standard(form: str, interleaved: int, rng: np.random.Generator) -> None:
    shapes = {"heads": (2, 3, 5, 8), "part": (2, 5, 48)}
    x, places = real(rng, *shapes.get(form, (2, 5, 32))), rng.integers(0, 16, (2, 5))
    tables = [real(rng, *((2, 5) if form == "own angles" else (16,)), 4) for _ in range(2)]
    inputs = [x, *tables, *([] if form == "own angles" else [places])]
    attributes: dict[str, Any] = {"num_heads": 4} if x.ndim == 3 else {}
    attributes |= {"rotary_embedding_dim": 8} if form == "part" else {}
    model = any_node_model("RotaryEmbedding", inputs, opset=23, constants=(1, 2), interleaved=interleaved, **attributes)
    assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize("mask", [None, [9, 7], [9, 7, 2, 1]])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention_with_its_past(mask: list[int] | None, unidirectional: int, rng: np.random.Generator) -> None:
    limits = None if mask is None else np.array(mask, np.int32)
    inputs = [real(rng, 2, 4, 8), real(rng, 8, 24), real(rng, 24), limits, real(rng, 2, 2, 2, 5, 4)]
    attributes: dict[str, Any] = {"num_heads": 2, "unidirectional": unidirectional}
    assert_imports_like_onnxruntime(node_model("Attention", inputs, constants=(1, 2), outputs=2, **attributes), inputs)


@pytest.mark.parametrize("keys", [3, 6])
def test_rows_read_keys_of_another_sequence_up_to_their_place(keys: int, rng: np.random.Generator) -> None:
    inputs = [real(rng, 2, 4, 8), real(rng, 2, keys, 8), real(rng, 2, keys, 8)]
    model = node_model("MultiHeadAttention", inputs, num_heads=2, unidirectional=1)
    assert_imports_like_onnxruntime(model, inputs)


def test_projected_inputs_with_their_past(rng: np.random.Generator) -> None:
    inputs = [*(real(rng, 2, 4, 8) for _ in range(3)), None, np.array([8, 9], np.int32), real(rng, 1, 2, 4, 9)]
    inputs += [real(rng, 2, 2, 5, 4), real(rng, 2, 2, 5, 4)]
    assert_imports_like_onnxruntime(node_model("MultiHeadAttention", inputs, outputs=3, num_heads=2), inputs)


@pytest.mark.parametrize("channels_last", [0, 1])
@pytest.mark.parametrize(("steps", "has_past", "dilation"), [(1, True, 1), (6, False, 2)])
def test_windows_over_states(
    steps: int, has_past: bool, dilation: int, channels_last: int, rng: np.random.Generator
) -> None:
    x, past = ((2, n, 2, 4) if channels_last else (2, 8, n) for n in (steps, 3 * dilation))
    inputs = [real(rng, *x), real(rng, 8, 1, 4), real(rng, 8), real(rng, *past) if has_past else None]
    attributes: dict[str, Any] = {"activation": "silu", "dilation": dilation, "channels_last": channels_last}
    model = node_model("CausalConvWithState", inputs, constants=(1, 2), outputs=2, **attributes)
    assert_imports_like_onnxruntime(model, inputs)
    with pytest.raises(UnsupportedError, match="only convolutions over one dimension are supported; found 2"):
        import_checked(node_model("CausalConvWithState", inputs, constants=(1, 2), ndim=2))
    with pytest.raises(ResourceError, match=r"asks for a constant that is too large; .* with f32\[2,8,100663296\]"):
        inputs = [real(rng, 2, 8, 1), *inputs[1:3]]
        import_checked(node_model("CausalConvWithState", inputs, constants=(1, 2), dilation=2**25))


@pytest.mark.parametrize(
    ("rule", "steps", "heads", "groups", "has_past"),
    [("linear", 1, 4, 4, True), ("gated", 5, 4, 2, False), ("delta", 5, 2, 4, True), ("gated_delta", 3, 4, 2, True)],
)
def test_linear_attention(
    rule: str, steps: int, heads: int, groups: int, has_past: bool, rng: np.random.Generator
) -> None:
    width, depth = 8, 6
    inputs = [real(rng, 2, steps, heads * width), 0.3 * real(rng, 2, steps, groups * width)]
    inputs += [real(rng, 2, steps, groups * depth), real(rng, 2, groups, width, depth) if has_past else None]
    inputs.append(-np.abs(real(rng, 2, steps, groups * (width if has_past else 1))) if "gated" in rule else None)
    inputs.append(np.abs(real(rng, 2, steps, 1 if has_past else groups)) if "delta" in rule else None)
    attributes: dict[str, Any] = {"q_num_heads": heads, "kv_num_heads": groups}
    model = node_model("LinearAttention", inputs, outputs=2, update_rule=rule, **attributes)
    assert_imports_like_onnxruntime(model, inputs)
    with pytest.raises(UnsupportedError, match=r"this rule is not supported; expected linear, .* found other"):
        import_checked(node_model("LinearAttention", inputs, update_rule="other", **attributes))
    inputs[3] = real(rng, 2, 1, 1, depth)
    with pytest.raises(
        ModelError, match=rf"do not fit the heads; expected floats of .* state of \[2, {groups}, 8, 6\], fo"
    ):
        import_checked(node_model("LinearAttention", inputs, update_rule=rule, **attributes))
