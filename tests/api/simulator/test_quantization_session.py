"""Sessions with simulated quantisation are called as those of onnxruntime are, and answer like them."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
from network_files import graph_model, write_model
from onnx import TensorProto, helper

from tilewright.compiler.demo import MODEL
from tilewright.errors import ModelError, UsageError
from tilewright.runtime.api.simulator.session import InvalidArgument, QuantizationSession, open_session

IMAGE = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)


def described(
    session: QuantizationSession | onnxruntime.InferenceSession,
) -> list[tuple[str, str, list[int | str | None]]]:
    return [(each.name, each.type, list(each.shape)) for each in session.get_inputs()]


@pytest.fixture(scope="module")
def session() -> QuantizationSession:
    return open_session(MODEL, None, feature_maps=["residual_add", "probabilities", "classifier.weight", "image"])


def test_inputs_and_outputs_are_described_as_by_onnxruntime(session: QuantizationSession) -> None:
    other = onnxruntime.InferenceSession(MODEL)
    assert described(session) == described(other)
    assert [(each.name, each.type, each.shape) for each in session.get_outputs()] == [
        ("probabilities_updated", "tensor(float)", [1, 10]),
        ("residual_add", "tensor(float)", [1, 32, 4, 4]),
        ("classifier.weight", "tensor(float)", [10, 32]),
        ("image", "tensor(float)", [1, 1, 8, 8]),
    ]
    assert [each.name for each in session._inputs_meta] == ["image"]
    assert session._inputs_meta[0].shape == [1, 1, 8, 8]
    assert [each.name for each in session._outputs_meta] == [each.name for each in session.get_outputs()]
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.graph_outputs == ("probabilities",)


def test_results_come_in_the_order_asked(session: QuantizationSession) -> None:
    everything = session.run(None, {"image": IMAGE})
    assert [array.shape for array in everything] == [(1, 10), (1, 32, 4, 4), (10, 32), (1, 1, 8, 8)]
    (expected,) = onnxruntime.InferenceSession(MODEL).run(None, {"image": IMAGE})
    np.testing.assert_allclose(everything[0], np.asarray(expected), rtol=1e-4, atol=1e-7)
    names = ["image", "probabilities", "probabilities_updated", "image"]
    found = session.run(names, {"image": IMAGE})
    for array, index in zip(found, (3, 0, 0, 3), strict=True):
        np.testing.assert_array_equal(array, everything[index])
    assert len(session.run([], {"image": IMAGE})) == 4


NAMES = [
    ("Relu", "y_updated", {}),
    ("Softmax", "y_updated", {}),
    ("Flatten", "y", {}),
    ("Reshape", "y", {}),
    ("Transpose", "y", {}),
    ("Identity", "y", {}),
    ("Unsqueeze", "y", {}),
    ("Squeeze", "y", {}),
    ("Gather", "y", {}),
    ("Tile", "y", {}),
    ("Concat", "y_updated", {"axis": 0}),
    ("Shape", "y", {}),
    ("ArgMax", "y", {}),
]


@pytest.mark.parametrize("op, name, attributes", NAMES, ids=[op for op, *_ in NAMES])
def test_outputs_are_called_as_aimet_calls_them(op: str, name: str, attributes: dict[str, Any], tmp_path: Path) -> None:
    """With the suffix where AIMET puts a quantiser behind the operator, enabled or not."""
    seconds = {"Reshape": [3, 2], "Unsqueeze": [0], "Squeeze": [0], "Gather": [0], "Tile": [1, 2]}
    arrays = {"i": np.array(seconds[op], np.int64)} if op in seconds else {}
    nodes = [helper.make_node(op, ["x", *arrays], ["y"], **attributes)]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 6])], ["y"], arrays)
    if op in ("Shape", "ArgMax"):
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    path = write_model(tmp_path / "one.onnx", model)
    with closing(open_session(path, None)) as session:
        assert [output.name for output in session.get_outputs()] == [name]
        feeds = {"x": np.ones((1, 6), np.float32)}
        np.testing.assert_array_equal(session.run(["y"], feeds)[0], session.run([name], feeds)[0])


WRONG: list[tuple[Callable[[QuantizationSession], object], str]] = [
    (
        lambda s: s.run(["y"], {"image": IMAGE}),
        "run: Invalid output name: y; expected one of 'probabilities_updated', 'residual_add', 'classifier.weight', "
        "'image'",
    ),
    (
        lambda s: s.run("probabilities", {"image": IMAGE}),
        "run: output_names is one text; expected a list of names, or None",
    ),
    (lambda s: s.run(None, {}), "run: Required inputs (['image']) are missing from input feed ([])"),
    (
        lambda s: s.run(None, {"image": IMAGE, "y": IMAGE}),
        "run: Invalid input name: y; expected one of 'image'",
    ),
    (
        lambda s: s.run(None, {"image": IMAGE.astype(np.float64)}),
        "run: Unexpected input data type for image. Actual: (tensor(double)) , expected: (tensor(float)). "
        "Convert it with astype('float32').",
    ),
    (
        lambda s: s.run(None, {"image": IMAGE.astype(object)}),
        "run: Unexpected input data type for image. Actual: (object) , expected: (tensor(float)). "
        "Convert it with astype('float32').",
    ),
    (
        lambda s: s.run(None, {"image": IMAGE[0]}),
        "run: Invalid rank for input: image Got: 3 Expected: 4; expected [1, 1, 8, 8], found [1, 8, 8]",
    ),
    (
        lambda s: s.run(None, {"image": IMAGE[:, :, 1:, 2:]}),
        "run: Got invalid dimensions for input: image for the following indices index: 2 Got: 7 Expected: 8 "
        "index: 3 Got: 6 Expected: 8; expected [1, 1, 8, 8], found [1, 1, 7, 6]",
    ),
    (
        lambda s: s.run(None, {"image": np.ma.masked_equal(IMAGE, IMAGE.max())}),
        "run: input image has masked elements; expected none, found 1. Give them numbers with array.filled(…).",
    ),
    (
        lambda s: s.run(None, {"image": cast("np.ndarray", IMAGE.tolist())}),
        "run: input image is no NumPy array; expected an array of tensor(float), found list",
    ),
    (
        lambda s: s.run(None, cast("dict[str, np.ndarray]", [IMAGE])),
        "run: input_feed is no mapping; expected arrays by the names of the inputs",
    ),
]


@pytest.mark.parametrize("call, message", WRONG, ids=range(len(WRONG)))
def test_wrong_calls(session: QuantizationSession, call: Callable[[QuantizationSession], object], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        call(session)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def test_feature_maps_that_the_model_lacks() -> None:
    with pytest.raises(UsageError) as caught:
        open_session(MODEL, None, feature_maps=["residua"])
    assert str(caught.value) == (
        f"the feature map is no tensor of {str(MODEL)!r}; found 'residua'. "
        "Did you mean 'residual' or 'residual_add' or 'residual_relu'?"
    )


def test_feature_maps_by_the_names_of_aimet() -> None:
    names = ["residual_updated", "residual", "probabilities_updated"]
    with closing(open_session(MODEL, None, feature_maps=names)) as session:
        assert [output.name for output in session.get_outputs()] == ["probabilities_updated", "residual"]
        found = session.run([*names, "probabilities"], {"image": IMAGE})
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], found[3])


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot read .*none.onnx': No such file or directory"):
        open_session(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"\xffbad")
    with pytest.raises(ModelError, match=r"bad.onnx' is not an ONNX model, or is truncated"):
        open_session(tmp_path / "bad.onnx")


def open_model(folder: Path) -> Path:
    nodes = [helper.make_node("Concat", ["x", "z"], ["c"], axis=0), helper.make_node("Relu", ["c"], ["y"])]
    inputs = [("x", TensorProto.FLOAT, ["N", 3]), ("z", TensorProto.FLOAT, ["N", None])]
    model = graph_model(nodes, inputs, ["y"])
    model.graph.output[0].type.CopyFrom(onnx.helper.make_tensor_type_proto(TensorProto.FLOAT, ["M", 3]))
    return write_model(folder / "open.onnx", model)


def test_open_dimensions_take_what_is_fed(tmp_path: Path) -> None:
    file = tmp_path / "open.encodings"
    entry = {"bitwidth": 4, "dtype": "int", "is_symmetric": "False", "scale": 1.0, "offset": 0}
    file.write_text(json.dumps({"activation_encodings": {"c": [entry]}}))
    with closing(open_session(open_model(tmp_path), file, feature_maps=["c"])) as session:
        assert described(session) == [("x", "tensor(float)", ["N", 3]), ("z", "tensor(float)", ["N", None])]
        assert [(each.name, each.shape) for each in session.get_outputs()] == [("y_updated", ["M", 3]), ("c", [])]
        for count in (1, 2, 5, 1, 3, 4, 6, 2):
            x = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
            y, c = session.run(["y", "c"], {"x": x, "z": x + 1})
            np.testing.assert_array_equal(c, np.minimum(np.concatenate([x, x + 1]), 15))
            np.testing.assert_array_equal(y, c)
        with pytest.raises(InvalidArgument, match=r"dimensions for input: z for .* index: 0 Got: 1 Expected: 2; "):
            session.run(None, {"x": x[:2], "z": x[:1]})


def test_inputs_of_other_types(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["h", "i"], ["g"]), helper.make_node("Neg", ["g"], ["y"])]
    inputs = [("h", TensorProto.FLOAT16, [4]), ("i", TensorProto.INT64, [2])]
    model = graph_model(nodes, inputs, ["y"])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    file = tmp_path / "half.encodings"
    entry = {"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "scale": 0.5, "offset": -4}
    file.write_text(json.dumps({"activation_encodings": {"h": [entry], "i": [entry], "y": [entry]}}))
    with closing(open_session(write_model(tmp_path / "half.onnx", model), file)) as session:
        assert described(session) == [("h", "tensor(float16)", [4]), ("i", "tensor(int64)", [2])]
        feeds = {"h": np.array([-9, 0.6, 1.3, 7], np.float16), "i": np.array([3, 0])}
        (y,) = session.run(["y_updated"], feeds)
        assert y.dtype == np.float16
        np.testing.assert_array_equal(y, [-2, 2])


def test_threads_share_a_session(session: QuantizationSession) -> None:
    images = [IMAGE * factor for factor in range(8)]
    expected = [session.run(None, {"image": image})[0] for image in images]

    def work(index: int) -> None:
        for _ in range(20):
            np.testing.assert_array_equal(session.run(None, {"image": images[index]})[0], expected[index])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_a_closed_session() -> None:
    session = open_session(MODEL)
    session.close()
    session.close()
    with pytest.raises(UsageError, match="the session is closed"):
        session.run(None, {"image": IMAGE})
