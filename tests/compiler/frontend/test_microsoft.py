"""Operators of com.microsoft against onnxruntime."""

from __future__ import annotations

from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked
from onnx_nodes import node_model as any_node_model

from tilewright.errors import ModelError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.core import is_op
from tilewright.ir.ops.matmul import MatMul

node_model = partial(any_node_model, domain="com.microsoft")


def real(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    ("op_type", "shapes", "attributes"),
    [
        ("FusedMatMul", [(2, 3, 4), (2, 5, 4)], {"transB": 1, "alpha": 0.25}),
        ("FusedMatMul", [(4, 3), (4, 5)], {"transA": 1}),
        ("FusedMatMul", [(4, 2, 3, 5), (2, 3, 5, 6)], {"transBatchA": 1, "alpha": 0.5}),
        ("FusedMatMul", [(5, 2, 4), (6, 2, 5)], {"transBatchA": 1, "transA": 1, "transBatchB": 1, "transB": 1}),
        ("TransposeMatMul", [(2, 4, 3), (2, 5, 4)], {"transA": 1, "transB": 1, "alpha": 0.5}),
        ("FusedGemm", [(3, 4), (4, 5), (5,)], {"activation": "Relu", "alpha": 0.5}),
        ("FusedGemm", [(3, 4), (4, 5)], {"activation": "LeakyRelu", "activation_alpha": 0.3}),
        ("FusedConv", [(1, 3, 6, 6), (4, 3, 3, 3), (4,)], {"activation": "Relu", "pads": [1, 1, 1, 1]}),
        ("FusedConv", [(1, 3, 6, 6), (4, 3, 3, 3), (4,)], {"activation": "Clip", "activation_params": [-0.5, 1.0]}),
        ("FusedConv", [(1, 3, 6, 6), (4, 3, 3, 3), (4,), (1, 4, 4, 4)], {"activation": "Relu"}),
        ("BiasGelu", [(2, 3, 4), (4,)], {}),
        ("FastGelu", [(2, 3, 4), (4,)], {}),
        ("FastGelu", [(2, 3, 4)], {}),
        ("SkipLayerNormalization", [(2, 3, 8), (2, 3, 8), (8,), (8,), (8,)], {"epsilon": 1e-5}),
        ("SkipLayerNormalization", [(2, 3, 8), (3, 8), (8,)], {}),
        ("SkipSimplifiedLayerNormalization", [(2, 3, 8), (2, 3, 8), (8,), (8,)], {"epsilon": 1e-5}),
        ("DynamicQuantizeMatMul", [(3, 8), "i8", (), "zero"], {}),
        ("DynamicQuantizeMatMul", [(3, 8), "i8", (5,), None, (5,)], {}),
    ],
)
def test_fused(op_type: str, shapes: list[Any], attributes: dict[str, Any], rng: np.random.Generator) -> None:
    # Larger ones onnxruntime would saturate in pairs, without VNNI.
    weights = rng.integers(-64, 64, (8, 5)).astype(np.int8)
    known: dict[object, np.ndarray | None] = {None: None, "i8": weights, "zero": np.zeros((), np.int8)}
    inputs = [known[shape] if isinstance(shape, str) or shape is None else real(rng, *shape) for shape in shapes]
    if op_type == "DynamicQuantizeMatMul":
        inputs[2] = np.abs(np.asarray(inputs[2]))
    constants = range(1, len(inputs))
    model = node_model(op_type, inputs, constants=constants, **attributes)
    if "Skip" in op_type:
        model.graph.node[0].output.extend(["", "", "y3"])
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info("y3"))
    assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize("has_zero", [False, True])
def test_products_of_integers(has_zero: bool, rng: np.random.Generator) -> None:
    x, w = rng.integers(0, 255, (3, 8)).astype(np.uint8), rng.integers(-64, 64, (8, 5)).astype(np.int8)
    inputs = [x, w, np.float32(0.02).reshape(()), rng.uniform(0.01, 0.02, 5).astype(np.float32)]
    zeros = [np.array(117, np.uint8), np.zeros(5, np.int8)] if has_zero else [None, None]
    inputs = [*inputs, *zeros, real(rng, 5)]
    assert_imports_like_onnxruntime(node_model("MatMulIntegerToFloat", inputs, constants=range(1, 7)), inputs)


@pytest.mark.parametrize("dtype", ["int8", "uint16"])
def test_quantization(dtype: str, rng: np.random.Generator) -> None:
    x, scale, zero = rng.normal(size=(3, 4)).astype(np.float32), np.array(0.01, np.float32), np.array(7, dtype)
    stored = rng.integers(0, 100, (3, 4)).astype(dtype)
    for op_type, first in (("QuantizeLinear", x), ("DequantizeLinear", stored)):
        inputs = [first, scale, zero]
        model = node_model(op_type, inputs, domain="com.microsoft", constants=(1, 2))
        assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize("has_segments", [False, True])
def test_embeddings(has_segments: bool, rng: np.random.Generator) -> None:
    ids, mask = rng.integers(0, 9, (2, 4)).astype(np.int32), np.array([[1, 1, 1, 0], [1, 1, 1, 1]], np.int32)
    segments = rng.integers(0, 2, (2, 4)).astype(np.int32) if has_segments else None
    tables = [real(rng, 9, 8), real(rng, 6, 8), real(rng, 2, 8) if has_segments else None, real(rng, 8), real(rng, 8)]
    inputs = [ids, segments, *tables, mask]
    model = node_model("EmbedLayerNormalization", inputs, constants=range(2, 7), outputs=2)
    assert_imports_like_onnxruntime(model, inputs)
    integers = [None if table is None else rng.integers(0, 256, table.shape).astype(np.uint8) for table in tables]
    scales = [None if table is None else np.array(0.01 * i, np.float32) for i, table in enumerate(integers, 1)]
    zeros = [None if table is None else np.array(99 + i, np.uint8) for i, table in enumerate(integers)]
    inputs = [ids, segments, *integers, mask, *scales, *zeros]
    known = (*range(2, 7), *range(8, 18))
    model = node_model("QEmbedLayerNormalization", inputs, constants=known, outputs=2)
    assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize(("kind", "columns"), [(0, 32), (1, 33)])
def test_weights_of_levels(kind: int, columns: int, rng: np.random.Generator) -> None:
    rows, size = 5, 16
    packed = rng.integers(0, 256, -(-rows * columns // 2)).astype(np.uint8)
    inputs = [real(rng, *(3, columns)[kind:]), packed, np.abs(real(rng, -(-rows * columns // size)))]
    attributes: dict[str, Any] = {"K": columns, "N": rows, "block_size": size, "quant_type": kind}
    assert_imports_like_onnxruntime(node_model("MatMulBnb4", inputs, constants=(1, 2), **attributes), inputs)
    with pytest.raises(
        ModelError, match=r"do not fit what the node says of them; expected 8\d bytes and 1\d blocks, fo"
    ):
        import_checked(node_model("MatMulBnb4", [inputs[0], packed[1:], inputs[2]], constants=(1, 2), **attributes))
    # One block takes no more memory than the weights, whatever its size.
    attributes["block_size"] = 1 << 60
    import_checked(node_model("MatMulBnb4", [*inputs[:2], inputs[2][:1]], constants=(1, 2), **attributes))
    attributes["block_size"] = size
    attributes["quant_type"] = 2
    with pytest.raises(ModelError, match="there are no such weights; found type 2, blocks of 16, 5 x 3"):
        import_checked(node_model("MatMulBnb4", inputs, constants=(1, 2), **attributes))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", ["none", "integers"])
def test_weights_of_blocks(bits: int, zeros: str, rng: np.random.Generator) -> None:
    columns, rows, size = 64, 6, 32
    w = rng.integers(0, 256, (rows, columns // size, size * bits // 8)).astype(np.uint8)
    scales = rng.uniform(0.01, 0.02, rows * columns // size).astype(np.float32)
    zero = rng.integers(0, 256, rows * (columns // size) * bits // 8).astype(np.uint8) if zeros == "integers" else None
    inputs = [real(rng, 3, columns), w, scales, zero]
    attributes: dict[str, Any] = {"K": columns, "N": rows, "bits": bits, "block_size": size}
    model = node_model("MatMulNBits", inputs, constants=range(1, 4), **attributes)
    assert_imports_like_onnxruntime(model, inputs)
    for level, expected in ((0, 24), (1, 24), (2, 24), (3, 24), (4, 16), (5, 24)):
        coarse = node_model("MatMulNBits", inputs, constants=range(1, 4), **attributes, accuracy_level=level)
        (found,) = (op for op in import_checked(coarse).main.ops if is_op(op, MatMul))
        assert found.operator.x_bits == expected
    # Half precision is multiplied in single precision.
    half = [inputs[0].astype(np.float16), w, scales.astype(np.float16), zero]
    model = node_model("MatMulNBits", half, constants=range(1, 4), **attributes)
    assert_imports_like_onnxruntime(model, half)
    assert "dequantize_linear" in [op.name for op in import_checked(model).main.ops]
    wrong: dict[str, Any] = attributes | {"bits": 3}
    with pytest.raises(ModelError, match="there are no such weights; found 3 bits"):
        import_checked(node_model("MatMulNBits", inputs, constants=range(1, 4), **wrong))
    for others in (
        [w.astype(np.float32), scales, zero],
        [w, scales[:-1], zero],
        [np.concatenate([w, w]), scales, zero],
    ):
        with pytest.raises(ModelError, match="weights and scales do not fit what the node says of them"):
            import_checked(node_model("MatMulNBits", [inputs[0], *others], constants=range(1, 4), **attributes))


def test_weights_of_blocks_in_another_order(rng: np.random.Generator) -> None:
    columns, rows, size = 64, 6, 16
    w = rng.integers(0, 256, (rows, columns // size, size // 2)).astype(np.uint8)
    scales = rng.uniform(0.01, 0.02, rows * columns // size).astype(np.float32)
    group = rng.permutation(np.arange(columns, dtype=np.int32) // size)
    inputs = [real(rng, 3, columns), w, scales, None, group]
    attributes: dict[str, Any] = {"K": columns, "N": rows, "bits": 4, "block_size": size}
    assert_imports_like_onnxruntime(node_model("MatMulNBits", inputs, constants=range(1, 5), **attributes), inputs)
    # onnxruntime leaves zero points out where there are groups.
    inputs[3] = rng.integers(0, 256, (rows, columns // size // 2)).astype(np.uint8)
    module = import_checked(node_model("MatMulNBits", inputs, constants=range(1, 5), **attributes))
    integers, zeros = (
        np.stack([each & 15, each >> 4], -1).reshape(rows, -1).astype(np.float32) for each in (w, inputs[3])
    )
    expected = (integers - zeros[:, group]) * scales.reshape(rows, -1)[:, group]
    (found,) = interp.run(module, {module.main.parameters[0].name: inputs[0]}).values()
    np.testing.assert_allclose(found, inputs[0] @ expected.T, rtol=1e-4, atol=1e-5)
    for wrong in (group + 1, group[:-1], np.zeros(0, np.int32)):
        with pytest.raises(ModelError, match=r"the groups \(g_idx\) do not fit the weights; expected 64 numbers of"):
            import_checked(node_model("MatMulNBits", [*inputs[:4], wrong], constants=range(1, 5), **attributes))


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("has_zeros", [False, True])
def test_rows_of_blocks(bits: int, has_zeros: bool, rng: np.random.Generator) -> None:
    table = rng.integers(0, 256, (9, 64 * bits // 8)).astype(np.uint8)
    zeros = rng.integers(0, 256, (9, 4 * bits // 8)).astype(np.uint8) if has_zeros else None
    inputs = [table, rng.integers(0, 9, (2, 3)), rng.uniform(0.01, 0.02, (9, 4)).astype(np.float32), zeros]
    attributes: dict[str, Any] = {"bits": bits, "block_size": 16, "quantize_axis": 1}
    model = node_model("GatherBlockQuantized", inputs, constants=(0, 2, 3), **attributes)
    assert_imports_like_onnxruntime(model, inputs)
    wrong = [table, inputs[1], np.ones((9, 5), np.float32), zeros]
    with pytest.raises(ModelError, match="scales and zero points do not fit the table"):
        import_checked(node_model("GatherBlockQuantized", wrong, constants=(0, 2, 3), **attributes))
    attributes["block_size"] = 0
    with pytest.raises(ModelError, match=r"the table; expected .* blocks of 0"):
        import_checked(node_model("GatherBlockQuantized", inputs, constants=(0, 2, 3), **attributes))
    inputs[0] = table.astype(np.float32)
    with pytest.raises(UnsupportedError, match=r"only bytes are packed; found f32\[9,.*\] of . bits"):
        import_checked(node_model("GatherBlockQuantized", inputs, constants=(0, 2, 3), **attributes))


@pytest.mark.parametrize(
    ("type", "axes", "has_zeros"),
    [
        ("int4", (1, 2), True),
        ("uint4", (0, 1), False),
        ("float8_e4m3fn", (0, 1), False),
        ("float4_e2m1fn", (0, 1), False),
    ],
)
def test_blocks_of_numbers_of_four_and_eight_bits(
    type: str, axes: tuple[int, int], has_zeros: bool, rng: np.random.Generator
) -> None:
    dtype = np.dtype(getattr(ml_dtypes, type))
    table, zeros = (rng.integers(0, 8, shape).astype(dtype) for shape in ((3, 32, 32), (3, 32, 2)))
    if axes[1] == 1:
        zeros = zeros.swapaxes(1, 2)
    inputs = [table, rng.integers(0, 3, 2), rng.uniform(0.01, 0.02, zeros.shape).astype(np.float32)]
    inputs += [zeros] if has_zeros else []
    attributes: dict[str, Any] = {"block_size": 16, "gather_axis": axes[0], "quantize_axis": axes[1]}
    model = node_model("GatherBlockQuantized", inputs, constants=(0, 2, 3), opset=21, **attributes)
    assert_imports_like_onnxruntime(model, inputs)


def test_blocks_with_scales_of_bfloat16(rng: np.random.Generator) -> None:
    """Which onnxruntime does not have on CPUs."""
    table, scales = rng.integers(-8, 8, (3, 16)).astype(ml_dtypes.int4), np.full((3, 1), 0.75, ml_dtypes.bfloat16)
    inputs = [table, np.array([2, 0]), scales]
    model = node_model("GatherBlockQuantized", inputs, constants=(0, 2), block_size=16)
    model.graph.node.append(onnx.helper.make_node("Cast", ["y0"], ["real"], to=onnx.TensorProto.FLOAT))
    model.graph.output[0].name = "real"
    (found,) = interp.run(import_checked(model), {"x1": inputs[1]}).values()
    np.testing.assert_array_equal(found, table[[2, 0]].astype(np.float32) * 0.75)


def test_operators_that_the_standard_has_too(rng: np.random.Generator) -> None:
    x = real(rng, 1, 2, 5, 5)
    grid = rng.uniform(-1.2, 1.2, (1, 3, 4, 2)).astype(np.float32)
    for op_type, other in (("Trilu", np.array(1)), ("GridSample", grid)):
        assert_imports_like_onnxruntime(node_model(op_type, [x, other], constants=(1,)), [x, other])
    pads, indices = np.array([1, 0, 0, 2, 0, 0, 1, 0]), np.array([[0, 1], [0, 0]])
    line, ends = np.array([2, 1, 1, 3, 4, 3], np.float32), [np.array(1), np.array(7)]
    for op_type, inputs, constants, outputs in (
        ("Pad", [x, pads, np.array([0.5], np.float32)], (1, 2), 1),
        ("GatherND", [x, indices], (), 1),
        ("Range", ends, (0, 1), 1),
        ("Unique", [line], (), 3),
    ):
        model = node_model(op_type, inputs, constants=constants, outputs=outputs)
        assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 3, 4, 4), (2, 7, 7)])
def test_inverses(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x = real(rng, *shape) + 2 * np.eye(shape[-1], dtype=np.float32)
    assert_imports_like_onnxruntime(node_model("Inverse", [x]), [x])


def test_inverses_that_are_not_supported(rng: np.random.Generator) -> None:
    for shape in ((2, 3), (17, 17)):
        with pytest.raises(UnsupportedError, match=r"inverses of such matrices .* square matrices of at most 16 rows"):
            import_checked(node_model("Inverse", [real(rng, *shape)]))


def test_further_dimensions(rng: np.random.Generator) -> None:
    for axis in (0, 2, -1):
        inputs = [real(rng, 3, 4), np.array(axis, np.int32)]
        assert_imports_like_onnxruntime(node_model("ExpandDims", inputs, constants=(1,)), inputs)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_distances(metric: str, rng: np.random.Generator) -> None:
    inputs = [real(rng, 5, 3), real(rng, 4, 3)]
    assert_imports_like_onnxruntime(node_model("CDist", inputs, metric=metric), inputs)


def test_pools_with_channels_last(rng: np.random.Generator) -> None:
    x = rng.integers(0, 255, (2, 7, 6, 5)).astype(np.uint8)
    window: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    assert_imports_like_onnxruntime(node_model("NhwcMaxPool", [x], **window), [x])
    scales = [np.array(0.02, np.float32), np.array(3, np.uint8), np.array(0.03, np.float32), np.array(7, np.uint8)]
    overhanging = window | {"strides": [3, 2], "ceil_mode": 1}
    averages = (window, overhanging, overhanging | {"count_include_pad": 1})
    for op_type, more in (("QLinearGlobalAveragePool", {}), *(("QLinearAveragePool", each) for each in averages)):
        model = node_model(op_type, [x, *scales], constants=range(1, 5), channels_last=1, **more)
        assert_imports_like_onnxruntime(model, [x, *scales])


@pytest.mark.parametrize("group", [1, 5])
def test_convolutions_with_channels_last(group: int, rng: np.random.Generator) -> None:
    # As onnxruntime's optimiser writes them at its highest level.
    x = rng.integers(0, 255, (2, 7, 6, 5)).astype(np.uint8)
    w = rng.integers(-60, 60, (10, 5 // group, 3, 2)).astype(np.int8)
    b = rng.integers(-99, 99, 10).astype(np.int32)
    scales = [np.array(scale, np.float32) for scale in (0.02, 0.01, 0.03)]
    inputs = [
        x,
        scales[0],
        np.array(3, np.uint8),
        w,
        scales[1],
        np.array(0, np.int8),
        scales[2],
        np.array(7, np.uint8),
        b,
    ]
    window: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "group": group}
    model = node_model("QLinearConv", inputs, constants=range(1, 9), channels_last=1, **window)
    assert_imports_like_onnxruntime(model, inputs)


def test_choices_of_integers(rng: np.random.Generator) -> None:
    parts = [rng.integers(0, 255, (3, 4)).astype(np.uint8) for _ in range(2)]
    scales = [np.array(scale, np.float32) for scale in (0.02, 0.05, 0.04)]
    zeros = [np.array(zero, np.uint8) for zero in (128, 7, 100)]
    given = [[part, scales[i], zeros[i]] for i, part in enumerate(parts)]
    inputs = [rng.random((3, 4)) < 0.5, *given[0], *given[1], scales[2], zeros[2]]
    assert_imports_like_onnxruntime(node_model("QLinearWhere", inputs, constants=(2, 3, 5, 6, 7, 8)), inputs)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_means_of_integers(dtype: type, keepdims: int, rng: np.random.Generator) -> None:
    # onnxruntime has the operator's schema but no kernel, so that its parts stand in for it.
    limits = np.iinfo(dtype)
    x = rng.integers(limits.min, limits.max, (2, 3, 5, 7), dtype, endpoint=True)
    zero = 7 if dtype is np.int8 else 121
    inputs = [x, *map(np.asarray, (np.float32(0.03), dtype(zero), np.float32(0.011), dtype(60)))]
    model = node_model("QLinearReduceMean", inputs, constants=range(1, 5), axes=[1, -1], keepdims=keepdims)
    mean = ((x.astype(np.float32) - zero) * np.float32(0.03)).mean((1, 3), keepdims=bool(keepdims), dtype=np.float32)
    expected = np.clip(np.rint(mean / np.float32(0.011)) + 60, limits.min, limits.max).astype(dtype)
    found = interp.run(import_checked(model), {"x0": x})["y0"]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(found)) > 5


@pytest.mark.parametrize("turned", [0, 1])
def test_product_of_integers_whose_result_is_real(turned: int, rng: np.random.Generator) -> None:
    x, w = (rng.integers(-128, 128, shape).astype(np.int8) for shape in ((3, 4), (4, 5)))
    scales = np.array(0.02, np.float32), rng.uniform(0.01, 0.1, 5).astype(np.float32)
    bias, zeros = rng.integers(-999, 999, 5).astype(np.int32), (np.array(7, np.int8), np.zeros(5, np.int8))
    x, w = (x.T.copy(), w.T.copy()) if turned else (x, w)
    inputs = [x, scales[0], zeros[0], w, scales[1], zeros[1], bias]
    model = node_model("QGemm", inputs, constants=range(1, 7), transA=turned, transB=turned, alpha=0.5)
    assert_imports_like_onnxruntime(model, inputs)
    inputs += [np.array(0.03, np.float32), np.array(-5, np.int8)]
    model = node_model("QGemm", inputs, constants=range(1, 9), transA=turned, transB=turned, alpha=0.4)
    assert_imports_like_onnxruntime(model, inputs)
    for addend in (3, 5), (3, 1), ():
        inputs[6] = rng.integers(-999, 999, addend).astype(np.int32)
        whole = node_model("QGemm", inputs, constants=range(1, 9), transA=turned, transB=turned)
        assert_imports_like_onnxruntime(whole, inputs)
    model.graph.node[0].attribute[0].f = -1
    with pytest.raises(UnsupportedError, match="only a QGemm of positive alpha has a quantised result; found -1"):
        import_checked(model)


def test_what_is_not_supported(rng: np.random.Generator) -> None:
    inputs = [real(rng, 3, 4), real(rng, 4, 5)]
    with pytest.raises(UnsupportedError, match="this activation is not supported; expected clip, relu"):
        import_checked(node_model("FusedGemm", inputs, activation="Erf"))


@pytest.mark.parametrize("mask", ["none", "keys", "rows"])
@pytest.mark.parametrize("unidirectional", [0, 1])
def test_attention(mask: str, unidirectional: int, rng: np.random.Generator) -> None:
    inputs: list[np.ndarray | None] = [real(rng, 2, 5, 8), real(rng, 8, 24), real(rng, 24)]
    if mask != "none":
        masked = np.ones((2, 5) if mask == "keys" else (2, 5, 5), np.int32)
        masked[0, ..., 3:] = 0
        inputs.append(masked)
    model = node_model("Attention", inputs, constants=(1, 2), num_heads=2, unidirectional=unidirectional)
    assert_imports_like_onnxruntime(model, inputs)


def test_quantized_attention(rng: np.random.Generator) -> None:
    x, w = rng.integers(0, 255, (2, 5, 8)).astype(np.uint8), rng.integers(-64, 64, (8, 24)).astype(np.int8)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    scales = [np.array(0.02, np.float32), np.array(0.01, np.float32)]
    inputs = [x, w, real(rng, 24), *scales, mask, np.array(120, np.uint8), np.array(0, np.int8)]
    model = node_model("QAttention", inputs, constants=(1, 2, 3, 4, 6, 7), num_heads=2)
    assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize("has_bias", [False, True])
def test_heads_of_projected_inputs(has_bias: bool, rng: np.random.Generator) -> None:
    inputs: list[np.ndarray | None] = [real(rng, 2, 5, 8), real(rng, 2, 7, 8), real(rng, 2, 7, 12)]
    inputs += [real(rng, 28) if has_bias else None, None, real(rng, 1, 2, 5, 7)]
    assert_imports_like_onnxruntime(node_model("MultiHeadAttention", inputs, num_heads=2, scale=0.3), inputs)


def test_biases_beside_keys_by_heads(rng: np.random.Generator) -> None:
    """As decoders attend to what an encoder made: only queries get theirs."""
    inputs: list[np.ndarray | None] = [real(rng, 2, 5, 8), real(rng, 2, 2, 7, 4), real(rng, 2, 2, 7, 4), real(rng, 24)]
    assert_imports_like_onnxruntime(node_model("MultiHeadAttention", inputs, num_heads=2), inputs)


@pytest.mark.parametrize("parts", [2, 3])
def test_packed_heads(parts: int, rng: np.random.Generator) -> None:
    """As the same tensors apart; onnxruntime computes packed ones on other processors alone."""
    q, packed = real(rng, 2, 5, 8), real(rng, 2, 5, 2, parts, 4)
    given = [packed] if parts == 3 else [q, packed]
    apart = [*given[:-1], *(packed[:, :, :, part].reshape(2, 5, 8) for part in range(parts))]
    results: list[np.ndarray] = []
    for inputs in (given, apart):
        module = import_checked(node_model("MultiHeadAttention", inputs, num_heads=2))
        names = (parameter.name for parameter in module.main.parameters)
        results += interp.run(module, dict(zip(names, inputs, strict=True))).values()
    np.testing.assert_array_equal(results[0], results[1])
    with pytest.raises(ModelError, match="there are no queries, keys and values of such shapes"):
        import_checked(node_model("MultiHeadAttention", [packed, packed], num_heads=2))


def test_attention_that_is_not_supported(rng: np.random.Generator) -> None:
    inputs: list[np.ndarray | None] = [real(rng, 2, 5, 8), real(rng, 8, 24), real(rng, 24), np.zeros(3, np.int32)]
    with pytest.raises(UnsupportedError, match="this form of mask is not supported"):
        import_checked(node_model("Attention", inputs, num_heads=2))
    with pytest.raises(ModelError, match="the heads do not divide what they share"):
        import_checked(node_model("Attention", inputs[:3], num_heads=3))


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("size", [(4, 5), (1, 3), (7, 1)])
def test_regions_are_cropped_and_resized(mode: str, size: tuple[int, int], rng: np.random.Generator) -> None:
    """Whole images, turned about, of no area, between pixels, at halves of these, and beyond the edges."""
    corners = [[0, 0, 1, 1], [1, 1, 0, 0], [0.3, 0.6, 0.3, 0.6], [0.12, 0.2, 0.77, 0.9], [-0.2, 0.5, 0.4, 1.3]]
    regions = np.array([*corners, [0.1, 0.125, 0.5, 0.375]], np.float32)
    inputs = [real(rng, 2, 3, 6, 5), regions, np.array([0, 1, 1, 0, 1, 0], np.int32), np.array(size, np.int32)]
    model = node_model("CropAndResize", inputs, constants=[3], mode=mode, extrapolation_value=-2.5)
    assert_imports_like_onnxruntime(model, inputs)


@pytest.mark.parametrize(
    ("regions", "size", "attributes", "message"),
    [
        ((2, 3), (4, 4), {}, r"images, regions and size do not fit; found f32\[1,3,6,5\], f32\[2,3\], \[4, 4\]"),
        ((2, 4), (4, 0), {}, r"images, regions and size do not fit; .* \[4, 0\]"),
        ((2, 4), (4, 4), {"mode": "bicubic"}, "unknown mode; expected bilinear or nearest, found bicubic"),
    ],
)
def test_wrong_crops(regions: tuple[int, ...], size: tuple[int, ...], attributes: dict[str, Any], message: str) -> None:
    inputs = [np.zeros((1, 3, 6, 5), np.float32), np.zeros(regions, np.float32), np.zeros(2, np.int32)]
    inputs.append(np.array(size, np.int32))
    with pytest.raises(ModelError, match=message):
        import_checked(node_model("CropAndResize", inputs, constants=[3], **attributes))


def test_crops_of_another_type() -> None:
    inputs = [np.zeros((1, 3, 6, 5), np.float32), np.zeros((2, 4), np.float16), np.zeros(2, np.int32)]
    with pytest.raises(ModelError, match=r"do not fit; found f32\[1,3,6,5\], f16\[2,4\], \[4, 4\]"):
        import_checked(node_model("CropAndResize", [*inputs, np.array([4, 4], np.int32)], constants=[3]))
