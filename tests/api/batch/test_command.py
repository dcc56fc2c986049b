"""``tilewright batch``: figures, outputs, artifacts and tables are those of one process, wherever they come from."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from json_results import result_of
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.calibration import observation
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.runtime.cluster import processes
from tilewright.runtime.files.input_file import RemoteError, is_url

Capture = pytest.CaptureFixture[str]
DIGITS = load_digits()
COUNT = 23


class Task(NamedTuple):
    """A network for digits, and pictures of them."""

    artifact: Path
    folder: Path
    labels: Path
    words: list[str]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    base = tmp_path_factory.mktemp("batch")
    (base / "images").mkdir()
    for index in range(COUNT):
        Image.fromarray(DIGITS.images[index][0] * 15).save(base / "images" / f"{index:02}.png")
    preprocess = f"resize=stretch,mean=0,scale={float(DIGITS.scale) / 15}"
    options: dict[str, Any] = {"engines": "software", "preprocessing": preprocess}
    tilewright.compile(MODEL, output=base / "digits.twa", calibration=base / "images", **options)
    # One label is wrong, and one picture is none.
    labels = {f"{index:02}.png": int(label) for index, label in enumerate(DIGITS.labels[:COUNT])}
    labels["05.png"] = (labels["05.png"] + 1) % 10
    (base / "labels.txt").write_text("".join(f"{name} {label}\n" for name, label in labels.items()))
    (base / "images" / "99.png").write_bytes(b"no picture")
    return Task(base / "digits.twa", base / "images", base / "labels.txt", ["--preprocess", preprocess])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def printed(capsys: Capture, *words: object) -> str:
    code = main(["batch", *map(str, words)])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    return shown.out


def test_an_evaluation_is_that_of_classify(task: Task, tmp_path: Path, capsys: Capture) -> None:
    words = ["evaluate", task.artifact, task.folder, "--labels", task.labels, "--shard", 5, "--json"]
    found = [printed(capsys, *words, "--workers", workers, "-o", f"{workers}.csv") for workers in (1, 3)]
    assert found[0] == found[1]
    one, three = ((tmp_path / f"{workers}.csv").read_text() for workers in (1, 3))
    assert one == three
    assert (
        main(["classify", str(task.artifact), "--img_path", str(task.folder), "--labels", str(task.labels), "--json"])
        == 0
    )
    expected, record = result_of(capsys.readouterr().out), result_of(found[0])
    assert record["accuracy"] == expected["accuracy"]
    assert record["accuracy"]["labelled"] == COUNT
    assert (record["images"], record["skipped"]) == (COUNT, expected["skipped"])
    assert main(["batch", *map(str, words[:-1]), "--workers", "1"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"{COUNT} images, 1 skipped\nof {COUNT} with a label: top-1 0.9")
    assert "warning: skipped: cannot read " in shown.err
    assert [*tmp_path.glob("*.jsonl")] == []


def test_a_process_that_is_killed_changes_no_figure(
    task: Task, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    start = processes._Worker.begin

    def begin(worker: Any, item: object) -> None:
        begun.append(worker._process.pid)
        start(worker, item)
        if len(begun) == 4:
            os.kill(begun[-1], signal.SIGKILL)
            # On a busy machine the other process could do all that is left before this one has ended.
            worker._process.wait()

    monkeypatch.setattr(processes._Worker, "begin", begin)
    words = ["evaluate", task.artifact, task.folder, "--labels", task.labels, "--shard", 4, "--json"]
    found = printed(capsys, *words, "--workers", 2)
    assert len({*begun}) == 3
    assert len(begun) == 7
    assert found == printed(capsys, *words, "--workers", 1)


def test_outputs_are_those_of_run(task: Task, tmp_path: Path, capsys: Capture) -> None:
    samples = DIGITS.prepare(DIGITS.images[:COUNT])
    np.save("samples.npy", samples)
    for workers in (1, 2):
        words = ["infer", task.artifact, "samples.npy", "-o", f"out{workers}", "--workers", workers, "--shard", 10]
        assert printed(capsys, *words) == f"{COUNT} samples in 3 files of out{workers}\n"
    files = sorted(each.name for each in (tmp_path / "out1").iterdir())
    assert files == ["index.json", "part-000000.npz", "part-000001.npz", "part-000002.npz"]
    for name in files:
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
    index = json.loads((tmp_path / "out1" / "index.json").read_text())
    assert index["images"] is None
    assert [(part["first"], part["samples"]) for part in index["parts"]] == [(0, 10), (10, 10), (20, 3)]
    with tilewright.load(task.artifact, engine="software") as session:
        (name,) = (each.name for each in session.outputs)
        expected = np.concatenate([session.run({"image": each[None]})[name] for each in samples])
    parts = [np.load(tmp_path / "out1" / part["file"])[name] for part in index["parts"]]
    np.testing.assert_array_equal(np.concatenate(parts), expected, strict=True)


def test_pictures_that_cannot_be_read_are_skipped(task: Task, tmp_path: Path, capsys: Capture) -> None:
    """One of them failed the shard that it was in, with all others of it; `evaluate` skips them."""
    broken = task.folder / "03.png"
    whole = broken.read_bytes()
    printed(capsys, "infer", task.artifact, task.folder / "04.png", "-o", "one", "--workers", 1)
    broken.write_bytes(whole[:40])
    try:
        words = ["infer", str(task.artifact), str(task.folder), "--shard", "23"]
        for workers in ("1", "2"):
            assert main(["batch", *words, "-o", f"out{workers}", "--workers", workers]) == 0
            shown = capsys.readouterr()
            assert shown.out == f"{COUNT - 1} samples in 1 file of out{workers}\n"
            assert shown.err.count("warning: skipped: ") == 2 and str(broken) in shown.err
    finally:
        broken.write_bytes(whole)
    names = ("index.json", "part-000000.npz")
    for name in names:
        assert (tmp_path / "out1" / name).read_bytes() == (tmp_path / "out2" / name).read_bytes()
    index = json.loads((tmp_path / "out1" / "index.json").read_text())
    assert [os.path.basename(each["file"]) for each in index["skipped"]] == ["03.png", "99.png"]
    assert index["parts"] == [{"file": "part-000000.npz", "first": 0, "samples": COUNT - 1}]
    at = index["images"].index(str(task.folder / "04.png"))
    many, one = (np.load(tmp_path / folder / "part-000000.npz") for folder in ("out1", "one"))
    for name in one.files:
        np.testing.assert_array_equal(many[name][at], one[name][0])


def test_calibration_gives_the_artifact_of_compile(
    task: Task, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observation, "SHARD", 6)
    (task.folder / "99.png").rename(tmp_path / "99.png")
    words = [str(MODEL), "--calibration", str(task.folder), *task.words, "--engines", "software"]
    assert main(["compile", *words, "-o", "one.twa"]) == 0
    expected = capsys.readouterr().out.replace("one.twa", "two.twa")
    assert printed(capsys, "calibrate", *words, "-o", "two.twa", "--workers", 2) == expected
    assert (tmp_path / "two.twa").read_bytes() == (tmp_path / "one.twa").read_bytes()
    (tmp_path / "99.png").rename(task.folder / "99.png")


def test_a_sweep_is_that_of_sweep(task: Task, tmp_path: Path, capsys: Capture) -> None:
    np.save("samples.npy", DIGITS.prepare(DIGITS.calibration_images[:8]))
    words = [
        str(MODEL),
        "--calibration",
        "samples.npy",
        "--machine",
        "s256",
        "--effort",
        "quick",
        "--set",
        "clusters=1,2",
    ]
    assert main(["sweep", *words, "-o", "one.csv"]) == 0
    expected = capsys.readouterr().out
    assert printed(capsys, "sweep", *words, "-o", "one.csv") == expected


def test_files_may_be_named_by_urls(task: Task, tmp_path: Path, capsys: Capture) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'tilewright[cluster]'")
    memory = fsspec.filesystem("memory")
    for file in (*task.folder.iterdir(), task.artifact, task.labels):
        memory.pipe_file(f"/tilewright/{file.relative_to(task.folder.parent)}", file.read_bytes())
    try:
        root = "memory://tilewright"
        local = ["evaluate", task.artifact, task.folder, "--labels", task.labels, "--workers", 1, "--json"]
        words = [
            "evaluate",
            f"{root}/digits.twa",
            f"{root}/images",
            "--labels",
            f"{root}/labels.txt",
            "--workers",
            1,
            "--json",
        ]
        expected, found = (result_of(printed(capsys, *each)) for each in (local, words))
        assert found["accuracy"] == expected["accuracy"]
        assert found["skipped"][0]["file"] == "memory:///tilewright/images/99.png"
        memory.rm("/tilewright/images/99.png")
        words = ["infer", f"{root}/digits.twa", f"{root}/images", "-o", f"{root}/outputs", "--workers", 1]
        printed(capsys, *words)
        index = json.loads(memory.cat_file("/tilewright/outputs/index.json"))
        assert index["images"] == [f"memory:///tilewright/images/{number:02}.png" for number in range(COUNT)]
        assert memory.exists("/tilewright/outputs/part-000000.npz")
        words = ["calibrate", str(MODEL), "--calibration", f"{root}/images", *task.words, "--engines", "software"]
        printed(capsys, *words, "-o", "digits.twa", "--workers", 1)
        assert (tmp_path / "digits.twa").read_bytes() == task.artifact.read_bytes()
    finally:
        memory.rm("/tilewright", recursive=True)


def test_what_cannot_be_fetched_is_no_picture_that_is_skipped(task: Task, capsys: Capture) -> None:
    pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'tilewright[cluster]'")
    common = ["--labels", str(task.labels), "--workers", "1", "--retries", "0"]
    assert main(["batch", "evaluate", str(task.artifact), "memory://nowhere/images", *common]) == 1
    expected = "error: cannot list 'memory://nowhere/images': No such file or directory\n"
    assert capsys.readouterr().err == expected
    link = task.folder / "98.png"
    link.symlink_to(task.folder / "nowhere")
    assert main(["batch", "evaluate", str(task.artifact), str(task.folder), *common]) == 1
    link.unlink()
    shown = capsys.readouterr().err
    assert "InputError: a file that was listed is not there; found " in shown
    assert "error: evaluate: 1 of 1 shards failed; found 0." in shown


def test_what_is_no_picture_is_a_wrong_input(task: Task, capsys: Capture) -> None:
    words = ["infer", str(task.artifact), "-o", "out", "--workers", "1", "--retries", "0"]
    assert main(["batch", *words, str(task.folder / "99.png")]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: infer: no picture can be read; found infer: cannot read '{task.folder}/99.png'")
    assert "calibration" not in shown.lower()
    assert main(["batch", *words, "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("error: infer: there is no 'nowhere'; expected an image, ")
    assert printed(capsys, *words, task.folder / "00.png") == "1 sample in 1 file of out\n"
    assert main(["batch", *words, "nowhere", "--input-shape", "bach=1"]) == 2
    assert f"error: {task.artifact} has no such input or extent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "a.twa", "images"], "batch evaluate needs the right classes. Give them with --labels FILE."),
        (["evaluate", "a.twa"], "batch evaluate takes inputs"),
        (["infer", "a.twa", "images"], "batch infer needs a folder for the outputs. Give it with --output FOLDER."),
        (["sweep", "a.onnx", "images"], "batch sweep takes no further argument; found 'images'"),
        (["sweep", "a.onnx", "--resume", "x"], "--resume is not for batch sweep. See `tilewright batch --help`."),
        (["evaluate", "a.twa", "images", "--set", "clusters=1"], "--set is not for batch evaluate."),
        (["infer", "a.twa", "images", "--calibration", "x"], "--calibration is not for batch infer."),
        (["calibrate", "a.onnx", "--shard", "3"], "--shard is not for batch calibrate."),
        (["calibrate", "a.onnx", "--labels", "x"], "--labels is not for batch calibrate."),
        (["train", "a.onnx"], "Invalid value for 'ACTION': 'train' is none of evaluate, infer, calibrate, sweep"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], message: str, capsys: Capture) -> None:
    assert main(["batch", *words]) == 2
    assert f"error: {message}" in capsys.readouterr().err


def test_urls_are_told_from_paths() -> None:
    for url in ("s3://b/x", "memory://x", "simplecache::s3://b/x", "https://h/x", "file:///x"):
        assert is_url(url)
    for path in ("x", "/x", "./s3://x", "C:/x", "a:b", "://x", "S3://x", Path("s3://x"), b"s3://x", None):
        assert not is_url(path)
    assert issubclass(RemoteError, tilewright.errors.TilewrightError)
