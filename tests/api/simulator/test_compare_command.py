"""``tilewright compare``: the table, JSON, the exit code, and artifacts in the place of models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from json_results import result_of
from network_files import graph_model, write_model
from onnx import TensorProto, helper
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.runtime.api.simulator import api
from tilewright.runtime.api.simulator.session import CompiledNetwork

Network = Callable[..., str]
Capture = pytest.CaptureFixture[str]


def compared(capsys: Capture, code: int, *words: object) -> tuple[str, str]:
    """What goes to stdout and stderr."""
    assert main(["compare", *map(str, words)]) == code
    shown = capsys.readouterr()
    return shown.out, shown.err


def test_equal_networks(network: Network, samples: Path, capsys: Capture) -> None:
    model = network(outputs=("y",))
    out, err = compared(capsys, 0, model, model, "--data", samples, "--metric", "snr")
    assert (out, err) == (
        "  sample   tensor  snr (dB)  sample passes\n"
        "  ────────────────────────────────────────\n"
        "  first    y            inf  yes\n"
        "  more[0]  y            inf  yes\n"
        "  more[1]  y            inf  yes\n",
        "",
    )


def test_json_is_that_of_the_api(network: Network, encodings: str, samples: Path, capsys: Capture) -> None:
    model = network()
    words = (model, model, "--encodings", encodings, "--data", samples, "--metric", "Max-Abs", "--threshold", 1)
    found = result_of(compared(capsys, 0, *words, "--json")[0])
    parameters = api.InferenceCheckerParameters(
        input_model_path_0=model,
        input_model_path_1=model,
        input_encodings_path_1=encodings,
        input_data_path=str(samples),
        metric="max_abs",
        threshold=1,
    )
    expected = api.compare_model_by_inference(parameters)
    assert found == {
        "metric": "max_abs",
        "threshold": 1.0,
        "passed": True,
        "samples": {name: {"passed": passed, "values": values} for name, (passed, values) in expected.items()},
    }
    infinite = result_of(compared(capsys, 0, model, model, "--data", samples, "--metric", "snr", "--json")[0])
    assert infinite["samples"]["first"]["values"] == {"y": "inf", "z": "inf"}


def test_samples_that_do_not_pass_end_in_1(network: Network, samples: Path, capsys: Capture) -> None:
    words = (network(), network("other", noise=0.1), "--data", samples, "--threshold", 200)
    out, err = compared(capsys, 1, *words)
    assert out.count("no\n") == 6
    assert err == (
        "error: 3 of 3 samples do not pass; expected snr of at least 200, found less well in first, more[0], more[1]\n"
    )
    out, err = compared(capsys, 1, *words, "--json")
    assert result_of(out)["passed"] is False


def test_layers_and_their_export(network: Network, samples: Path, tmp_path: Path, capsys: Capture) -> None:
    model, renamed = network(), network("renamed", prefix="new_")
    words = ("--data", samples, "--layer", "h=new_h", "--layer", "y=new_y", "--export", tmp_path / "maps")
    out, _ = compared(capsys, 0, model, renamed, *words)
    assert [line.split()[:2] for line in out.splitlines()[2:4]] == [["first", "new_h"], ["first", "new_y"]]
    with np.load(tmp_path / "maps" / "model_1" / "first.npz") as found:
        assert found.files == ["new_h", "new_y"]
    out, _ = compared(capsys, 0, model, model, "--data", samples, "--layer", "h")
    assert out.count(" h ") == 3


def test_a_tensor_in_two_pairs(network: Network, samples: Path, capsys: Capture) -> None:
    words = ("--data", samples, "--layer", "h", "--layer", "y=h")
    _, err = compared(capsys, 2, network(), network(), *words)
    assert err == "error: compare: tensors of model 1 are to be compared twice; found h\n"


def test_artifacts_stand_in_for_models(network: Network, samples: Path, tmp_path: Path, capsys: Capture) -> None:
    model, artifact = network(), str(tmp_path / "model.twa")
    tilewright.compile(model, output=artifact)
    out, _ = compared(capsys, 0, model, artifact, "--data", samples, "--threshold", 100)
    assert out.count("yes\n") == 6
    _, err = compared(capsys, 2, model, artifact, "--data", samples, "--layer", "h")
    assert err == (
        f"error: of {artifact!r}, only outputs can be looked at; expected y, z, found h. "
        "Give the model that it was compiled from.\n"
    )
    _, err = compared(capsys, 2, model, artifact, "--data", samples, "--encodings", "e", "--metric", "snr")
    assert err == f"error: {artifact!r} is compiled already; found encodings 'e'. Leave them out.\n"


def test_models_of_ir_stand_in_for_models(network: Network, samples: Path, tmp_path: Path, capsys: Capture) -> None:
    model, ir = network(), str(tmp_path / "model.XML")
    assert main(["export", model, "-o", ir]) == 0
    capsys.readouterr()
    for words in ((model, ir), (ir, model)):
        out, _ = compared(capsys, 0, *words, "--data", samples, "--threshold", 100)
        assert out.count("yes\n") == 6
    _, err = compared(capsys, 2, model, ir, "--data", samples, "--layer", "h")
    assert err == f"error: of {ir!r}, only outputs can be looked at; expected y, z, found h\n"
    _, err = compared(capsys, 2, model, ir, "--data", samples, "--encodings", "e", "--metric", "snr")
    wrong = "is a model of IR, and encodings are for ONNX models; found encodings 'e'"
    assert err == f"error: {ir!r} {wrong}. Leave them out.\n"


def test_artifacts_are_compared_without_the_compiler(network: Network, samples: Path, tmp_path: Path) -> None:
    artifact = str(tmp_path / "model.twa")
    tilewright.compile(network(), output=artifact)
    program = f"""
import sys
for name in ("onnx", "numba", "llvmlite", "pydantic", "h5py"):
    sys.modules[name] = None
from tilewright.__main__ import main
sys.exit(main(["compare", {artifact!r}, {artifact!r}, "--data", {str(samples)!r}, *sys.argv[1:]]))
"""
    for words, mark, count in ((["--metric", "snr"], "yes\n", 6), ([], "equal ", 2)):
        found = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
        assert (found.returncode, found.stderr) == (0, "")
        assert found.stdout.count(mark) == count


def test_an_artifact_runs_on_data(network: Network, samples: Path, tmp_path: Path) -> None:
    model, artifact = network(), str(tmp_path / "model.twa")
    tilewright.compile(model, output=artifact)
    found = api.run_inference(api.InferenceRunnerParameters(input_model_path=artifact, input_data_path=str(samples)))
    with tilewright.load(artifact) as session:
        for name, feeds in api.load_input_data(samples, CompiledNetwork(artifact).get_inputs()).items():
            for output, array in session.run(feeds).items():
                np.testing.assert_array_equal(found[name][output], array)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--metric", "sne"], "unknown metric; expected snr, psnr, cosine, rmse, mse, mae, max_abs, found 'sne'"),
        (["--metric", "mse"], "metric mse needs a threshold. Give it with --threshold NUMBER."),
        (["--threshold", "nan"], "Invalid value for '--threshold': 'nan' is not a number."),
    ],
)
def test_wrong_words(words: list[str], text: str, capsys: Capture) -> None:
    _, err = compared(capsys, 2, "a.onnx", "b.onnx", "--data", "DATA", *words)
    assert err.startswith(f"error: {text}")


def test_data_are_required(capsys: Capture) -> None:
    _, err = compared(capsys, 2, "a.onnx", "b.onnx")
    assert err == "error: Missing argument '--data'. See `tilewright compare --help`.\n"


def test_inputs_are_frozen_and_extents_bounded_for_samples_too(tmp_path: Path, capsys: Capture) -> None:
    nodes = [helper.make_node("Range", ["zero", "n", "one"], ["r"]), helper.make_node("ReduceSum", ["r"], ["t"])]
    nodes += [helper.make_node("Cast", [each], [f"{each}f"], to=TensorProto.FLOAT) for each in ("t", "k")]
    nodes += [helper.make_node("Mul", ["x", "kf"], ["m"]), helper.make_node("Add", ["m", "tf"], ["y"])]
    inputs = [("x", TensorProto.FLOAT, [1, 2]), ("k", TensorProto.INT64, []), ("n", TensorProto.INT64, [])]
    model = graph_model(nodes, inputs, ["y"], {"zero": np.array(0), "one": np.array(1)})
    path = write_model(tmp_path / "k.onnx", model)
    tilewright.compile(path, freeze={"k": 3}, bounds={"n": 9}, output=tmp_path / "three.twa")
    np.savez(samples := tmp_path / "s.npz", x=np.array([[1, 2]], np.float32), n=np.array(4))
    words = (path, tmp_path / "three.twa", "--data", samples, "--metric", "max_abs", "--threshold", 0)
    for factor, code in ((3, 0), (4, 1)):
        out, _ = compared(capsys, code, *words, "--freeze", f"k={factor}", "--bound", "n=9", "--json")
        assert (result_of(out) if code == 0 else json.loads(out)["result"])["samples"]["s"]["values"] == {
            "y": 2.0 * (factor - 3)
        }
    _, err = compared(capsys, 2, *words, "--freeze", "k=3", "--freeze", "kk=3", "--bound", "n=9")
    assert "a value is given for what no model has; found kk" in err
    _, err = compared(capsys, 2, *words, "--freeze", "k=3", "--bound", "nn=9")
    assert "a bound is given for what no model has; found nn" in err
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    for data in (tmp_path / "a.png", "random"):
        _, err = compared(capsys, 2, path, path, "--data", data, "--layer", "y")
        assert f"outputs are compared on arrays, sample by sample; found {data}. Give .npz, .npy or .h5 files" in err
