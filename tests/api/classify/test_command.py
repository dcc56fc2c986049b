"""``tilewright classify``: predictions, texts and files, whatever the batch and the number of threads."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from json_results import result_of
from network_files import graph_model, write_model
from onnx import TensorProto, helper
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.runtime.api.classify.classifier import Classifier

from .conftest import PREPROCESSING, Task

Capture = pytest.CaptureFixture[str]
Expected = list[tuple[str, list[int]]]

STAMPS = [
    "Start TS",
    "Upload Start TS",
    "Upload End TS",
    "Inference Start TS",
    "Inference End TS",
    "Download Start TS",
    "Download End TS",
]
SPANS = [
    "Total Latency",
    "Preprocessing Time",
    "Upload Time",
    "Accelerator Time",
    "Download Time",
    "Inference Time",
]


def numbers(text: str) -> list[int]:
    assert re.fullmatch(r"\[( *\d+)+\]", text)
    return [int(word) for word in text[1:-1].split()]


def classified(task: Task, *words: str, capsys: Capture) -> str:
    assert main([*task.words, *words]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    return shown.out


def test_the_table_and_the_texts(task: Task, expected: Expected, capsys: Capture) -> None:
    lines = classified(task, "--labels", str(task.folder.parent / "labels.txt"), capsys=capsys).splitlines()
    assert lines[0].split() == ["File", "Name", "Prediction"]
    assert len({len(line) for line in lines[:24]}) == 1
    for index, (line, (path, best)) in enumerate(zip(lines[1:24], expected, strict=True)):
        match = re.fullmatch(r"(\d+) +(\S+) +(\[.*\])", line)
        assert match is not None
        assert (int(match[1]), match[2], numbers(match[3])) == (index, path, best)
    top1 = sum(task.labels[os.path.basename(path)] == best[0] for path, best in expected) / 23
    top5 = sum(task.labels[os.path.basename(path)] in best for path, best in expected) / 23
    assert top1 > 0.8
    assert lines[24:26] == [f"Top-1 Accuracy: {top1}", f"Top-5 Accuracy: {top5}"]
    duration, rate = (
        re.fullmatch(pattern, line)
        for pattern, line in zip((r"Duration for  23  images:  (\S+)", r"FPS:  (\S+)"), lines[26:], strict=True)
    )
    assert duration is not None and rate is not None
    assert float(rate[1]) == pytest.approx(23 / float(duration[1]))


@pytest.mark.parametrize("threads", ["1", "4"])
@pytest.mark.parametrize("batch", ["1", "3", "23", "100"])
def test_predictions_do_not_depend_on_batch_and_threads(
    batch: str, threads: str, task: Task, expected: Expected, capsys: Capture
) -> None:
    options = ("--max-bs", batch, "--preprocess-workers", threads, "--json")
    found = result_of(classified(task, *options, capsys=capsys))
    assert found["images"] == 23
    assert [(each["file"], each["prediction"]) for each in found["results"]] == expected


def test_the_file_of_results(task: Task, expected: Expected, tmp_path: Path, capsys: Capture) -> None:
    out = classified(task, "--outfile", str(tmp_path / "out.csv"), capsys=capsys)
    assert out.startswith("Duration for  23  images:  ")
    text = (tmp_path / "out.csv").read_text()
    assert text.startswith(f",File Name,Prediction\n0,{expected[0][0]},{np.array(expected[0][1], np.uint32)}\n")
    header, *rows = csv.reader(text.splitlines())
    assert header == ["", "File Name", "Prediction"]
    assert [(path, numbers(best)) for _, path, best in rows] == expected
    assert [index for index, *_ in rows] == [str(index) for index in range(23)]


def test_the_profile(task: Task, tmp_path: Path, capsys: Capture) -> None:
    options = ("--profile", "--outfile", str(tmp_path / "out.csv"), "--max_bs", "4")
    out = classified(task, *options, capsys=capsys)
    header, *rows = csv.reader((tmp_path / "out.csv").read_text().splitlines())
    assert header == ["", "File Name", "Prediction", *STAMPS, *SPANS]
    latencies = []
    for row in rows:
        values = [float(word) for word in row[3:]]
        stamps, spans = values[:7], values[7:]
        assert stamps == sorted(stamps)
        ends = [(0, 6), (0, 1), (1, 2), (3, 4), (5, 6), (1, 6)]
        assert spans == pytest.approx([stamps[end] - stamps[start] for start, end in ends])
        latencies.append(spans[0])
    summary = out.splitlines()
    assert re.split(r"  +", summary[0].strip()) == SPANS
    assert [line.split()[0] for line in summary[1:9]] == ["count", "mean", "std", "min", "25%", "50%", "75%", "max"]
    assert summary[1].split()[1:] == ["23.000000"] * 6
    expected = (np.mean(latencies), np.std(latencies, ddof=1), *np.percentile(latencies, (0, 25, 50, 75, 100)))
    assert [float(line.split()[1]) for line in summary[2:9]] == pytest.approx(expected, abs=1e-6)


def test_one_image(task: Task, expected: Expected, capsys: Capture) -> None:
    words = ["classify", "--xclbin", str(task.artifact), "--img-path", expected[0][0], "--profile"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[0] == "0"
    assert lines[5].split() == ["std"] + ["NaN"] * 6
    assert main([*words, "--json"]) == 0
    (result,) = result_of(capsys.readouterr().out)["results"]
    assert (result["file"], result["prediction"]) == expected[0]
    assert [*result][2:] == STAMPS + SPANS


def test_engines_agree(task: Task, expected: Expected, capsys: Capture) -> None:
    for engine in ("software", "device"):
        found = result_of(classified(task, "--engine", engine, "--json", capsys=capsys))
        assert [(each["file"], each["prediction"]) for each in found["results"]] == expected


def test_what_is_no_image_is_named_and_skipped(task: Task, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "folder").mkdir()
    for name in task.labels:
        os.link(task.folder / name, tmp_path / "folder" / name)
    (tmp_path / "folder" / "notes.txt").write_text("no image")
    (tmp_path / "folder" / "4.png").unlink()
    (tmp_path / "folder" / "4.png").write_bytes((task.folder / "4.png").read_bytes()[:60])
    os.mkfifo(tmp_path / "folder" / "pipe.png")
    (tmp_path / "folder" / "below").mkdir()
    words = ["classify", "--xclbin", str(task.artifact), "--img_path", str(tmp_path / "folder"), "--max_bs", "5"]
    assert main([*words, "--json"]) == 0
    shown = capsys.readouterr()
    found = result_of(shown.out)
    left = [name for name in os.listdir(tmp_path / "folder") if name in task.labels and name != "4.png"]
    assert [os.path.basename(each["file"]) for each in found["results"]] == left
    assert sorted(os.path.basename(each["file"]) for each in found["skipped"]) == ["4.png", "notes.txt"]
    path = str(tmp_path / "folder" / "notes.txt")
    assert (
        f"warning: skipped: cannot read {path!r} as an image: it is none of PNG, JPEG, BMP, WEBP, PPM, TIFF, or "
        "damaged. Remove the file from the folder or replace it.\n"
    ) in shown.err
    assert shown.err.count("warning: skipped: ") == 2


def failure(words: list[str], capsys: Capture, code: int = 1) -> str:
    assert main(words) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    return shown.err.splitlines()[-1]


def test_folders_without_images(task: Task, tmp_path: Path, capsys: Capture) -> None:
    words = ["classify", "--xclbin", str(task.artifact), "--img_path"]
    assert failure([*words, str(tmp_path)], capsys) == (
        f"error: there is no file in {str(tmp_path)!r}; expected images. Subfolders are not looked into."
    )
    assert failure([*words, str(tmp_path / "no")], capsys) == (
        f"error: cannot read {str(tmp_path / 'no')!r}: No such file or directory"
    )
    (tmp_path / "notes.txt").write_text("no image")
    assert failure([*words, str(tmp_path)], capsys) == "error: none of the 1 files can be classified; expected images"


def test_labels_that_do_not_fit(task: Task, tmp_path: Path, capsys: Capture) -> None:
    labels = tmp_path / "labels"
    words = [*task.words, "--labels", str(labels)]
    hint = "Each line holds the name of a file, a space, and the number of its class; names are for `tilewright run`"
    labels.write_text("other.png 3\n")
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "Accuracy" not in shown.out
    assert shown.err == (
        f"warning: no image has a label in {str(labels)!r}: there is no accuracy to tell. {hint.partition(';')[0]}\n"
    )
    labels.write_text("0.png 3\n\n1.png 5\n")
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "Top-1 Accuracy: " in shown.out
    assert shown.err == "warning: 21 of 23 images have no label: the accuracy is that of the others\n"
    for text, message in (
        (b"0.png 10\n", f"line 1 of {str(labels)!r} is no label; expected NAME CLASS, with a class of 0 to 9, found "
         f"0.png 10. {hint}."),
        (b"0.png 1\n1.png tench\n", f"line 2 of {str(labels)!r} is no label; expected NAME CLASS, with a class of 0 "
         f"to 9, found 1.png tench. {hint}."),
        (b"7\n", f"line 1 of {str(labels)!r} is no label; expected NAME CLASS, with a class of 0 to 9, found 7. "
         f"{hint}."),
        (b"\x80\x03}q\x00", f"{str(labels)!r} is no file of labels: it is not text. {hint}."),
        (b"0.png 1\n0.png 2\n", f"{str(labels)!r} gives '0.png' two labels; found 1 and 2"),
    ):  # fmt: skip
        labels.write_bytes(text)
        assert failure(words, capsys) == f"error: {message}"
    assert failure([*task.words, "--labels", str(tmp_path / "no")], capsys) == (
        f"error: cannot read {str(tmp_path / 'no')!r}: No such file or directory"
    )


def test_labels_that_are_off_by_one_are_said(task: Task, expected: Expected, tmp_path: Path, capsys: Capture) -> None:
    """`quantize` says so, and this told an accuracy of a tenth."""
    best = {os.path.basename(path): classes[0] for path, classes in expected}
    less = {name: label - 1 for name, label in best.items() if label}
    labels = tmp_path / "labels"
    labels.write_text("".join(f"{name} {label}\n" for name, label in less.items()))
    words = [*task.words, "--labels", str(labels)]
    said = (
        f"warning: 0.00 % of {len(less)} answers are as labelled, no more than by guessing; with 1 added to each label "
        "it would be 100.00 %\n"
    )
    assert main(words) == 0
    assert capsys.readouterr().err.endswith(said)
    batch = ["evaluate", str(task.artifact), str(task.folder), "--labels", str(labels), "--workers", "1"]
    assert main(["batch", *batch]) == 0
    assert capsys.readouterr().err.endswith(said)
    # Five are wrong by chance, or by bad luck.
    labels.write_text("".join(f"{name} {label}\n" for name, label in [*less.items()][:5]))
    assert main(words) == 0
    assert "guessing" not in capsys.readouterr().err


def test_the_output_replaces_nothing_that_is_read(task: Task, tmp_path: Path, capsys: Capture) -> None:
    image, labels, weights = tmp_path / "0.png", tmp_path / "labels", tmp_path / "weights"
    image.write_bytes((task.folder / "0.png").read_bytes())
    labels.write_text("0.png 0\n")
    weights.write_text("0,")
    words = ["classify", "--xclbin", str(task.artifact), "--img_path", str(image), "--labels", str(labels)]
    for file in (image, labels, weights):
        before = file.read_bytes()
        shown = failure([*words, "--fcweights", str(weights), "--outfile", str(file)], capsys, code=2)
        assert shown == f"error: the output would replace an input; found {file}. Choose another output."
        assert file.read_bytes() == before


def test_links_that_lead_nowhere_are_skipped(task: Task, tmp_path: Path, capsys: Capture) -> None:
    os.link(task.folder / "0.png", tmp_path / "0.png")
    os.symlink("nowhere", tmp_path / "link.png")
    os.symlink("loop.png", tmp_path / "loop.png")
    os.mkfifo(tmp_path / "fifo.png")
    assert main(["classify", "--xclbin", str(task.artifact), "--img_path", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "Duration for  1  images" in shown.out
    reasons = {"link": "No such file or directory", "loop": "Too many levels of symbolic links"}
    assert sorted(shown.err.splitlines()) == [
        f"warning: skipped: cannot read {str(tmp_path / f'{name}.png')!r}: {reason}" for name, reason in reasons.items()
    ]


def test_names_with_spaces_have_labels(task: Task, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "images").mkdir()
    os.link(task.folder / "0.png", tmp_path / "images" / "a b.png")
    label = task.labels["0.png"]
    (tmp_path / "labels").write_text(f'a b.png {label}\n"a b.png" {label}\n"c ""d""" 9\n')
    words = ["classify", "--xclbin", str(task.artifact), "--img_path", str(tmp_path / "images")]
    assert main([*words, "--labels", str(tmp_path / "labels")]) == 0
    assert "Top-5 Accuracy: 1.0\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classify", "--img_path", "x"], "Missing argument 'FILE.twa'"),
        (["power"], "Missing argument 'FILE.twa'. Give it as it is, or as --xclbin FILE.twa."),
        (["power", "x.twa", "--xclbin", "y.twa"], "there are two networks; found x.twa and --xclbin y.twa"),
        (["classify", "--xclbin", "x"], "Missing argument '--img_path'"),
        (["classify", "--xclbin", "x", "--img_path", "x", "--max_bs", "0"], "Invalid value for '--max_bs': '0' is not"),
        (
            ["classify", "--xclbin", "x", "--img_path", "x", "--preprocess_workers", "two"],
            "Invalid value for '--preprocess_workers': 'two' is not a whole number of at least 1",
        ),
    ],
)
def test_wrong_usage(words: list[str], message: str, capsys: Capture) -> None:
    assert message in failure(words, capsys, code=2)


def test_options_that_do_not_fit_the_network(task: Task, capsys: Capture) -> None:
    assert failure([*task.words, "--label-offset", "10"], capsys, code=2) == (
        "error: --label-offset is out of range; expected 0 to 9, found 10"
    )
    assert failure([*task.words, "--engine", "gpu"], capsys, code=2) == (
        "error: Invalid value for '--engine': 'gpu' is none of device, software, float. "
        "See `tilewright classify --help`."
    )
    assert failure([*task.words, "--preprocess", "sise=3"], capsys, code=2).startswith(
        "error: wrong preprocessing: sise"
    )


def test_preprocessing_comes_from_the_environment_too(
    task: Task, expected: Expected, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("TILEWRIGHT_PREPROCESS", "resize=stretch,mean=0,scale=0.0001")
    refused = failure(task.words, capsys, code=2)
    assert refused.startswith("error: the network was calibrated with another preprocessing of input 'image'; expected")
    assert refused.rstrip().endswith(
        "Leave --preprocess or TILEWRIGHT_PREPROCESS out, or give --force-preprocess to prepare images otherwise all "
        "the same."
    )
    found = result_of(classified(task, "--force-preprocess", "--json", capsys=capsys))
    assert [(each["file"], each["prediction"]) for each in found["results"]] != expected
    found = result_of(classified(task, "--preprocess", json.dumps(PREPROCESSING), "--json", capsys=capsys))
    assert [(each["file"], each["prediction"]) for each in found["results"]] == expected


def network(path: Path, outputs: int, *, layout: str = "nchw", batch: int = 1, others: tuple[int, ...] = ()) -> Path:
    """One product of an image of 4x4 pixels: class 5 adds up the blue of a picture, others less."""
    shape = [batch, 3, 4, 4] if layout == "nchw" else [batch, 4, 4, 3]
    weights = np.linspace(0, 0.5, outputs, dtype=np.float32)[::-1] * np.ones((48, 1), np.float32)
    blue = slice(32, 48) if layout == "nchw" else slice(2, 48, 3)
    weights[blue, 5] = 1.0
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, ["n", *shape[1:]])], initializers={"w": weights})
    shapes = [{"x": (each, *shape[1:])} for each in (batch, *others)]
    tilewright.compile(write_model(path.with_suffix(".onnx"), model), output=path, input_shapes=shapes)
    return path


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_the_original_preprocessing_and_the_background(layout: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (9, 5), (200, 0, 0)).save(tmp_path / "images" / "red.png")
    path = network(tmp_path / "m.twa", 1001, layout=layout)
    words = ["classify", "--xclbin", str(path), "--img_path", str(tmp_path / "images"), "--json"]
    found = {}
    for offset in ((), ("--label-offset", "0")):
        assert main([*words, *offset]) == 0
        shown = capsys.readouterr()
        found[offset] = result_of(shown.out)["results"][0]["prediction"]
        assert "note: the network does not say how its images were prepared: they are stretched, their channels in" in (
            shown.err
        )
        is_noted = "note: output 0 of 1001 counts as background and class 0 as output 1; --label-offset 0 says" in (
            shown.err
        )
        assert is_noted == (not offset)
    # Red is the last channel, where the network has blue.
    assert found[()][0] == 4
    assert found["--label-offset", "0"][0] == 5


def test_networks_of_a_batch(task: Task, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for index in range(5):
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).save(tmp_path / "images" / f"{index}.png")
    found = []
    for batch, others in ((1, (3,)), (3, ())):
        path = network(tmp_path / f"{batch}.twa", 20, batch=batch, others=others)
        for images in ("1", "2", "5"):
            words = ["classify", "--xclbin", str(path), "--img_path", str(tmp_path / "images"), "--json"]
            assert main([*words, "--max_bs", images]) == 0
            shown = capsys.readouterr()
            assert "shapes" not in shown.err
            found.append([each["prediction"] for each in result_of(shown.out)["results"]])
    assert len(found[0]) == 5
    assert all(each == found[0] for each in found)


def test_networks_that_take_no_image(tmp_path: Path, task: Task, capsys: Capture) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["y"])]
    two = [("a", TensorProto.FLOAT, [1, 3]), ("b", TensorProto.FLOAT, [1, 3])]
    tilewright.compile(write_model(tmp_path / "m.onnx", graph_model(nodes, two)), output=tmp_path / "m.twa")
    words = ["classify", "--xclbin", str(tmp_path / "m.twa"), "--img_path", str(task.folder)]
    assert failure(words, capsys) == "error: this network does not take an image; expected one input, found a, b"
    nodes = [helper.make_node("Relu", ["a"], ["y"])]
    tilewright.compile(write_model(tmp_path / "m.onnx", graph_model(nodes, two[:1])), output=tmp_path / "m.twa")
    assert failure(words, capsys).startswith("error: images do not fit this input; expected numbers of shape ")


def test_an_error_in_any_thread_ends_it(task: Task, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = Classifier

    def broken(*_: object) -> np.ndarray:
        raise RuntimeError("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(classifier, "load", broken)
        assert failure([*task.words, "--max_bs", "4"], capsys).startswith("error: internal error: RuntimeError: out of")
    with monkeypatch.context() as patch:
        patch.setattr("tilewright.runtime.execution.runner.Runner.run", broken)
        assert failure([*task.words, "--max_bs", "4"], capsys).startswith("error: internal error: RuntimeError: out of")


def test_one_number_that_a_sigmoid_makes_is_yes_or_no(tmp_path: Path, capsys: Capture) -> None:
    """The same in each command; of one number that is none, it is said."""
    for end in ("Sigmoid", "Relu"):
        nodes = [
            helper.make_node("GlobalAveragePool", ["x"], ["p"]),
            helper.make_node("ReduceMean", ["p"], ["m"], axes=[1], keepdims=1),
            helper.make_node(end, ["m"], ["s"]),
            helper.make_node("Cast", ["s"], ["d"], to=TensorProto.DOUBLE),
            helper.make_node("Flatten", ["d"], ["y"]),
        ]
        model = graph_model(nodes, [("x", TensorProto.FLOAT, [1, 3, 4, 4])])
        tilewright.compile(model, output=tmp_path / f"{end}.twa", preprocessing="tf")
    for name, colour in (("dark", 0), ("light", 255)):
        Image.new("RGB", (4, 4), (colour,) * 3).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("file,class\ndark.png,0\nlight.png,1\n")
    (tmp_path / "names.txt").write_text("no\nyes\n")
    capsys.readouterr()
    network, light = str(tmp_path / "Sigmoid.twa"), str(tmp_path / "light.png")
    assert main(["run", network, light, "--top", "2", "--labels", str(tmp_path / "names.txt")]) == 0
    assert capsys.readouterr().out == "y:\n    0.731059  [1] yes\n    0.268941  [0] no\n"
    images = ["--img_path", str(tmp_path), "--labels", str(tmp_path / "labels.csv")]
    assert main(["classify", network, *images, "--json"]) == 0
    assert result_of(capsys.readouterr().out)["accuracy"] == {"top1": 1.0, "top5": 1.0, "labelled": 2}
    network = str(tmp_path / "Relu.twa")
    assert main(["run", network, light, "--top", "1"]) == 2
    assert "no output is of such classes; expected [N, CLASSES], found y[1,1]. Leave --top" in capsys.readouterr().err
    assert main(["classify", network, *images]) == 1
    assert "one number is a class where a sigmoid makes it" in capsys.readouterr().err
