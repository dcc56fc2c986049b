"""The code on pages of the site: every command is one that there is, and every block runs, or says why it does not."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from batch_networks import network
from markdown_blocks import Block, blocks_to_run, fenced_blocks
from network_files import graph_model, write_model
from onnx import TensorProto, helper
from PIL import Image

from tilewright.__main__ import main
from tilewright.runtime.commands.parser import parser_of

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUN = ("machines", "preprocessing", "embedding", "quantization", "json")
"""Pages whose blocks are run here, one after the other, in a folder with the files that they name."""

LONG = "tilewright sweep "
"""How a block begins that takes long: 24 machines."""

ELSEWHERE = {
    "README.md": "project/test_docs.py",
    "CONTRIBUTING.md": "project/test_contributing.py",
    "docs/tutorial.md": "project/test_docs.py",
    "docs/security.md": "end_to_end/test_two_users.py",
    "docs/serving.md": "project/test_serving_page.py",
    "docs/batch.md": "project/test_batch_page.py",
    "docs/api/inference_engine.md": "api/inference_engine/test_extension.py",
}
"""Tests that run the blocks of other pages."""


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of Tilewright in a block for shells, without what reads their output."""
    if block.info.partition(" ")[0] == "sh":
        for line in re.findall(r"^tilewright .*", block.text.replace("\\\n", " "), re.MULTILINE):
            yield [*takewhile(lambda word: word not in ("|", ">", "&&"), shlex.split(line, comments=True)[1:])]


def commands_of(page: Path) -> list[list[str]]:
    return [words for block in fenced_blocks(page) for words in commands(block)]


@pytest.mark.parametrize("page", [each for each in PAGES if commands_of(each)], ids=lambda path: path.stem)
def test_there_is_every_command(page: Path) -> None:
    for command, *words in commands_of(page):
        parser_of(command).parse(words)


def test_every_page_with_code_is_run() -> None:
    found = {page.relative_to(ROOT).as_posix() for page in PAGES if blocks_to_run(page)}
    assert found == {*ELSEWHERE, *(f"docs/{page}.md" for page in RUN)}
    for page, test in ELSEWHERE.items():
        assert Path(page).name in (ROOT / "tests" / test).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that pages take for granted: a small network for what they call by other names."""
    folder, rng = tmp_path_factory.mktemp("pages"), np.random.default_rng(0)
    for name in ("model.onnx", "mobilenet.onnx"):
        (folder / name).write_bytes(network(1))
    samples = rng.standard_normal((8, 3, 9, 8)).astype(np.float32)
    np.save(folder / "samples.npy", samples)
    np.savez(folder / "samples.npz", x=samples)
    (folder / "photos").mkdir()
    for file in ("photo.jpg", *(f"photos/{number}.png" for number in range(4))):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(folder / file)
    (folder / "classes.txt").write_text("".join(f"{number}.png {number}\n" for number in range(4)))
    (folder / "imagenet.txt").write_text("".join(f"class {number}\n" for number in range(7)))
    (folder / "mine.json").write_bytes((ROOT / "runtime" / "machines" / "s256.json").read_bytes())
    quantized = ["export", "model.onnx", "--quantized", "qdq", "--calibration", "samples.npy", "-o", "model_qdq.onnx"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(quantized) == 0
        # It is compiled for 27 machines.
        image, weights = ("x", TensorProto.FLOAT, [1, 3, 9, 8]), np.ones((64, 3, 3, 3), np.float32)
        one = graph_model([helper.make_node("Conv", ["x", "w"], ["y"])], [image], ["y"], {"w": weights})
        write_model(Path("one.onnx"), one)
        assert main(["export", "one.onnx", *quantized[2:-1], "mobilenet_v2_qdq.onnx"]) == 0
        assert main(["compile", "model_qdq.onnx", "--machine", "s256", "-o", "resnet50.twa"]) == 0
    return folder


def run_in_a_shell(block: Block) -> str:
    """What a block prints that other programs read the output of."""
    missing = [name for name in re.findall(r"\| (\w+)", block.text) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-euc", block.text]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, f"line {block.line}\n{run.stderr}"
    return run.stdout


def run_here(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands of a block that has nothing else, each of which prints something."""
    others = [line for line in block.text.splitlines() if not line.startswith(("tilewright ", " ", "#"))]
    assert not others, f"line {block.line}: {others}"
    for words in commands(block):
        code = main(words)
        shown = capsys.readouterr()
        assert code == 0, f"{words}\n{shown.err}"
        assert shown.out or "--json" in words, f"{words} printed nothing"


@pytest.mark.parametrize("page", RUN)
def test_the_code_of_pages_runs(
    page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    for block in blocks_to_run(ROOT / "docs" / f"{page}.md"):
        if block.text.startswith(LONG):
            continue
        if block.info == "python":
            exec(compile(block.text, f"{page}.md:{block.line}", "exec"), {"__name__": "__main__"})
        elif block.info == "c":
            assert block.text in (workplace / "device" / "model.h").read_text(encoding="utf-8")
        elif " | " in block.text:
            assert run_in_a_shell(block)
        else:
            run_here(block, capsys)


@pytest.mark.sweep
def test_the_sweep_of_the_page_runs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    (block,) = [each for each in blocks_to_run(ROOT / "docs" / "machines.md") if each.text.startswith(LONG)]
    run_here(block, capsys)
    assert len((workplace / "machines.csv").read_text().splitlines()) == 1 + 24


def test_the_report_of_a_defect_runs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    (block,) = [each for each in blocks_to_run(ROOT / "CONTRIBUTING.md") if each.info == "sh report"]
    run_here(block, capsys)
