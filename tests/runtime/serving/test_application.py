"""Serving: answers are those of sessions, whatever form tensors have, and strangers' requests are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from asgi_client import Answer, ask, asked
from inference_requests import HEADER, outputs_of, request_of
from network_files import digits_artifact
from onnx import TensorProto, helper

from tilewright.compiler.driver import compile_to_file
from tilewright.compiler.options import CompileOptions
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.serving.application import Application
from tilewright.runtime.serving.model import Model
from tilewright.runtime.session import Session, load

TYPES = {
    "half": (TensorProto.FLOAT16, np.float16),
    "single": (TensorProto.FLOAT, np.float32),
    "double": (TensorProto.DOUBLE, np.float64),
    "small": (TensorProto.INT8, np.int8),
    "byte": (TensorProto.UINT8, np.uint8),
    "long": (TensorProto.INT64, np.int64),
    "truth": (TensorProto.BOOL, np.bool_),
}


def model_of(session: Session, name: str, version: int = 1, queue: int = 8) -> Model:
    shapes = [(each.manifest.inputs, each.manifest.outputs) for each in session.artifact.in_shapes()]
    return Model(name, version, session, shapes, None, 1, queue)


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """Two of each element type, behind a selection that keeps them as they are or not."""
    ends = {
        kind: [helper.make_tensor_value_info(f"{name}{kind}", code, [2, 2]) for name, (code, _) in TYPES.items()]
        for kind in ("", "_out")
    }
    nodes = [helper.make_node("Where", ["truth", name, name], [f"{name}_out"]) for name in TYPES if name != "truth"]
    nodes.append(helper.make_node("Not", ["truth"], ["truth_out"]))
    graph = helper.make_graph(nodes, "typed", ends[""], ends["_out"])
    path = tmp_path_factory.mktemp("typed") / "typed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    compile_to_file(path, path.with_suffix(".twa"), CompileOptions(precision="fp32"))
    with load(path.with_suffix(".twa"), queue=1) as session:
        yield session


@pytest.fixture(scope="module")
def digits() -> Iterator[Session]:
    artifact = Artifact.open(digits_artifact())
    with load(artifact, queue=1, trust=artifact.digest) as session:
        yield session


@pytest.fixture
def application(digits: Session, typed: Session) -> Any:
    models = [model_of(digits, "digits"), model_of(digits, "digits", 12), model_of(typed, "typed")]
    return Application(models, "1.2.3", 5.0).asgi


@pytest.fixture
def image(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"image": rng.standard_normal((1, 1, 8, 8)).astype(np.float32)}


INFER = "/v2/models/digits/infer"


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("binary_output", [False, True])
def test_outputs_are_those_of_the_session(
    application: Any, digits: Session, image: dict[str, np.ndarray], binary: bool, binary_output: bool
) -> None:
    body, headers = request_of(image, binary=binary, id="a 7", parameters={"binary_data_output": binary_output})
    found = asked(application, INFER, body, headers)
    assert found.status == 200, found.body
    outputs = outputs_of(found.headers, found.body)
    expected = digits.run(image)
    assert outputs.keys() == expected.keys()
    for name, array in expected.items():
        assert outputs[name].dtype == array.dtype
        np.testing.assert_array_equal(outputs[name], array)
    described = json.loads(found.body[: int(found.headers.get(HEADER.lower(), len(found.body)))])
    assert (described["model_name"], described["model_version"], described["id"]) == ("digits", "12", "a 7")
    assert (HEADER.lower() in found.headers) == binary_output


@pytest.mark.parametrize("binary", [False, True])
def test_every_type(application: Any, typed: Session, rng: np.random.Generator, binary: bool) -> None:
    numbers = {name: rng.integers(0, 100, (2, 2)).astype(dtype) for name, (_, dtype) in TYPES.items()}
    numbers["long"][0, 0], numbers["small"][0, 0], numbers["half"][0, 0] = -(2**63), -128, 0.1
    # In another order than the network's, and one output alone as bytes.
    inputs = {name: numbers[name] for name in reversed(TYPES)}
    outputs = [{"name": "half_out", "parameters": {"binary_data": True}}, {"name": "long_out"}, {"name": "truth_out"}]
    body, headers = request_of(inputs, binary=binary, outputs=outputs)
    found = asked(application, "/v2/models/typed/versions/1/infer", body, headers)
    assert found.status == 200, found.body
    expected = typed.run(inputs)
    arrays = outputs_of(found.headers, found.body)
    assert [*arrays] == ["half_out", "long_out", "truth_out"]
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])


def test_what_the_server_tells(application: Any) -> None:
    get = {
        "/v2": {"name": "tilewright", "version": "1.2.3", "extensions": ["binary_tensor_data"]},
        "/v2/health/live": {"live": True},
        "/v2/health/ready": {"ready": True},
        "/v2/models/digits/ready": {"name": "digits", "ready": True},
        "/v2/models/digits/versions/1/ready": {"name": "digits", "ready": True},
        "/v2/models/digits": {
            "name": "digits",
            "versions": ["1", "12"],
            "platform": "tilewright",
            "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 10]}],
        },
    }
    for path, expected in get.items():
        assert asked(application, path).json == asked(application, f"http://digits:8000{path}").json == expected
    described = asked(application, "/v2/models/typed").json["inputs"]
    assert [each["datatype"] for each in described] == ["FP16", "FP32", "FP64", "INT8", "UINT8", "INT64", "BOOL"]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("/", 404, "GET /: Not Found"),
        ("/v2/", 404, "GET /v2/: Not Found"),
        ("*", 404, "GET /: Not Found"),
        ("http://digits:8000", 404, "GET /: Not Found"),
        (INFER, 405, "GET /v2/models/digits/infer: Method Not Allowed"),
        ("/v2/models/digit", 404, "there is no model 'digit'; expected digits or typed. Did you mean 'digits'?"),
        ("/v2/models/digits/versions/2", 404, "model 'digits' has no such version; expected 1 or 12, found '2'"),
        (
            "/v2/models/digits/versions/01/ready",
            404,
            "model 'digits' has no such version; expected 1 or 12, found '01'",
        ),
    ],
)
def test_wrong_paths(application: Any, path: str, status: int, error: str) -> None:
    found = asked(application, path)
    assert (found.status, found.json) == (status, {"error": error})


def changed(**changes: Any) -> bytes:
    """A right request but for this of its only input."""
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, 8, 8], "data": [0.5] * 64, **changes}
    return json.dumps({"inputs": [{name: value for name, value in tensor.items() if value is not None}]}).encode()


def whole(**changes: Any) -> bytes:
    return json.dumps({**json.loads(changed()), **changes}).encode()


WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the body is no JSON: Expecting value: line 1 column 1 (char 0)"),
    "truncated": (changed()[:-3], "the body is no JSON: Expecting"),
    "no UTF-8": (b'{"id": "\xff"}', "the body is no JSON: 'utf-8' codec"),
    "UTF-16": (changed().decode().encode("utf-16"), "the body is no JSON"),
    "behind it": (changed() + b"{}", "the body is no JSON: Extra data"),
    "list": (b"[]", "the request is no JSON object; found list"),
    "deep": (b"[" * 50_000, "the JSON is nested too deeply"),
    "deep objects": (b'{"a":' * 10_000, "the JSON is nested too deeply"),
    "many values": (b"[" + b"1," * 33_000 + b"1]", "the JSON holds more values than the network takes; expected 64"),
    "long number": (b"[" + b"1" * 5_000 + b"]", "the body is no JSON: Exceeds the limit"),
    "no inputs": (b"{}", "the inputs of the request are no list; found NoneType"),
    "inputs none": (whole(inputs=[]), "input 'image' is missing; expected float32 of shape (1, 1, 8, 8)"),
    "input no object": (whole(inputs=[3]), "one of the inputs is no JSON object; found int"),
    "input twice": (whole(inputs=json.loads(changed())["inputs"] * 2), "'image' stands twice among the inputs"),
    "no name": (changed(name=None), "one of the inputs has no name; expected a string, found NoneType"),
    "unknown name": (changed(name="picture"), "unknown input 'picture'; expected 'image'"),
    "no datatype": (changed(datatype=None), "input 'image' has the wrong datatype; expected FP32, found None"),
    "datatype": (changed(datatype="BYTES"), "input 'image' has the wrong datatype; expected FP32, found 'BYTES'"),
    "datatype list": (changed(datatype=["FP32"]), "input 'image' has the wrong datatype; expected FP32"),
    "no shape": (changed(shape=None), "input 'image' has no shape; expected a list of whole numbers of at least 0"),
    "negative": (changed(shape=[1, 1, -8, -8]), "input 'image' has no shape; expected a list of whole numbers"),
    "fraction": (changed(shape=[1, 1, 8.0, 8]), "input 'image' has no shape"),
    "truth shape": (changed(shape=[True, 1, 8, 8]), "input 'image' has no shape"),
    "other shape": (
        changed(shape=[1, 64]),
        "the artifact has no shape that fits the inputs; expected image [1, 1, 8, 8]",
    ),
    "huge shape": (changed(shape=[2**62, 2**62]), "the artifact has no shape that fits the inputs"),
    "huge rank": (changed(shape=[1] * 10_000), "the artifact has no shape that fits the inputs"),
    "no data": (changed(data=None), "input 'image' has no data; expected a list, or the parameter binary_data_size"),
    "text data": (changed(data="0.5"), "input 'image' has no data"),
    "short": (
        changed(data=[0.5] * 63),
        "the data of input 'image' have another shape; expected (1, 1, 8, 8), found (63,)",
    ),
    "other nesting": (changed(data=[[0.5] * 8] * 8), "the data of input 'image' have another shape"),
    "ragged": (changed(data=[[1, 2], [3]]), "the data of input 'image' have another shape"),
    "words": (changed(data=["1"] * 64), "the data of input 'image' are of another type; expected elements of float32"),
    "nulls": (changed(data=[None] * 64), "the data of input 'image' are of another type"),
    "truths": (changed(data=[True] * 64), "the data of input 'image' are of another type"),
    "NaN": (changed(data=[float("nan")] * 64), "the body is no JSON: NaN is no number of JSON"),
    "infinity": (changed(data=[float("inf")] * 64), "the body is no JSON: Infinity is no number of JSON"),
    "beyond": (changed(data=[1e39] * 64), "the data of input 'image' are out of range; expected numbers of float32"),
    "far beyond": (changed().replace(b"0.5", b"1e999"), "the data of input 'image' are out of range"),
    "integers beyond": (changed(data=[10**400] * 64), "the data of input 'image' are out of range"),
    "no parameters": (changed(parameters=[1]), "parameters of input 'image' is no JSON object; found list"),
    "shared memory": (
        changed(parameters={"shared_memory_region": "a"}),
        "input 'image' has the parameter 'shared_memory_region', which this server does not know",
    ),
    "both": (changed(parameters={"binary_data_size": 256}), "input 'image' has both data and binary_data_size"),
    "bytes missing": (
        changed(data=None, parameters={"binary_data_size": 256}),
        "the body ends within input 'image'; expected 256 bytes, found 0",
    ),
    "size": (
        changed(data=None, parameters={"binary_data_size": 2**40}),
        "binary_data_size of input 'image' is wrong; expected 256 for the shape [1, 1, 8, 8], found 1099511627776",
    ),
    "negative size": (changed(data=None, parameters={"binary_data_size": -256}), "binary_data_size of input 'image'"),
    "text size": (changed(data=None, parameters={"binary_data_size": "256"}), "binary_data_size of input 'image'"),
    "id": (whole(id=7), "the id of the request is no string; found int"),
    "outputs": (whole(outputs={}), "the outputs of the request are no list; found dict"),
    "unknown output": (
        whole(outputs=[{"name": "probability"}]),
        "unknown output 'probability'; expected 'probabilities'. Did you mean 'probabilities'?",
    ),
    "binary_data": (
        whole(outputs=[{"name": "probabilities", "parameters": {"binary_data": 1}}]),
        "the parameter binary_data is no truth value; expected true or false, found 1",
    ),
    "classification": (
        whole(outputs=[{"name": "probabilities", "parameters": {"classification": 3}}]),
        "output 'probabilities' has the parameter 'classification', which this server does not know",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests(application: Any, case: str) -> None:
    body, error = WRONG[case]
    found = asked(application, INFER, body)
    assert (found.status, found.headers["content-type"]) == (400, "application/json")
    assert found.json.keys() == {"error"}
    assert found.json["error"].startswith(error)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda body, length: (body[:-1], length), "the body ends within input 'image'; expected 256 bytes, found 255"),
        (lambda body, length: (body + b"\0", length), "the body goes on behind its tensors"),
        (lambda body, length: (body, str(len(body) + 1)), f"{HEADER} is wrong; expected a number of at most"),
        (lambda body, length: (body, "-1"), f"{HEADER} is wrong"),
        (lambda body, length: (body, "9" * 30), f"{HEADER} is wrong"),
        (lambda body, length: (body, "²"), f"{HEADER} is wrong"),
        (lambda body, length: (body, "0"), "the body is no JSON: Expecting value"),
        (lambda body, length: (body, str(int(length) - 1)), "the body is no JSON"),
        (lambda body, length: (body, str(int(length) + 1)), "the body is no JSON"),
    ],
)
def test_wrong_bytes(
    application: Any, image: dict[str, np.ndarray], change: Callable[[bytes, str], tuple[bytes, str]], error: str
) -> None:
    body, headers = request_of(image, binary=True)
    body, length = change(body, headers[HEADER])
    found = asked(application, INFER, body, {HEADER: length})
    assert found.status == 400
    assert found.json["error"].startswith(error)


def test_wrong_elements(application: Any) -> None:
    right = {name: np.ones((2, 2), dtype) for name, (_, dtype) in TYPES.items()}
    text, headers = request_of(right, binary=True)
    assert asked(application, "/v2/models/typed/infer", text[:-1] + b"\2", headers).json == {
        "error": "input 'truth' holds bytes that are no truth values; expected 0 and 1"
    }
    for name, values, error in (
        ("small", [1, 2, 3, 128], "the data of input 'small' are out of range; expected -128 to 127"),
        ("byte", [1, 2, 3, -1], "the data of input 'byte' are out of range; expected 0 to 255"),
        ("long", [1, 2, 3, 2**63], "the data of input 'long' are out of range"),
        ("long", [1, 2, 3, 4.0], "the data of input 'long' are of another type; expected elements of int64"),
        ("long", [1, 2, 3, True], "the data of input 'long' are of another type"),
        ("truth", [1, 0, 1, 0], "the data of input 'truth' are of another type; expected elements of bool"),
        ("half", [1, 2, 3, 65536], "the data of input 'half' are out of range; expected numbers of float16"),
    ):
        request = json.loads(request_of(right)[0])
        next(each for each in request["inputs"] if each["name"] == name)["data"] = values
        found = asked(application, "/v2/models/typed/infer", json.dumps(request).encode())
        assert (found.status, found.json["error"][: len(error)]) == (400, error)


def test_numbers_that_json_lacks(application: Any) -> None:
    inputs = {name: np.ones((2, 2), dtype) for name, (_, dtype) in TYPES.items()}
    inputs["single"][0, 0] = np.nan
    body, headers = request_of(inputs, binary=True)
    found = asked(application, "/v2/models/typed/infer", body, headers)
    assert (found.status, found.json) == (
        400,
        {
            "error": "output 'single_out' holds infinities or what is no number, which JSON has no form for. "
            "Ask for it with the parameter binary_data."
        },
    )
    body, headers = request_of(inputs, binary=True, parameters={"binary_data_output": True})
    found = asked(application, "/v2/models/typed/infer", body, headers)
    np.testing.assert_array_equal(outputs_of(found.headers, found.body)["single_out"], inputs["single"])


def test_bodies_are_bounded_before_they_are_read(application: Any, image: dict[str, np.ndarray]) -> None:
    most = 2**16 + 64 * 32
    too_large = (413, {"error": f"the body is larger than the network takes; expected at most {most} bytes"})
    body, headers = request_of(image, binary=True)

    def refused(*arguments: Any, **options: Any) -> tuple[int, Any]:
        found = asked(application, INFER, *arguments, **options)
        return found.status, found.json

    assert refused([], {"Content-Length": str(most + 1)}) == too_large
    assert refused([], {"Content-Length": "9" * 30}) == (
        400,
        {"error": f"Content-Length is no number; found '{'9' * 30}'"},
    )
    assert refused([b" " * (most // 2 + 1)] * 2) == too_large
    assert refused([], {HEADER: "1", "Content-Length": str(2**16 + 257)})[0] == 413
    zipped = (415, {"error": "compressed bodies are not read; expected no Content-Encoding, found gzip"})
    assert refused(body, {**headers, "Content-Encoding": "gzip"}) == zipped
    gone = (400, {"error": "the body ends early, with the connection"})
    assert refused([body[:100]], headers, ends=False) == gone
    assert asked(application, INFER, [body[:100], body[100:]], headers).status == 200


def test_bodies_together_are_bounded(digits: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tilewright.runtime.serving.application.SERVED_BODIES", 1)
    application = Application([model_of(digits, "digits")], "1", 0.2).asgi
    piece = b" " * 40_000

    async def both() -> list[Answer]:
        slow = asyncio.create_task(ask(application, INFER, [piece], ends=False))
        return [await ask(application, INFER, changed()), await slow]

    assert [each.status for each in asyncio.run(both())] == [200, 400]


def test_answers_are_counted(application: Any, image: dict[str, np.ndarray]) -> None:
    body, headers = request_of(image, binary=True)
    for content in (body, body, b""):
        asked(application, INFER, content, headers)
    text = asked(application, "/metrics").body.decode()
    assert 'tilewright_requests_total{model="digits",status="200",version="12"} 2.0' in text
    assert 'tilewright_requests_total{model="digits",status="400",version="12"} 1.0' in text
    assert 'tilewright_request_seconds_count{model="digits",version="12"} 2.0' in text
    assert 'tilewright_pending_requests{model="digits",version="12"} 0.0' in text
