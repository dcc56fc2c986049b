"""Sessions and requests where programs expect them: asyncio, pickle, arrays of the caller's, notebooks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from network_files import graph_model
from onnx import TensorProto, helper
from open_networks import convolutional

import tilewright
from tilewright.compiler.demo import MODEL
from tilewright.errors import ArtifactError, InputError, RequestCancelledError, TrustError, UsageError
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.request import Request

IMAGE = np.linspace(0, 1, 64, dtype=np.float32).reshape(1, 1, 8, 8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "digits.twa"
    tilewright.compile(MODEL, output=path)
    return path


def test_requests_are_awaited_and_waited_for(path: Path) -> None:
    with tilewright.load(path) as session:
        expected = session.run({"image": IMAGE})["probabilities"]

        async def both() -> list[np.ndarray]:
            first = await session.submit({"image": IMAGE})
            second = await asyncio.wrap_future(session.submit({"image": IMAGE}))
            return [first["probabilities"], second["probabilities"]]

        for found in asyncio.run(both()):
            np.testing.assert_array_equal(found, expected)
        requests = [session.submit({"image": IMAGE}) for _ in range(3)]
        done, waiting = concurrent.futures.wait(requests, timeout=60)
        assert done == set(requests)
        assert not waiting
        assert requests[0].exception() is None


def test_what_fails_or_is_cancelled_does_so_where_it_is_awaited() -> None:
    failing, cancelled = Request(lambda: 1 / 0), Request(lambda: 1.0)
    assert cancelled.cancel()
    failing.execute()

    async def outcome(request: Request[float]) -> None:
        await request

    with pytest.raises(ZeroDivisionError):
        asyncio.run(outcome(failing))
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(outcome(cancelled))
    # As any library catches it, and as ours do.
    for kind in (concurrent.futures.CancelledError, RequestCancelledError):
        with pytest.raises(kind, match="cancelled before it ran") as caught:
            cancelled.result()
    assert type(pickle.loads(pickle.dumps(caught.value))) is type(caught.value)
    assert type(caught.value).__name__ == "RequestCancelledError"
    with pytest.raises(RequestCancelledError):
        cancelled.result()
    assert cancelled.cancelled()
    assert not failing.cancelled()
    assert isinstance(failing.exception(), ZeroDivisionError)
    assert concurrent.futures.wait([failing, cancelled], timeout=60).not_done == set()


ENDING = """
import sys
import numpy as np
import tilewright

image = np.zeros((1, 1, 8, 8), np.float32)

class Owner:
    def __init__(self, runs: bool) -> None:
        self.session = tilewright.load(sys.argv[1], threads=2)
        self.expected = self.session.run({"image": image})["probabilities"] if runs else None
        self.request = self.session.submit({"image": image})

    def __del__(self) -> None:
        found = self.session.run({"image": image})["probabilities"]
        print(self.expected is None or found.tobytes() == self.expected.tobytes())
        self.session.close()

owners = [Owner(False), Owner(True)]
"""


def test_a_session_runs_while_the_interpreter_ends(path: Path) -> None:
    """No thread can be started by then, and none of those that there are goes on."""
    done = subprocess.run([sys.executable, "-c", ENDING, path], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\nTrue\n", "")


LATE = """
import sys
import numpy as np
import tilewright
from tilewright.errors import TilewrightError

image = np.zeros((1, 1, 8, 8), np.float32)

class Owner:
    session = tilewright.load(sys.argv[1])

    def __del__(self) -> None:
        for call in (lambda: self.session.submit({"image": image}), lambda: tilewright.load(sys.argv[1])):
            try:
                call()
            except TilewrightError as error:
                print(error)

owner = Owner()
"""


def test_what_the_ending_interpreter_would_import_is_told(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LATE, path], capture_output=True, text=True, timeout=120)
    why = "the interpreter ends and imports nothing more. Do it earlier, for example in a function for atexit."
    assert (done.stdout, done.stderr) == (f"submit: {why}\nimport of tilewright: {why}\n", "")


def test_sessions_are_pickled_by_path_or_by_content(path: Path) -> None:
    for source in (path, path.read_bytes(), Artifact.open(path)):
        with tilewright.load(source, engine="float", threads=1) as session:
            expected = session.run({"image": IMAGE})["probabilities"]
            pickled = pickle.dumps(session)
        assert (len(pickled) > path.stat().st_size) == (source is not path)
        with pickle.loads(pickled) as other:
            assert other.engine == "float"
            np.testing.assert_array_equal(other.run({"image": IMAGE})["probabilities"], expected)
    with pytest.raises(UsageError, match="the session is closed"):
        pickle.dumps(session)


def test_a_session_is_no_other_network_where_it_is_copied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between pickling and arriving another version may have been put at the path, of which nothing is made then."""
    with tilewright.load(path) as session:
        pickled = pickle.dumps(session)
        tilewright.compile(graph_model([helper.make_node("Relu", ["x"], ["y"])]), output=path)
        monkeypatch.setattr("tilewright.runtime.session.Runners", None)
        for again in (lambda: pickle.loads(pickled), lambda: copy.copy(session)):
            with pytest.raises(
                ArtifactError, match=r"digits\.twa is no longer the artifact that the session was loaded"
            ):
                again()


def test_native_code_from_memory_is_judged_where_it_arrives(path: Path) -> None:
    content = path.read_bytes()
    digest = Artifact.open(content).credentials.digest_text
    with tilewright.load(content, trust=digest) as session:
        pickled = pickle.dumps(session)
    with pickle.loads(pickled) as other:
        assert other.artifact.credentials.digest_text == digest
    changed = digest[:-1] + ("0" if digest[-1] != "0" else "1")
    with pytest.raises(TrustError, match="is not the artifact that is trusted"):
        pickle.loads(pickled.replace(digest.encode(), changed.encode()))


def test_outputs_go_into_arrays_that_are_given(path: Path) -> None:
    with tilewright.load(path) as session:
        expected = session.run({"image": IMAGE})["probabilities"]
        out = np.zeros_like(expected)
        assert session.run({"image": IMAGE}, out={"probabilities": out})["probabilities"] is out
        np.testing.assert_array_equal(out, expected)
        memory = np.zeros(64, np.float32)
        image = memory.reshape(1, 1, 8, 8)
        fixed = expected.copy()
        fixed.flags.writeable = False
        cases: list[tuple[dict[str, np.ndarray], str]] = [
            ({"other": out}, "out has an array for no output; expected probabilities, found other"),
            ({"probabilities": out.astype(np.float64)}, "does not fit the output; expected .*, found float64"),
            ({"probabilities": out[:, :5]}, "does not fit the output"),
            ({"probabilities": np.zeros((1, 20), np.float32)[:, ::2]}, "cannot be written; .* found strides"),
            ({"probabilities": fixed}, "cannot be written; expected C-contiguous and writable, found read-only"),
            ({"probabilities": memory[:10].reshape(1, 10)}, "overlaps input 'image'"),
        ]
        for given, message in cases:
            with pytest.raises(InputError, match=message):
                session.run({"image": image}, out=given)


def test_given_arrays_have_the_extents_that_outputs_have_in_the_end() -> None:
    nodes = [helper.make_node("Abs", ["x"], ["a"]), helper.make_node("NonZero", ["a"], ["y"])]
    decided = graph_model(nodes, [("x", TensorProto.FLOAT, [2, 3])], ["y"])
    decided.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    padded = tilewright.load(tilewright.compile(convolutional(), input_shapes={"batch": (2, 4)}), pad="batch")
    with padded, tilewright.load(tilewright.compile(decided)) as session:
        x = np.ones((1, 3, 8, 8), np.float32)
        expected = padded.run({"x": x})["y"]
        out = np.zeros_like(expected)
        np.testing.assert_array_equal(padded.run({"x": x}, out={"y": out})["y"], expected)
        np.testing.assert_array_equal(out, expected)
        with pytest.raises(InputError, match=r"expected float32\[1,12\], found float32\[2,12\]"):
            padded.run({"x": x}, out={"y": np.zeros((2, 12), np.float32)})
        one = np.array([[0, 0, 1], [0, 0, 0]], np.float32)
        with pytest.raises(InputError, match=r"expected int64\[2,1\], found int64\[2,6\]"):
            session.run({"x": one}, out={"y": np.zeros((2, 6), np.int64)})
        places = np.zeros((2, 1), np.int64)
        session.run({"x": one}, out={"y": places})
        np.testing.assert_array_equal(places, [[0], [2]])
        with pytest.raises(InputError, match=r"out is no mapping; expected arrays .*, found ndarray"):
            session.run({"x": one}, out=places)  # pyright: ignore[reportArgumentType]


def test_notebooks_show_sessions_and_artifacts_as_tables(path: Path) -> None:
    with tilewright.load(path) as session:
        shown = session._repr_html_()
        assert "<td>input</td><td>image" in shown
        assert "engine float" in shown
        shown = session.artifact._repr_html_()
        assert "<td>input</td><td>image" in shown
        assert "model &#x27;digits&#x27;, precision fp32" in shown
        assert r"<caption>a\u202eb</caption>" in session.artifact.html("a\u202eb")
        profile = session.profile(rounds=1)
        assert profile._repr_html_().count("<tr>") == len(profile.steps) > 1


def test_what_a_program_holds_is_compared_as_files_are(path: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", image=data)
    tilewright.export(MODEL, tmp_path / "qdq.onnx", quantized="qdq", calibration=data)
    expected = tilewright.compare(MODEL, tmp_path / "qdq.onnx", tmp_path / "data.npz")
    model = onnx.load(MODEL)
    whole, integers = model.SerializeToString(), tilewright.compile(tmp_path / "qdq.onnx", keep=["all"])
    for reference, network in ((whole, tmp_path / "qdq.onnx"), (model, integers), (model, integers)):
        found = tilewright.compare(reference, network, {"image": data})
        assert [(row.name, row.sqnr) for row in found.rows] == [(row.name, row.sqnr) for row in expected.rows]
        assert found.samples == expected.samples == 4
    assert tilewright.compare(whole, path, data).samples == 4
    # The caller's model is as it was.
    assert model.SerializeToString() == whole
    with pytest.raises(UsageError, match="encodings are for ONNX models, not for"):
        tilewright.compare(model, integers, data, encodings="network.encodings")
