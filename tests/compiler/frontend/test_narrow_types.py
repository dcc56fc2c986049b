"""bfloat16, float8 and smaller types, integers of 4 and 2 bits, and scales of blocks: as ml_dtypes has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx.reference
import pytest
from onnx import TensorProto, helper
from onnx_nodes import node_model

import tilewright.compiler.onnx_backend as backend
from tilewright.compiler.frontend.onnx.narrow_types import STORED, is_integer, name_of, restored, stored
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import InputError, ModelError, UnsupportedError
from tilewright.ir import interp
from tilewright.runtime.report.details import details_of

OPSET = min(28, onnx.defs.onnx_opset_version())
FLOATS = [code for code in STORED if not is_integer(code)]
INTEGERS = [code for code in STORED if is_integer(code)]
BFLOAT16: Any = np.dtype(ml_dtypes.bfloat16)


def names(codes: list[int]) -> list[str]:
    return [name_of(code) for code in codes]


def computed(op_type: str, *inputs: np.ndarray, **attributes: Any) -> np.ndarray:
    """What a node gives by the reference, in integers where the type is a narrow one."""
    module = import_onnx(node_model(op_type, inputs, opset=OPSET, **attributes))
    return interp.run(module, {f"x{index}": stored(array) for index, array in enumerate(inputs)})["y0"]


def edges() -> np.ndarray:
    """Numbers of all magnitudes, those on and beside the middle between two of any type among them."""
    halves = (np.arange(1 << 16, dtype=np.uint32) << 16)[::7]
    beside = np.concatenate([halves, halves + 1, halves - 1, halves + 0x8000, halves + 0x8001, halves + 0x7FFF])
    return np.concatenate(
        [beside.view(np.float32), np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 448, 464], np.float32)]
    )


@pytest.mark.parametrize("code", FLOATS, ids=names(FLOATS))
@pytest.mark.parametrize("saturate", [0, 1])
def test_floats_are_rounded_as_ml_dtypes_does(code: int, saturate: int) -> None:
    x = edges()
    dtype = helper.tensor_dtype_to_np_dtype(code)
    with np.errstate(all="ignore"):
        if dtype == ml_dtypes.float8_e8m0fnu:
            expected = onnx.numpy_helper.to_float8e8m0(x, bool(saturate), "up")
        elif saturate and dtype != BFLOAT16:
            expected = onnx.numpy_helper.saturate_cast(x, dtype)
        else:
            expected = x.astype(dtype)
    found = restored(computed("Cast", x, to=code, saturate=saturate), code)
    np.testing.assert_array_equal(found.astype(np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("code", FLOATS, ids=names(FLOATS))
def test_every_number_of_a_type_is_read(code: int) -> None:
    codes = np.arange(1 << 16 if code == TensorProto.BFLOAT16 else 256).astype(STORED[code].numpy)
    x = restored(codes, code)
    np.testing.assert_array_equal(computed("Cast", x, to=TensorProto.FLOAT), x.astype(np.float32))


@pytest.mark.parametrize("code", INTEGERS, ids=names(INTEGERS))
def test_integers_keep_their_lowest_bits(code: int) -> None:
    x = np.arange(-40, 40, dtype=np.int32)
    dtype = helper.tensor_dtype_to_np_dtype(code)
    np.testing.assert_array_equal(computed("Cast", x, to=code), x.astype(dtype).astype(int))
    back = np.arange(-2, 4).astype(dtype)
    np.testing.assert_array_equal(computed("Cast", back, to=TensorProto.INT64), back.astype(np.int64))


@pytest.mark.parametrize("mode", ["up", "down", "nearest"])
def test_powers_of_two_are_rounded_as_asked_for(mode: str) -> None:
    x = np.abs(edges())
    expected = onnx.numpy_helper.to_float8e8m0(x, True, mode).view(np.uint8)
    code = TensorProto.FLOAT8E8M0
    np.testing.assert_array_equal(computed("Cast", x, to=code, saturate=1, round_mode=mode), expected)


@pytest.mark.parametrize("code", STORED, ids=names([*STORED]))
@pytest.mark.parametrize("is_external", [False, True])
def test_constants_of_a_model_are_read(code: int, is_external: bool, tmp_path: Path) -> None:
    x = np.arange(-2, 5).astype(helper.tensor_dtype_to_np_dtype(code))
    model = node_model("Cast", [x], opset=OPSET, constants=[0], to=TensorProto.FLOAT)
    file = tmp_path / "model.onnx"
    if is_external:
        (tensor,) = model.graph.initializer
        tensor.CopyFrom(onnx.numpy_helper.from_array(x, "x0"))
        (tmp_path / "weights").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="weights")
    file.write_bytes(model.SerializeToString())
    np.testing.assert_array_equal(interp.run(import_onnx(file), {})["y0"], x.astype(np.float32))


def test_operators_compute_in_float32_and_round() -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=(5, 7)).astype(BFLOAT16) for _ in range(2))
    (found,) = backend.run_model(node_model("Mul", [a, b], opset=OPSET), [a, b])
    assert found.dtype == BFLOAT16
    product = a.astype(np.float32) * b.astype(np.float32)
    np.testing.assert_array_equal(found, product.astype(BFLOAT16))
    (moved,) = backend.run_model(node_model("Transpose", [a], opset=OPSET), [a])
    np.testing.assert_array_equal(moved, a.T)
    (indices,) = backend.run_model(node_model("ArgMax", [a], opset=OPSET, axis=1, keepdims=0), [a])
    assert indices.tolist() == a.astype(np.float32).argmax(1).tolist()


def test_loops_round_each_result() -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Add", ["state", "x"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.BFLOAT16, [3]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.BFLOAT16, [3]),
        ],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["steps", "", "x"], ["y"], body=body)],
        "adds",
        [
            helper.make_tensor_value_info("steps", TensorProto.INT64, []),
            helper.make_tensor_value_info("x", TensorProto.BFLOAT16, [3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, [3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    x: Any = np.array([1, 2.5, -3], BFLOAT16)
    for steps in (0, 3, 200):
        (found,) = backend.run_model(model, [np.asarray(steps), x])
        expected = x
        for _ in range(steps):
            expected = expected + x
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("extent", [7, 9])
@pytest.mark.parametrize("code", [TensorProto.INT8, TensorProto.UINT16, TensorProto.INT4, TensorProto.UINT2])
def test_scales_of_blocks(code: int, extent: int) -> None:
    rng = np.random.default_rng(code)
    x = rng.normal(0, 4, (3, extent, 2)).astype(np.float32)
    scale = rng.uniform(0.25, 2, (3, 3, 2)).astype(np.float32)
    dtype = helper.tensor_dtype_to_np_dtype(code)
    zero = rng.integers(0, 2, scale.shape).astype(dtype)
    low, high = ml_dtypes.iinfo(dtype).min, ml_dtypes.iinfo(dtype).max
    each = np.repeat(scale, 3, 1)[:, :extent], np.repeat(zero.astype(np.int32), 3, 1)[:, :extent]
    expected = np.clip(np.rint(x / each[0]) + each[1], low, high).astype(np.int32)
    quantized = computed("QuantizeLinear", x, scale, zero, axis=1, block_size=3)
    np.testing.assert_array_equal(quantized, expected)
    real = computed("DequantizeLinear", expected.astype(dtype), scale, zero, axis=1, block_size=3)
    np.testing.assert_allclose(real, (expected - each[1]) * each[0], rtol=1e-6)


def test_a_block_that_is_larger_than_what_it_scales() -> None:
    x, scale = np.array([[2, 3], [4, 5]], np.int8), np.array([[0.5, 2]], np.float32)
    found = computed("DequantizeLinear", x, scale, axis=0, block_size=1 << 40)
    np.testing.assert_array_equal(found, x * scale)


def test_blocks_of_a_tensor_of_as_many_dimensions_as_there_may_be(rng: np.random.Generator) -> None:
    shape, scales = (*[1] * 14, 2, 6), (*[1] * 14, 2, 2)
    x, scale = rng.integers(-9, 9, shape).astype(np.int8), rng.uniform(0.25, 2, scales).astype(np.float32)
    real = computed("DequantizeLinear", x, scale, axis=15, block_size=3)
    np.testing.assert_array_equal(real, x * np.repeat(scale, 3, -1))
    np.testing.assert_array_equal(computed("QuantizeLinear", real, scale, axis=15, block_size=3, output_dtype=3), x)


@pytest.mark.parametrize(("domain", "opset"), [("", 21), ("com.microsoft", 13)])
def test_four_bits_of_weights_reach_integer_kernels(domain: str, opset: int) -> None:
    """onnxruntime's quantiser writes operators of its own where the model is older than integers of 4 bits."""
    rng = np.random.default_rng(4)
    weights = rng.integers(-8, 8, (16, 8)).astype(ml_dtypes.int4)
    scale = rng.uniform(0.1, 1, 8).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["w", "s"], ["real"], axis=1, domain=domain),
        helper.make_node("MatMul", ["x", "real"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "weights",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 8])],
        initializer=[onnx.numpy_helper.from_array(weights, "w"), onnx.numpy_helper.from_array(scale, "s")],
    )
    x = rng.normal(size=(2, 16)).astype(np.float32)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    (found,) = backend.run_model(helper.make_model(graph, opset_imports=opsets), [x])
    np.testing.assert_allclose(found, x @ (weights.astype(np.float32) * scale), rtol=1e-4, atol=1e-4)


LOOP = (
    "n = Constant <value_int = {steps}> ()  t = Constant <value_int = 1> ()  b = Cast <to = 9> (t)  y = Loop (n, b, x)"
    " <body = steps (int64 i, bool c, {type}[4] s) => (bool d, {type}[4] r) {{ d = Identity (c)  {body} }}>"
)


@pytest.mark.parametrize(
    ("type", "nodes"),
    [
        ("bfloat16", "s = SequenceConstruct (x, x)  y = ConcatFromSequence <axis = 0> (s)"),
        ("bfloat16", "y = SequenceConstruct (x, x)"),
        ("bfloat16", "y = SplitToSequence <axis = 0> (x)"),
        (
            "bfloat16",
            "s = SequenceConstruct (x)  p = Constant <value_int = 0> ()  a = SequenceAt (s, p)  b = Mul (a, a)"
            "  y = Mul (a, b)",
        ),
        ("bfloat16", LOOP.format(steps=300, type="bfloat16", body="a = Abs (s)  q = Sqrt (a)  r = Add (q, x)")),
        ("int4", "g = OptionalGetElement (x)  y = SequenceConstruct (g, x)"),
        ("int4", LOOP.format(steps=3, type="int4", body="r = Identity (s)")),
    ],
)
def test_sequences_and_loops_keep_the_type(type: str, nodes: str) -> None:
    returned = (
        f"{type}[n] y" if "y = SequenceConstruct" not in nodes and "y = Split" not in nodes else f"seq({type}[n]) y"
    )
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 21]> g ({type}[4] x) => ({returned}) {{ {nodes} }}'
    )
    x = np.array([1.5, -2.25, 3.125, 7], getattr(ml_dtypes, type))
    (found,) = backend.run_model(model, [x])
    (expected,) = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    for mine, theirs in zip(found, expected, strict=True):
        assert np.asarray(mine).dtype == x.dtype
        np.testing.assert_array_equal(mine, theirs)


def test_the_artifact_says_what_its_integers_stand_for() -> None:
    x = np.ones(3, BFLOAT16)
    prepared = backend.prepare(node_model("Neg", [x], opset=OPSET))
    assert prepared.run([x])[0].tolist() == [-1, -1, -1]
    (session,) = prepared._sessions.values()  # pyright: ignore[reportPrivateUsage]
    assert details_of(session.artifact).elements == {"x0": "bfloat16", "y0": "bfloat16"}
    assert str(session.inputs[0]) == "x0: u16[3]"
    with pytest.raises(InputError) as caught:
        session.run({"x0": x})
    assert str(caught.value) == (
        "input 'x0' has the wrong dtype; expected uint16, found bfloat16. Give its bits with array.view('uint16')."
    )


def test_what_has_no_meaning_is_refused() -> None:
    nibbles = np.ones(3, ml_dtypes.int4)
    with pytest.raises(UnsupportedError, match="does not compute with integers of 4 and 2 bits"):
        computed("Neg", nibbles)
    with pytest.raises(UnsupportedError, match="less than 8 bits"):
        computed("BitCast", nibbles, to=TensorProto.UINT4)
    with pytest.raises(ModelError, match=r"unknown rounding mode; expected up, down or nearest, found sideways"):
        computed("Cast", np.ones(3, np.float32), to=TensorProto.FLOAT8E8M0, round_mode="sideways")
    with pytest.raises(ModelError, match=r"the scales are not one for each block"):
        computed("QuantizeLinear", np.ones(7, np.float32), np.ones(2, np.float32), axis=0, block_size=3)
