"""``tilewright opt``: passes by name over a model or a text, and back from what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from json_results import result_of

from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.ir.text.printer import print_module
from tilewright.passes.instruments import load_dump
from tilewright.passes.pipeline import PASSES as ALL_PASSES
from tilewright.passes.pipeline import Pipeline

Capture = pytest.CaptureFixture[str]
PASSES = "fold_constants,canonicalize{limit=10},eliminate_dead_code,fuse"


def test_a_model_becomes_a_text_that_reads_back(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "digits.tw"
    assert main(["opt", str(MODEL), "--passes", PASSES, "-o", str(file)]) == 0
    assert capsys.readouterr() == ("", "")
    module = import_onnx(MODEL)
    Pipeline.parse(PASSES).run(module)
    assert print_module(load_dump(file)) == print_module(module)
    assert main(["opt", str(file)]) == 0
    assert capsys.readouterr().out == file.read_text() == print_module(module)


def test_steps_one_by_one_are_the_pipeline(tmp_path: Path, capsys: Capture) -> None:
    source, file = MODEL, tmp_path / "steps.tw"
    for name in PASSES.split(","):
        assert main(["opt", str(source), "--passes", name, "-o", str(file.with_stem(name[:4]))]) == 0
        source = file.with_stem(name[:4])
    assert main(["opt", str(MODEL), "--passes", PASSES]) == 0
    assert capsys.readouterr().out == source.read_text()


def test_the_environment_asks_for_dumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILEWRIGHT_DUMP", str(tmp_path))
    assert main(["opt", str(MODEL), "--passes", "fuse"]) == 0
    assert [file.name for file in sorted(tmp_path.rglob("*.tw"))] == ["00_input.tw", "01_fuse.tw"]


def test_modules_and_times_go_to_stderr(capsys: Capture) -> None:
    assert main(["opt", str(MODEL), "--passes", PASSES, "--print-after", "fuse", "--time-passes", "--json"]) == 0
    shown = capsys.readouterr()
    found = result_of(shown.out)
    assert [each["name"] for each in found["passes"]] == [word.split("{")[0] for word in PASSES.split(",")]
    assert found["module"].startswith("module @digits {\n")
    assert shown.err.startswith("// after fuse\nmodule @digits {\n")
    assert shown.err.splitlines()[-1].startswith("total ")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ["m.onnx", "--passes", "fuse,fusee"],
            2,
            "--passes: line 1, column 6: unknown pass 'fusee'. Did you mean 'fuse'?\nfuse,fusee\n     ^",
        ),
        (
            ["m.onnx", "--passes", "fuse", "--print-after", "fold"],
            2,
            "there is no pass 'fold' to print after (known: fuse)",
        ),
        (["none.tw"], 1, "cannot read 'none.tw': No such file or directory"),
        (["binary.tw"], 1, "'binary.tw' is neither an ONNX model (.onnx) nor a module as text"),
        (["blob/b.tw"], 1, "'blob/blobs/0.npy' is not a .npy or .npz file; found b'' at its beginning"),
        (
            ["text.tw", "--input-shape", "x=1"],
            2,
            "--input-shape is for ONNX models; the shapes of a module are fixed; found text.tw",
        ),
        (["text.tw"], 1, "line 1, column 10: module 'text.tw': expected '{', found 'end of text'\nmodule @a\n"),
        (["m.onnx", "-o", "n.onnx"], 2, "opt writes a module as text; found n.onnx. `tilewright export` writes ONNX."),
        (["m.tw", "-o", "m.tw"], 2, "the output would replace the model; found m.tw. Choose another output."),
        (["m.onnx", "-o", "folder"], 1, "cannot write 'folder': Is a directory"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(MODEL.read_bytes())
    (tmp_path / "binary.tw").write_bytes(b"\xff\xfe")
    (tmp_path / "text.tw").write_text("module @a")
    (tmp_path / "m.tw").write_text("module @m {\n}\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "blob" / "blobs").mkdir(parents=True)
    (tmp_path / "blob" / "b.tw").write_text('module @b {\n  const @w : i8[99] = blob "sha256:0"\n}\n')
    (tmp_path / "blob" / "blobs" / "0.npy").write_bytes(b"")
    assert main(["opt", *words]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"error: {message}")
    assert (tmp_path / "m.onnx").read_bytes() == MODEL.read_bytes()


def test_all_passes_are_listed_with_their_options(capsys: Capture) -> None:
    assert main(["opt", "--list"]) == 0
    text = capsys.readouterr().out
    assert "\nfold_constants: " in f"\n{text}" and "\n    max_operands: int = 8\n" in text
    assert main(["opt", "--list", "--json"]) == 0
    listed = result_of(capsys.readouterr().out)
    assert set(listed) == set(ALL_PASSES)
    assert all(each["summary"].endswith(".") for each in listed.values())
    assert listed["partition"]["options"]["order"] == 'str = "device,cpu"'
    assert listed["quantize"]["options"]["ranges"] == "tuple[tuple[str, float, float], ...]"


def test_without_a_file_there_is_nothing_to_do(capsys: Capture) -> None:
    assert main(["opt", "--passes", "fuse"]) == 2
    assert capsys.readouterr().err == "error: opt needs a file. Give a model or a module, or --list.\n"
