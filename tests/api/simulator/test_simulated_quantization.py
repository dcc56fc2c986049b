"""Networks are rounded as their encodings say: equal to the formula in NumPy but for ties, whatever the file's form."""

from __future__ import annotations

import json
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from encodings_files import Grid, symmetric, write
from network_files import graph_model, write_model
from onnx import TensorProto, helper
from simulation_oracle import Differences, NodeByNode, compare

from tilewright.compiler.demo import MODEL, load_digits
from tilewright.errors import EncodingsWarning, InputError
from tilewright.runtime.api.simulator.session import open_session

Tensors = dict[str, np.ndarray]


def simulated(model: Path, encodings: object, feeds: Tensors, names: list[str] | None = None) -> list[np.ndarray]:
    """The tensors of these names, or the outputs, with encodings as a file has them."""
    file = model.with_suffix(".encodings")
    file.write_text(json.dumps(encodings))
    with closing(open_session(model, file, feature_maps=names or ())) as session:
        return session.run(names, feeds)


def check(
    model: Path, folder: Path, samples: list[Tensors], version: str, bits: int, *, per_channel: bool
) -> Differences:
    """What differs from the formula on the last sample, with ranges from the others."""
    network = NodeByNode(model)
    activations, parameters = network.grids(samples[:-1], bits, per_channel=per_channel)
    grids = {**activations, **parameters}
    file = write(folder / "model.encodings", version, activations, parameters)
    names = [*dict.fromkeys([*grids, *network.constants])]
    with closing(open_session(model, file, feature_maps=names)) as session:
        found = dict(zip(names, session.run(names, samples[-1]), strict=True))
        output = session.run(list(session.graph_outputs), samples[-1])
    with closing(open_session(model, file)) as session:
        np.testing.assert_array_equal(session.run(None, samples[-1]), output, "further outputs changed the others")
    for name in parameters:
        np.testing.assert_array_equal(found[name], grids[name].apply(network.constants[name]))
    for name in network.inputs:
        np.testing.assert_array_equal(found[name], grids[name].apply(samples[-1][name]))
    return compare(network, found, grids)


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize(
    "version, bits, ties", [("0.4.0", 4, 0), ("0.6.1", 8, 2), ("1.0.0", 16, 10), ("2.0.0", 8, 2), ("2.0.0", 16, 10)]
)
def test_the_formula(version: str, bits: int, ties: int, per_channel: bool, tmp_path: Path) -> None:
    digits = load_digits()
    images = digits.prepare(digits.images[:4])
    samples = [{"image": image[None]} for image in images]
    found = check(Path(MODEL), tmp_path, samples, version, bits, per_channel=per_channel)
    assert found.elements > 5000
    assert found.others == 0
    assert found.ties <= ties


@pytest.mark.parametrize(
    "version, bits, per_channel, ties",
    [("0.4.0", 8, False, 10), ("0.6.1", 8, True, 10), ("1.0.0", 16, True, 1000), ("0.6.1", 16, False, 1000)],
)
@pytest.mark.parametrize(
    "name, size, largest",
    [("resnet8_float", 32, 255), pytest.param("mobilenet_v1_0.25_128_f32", 128, 1, marks=pytest.mark.sweep)],
)
def test_the_formula_on_real_networks(
    name: str,
    size: int,
    largest: int,
    version: str,
    bits: int,
    per_channel: bool,
    ties: int,
    tmp_path: Path,
    data_folder: Path,
    rng: np.random.Generator,
) -> None:
    samples: list[Tensors] = [
        {"input": (rng.random((1, 3, size, size)) * largest).astype(np.float32)} for _ in range(3)
    ]
    model = data_folder / "models" / f"{name}.onnx"
    found = check(model, tmp_path, samples, version, bits, per_channel=per_channel)
    assert found.others == 0
    assert found.ties <= ties


@pytest.mark.parametrize("bits", [4, 8, 16, 24, 31, 32])
def test_any_width(bits: int, tmp_path: Path, rng: np.random.Generator) -> None:
    """Also where integers have more bits than a float, whose product with the scale is rounded once."""
    x = (rng.standard_normal(6) * 2 ** rng.uniform(-8, 8, 6)).astype(np.float32)
    for scale, offset in ((2.0**-10, -(2 ** (bits - 1))), (1e-7, -12345), (0.3, -(2**bits) + 1), (1e-9, 0)):
        grid = Grid(bits, np.array([scale]), np.array([offset]))
        encodings = {"activation_encodings": {"x": entry(scale, offset, bits)}}
        np.testing.assert_array_equal(simulated(chain(tmp_path), encodings, {"x": x}, ["x"])[0], grid.apply(x))


# Where it is rounded


def chain(folder: Path) -> Path:
    """x → Identity a → Identity y, beside Add s of both and Relu r of that."""
    nodes = [
        helper.make_node("Identity", ["x"], ["a"]),
        helper.make_node("Identity", ["a"], ["y"]),
        helper.make_node("Add", ["x", "y"], ["s"]),
        helper.make_node("Relu", ["s"], ["r"]),
    ]
    return write_model(folder / "chain.onnx", graph_model(nodes, [("x", TensorProto.FLOAT, [6])], ["r", "y"]))


def entry(scale: float, offset: int, bits: int = 8) -> list[dict[str, object]]:
    return [{"bitwidth": bits, "dtype": "int", "is_symmetric": "False", "scale": scale, "offset": offset}]


X = np.array([-3.3, -0.5, 0.5, 1.5, 2.6, 900], np.float32)


def test_names_that_a_simplification_would_take_away_are_rounded(tmp_path: Path) -> None:
    model = chain(tmp_path)
    encodings = {"activation_encodings": {"a": entry(1.0, -2), "s": entry(4.0, -100)}}
    names = ["x", "a", "y", "s", "r"]
    found = dict(zip(names, simulated(model, encodings, {"x": X}, names), strict=True))
    a = np.array([-2, 0, 0, 2, 3, 253], np.float32)
    s = 4 * np.clip(np.rint((X + a) / 4), -100, 155)
    expected = {"x": X, "a": a, "y": a, "s": s, "r": np.maximum(s, 0)}
    for name in names:
        np.testing.assert_array_equal(found[name], expected[name], name)
    np.testing.assert_array_equal(simulated(model, encodings, {"x": X})[0], expected["r"])


def test_inputs_are_rounded_for_all_their_readers(tmp_path: Path) -> None:
    encodings = {"activation_encodings": {"x": entry(1.0, 0)}}
    (r, y) = simulated(chain(tmp_path), encodings, {"x": X})
    np.testing.assert_array_equal(y, [0, 0, 0, 2, 3, 255])
    np.testing.assert_array_equal(r, [0, 0, 0, 4, 6, 510])


def test_what_has_no_encoding_stays_in_floating_point(tmp_path: Path) -> None:
    with closing(open_session(chain(tmp_path))) as session:
        (r, y) = session.run(None, {"x": X})
    np.testing.assert_array_equal(y, X)
    np.testing.assert_array_equal(r, np.maximum(X + X, 0))


def test_tensors_of_integers_and_of_doubles(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("Cast", ["x"], ["d"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["d", "d"], ["y"]),
    ]
    model = write_model(tmp_path / "types.onnx", graph_model(nodes, [("x", TensorProto.FLOAT, [6])], ["y"]))
    sections = {name: entry(0.5, -4, 4) for name in ("i", "d", "h")}
    i, d, h, y = simulated(model, {"activation_encodings": sections}, {"x": X}, ["i", "d", "h", "y"])
    rounded = np.clip(np.rint(X / 0.5), -4, 11) * 0.5
    np.testing.assert_array_equal(i, X.astype(np.int64))
    assert (d.dtype, h.dtype, y.dtype) == (np.float64, np.float16, np.float64)
    for array, expected in ((d, rounded), (h, rounded), (y, rounded**2)):
        np.testing.assert_array_equal(array, expected)


def test_half_precision(tmp_path: Path) -> None:
    x = np.array([1 / 3, 1e-9, -6e4, 2049, np.nan, 1], np.float32)
    for bits, expected in ((16, x.astype(np.float16).astype(np.float32)), (32, x)):
        encodings = {"activation_encodings": {"a": [{"bitwidth": bits, "dtype": "float"}]}}
        found = simulated(chain(tmp_path), encodings, {"x": x}, ["a"])
        np.testing.assert_array_equal(found[0], expected)


# Along which dimension


def product(folder: Path, op: str, weights: tuple[int, ...], x: tuple[int, ...], **attributes: Any) -> Path:
    rng = np.random.default_rng(len(op))
    nodes = [helper.make_node(op, ["x", "w"], ["y"], **attributes)]
    arrays = {"w": rng.standard_normal(weights).astype(np.float32)}
    return write_model(folder / "product.onnx", graph_model(nodes, [("x", TensorProto.FLOAT, x)], ["y"], arrays))


def weights_of(model: Path) -> np.ndarray:
    return onnx.numpy_helper.to_array(onnx.load(model).graph.initializer[0])


def rounded_weights(model: Path, encoding: object) -> np.ndarray:
    shape = [extent.dim_value for extent in onnx.load(model).graph.input[0].type.tensor_type.shape.dim]
    return simulated(model, {"param_encodings": encoding}, {"x": np.zeros(shape, np.float32)}, ["w"])[0]


@pytest.mark.parametrize(
    "op, weights, x, axis, attributes",
    [
        ("Conv", (4, 4, 1, 1), (1, 4, 2, 2), 0, {}),
        ("ConvTranspose", (4, 4, 1, 1), (1, 4, 2, 2), 1, {}),
        ("Gemm", (4, 4), (2, 4), 1, {}),
        ("Gemm", (4, 4), (2, 4), 0, {"transB": 1}),
        ("MatMul", (4, 4), (2, 4), 1, {}),
        ("MatMul", (3, 4, 4), (3, 2, 4), 2, {}),
    ],
)
def test_scales_run_along_the_output_channels(
    op: str, weights: tuple[int, ...], x: tuple[int, ...], axis: int, attributes: dict[str, Any], tmp_path: Path
) -> None:
    model = product(tmp_path, op, weights, x, **attributes)
    w = weights_of(model)
    grid = symmetric(w, 4, axis)
    entries = [entry(scale, -8, 4)[0] for scale in grid.scale.tolist()]
    np.testing.assert_array_equal(rounded_weights(model, {"w": entries}), grid.apply(w))


def test_weights_that_are_turned_before_they_are_read(tmp_path: Path) -> None:
    nodes = [helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    w = np.random.default_rng(1).standard_normal((4, 4)).astype(np.float32)
    model = write_model(
        tmp_path / "turned.onnx", graph_model(nodes, [("x", TensorProto.FLOAT, [2, 4])], ["y"], {"w": w})
    )
    grid = symmetric(w, 4, 0)
    entries = [entry(scale, -8, 4)[0] for scale in grid.scale.tolist()]
    np.testing.assert_array_equal(rounded_weights(model, {"w": entries}), grid.apply(w))


@pytest.mark.parametrize("op, channels, blocks", [("Conv", 0, 1), ("MatMul", 1, 0)])
def test_blocks_lie_along_the_input_channels(op: str, channels: int, blocks: int, tmp_path: Path) -> None:
    shape = [0, 0] + [1, 1] * (op == "Conv")
    shape[channels], shape[blocks] = 3, 8
    model = product(tmp_path, op, tuple(shape), (1, 8, 2, 2) if op == "Conv" else (2, 8))
    w = weights_of(model)
    scales = np.random.default_rng(2).uniform(0.1, 0.5, (3, 4))  # by channel, then block
    along = np.repeat(scales, 2, 1)
    arranged = (along if channels == 0 else along.T).reshape(shape)
    expected = formula(w, arranged, -8, 4)
    common = {"name": "w", "dtype": "INT", "is_sym": True, "block_size": 2}
    listed = {**common, "enc_type": "PER_BLOCK", "bw": 4, "scale": scales.reshape(-1).tolist(), "offset": [-8] * 12}
    np.testing.assert_array_equal(rounded_weights(model, [listed]), expected)
    nested = np.expand_dims(scales if channels == 0 else scales.T, tuple(range(2, len(shape)))).tolist()
    version_2 = {"name": "w", "output_dtype": "int4", "y_scale": nested, "axis": blocks, "block_size": 2}
    x = np.zeros((1, 8, 2, 2) if op == "Conv" else (2, 8), np.float32)
    found = simulated(model, {"version": "2.0.0", "encodings": [version_2]}, {"x": x}, ["w"])
    np.testing.assert_array_equal(found[0], expected)
    factors = np.random.default_rng(3).integers(1, 17, (3, 4))
    packed = {**common, "enc_type": "LPBQ", "bw": 8, "compressed_bw": 4, "scale": [0.01, 0.02, 0.03]}
    packed.update(offset=[-128] * 3, per_block_int_scale=factors.reshape(-1).tolist())
    along = np.repeat(np.array([[0.01], [0.02], [0.03]]) * factors, 2, 1)
    arranged = (along if channels == 0 else along.T).reshape(shape)
    np.testing.assert_array_equal(rounded_weights(model, [packed]), formula(w, arranged, -8, 4))


def formula(x: np.ndarray, scale: np.ndarray, offset: int, bits: int) -> np.ndarray:
    single = scale.astype(np.float32)
    return single * (np.clip(np.rint(x / single) - offset, 0, 2**bits - 1) + offset).astype(np.float32)


def test_activations_of_channels(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.standard_normal((2, 5, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    model = write_model(tmp_path / "relu.onnx", graph_model(nodes, [("x", TensorProto.FLOAT, x.shape)], ["y"]))
    scales = rng.uniform(0.01, 0.1, 5)
    encodings = {"activation_encodings": {"x": [entry(scale, -8, 4)[0] for scale in scales.tolist()]}}
    expected = formula(x, scales.reshape(5, 1, 1), -8, 4)
    found = simulated(model, encodings, {"x": x}, ["x", "y"])
    np.testing.assert_array_equal(found[0], expected)
    np.testing.assert_array_equal(found[1], np.maximum(expected, 0))


@pytest.mark.parametrize(
    "encoding, message",
    [
        ({"w": entry(1.0, 0) * 3}, "there are more or fewer scales than channels, axis 0; expected 4, found 3 scales"),
        (
            [
                {
                    "name": "w",
                    "dtype": "INT",
                    "enc_type": "PER_BLOCK",
                    "bw": 4,
                    "scale": [1],
                    "offset": [0],
                    "block_size": 3,
                }
            ],
            "axis 1 does not divide into blocks; expected a multiple of 3, found [4, 4, 1, 1]",
        ),
        (
            [
                {
                    "name": "w",
                    "dtype": "INT",
                    "enc_type": "PER_BLOCK",
                    "bw": 4,
                    "scale": [1],
                    "offset": [0],
                    "block_size": 2,
                }
            ],
            "there are more or fewer scales than blocks; expected 2 blocks in each of 4 channels, found 1",
        ),
    ],
)
def test_scales_that_do_not_fit(encoding: object, message: str, tmp_path: Path) -> None:
    model = product(tmp_path, "Conv", (4, 4, 1, 1), (1, 4, 2, 2))
    with pytest.raises(InputError) as caught:
        rounded_weights(model, encoding)
    file = model.with_suffix(".encodings")
    assert str(caught.value) == (f"encodings file {str(file)!r}: the encoding of tensor 'w' does not fit it: {message}")


def test_version_2_scales_that_do_not_fit(tmp_path: Path) -> None:
    model = product(tmp_path, "Conv", (4, 4, 1, 1), (1, 4, 2, 2))
    for changes, message in (
        ({"y_scale": [1, 2], "axis": 4}, "the tensor has no such axis; expected one of [4, 4, 1, 1], found 4"),
        (
            {"y_scale": [1, 2], "axis": 0, "block_size": 2},
            "its scales have another rank than the tensor; expected 4, found 1",
        ),
        (
            {"y_scale": [[[[1]]]], "axis": 0, "block_size": 2},
            "there are more or fewer blocks along axis 0; expected 4, found 1 of 2",
        ),
        (
            {"y_scale": [[[[1, 2]]], [[[1, 2]]]], "axis": 0, "block_size": 2},
            "its scales do not fit the tensor; expected [4, 4, 1, 1], found [2, 1, 1, 2]",
        ),
    ):
        encodings = {"version": "2.0.0", "encodings": [{"name": "w", "output_dtype": "int8", **changes}]}
        with pytest.raises(InputError) as caught:
            simulated(model, encodings, {})
        assert str(caught.value).endswith(message)


def test_activations_have_no_blocks(tmp_path: Path) -> None:
    entries = [{"name": "a", "output_dtype": "int8", "y_scale": [1], "axis": 0, "block_size": 6}]
    with pytest.raises(InputError, match=r"tensor 'a' does not fit it: it has blocks, which are for parameters alone$"):
        simulated(chain(tmp_path), {"version": "2.0.0", "encodings": entries}, {"x": X})


def test_an_activation_whose_channels_nothing_tells(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"tensor 'a' does not fit it: its scales are along no dimension of the tensor"
    ):
        simulated(chain(tmp_path), {"activation_encodings": {"a": entry(1.0, 0) * 5}}, {"x": X})


# Which names


def test_names_that_the_model_lacks_are_counted(tmp_path: Path) -> None:
    names = [f"n{index}" for index in range(7)]
    encodings = {"activation_encodings": {name: entry(1.0, 0) for name in ["a", *names]}}
    with pytest.warns(EncodingsWarning) as caught:
        simulated(chain(tmp_path), encodings, {"x": X})
    file = tmp_path / "chain.encodings"
    (warning,) = caught
    assert str(warning.message) == (
        f"encodings file {str(file)!r}: 7 of 8 encodings are for tensors that the model lacks: "
        "'n0', 'n1', 'n2', 'n3', 'n4' and 2 more"
    )
    assert warning.filename == __file__


def test_encodings_of_another_model_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"chain.encodings': no encoding is for a tensor of the model; found 'n'. Give "
    ):
        simulated(chain(tmp_path), {"activation_encodings": {"n": entry(1.0, 0)}}, {"x": X})


@pytest.mark.parametrize("text", ["", "{}", '{"activation_encodings": {}, "param_encodings": {}}'])
def test_empty_files_leave_the_network_in_floating_point(text: str, tmp_path: Path) -> None:
    model = chain(tmp_path)
    file = tmp_path / "empty.encodings"
    file.write_text(text)
    with warnings.catch_warnings(), closing(open_session(model, file)) as session:
        warnings.simplefilter("error")
        assert [output.name for output in session.get_outputs()] == ["r_updated", "y"]
        np.testing.assert_array_equal(session.run(["y"], {"x": X})[0], X)


def test_modules_of_pytorch_are_found_by_the_names_of_nodes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["x", "x"], ["m"], name="/stem/Mul"),
        helper.make_node("Sub", ["m", "x"], ["p"], name="/layer/layer.0/act/Sub"),
        helper.make_node("Abs", ["p"], ["q"], name="/layer/layer.0/act/Abs"),
        helper.make_node("Neg", ["q"], ["y"], name="/Neg"),
    ]
    model = write_model(tmp_path / "scopes.onnx", graph_model(nodes, [("x", TensorProto.FLOAT, [6])], ["y"]))
    modules = {
        "stem": {"output": {"0": entry(1.0, -8, 4)[0]}},
        "layer.0.act": {"output": {"0": entry(2.0, 0, 4)[0], "1": entry(1.0, 0)[0]}, "input": {"1": entry(1.0, 0)[0]}},
    }
    with pytest.warns(EncodingsWarning, match=r"1 of 4 .*: 'layer.0.act \(output 1\)'$"):
        found = simulated(model, {"activation_encodings": modules}, {"x": X}, ["x", "m", "p", "q"])
    x = np.clip(np.rint(X), 0, 255)
    m = np.clip(np.rint(x * x), -8, 7)
    expected = (x, m, m - x, 2 * np.clip(np.rint(abs(m - x) / 2), 0, 15))
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
