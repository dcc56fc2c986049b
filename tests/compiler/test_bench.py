"""`tilewright bench`: who takes part, who does not and why, and what is said about it. No time is looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from json_results import result_of
from network_files import graph_model

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.benchmark import comparison, contenders
from tilewright.compiler.benchmark.comparison import Comparison, NetworkResult, difference, own_options
from tilewright.compiler.benchmark.contenders import Loaded
from tilewright.compiler.benchmark.measure import Times, first_results, in_turn, take_turns
from tilewright.compiler.benchmark.tables import page
from tilewright.compiler.demo import MODEL
from tilewright.compiler.options import CompileOptions
from tilewright.errors import CalibrationWarning, ModelError, TilewrightError

Capture = pytest.CaptureFixture[str]


def bench(*words: str) -> int:
    return main(["bench", str(MODEL), "--rounds", "1", *words])


def test_json_and_the_page_say_everything(tmp_path: Path, capsys: Capture) -> None:
    html = tmp_path / "ratios.html"
    assert bench("--against", "onnxruntime", "--threads", "1,2", "--json", "--html", str(html)) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    found = result_of(shown.out)
    assert found["versions"]["tilewright"] == tilewright.__version__
    assert found["versions"]["onnxruntime"] == onnxruntime.__version__
    assert found["processor"]
    first, second = found["networks"]
    assert (first["network"], first["threads"], second["threads"]) == ("digits", 1, 2)
    for each in (first, second):
        assert [*each["times"]] == ["tilewright", "onnxruntime"]
        theirs, ours = (each["times"][name]["median"] for name in ("onnxruntime", "tilewright"))
        assert each["ratio"] == pytest.approx(theirs / ours)
        assert found["geometric_means"][str(each["threads"])] == pytest.approx(each["ratio"])
        assert each["computes_with"] == {
            "tilewright": "fp32, engine float",
            "onnxruntime": "the model's types, CPUExecutionProvider",
        }
    assert second["starts"] == {}
    for start in first["starts"].values():
        assert start["seconds"] > start["imported"] > 0
        assert start["peak_bytes"] > 2**20
    text = html.read_text(encoding="utf-8")
    assert text.count("<rect") == 2
    assert "prefers-color-scheme: dark" in text


def test_ctrl_c_shows_what_is_measured(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = comparison._measure

    def interrupted(*given: Any) -> NetworkResult:
        if given[2] == 2:
            raise KeyboardInterrupt
        return measure(*given)

    monkeypatch.setattr(comparison, "_measure", interrupted)
    # Of fresh processes nothing is asked here.
    monkeypatch.setattr(comparison, "first_results", lambda *_: {})
    words = ("--against", "onnxruntime", "--threads")
    assert bench(*words, "1,2") == 130
    shown = capsys.readouterr()
    assert shown.err == "error: interrupted\n"
    assert "Geometric mean of the ratios with threads=1: " in shown.out and "threads=2" not in shown.out
    assert bench(*words, "1,2", "--json") == 130
    shown = json.loads(capsys.readouterr().out)
    assert shown["error"]["exit_code"] == 130 and shown["result"]["interrupted"]
    assert [each["threads"] for each in shown["result"]["networks"]] == [1]
    assert bench(*words, "2", "--json") == 130
    shown = json.loads(capsys.readouterr().out)
    assert (shown["error"]["text"], shown["result"]) == ("interrupted", None)


def test_what_is_not_installed_is_named_and_the_others_go_on(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def installed(name: str) -> str:
        if name == "openvino":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(comparison, "version", installed)
    assert bench() == 0
    shown = capsys.readouterr()
    without = "the package 'openvino' is not installed: measured without it; pip install openvino adds it"
    assert shown.err == f"warning: {without}\n"
    lines = shown.out.splitlines()
    assert f", onnxruntime {onnxruntime.__version__}, numpy {np.__version__}, python " in lines[0]
    assert lines[3].split("  ")[-1] == "best peer / ours"
    assert "Geometric mean of the ratios with threads=1: " in shown.out
    assert "  digits   onnxruntime " in shown.out


def test_who_computes_something_else_is_no_contender(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(path: str, threads: int, precision: str, shapes: Mapping[str, list[int]]) -> Loaded:
        right = contenders._onnxruntime(path, threads, precision, shapes)
        return Loaded(lambda inputs: {name: 1.5 * array for name, array in right.run(inputs).items()}, "halves")

    monkeypatch.setitem(contenders.LOADERS, "onnxruntime", wrong)
    assert bench("--against", "onnxruntime", "--json") == 1
    shown = capsys.readouterr()
    (network,) = result_of(shown.out)["networks"]
    assert [*network["times"]] == ["tilewright"]
    assert network["ratio"] is None
    assert shown.err == (
        "warning: onnxruntime was not measured on digits with threads=1: its outputs differ from ours by 5.0e-01 of "
        "their length\n"
        "error: bench: outputs differ from ours by more than rounding explains; found onnxruntime on digits with "
        "threads=1 by 5.0e-01. `tilewright compare` shows where two networks part.\n"
    )


def test_who_cannot_run_a_network_is_left_out(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(path: str, threads: int, precision: str, shapes: Mapping[str, list[int]]) -> Loaded:
        raise RuntimeError("no kernel for it\nat line 7")

    monkeypatch.setitem(contenders.LOADERS, "onnxruntime", failing)
    assert bench("--against", "onnxruntime") == 0
    shown = capsys.readouterr()
    assert shown.err == "warning: onnxruntime was not measured on digits with threads=1: no kernel for it\n"
    assert "Geometric mean" not in shown.out and "\n\n\n" not in shown.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--against tvm", "Invalid value for '--against': 'tvm' is none of onnxruntime, openvino."),
        ("--threads 1,0", "Invalid value for '--threads': '0' is not a whole number of at least 1."),
        ("--threads 5000", "Invalid value for '--threads': '5000' is more than 1024."),
        ("--rounds 10001", "Invalid value for '--rounds': '10001' is more than 10000."),
    ],
)
def test_wrong_words(words: str, message: str, capsys: Capture) -> None:
    assert bench(*words.split()) == 2
    assert capsys.readouterr().err == f"error: {message} See `tilewright bench --help`.\n"


def test_peers_compute_in_fp32_what_a_file_says(tmp_path: Path, rng: np.random.Generator) -> None:
    """With stored weights they would quantise activations, too, as the network is run."""
    w, x = rng.integers(-128, 128, (64, 64)).astype(np.int8), rng.normal(size=(32, 64)).astype(np.float32)
    constants = [
        onnx.numpy_helper.from_array(w, "w"),
        onnx.numpy_helper.from_array(np.array(0.01, np.float32), "scale"),
    ]
    constants += [onnx.numpy_helper.from_array(np.array(0, np.int8), "zero")]
    nodes = [onnx.helper.make_node("DequantizeLinear", ["w", "scale", "zero"], ["f"])]
    nodes += [onnx.helper.make_node("MatMul", ["x", "f"], ["y"])]
    x_info, y_info = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [32, 64]) for name in "xy")
    model = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "stored", [x_info], [y_info], constants),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, path := str(tmp_path / "stored.onnx"))
    expected = x @ (w * np.float32(0.01))
    (found,) = contenders.LOADERS["onnxruntime"](path, 1, "fp32", {}).run({"x": x}).values()
    assert np.abs(found - expected).max() < 1e-4 * np.abs(expected).max()


def test_each_model_gets_the_shapes_that_it_has_names_for(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    onnx.save(graph_model([node], [("x", onnx.TensorProto.FLOAT, ["N", 2])], ["y"]), open_one := tmp_path / "o.onnx")
    given = {"N": (2,), "im*": (1, 1, 8, 8), "strange": (3,)}
    options = CompileOptions(input_shapes=given, freeze={"x": 1.0, "other": 2})
    first, second = own_options([open_one, MODEL], options)
    assert (first.input_shapes, first.freeze) == ([{"N": (2,), "strange": (3,)}], {"x": 1.0, "other": 2})
    assert (second.input_shapes, second.freeze) == ([{"im*": (1, 1, 8, 8), "strange": (3,)}], {"other": 2})
    options = CompileOptions(precision="fp32", input_shapes={"N": (2, 4)})
    with pytest.warns(CalibrationWarning, match=r"o\.onnx has 2 shapes, and is measured in x \[2, 2\]"):
        comparison.compare([open_one], [], [], 1, options, tmp_path)
    with pytest.raises(ModelError, match=r"^import: o\.onnx: input 'x' has an open shape"):
        comparison.compare([open_one, MODEL], [], [], 1, CompileOptions(precision="fp32"), tmp_path)


def test_the_order_rotates() -> None:
    assert [name for _, name in in_turn("abc", 3)] == [*"abc", *"bca", *"cab"]


def test_every_second_run_counts() -> None:
    called: list[str] = []
    found = take_turns({name: lambda name=name: called.append(name) for name in "ab"}, 2)
    assert called == [*"aabb", *"bbaa"]
    for times in found.values():
        assert times.first_quartile <= times.median <= times.third_quartile


def test_a_turn_waits_until_threads_of_the_one_before_have_come_to_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    now, busy, started = 0.0, 0.0, list[float]()

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    def spinning() -> None:
        """Its threads compute for 42 ms more."""
        nonlocal busy
        started.append(now)
        busy = now + 0.042

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    monkeypatch.setattr("time.process_time", lambda: min(now, busy))
    take_turns({"a": spinning}, 3)
    assert [second - first >= 0.042 for first, second in zip(started[1::2], started[2::2], strict=False)] == [True] * 2

    def endless() -> None:
        started.append(now)

    started.clear()
    monkeypatch.setattr("time.process_time", lambda: now)
    take_turns({"a": endless}, 2)
    assert started[2] - started[1] < 1


def test_a_fresh_process_that_fails_says_why(tmp_path: Path) -> None:
    inputs = {"x": np.zeros(1, np.float32)}
    with pytest.raises(TilewrightError, match=r"^a fresh process of onnxruntime fails; found .*nothing\.onnx"):
        first_results({"onnxruntime": str(tmp_path / "nothing.onnx")}, 1, "fp32", inputs, 1)


def test_who_crashes_ends_a_process_of_its_own_alone(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashing = tmp_path / "contenders.py"
    crashing.write_text(
        "import os, runpy, signal, sys\n"
        "if sys.argv[1] == 'onnxruntime':\n"
        "    os.kill(os.getpid(), signal.SIGSEGV)\n"
        f"runpy.run_path({contenders.__file__!r}, run_name='__main__')\n"
    )
    monkeypatch.setattr(contenders, "__file__", str(crashing))
    assert bench("--against", "onnxruntime", "--json") == 0
    shown = capsys.readouterr()
    assert shown.err == (
        "warning: onnxruntime was not measured on digits with threads=1: a fresh process of onnxruntime fails; found "
        "Segmentation fault\n"
    )
    (network,) = result_of(shown.out)["networks"]
    assert [*network["times"]] == [*network["starts"]] == ["tilewright"]


def test_difference() -> None:
    ours = {"y": np.asarray([3.0, 4.0], np.float32), "z": np.asarray([2], np.int64)}
    assert difference({"#0": np.asarray([3.0, 4.5]), "z": np.asarray([2])}, ours) == pytest.approx(0.1)
    assert difference({"y": ours["y"]}, ours) == np.inf
    tiny = {"y": np.full(4, 1e-5, np.float32)}
    assert difference({"y": 1.5 * tiny["y"]}, tiny) == pytest.approx(0.005)
    assert difference({"y": ours["y"][:1], "z": ours["z"]}, ours) == np.inf
    assert difference({"y": np.asarray([3.0, np.nan]), "z": ours["z"]}, ours) == np.inf
    # What random inputs leave undefined ended in an internal error: ours differed from themselves.
    undefined = {"y": np.asarray([1.0, np.nan, np.inf])}
    assert difference(undefined, undefined) == 0
    assert difference({"y": np.asarray([1.0, np.nan, -np.inf])}, undefined) == np.inf
    classes = {"label": np.asarray([1]), "p": np.asarray([[0.75, 0.25]])}
    named = {"label": np.asarray(["no"], object), "p": [{"no": 0.25, "yes": 0.75}]}
    assert difference(named, classes) == 0
    assert difference({"s": [np.asarray([1.0]), np.asarray([2.0])]}, {"s.1": np.asarray([2.0])}) == 0
    assert difference(named | {"p": [{"no": 0.5, "yes": 0.5}]}, classes) > 0.1


def test_bars_of_the_page_are_in_proportion_and_names_no_markup() -> None:
    times = {"tilewright": Times(1.0, 1.0, 1.0, 1.0)}
    networks = [NetworkResult(name, 1, "fp32", times, {}, {}, ratio) for name, ratio in (("<b>", 0.5), ("c", 2.0))]
    text = page(Comparison("a processor", 2, {}, [], 1, networks))
    assert '<rect class="bad" x="128" y="8" width="105.0"' in text
    assert '<rect class="good" x="128" y="34" width="420.0"' in text
    assert '<line x1="338.0"' in text
    assert "<b>" not in text
    assert "&lt;b&gt;, threads=1" in text


def test_peers_are_given_what_is_frozen_and_extents_are_bounded(tmp_path: Path, capsys: Capture) -> None:
    """The message that names --bound was of a command that did not take it."""
    nodes = [onnx.helper.make_node("Range", ["zero", "n", "one"], ["r"])]
    nodes += [onnx.helper.make_node("Cast", [each], [f"{each}_f"], to=onnx.TensorProto.FLOAT) for each in ("r", "k")]
    nodes += [onnx.helper.make_node("Add", ["r_f", "k_f"], ["t"]), onnx.helper.make_node("ReduceSum", ["t"], ["sum"])]
    # Not random numbers, and not zeros in a fresh process either.
    nodes += [onnx.helper.make_node("Div", ["sum", "k_f"], ["q"]), onnx.helper.make_node("Add", ["x", "q"], ["y"])]
    inputs = [("x", onnx.TensorProto.FLOAT, [4]), ("n", onnx.TensorProto.INT64, []), ("k", onnx.TensorProto.INT64, [])]
    known = {"zero": np.array(0), "one": np.array(1)}
    onnx.save(graph_model(nodes, inputs, ["y"], known), path := tmp_path / "n.onnx")
    words = ["bench", str(path), "--rounds", "1", "--against", "onnxruntime", "--freeze", "k=300"]
    assert main(words) == 1
    assert "such as --bound n=1000" in capsys.readouterr().err
    assert main([*words, "--bound", "n=9", "--json"]) == 0
    shown = capsys.readouterr()
    (found,) = result_of(shown.out)["networks"]
    assert ([*found["times"]], [*found["starts"]], shown.err) == (["tilewright", "onnxruntime"],) * 2 + ("",)
    assert main(["compare", str(path), "--every-layer", "--freeze", "k=300", "--bound", "n=9"]) == 0
    assert "differs" not in capsys.readouterr().out
    # Other models than the one that has the tensor know nothing of it, and all refuse what none has.
    options = CompileOptions(bounds={"n": 9, "strange": 3})
    first, second = own_options([path, MODEL], options)
    assert (first.bounds, second.bounds) == ({"n": 9, "strange": 3}, {"strange": 3})
    nodes[:1] = [
        onnx.helper.make_node("Identity", ["n"], ["m"]),
        onnx.helper.make_node("Range", ["zero", "m", "one"], ["r"]),
    ]
    onnx.save(graph_model(nodes, inputs, ["y"], known), other := tmp_path / "other.onnx")
    words = ["compare", str(path), str(other), "--data", "random", "--freeze", "k=300", "--bound", "n=9"]
    assert main([*words, "--bound", "m=9"]) == 0
    assert main([*words, "--bound", "mm=9"]) == 2
    assert "a bound was given for 'mm', a tensor that the model does not have" in capsys.readouterr().err


def test_what_compiling_warns_of_is_told_with_the_model(capsys: Capture) -> None:
    assert bench("--against", "onnxruntime", "--precision", "int8", "--calibration", "random") in (0, 1)
    told = "digits.onnx: random inputs tell nothing of what the network will meet: calibrate with real samples"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("count", [4, 40])
def test_fresh_processes_are_given_what_is_frozen_however_large(tmp_path: Path, capsys: Capture, count: int) -> None:
    """Zeros are no sizes of parts, and no such network runs on them."""
    nodes = [onnx.helper.make_node("Split", ["x", "sizes"], [f"p{n}" for n in range(count)], axis=0)]
    nodes += [onnx.helper.make_node("Concat", [f"p{n}" for n in reversed(range(count))], ["y"], axis=0)]
    inputs = [("x", onnx.TensorProto.FLOAT, [2 * count]), ("sizes", onnx.TensorProto.INT64, [count])]
    onnx.save(graph_model(nodes, inputs, ["y"], {}), path := tmp_path / "split.onnx")
    np.save(sizes := tmp_path / "sizes.npy", np.full(count, 2))
    words = ["--rounds", "1", "--against", "onnxruntime", "--freeze", f"sizes={sizes}", "--json"]
    assert main(["bench", str(path), *words]) == 0
    shown = capsys.readouterr()
    (found,) = result_of(shown.out)["networks"]
    assert ([*found["times"]], [*found["starts"]], shown.err) == (["tilewright", "onnxruntime"],) * 2 + ("",)
