"""docs/batch.md: its commands run, here and on a Dask cluster, and so does its program for Ray."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from batch_networks import network
from markdown_blocks import Block, blocks_to_run
from network_files import digits_artifact
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import load_digits

PAGE = Path(__file__).parents[2] / "docs" / "batch.md"
HERE, CLUSTER, RAY = blocks_to_run(PAGE)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page names: a small network, and pictures."""
    folder, rng = tmp_path_factory.mktemp("batch"), np.random.default_rng(0)
    (folder / "mobilenet.onnx").write_bytes(network(1))
    (folder / "images").mkdir()
    for number in range(5):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(folder / "images" / f"{number}.png")
    (folder / "labels.txt").write_text("".join(f"{number}.png {number}\n" for number in range(5)))
    common: dict[str, Any] = {"calibration": folder / "images", "preprocessing": "imagenet"}
    tilewright.compile(folder / "mobilenet.onnx", output=folder / "mobilenet.twa", engines="software", **common)
    tilewright.export(folder / "mobilenet.onnx", folder / "mobilenet_qdq.onnx", quantized="qdq", **common)
    return folder


def words_of(block: Block, program: str) -> list[list[str]]:
    """The words behind a program on the lines of a block that begin with it."""
    lines = [shlex.split(line, comments=True) for line in block.text.splitlines()]
    return [words for first, *words in lines if first == program]


def test_the_commands_run(workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(workplace)
    before = (workplace / "mobilenet.twa").read_bytes()
    commands = words_of(HERE, "tilewright")
    assert len(commands) == len(HERE.text.splitlines())
    for words in commands:
        # Two processes show what four do, each of which imports the compiler.
        code = main(["2" if before == "--workers" else word for before, word in pairwise(["", *words])])
        shown = capsys.readouterr()
        assert code == 0, f"{words}\n{shown.err}"
        assert shown.out, words
    (workplace / "mobilenet.twa").write_bytes(before)


@pytest.fixture
def cluster(workplace: Path) -> Iterator[str]:
    """The scheduler and the worker of the page are running here: where they are."""
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'tilewright[cluster]'")
    with socket.create_server(("127.0.0.1", 0)) as found:
        place = f"127.0.0.1:{found.getsockname()[1]}"
    here = {"10.0.0.1": "127.0.0.1", "8786": place.partition(":")[2]}
    program = Path(sys.executable).with_name("dask")
    with ExitStack() as stack:
        for words in words_of(CLUSTER, "dask"):
            changed = [here.get(word, word.replace("10.0.0.1:8786", place)) for word in words]
            command = [str(program), *changed, *(["--dashboard-address", ":0"] * (words[0] == "scheduler"))]
            process = subprocess.Popen(command, cwd=workplace, stderr=subprocess.DEVNULL, start_new_session=True)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
        yield place


def test_the_commands_of_a_cluster_run(
    cluster: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    (words,) = words_of(CLUSTER, "tilewright")
    on_cluster = [word.replace("10.0.0.1:8786", cluster) for word in words]
    code = main(on_cluster)
    shown = capsys.readouterr()
    assert code == 0, shown.err
    assert main([*words[: words.index("--on")], "--workers", "1"]) == 0
    assert shown.out == capsys.readouterr().out


def test_the_program_for_ray_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'ray[data]'")
    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    samples = digits.prepare(digits.images[:70])
    np.save("samples.npy", samples)
    artifact = shutil.copy(digits_artifact(), tmp_path / "digits.twa")
    found: dict[str, Any] = {"__name__": "program_of_the_page"}
    # The page's four actors take a processor each.
    ray.init(num_cpus=4)
    try:
        text = RAY.text.replace("/shared/digits.twa", str(artifact)).replace('"software"', '"float"')
        exec(compile(text, f"{PAGE.name}:{RAY.line}", "exec"), found)
        rows = found["found"].take_all()
    finally:
        ray.shutdown()
    with tilewright.load(artifact, engine="float") as session:
        expected = [session.run({"image": image[None]})["probabilities"][0] for image in samples]
    np.testing.assert_array_equal(np.stack([row["probabilities"] for row in rows]), np.stack(expected))
