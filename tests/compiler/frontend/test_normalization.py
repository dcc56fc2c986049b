"""Import of normalisation nodes across versions of the operator set."""

from __future__ import annotations

import numpy as np
import onnx.helper
import onnx.reference
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

from tilewright.errors import IRError, ModelError, UnsupportedError
from tilewright.ir import interp


def arrays(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    return [rng.uniform(0.5, 2, shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("opset", [7, 9, 14, 15])
def test_batch_norm_of_every_age(opset: int, rng: np.random.Generator) -> None:
    x = arrays(rng, (2, 3, 4, 4), (3,), (3,), (3,), (3,))
    model = node_model("BatchNormalization", x, opset=opset, constants=(1, 2, 3, 4), epsilon=0.1)
    assert_imports_like_onnxruntime(model, x)


def test_batch_norm_of_one_dimension_has_one_channel(rng: np.random.Generator) -> None:
    x = arrays(rng, (6,), (1,), (1,), (1,), (1,))
    assert_imports_like_onnxruntime(node_model("BatchNormalization", x, opset=15, constants=(1, 2, 3, 4)), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 4, 5), (4, 5)])
def test_mean_variance_normalization_of_any_rank_and_of_half_precision(
    shape: tuple[int, ...], dtype: type[np.generic], rng: np.random.Generator
) -> None:
    """Its body in the schema has constants of single precision and takes pictures alone."""
    x = rng.uniform(0.5, 2, shape).astype(dtype)
    found = interp.run(import_checked(node_model("MeanVarianceNormalization", [x])), {"x0": x})["y0"]
    axes, wide = tuple(axis for axis in (0, 2, 3) if axis < len(shape)), x.astype(np.float64)
    expected = (wide - wide.mean(axes, keepdims=True)) / wide.std(axes, keepdims=True)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=2e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("wanted", [1, 3])
@pytest.mark.parametrize("opset", [7, 9])
def test_older_batch_norm_with_more_than_one_output_is_in_training_mode(
    opset: int, wanted: int, rng: np.random.Generator
) -> None:
    """Whether or not anyone reads them; what was kept for gradients is of no use here."""
    x = arrays(rng, (2, 3, 4, 4), (3,), (3,), (3,), (3,))
    model = node_model("BatchNormalization", x, opset=opset, outputs=5, momentum=0.7)
    with pytest.raises(UnsupportedError, match="output 'y3' is not supported"):
        import_checked(model)
    del model.graph.output[wanted:]
    assert_imports_like_onnxruntime(model, x)


def test_statistics_of_each_element(rng: np.random.Generator) -> None:
    """As CNTK and MXNet wrote them."""
    x = arrays(rng, (2, 3, 4, 5), *((3, 4, 5),) * 3)
    x.append(np.abs(x[3]) + np.float32(0.1))
    assert_imports_like_onnxruntime(node_model("BatchNormalization", x, opset=7, spatial=0, epsilon=1e-2), x)
    wrong = [*x[:2], x[2][0, 0], *x[3:]]
    message = r"spatial=0\) need the shape of one item; expected \[3, 4, 5\], found \[5\]"
    with pytest.raises(ModelError, match=message):
        import_checked(node_model("BatchNormalization", wrong, opset=7, spatial=0))


@pytest.mark.parametrize("scale", [(4, 5), (1, 4, 5), (5,), (1,), (3, 1, 5)])
def test_scales_of_layer_norm_broadcast(scale: tuple[int, ...], rng: np.random.Generator) -> None:
    x = arrays(rng, (3, 4, 5), scale)
    module = import_checked(node_model("LayerNormalization", x, axis=1))
    found = interp.run(module, {"x0": x[0], "x1": x[1]})["y0"]
    centred = x[0] - x[0].mean((1, 2), keepdims=True)
    expected = centred / np.sqrt((centred**2).mean((1, 2), keepdims=True) + 1e-5) * x[1]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_group_norm_had_a_scale_for_each_group(rng: np.random.Generator) -> None:
    x = arrays(rng, (2, 6, 5), (3,), (3,))
    model = node_model("GroupNormalization", x, opset=18, constants=(1, 2), num_groups=3)
    module = assert_imports_like_onnxruntime(model, x)
    assert [op.name for op in module.main.ops] == ["group_norm"]


@pytest.mark.parametrize(("scale", "bias", "wrong"), [(6, 3, "scale"), (3, 6, "bias")])
def test_scales_and_biases_of_another_number_than_groups(
    scale: int, bias: int, wrong: str, rng: np.random.Generator
) -> None:
    model = node_model("GroupNormalization", arrays(rng, (2, 6, 5), (scale,), (bias,)), opset=18, num_groups=3)
    said = rf"GroupNormalization: node .*: {wrong} needs one element for each group; expected \[3\], found \[6\]"
    with pytest.raises(ModelError, match=said):
        import_checked(model)


def test_groups_of_no_channels(rng: np.random.Generator) -> None:
    for shape, groups in (((3,), 3), ((2, 6, 5), 0)):
        x = arrays(rng, shape, (groups,), (groups,))
        model = node_model("GroupNormalization", x, opset=18, constants=(1, 2), num_groups=groups)
        with pytest.raises(IRError, match="the channels do not divide into groups"):
            import_checked(model)
    model = node_model("Normalize", arrays(rng, (3,), (3,)), domain="org.openvinotoolkit", across_spatial=1)
    model.opset_import.append(onnx.helper.make_opsetid("org.openvinotoolkit", 1))
    with pytest.raises(ModelError, match=r"x has no channels; expected at least 2 dimensions, found \[3\]"):
        import_checked(model)


@pytest.mark.parametrize("axis", [-1, 1])
def test_rms_norm_of_the_standard(axis: int, rng: np.random.Generator) -> None:
    x = arrays(rng, (2, 3, 4), (3, 4)[axis % 3 - 1 :])
    model = node_model("RMSNormalization", x, opset=23, axis=axis)
    expected = onnx.reference.ReferenceEvaluator(model).run(None, {"x0": x[0], "x1": x[1]})
    found = interp.run(import_checked(model), {"x0": x[0], "x1": x[1]})["y0"]
    np.testing.assert_allclose(found, np.asarray(next(iter(expected))), rtol=1e-5, atol=1e-6)


def test_lrn_and_lp_norm_have_defaults(rng: np.random.Generator) -> None:
    x = arrays(rng, (1, 7, 3, 3))
    assert_imports_like_onnxruntime(node_model("LRN", x, size=3), x)
    assert_imports_like_onnxruntime(node_model("LpNormalization", x), x)
