"""The command line: what goes to stdout, what to stderr, exit codes, JSON."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from json_results import result_of
from network_files import digits_artifact, digits_model, write_model
from onnx import TensorProto, helper

import tilewright
from tilewright.__main__ import main
from tilewright.codegen.cpu import families
from tilewright.compiler.commands import demo
from tilewright.compiler.demo import MODEL
from tilewright.ir.ops.softmax import Softmax

COMMANDS = ("compile", "run", "inspect", "opt", "export", "simulate", "demo")
Capture = pytest.CaptureFixture[str]


def python(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=120)


def test_compile_run_and_inspect(tmp_path: Path, capsys: Capture) -> None:
    artifact = tmp_path / "digits.twa"
    assert main(["compile", str(MODEL), "-o", str(artifact)]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"digits: {artifact} (fp32, ")
    assert "\n  engine float     8 ops on CPU kernels, 199.0 k MACs; weights " in shown.out
    assert shown.err == ""

    assert main(["run", str(artifact), "--random", "1"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("probabilities: float32[1,10]\n  min ")
    assert "largest: [" in shown.out
    assert shown.err == ""

    assert main(["inspect", str(artifact)]) == 0
    shown = capsys.readouterr()
    assert "input  image: f32[1,1,8,8]" in shown.out
    assert "engine float" in shown.out
    assert "constants" in shown.out
    assert shown.err == ""


def test_a_network_without_inputs_needs_none(tmp_path: Path, capsys: Capture) -> None:
    constant = helper.make_node("Constant", [], ["y"], value_floats=[1.0, 2.0])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    model = helper.make_model(
        helper.make_graph([constant], "g", [], [output]), opset_imports=[helper.make_opsetid("", 21)]
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert main(["compile", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.twa")]) == 0
    capsys.readouterr()
    assert main(["run", str(tmp_path / "m.twa")]) == 0
    assert capsys.readouterr().out.startswith("y: float32[2]\n")


def test_the_artifact_is_named_after_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compile", str(MODEL), "--quiet"]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["digits.twa"]


def test_compile_json(tmp_path: Path, capsys: Capture) -> None:
    assert main(["compile", str(MODEL), "-o", str(tmp_path / "digits.twa"), "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert {"model", "precision", "file_bytes", "engines", "warnings"} <= found.keys()
    assert (found["model"], found["precision"]) == ("digits", "fp32")
    engine = found["engines"]["float"]
    assert {"operators", "reference", "macs", "arena_bytes", "constant_bytes", "code_bytes"} <= engine.keys()
    assert engine["macs"] > 0


def test_run_json_holds_every_element(tmp_path: Path, capsys: Capture) -> None:
    image = np.random.default_rng(0).random((1, 1, 8, 8), np.float32)
    np.save(tmp_path / "image.npy", image)
    assert main(["run", str(digits_artifact()), str(tmp_path / "image.npy"), "--json"]) == 0
    found = result_of(capsys.readouterr().out)["probabilities"]
    assert (found["dtype"], found["shape"]) == ("float32", [1, 10])
    with tilewright.load(digits_artifact()) as session:
        expected = session.run({"image": image})["probabilities"]
    np.testing.assert_array_equal(np.array(found["data"], np.float32), expected.reshape(-1))


@pytest.mark.parametrize("form", ["npy", "named", "npz"])
def test_run_takes_inputs_in_three_forms_and_saves_outputs(form: str, tmp_path: Path, capsys: Capture) -> None:
    image = np.full((1, 1, 8, 8), 0.25, np.float32)
    np.save(tmp_path / "a.npy", image)
    np.savez(tmp_path / "a.npz", image=image)
    word = {"npy": f"{tmp_path}/a.npy", "named": f"image={tmp_path}/a.npy", "npz": f"{tmp_path}/a.npz"}[form]
    output = tmp_path / "out.npz"
    assert main(["run", str(digits_artifact()), word, "-o", str(output)]) == 0
    with tilewright.load(digits_artifact()) as session, np.load(output) as saved:
        assert saved.files == ["probabilities"]
        np.testing.assert_array_equal(saved["probabilities"], session.run({"image": image})["probabilities"])
    capsys.readouterr()


def test_random_inputs_depend_on_the_seed_alone(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENBLAS_THREAD_TIMEOUT", raising=False)
    found = []
    for seed in ("1", "1", "2"):
        assert main(["run", str(digits_artifact()), "--random", seed, "--json"]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1] != found[2]
    assert "OPENBLAS_THREAD_TIMEOUT" not in os.environ


def test_profile_names_every_step(capsys: Capture) -> None:
    assert main(["run", str(digits_artifact()), "--random", "1", "--profile", "--json"]) == 0
    rows = result_of(capsys.readouterr().out)
    steps = tilewright.load(digits_artifact()).artifact.manifest.cpu_programs["float"].steps
    assert [row["name"] for row in rows] == [step.name for step in steps]
    assert {"name", "op", "kernel", "milliseconds", "share"} <= rows[0].keys()
    assert main(["run", str(digits_artifact()), "--random", "1", "--profile"]) == 0
    assert "time (ms)" in capsys.readouterr().out


def test_inspect_json(capsys: Capture) -> None:
    assert main(["inspect", str(digits_artifact()), "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert {
        "model",
        "precision",
        "compiler_version",
        "digest",
        "trusted",
        "inputs",
        "outputs",
        "engines",
    } <= found.keys()
    assert found["inputs"] == [{"name": "image", "dtype": "f32", "shape": [1, 1, 8, 8], "at_most": []}]
    assert {"name", "op", "place", "macs", "bytes", "nodes"} <= found["engines"]["float"]["layers"][0].keys()


def test_inspect_a_model(capsys: Capture) -> None:
    assert main(["inspect", str(MODEL)]) == 0
    assert "conv" in capsys.readouterr().out
    assert main(["inspect", str(MODEL), "--json"]) == 0
    assert result_of(capsys.readouterr().out)["layers"][0]["op"]
    for file in (MODEL, digits_artifact()):
        assert main(["inspect", str(file), "--ir"]) == 0
        assert capsys.readouterr().out.startswith("module @digits")


def test_the_ir_of_a_model_in_json(capsys: Capture) -> None:
    assert main(["inspect", str(MODEL), "--ir"]) == 0
    text = capsys.readouterr().out
    assert main(["inspect", str(MODEL), "--ir", "--json"]) == 0
    assert result_of(capsys.readouterr().out) == {"name": "digits", "engine": None, "ir": text}


def test_supported_operators(capsys: Capture) -> None:
    assert main(["inspect", "--supported-ops"]) == 0
    shown = capsys.readouterr().out
    assert "| conv | convolution |" in shown
    assert "| Conv | ai.onnx |" in shown
    assert (
        "| A slice takes neighbouring elements, with step 1, and of feature maps of i16 all channels | slice |" in shown
    )
    assert main(["inspect", "--supported-ops", "--json"]) == 0
    found = result_of(capsys.readouterr().out)
    assert {"Conv", "Gemm", "LayerNormalization"} <= {row["operator"] for row in found["onnx"]}
    assert {row["operator"]: row["device"] for row in found["operators"]}["softmax"] is False
    assert {"rule": "A pooling window has no dilation", "operators": ["average_pool", "max_pool"]} in found["device"]


def test_demo(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[demo.DemoResult] = []
    run = demo.run_demo
    monkeypatch.setattr(demo, "run_demo", lambda *given: done[0] if done else done.append(run(*given)) or done[0])
    assert main(["demo", "-o", str(tmp_path), "--json"]) == 0
    shown = capsys.readouterr()
    found = result_of(shown.out)
    assert shown.err == ""
    assert found["artifact"] == str(tmp_path / "digits.twa")
    assert found["engines"]["float"]["correct"] / found["images"] > 0.97
    # What was found a moment ago, as people see it.
    assert main(["demo", "-o", str(tmp_path)]) == 0
    assert "% correct (" in capsys.readouterr().out


def test_warnings_that_are_errors_are_no_bugs_of_ours(tmp_path: Path, capsys: Capture) -> None:
    words = ["export", str(MODEL), "-o", str(tmp_path / "d.onnx"), "--quantized", "qdq", "--calibration", "random"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert main(words) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("error: random inputs tell nothing of what the network will meet: ")
    assert shown.endswith(". Python was told that warnings are errors.\n")


def test_demo_without_a_home(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "nowhere")
    assert main(["demo"]) == 1
    expected = "error: there is no home folder to keep the demo in. Name a folder with --output.\n"
    assert capsys.readouterr().err == expected


def test_passes_can_be_watched(tmp_path: Path, capsys: Capture) -> None:
    words = ["compile", str(MODEL), "-o", str(tmp_path / "a.twa"), "--time-passes", "--print-after", "canonicalize"]
    assert main([*words, "--dump", str(tmp_path / "dump"), "--json"]) == 0
    shown = capsys.readouterr()
    result_of(shown.out)
    assert "canonicalize" in shown.err
    assert "module @digits" in shown.err
    assert list((tmp_path / "dump").rglob("*plan_cpu_memory*"))


def test_the_environment_asks_for_a_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_DUMP", str(tmp_path / "dump"))
    assert main(["compile", str(MODEL), "-o", str(tmp_path / "a.twa"), "--quiet"]) == 0
    assert list((tmp_path / "dump").rglob("*plan_cpu_memory*"))


def test_strict_refuses_what_has_no_kernel(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lowerings = families.lowerings
    monkeypatch.setattr(families, "lowerings", lambda cls: [] if cls is Softmax else lowerings(cls))
    model = write_model(tmp_path / "m.onnx", digits_model())
    assert main(["compile", str(model), "-o", str(tmp_path / "m.twa"), "--strict"]) == 3
    shown = capsys.readouterr()
    assert shown.err.startswith("error: cpu code: ")
    assert "have no CPU kernel and would run by the slow reference; found softmax. " in shown.err
    assert not (tmp_path / "m.twa").exists()
    # Without it the network runs all the same, and says how.
    assert main(["compile", str(model), "-o", str(tmp_path / "m.twa")]) == 0
    shown = capsys.readouterr()
    assert "by reference)" in shown.out
    assert "warning: no CPU kernel for 1 softmax op: the slow reference interpreter takes over\n" in shown.err
    assert main(["compile", str(model), "-o", str(tmp_path / "m.twa"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["run", str(tmp_path / "m.twa"), "--random", "1"]) == 0


def test_help_lists_the_commands_and_exit_codes(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for command in COMMANDS:
        assert f" {command} " in shown
    assert "Exit codes: 0 success, 1 bad input, 2 wrong usage, 3 unsupported model under --strict, 130 Ctrl-C." in shown


def test_no_arguments_print_help(capsys: Capture) -> None:
    assert main([]) == 2
    shown = capsys.readouterr()
    assert "Usage: tilewright" in shown.out + shown.err


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tilewright {tilewright.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["comple"],
            "error: No such command 'comple'. Did you mean 'compile' or 'compare'? See `tilewright --help`.\n",
        ),
        (["compile"], "error: Missing argument 'MODEL'. See `tilewright compile --help`.\n"),
        (["run", "a.twa", "--fast"], "error: No such option: --fast"),
        (
            ["compile", "a.onnx", "--precision", "fp31"],
            "error: Invalid value for '--precision': 'fp31' is none of fp32, bf16, int8. Did you mean 'fp32'? See ",
        ),
        (
            ["compile", "a.onnx", "--input-shape", "x=1,a"],
            "error: wrong --input-shape; expected NAME=1,3,224,224 or NAME=32..512/32, found x=1,a\n",
        ),
        (
            ["inspect", "a.onnx", "--engine", "float"],
            "error: --engine, --memory and --disassemble are for artifacts; found a.onnx\n",
        ),
        (["inspect", "a.twa", "--freeze", "x=1"], "error: --freeze is for models; found a.twa\n"),
        (["inspect", "a.twa", "--bound", "x=1"], "error: --bound is for models; found a.twa\n"),
        (["run", "a.twa", "--random", "-1"], "error: Invalid value for '--random': "),
        (
            ["inspect", "a.twa", "--ir", "--memory"],
            "error: --supported-ops, --ir, --memory and --disassemble show different things. Give one.\n",
        ),
        (
            ["inspect", "a.twa", "--disassemble", "--engine", "float"],
            "error: --disassemble shows the only engine with instructions. Leave --engine out.\n",
        ),
        (
            ["inspect"],
            "error: inspect needs a file. Give an artifact or a model, or --supported-ops.\n",
        ),
        (
            ["inspect", "--supported-ops", "a.onnx"],
            "error: --supported-ops lists the operators of the compiler, not of a file; found a.onnx\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage(words: list[str], message: str, capsys: Capture) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(message)
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "error: no input is given. Give a file for image, or --random SEED.\n"),
        (
            ["--random", "1", "--profile", "-o", "a.npz"],
            "error: --profile prints times and has no outputs to save. Leave --profile or --output out.\n",
        ),
        (["a.npy", "--random", "1"], "error: --random cannot be combined with input files\n"),
        (
            ["--random", "1", "--engine", "fast"],
            "error: Invalid value for '--engine': 'fast' is none of device, software, float. "
            "See `tilewright run --help`.\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_of_run(words: list[str], message: str, capsys: Capture) -> None:
    assert main(["run", str(digits_artifact()), *words]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", message)


def test_our_own_bugs_end_in_one_paragraph_too(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("tilewright.compiler.report.model.inspect_model", broken)
    assert main(["inspect", str(MODEL)]) == 1
    assert capsys.readouterr().err == (
        "error: internal error: ZeroDivisionError: division by zero. "
        "This is a bug in Tilewright; please report it with the traceback that TILEWRIGHT_DEBUG=1 shows.\n"
    )
    monkeypatch.setenv("TILEWRIGHT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["inspect", str(MODEL)])


@pytest.mark.parametrize("place", ["gather_inputs", "results_text"])
def test_memory_that_runs_out(place: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(f"tilewright.runtime.report.execution.{place}", full)
    assert main(["run", str(digits_artifact()), "--random", "1"]) == 1
    assert capsys.readouterr() == ("", "error: this machine does not have enough memory\n")


def test_as_a_program() -> None:
    done = python("-m", "tilewright", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tilewright {tilewright.__version__}\n", "")
    done = python("-m", "tilewright", "run", "nothing.twa", "--random", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: load artifact: cannot read 'nothing.twa': No such file or directory\n"


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m tilewright inspect --supported-ops | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "**Operators**\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        done = python("-m", "tilewright", "inspect", "--supported-ops", stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_ctrl_c_while_the_command_line_is_imported_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Interrupting:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name == "tilewright.runtime.commands.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "tilewright.runtime.commands.main")
    monkeypatch.delattr("tilewright.runtime.commands.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    assert main(["--version"]) == 130
    assert capsys.readouterr() == ("", "error: interrupted\n")
