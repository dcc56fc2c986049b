"""The commands that pages of the site show: each is one that there is, and those of how-to pages run as they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from batch_networks import network
from markdown_blocks import fenced_blocks
from PIL import Image

from tilewright.__main__ import main
from tilewright.runtime.commands.parser import parser_of

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUN = ("machines", "preprocessing", "embedding")
"""Pages whose commands are run, one after the other, in a folder with the files that they name. README's, the
tutorial's and those of other pages are run by tests of their own."""

LONG = "sweep"
"""A command that takes long: `tests/compiler/test_sweep.py` runs it."""


def commands(page: Path) -> Iterator[list[str]]:
    """The commands of Tilewright that stand in the blocks of a page for shells, without what reads their output."""
    for block in fenced_blocks(page):
        if block.info.partition(" ")[0] == "sh":
            for line in re.findall(r"^tilewright .*", block.text.replace("\\\n", " "), re.MULTILINE):
                yield [*takewhile(lambda word: word not in ("|", ">", "&&"), shlex.split(line, comments=True)[1:])]


@pytest.mark.parametrize("page", [each for each in PAGES if [*commands(each)]], ids=lambda path: path.stem)
def test_there_is_every_command(page: Path) -> None:
    for command, *words in commands(page):
        parser_of(command).parse(words)


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
    (folder / "imagenet.txt").write_text("".join(f"class {number}\n" for number in range(7)))
    (folder / "mine.json").write_bytes((ROOT / "runtime" / "machines" / "s256.json").read_bytes())
    quantized = ["export", "model.onnx", "--quantized", "qdq", "--calibration", "samples.npy", "-o", "model_qdq.onnx"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(quantized) == 0
    return folder


@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_pages_run(
    page: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    found = [words for words in commands(ROOT / "docs" / f"{page}.md") if words[0] != LONG]
    assert found
    for words in found:
        code = main(words)
        shown = capsys.readouterr()
        assert code == 0, f"{words}\n{shown.err}"
        assert shown.out or "--json" in words, f"{words} printed nothing"
