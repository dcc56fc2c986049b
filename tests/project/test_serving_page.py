"""docs/serving.md: its servers start, and what it says to ask them is answered."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from markdown_blocks import Block, blocks_to_run
from network_files import graph_model, write_model
from onnx import TensorProto, helper

import tilewright

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
BLOCKS = blocks_to_run(PAGE)


def block_with(text: str) -> Block:
    (found,) = [block for block in BLOCKS if text in block.text]
    return found


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page names: one network, the shape of whose batch is open in `model.onnx`."""
    folder = tmp_path_factory.mktemp("served")
    weights = {"w": np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)}
    for name, batch, inputs in (("sums", 1, "x"), ("mobilenet", 1, "image"), ("model", "batch", "x")):
        nodes = [helper.make_node("MatMul", [inputs, "w"], ["scores"])]
        model = graph_model(nodes, [(inputs, TensorProto.FLOAT, [batch, 3])], ["scores"], weights)
        write_model(folder / f"{name}.onnx", model)
    for name in ("sums", "mobilenet"):
        tilewright.compile(folder / f"{name}.onnx", output=folder / f"{name}.twa")
    for name in ("minilm", "old", "new"):
        shutil.copy(folder / "sums.twa", folder / f"{name}.twa")
    return folder


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextmanager
def server(command: str, folder: Path) -> Iterator[tuple[int, str]]:
    """The port on which what a line of the page starts listens, and what it says of itself."""
    program, *words = shlex.split(command)
    assert program == "tilewright"
    port = free_port()
    words = [word for word in words if word not in ("--port", "8000")] + ["--port", str(port)]
    command_line = [sys.executable, "-m", "tilewright", *words]
    with subprocess.Popen(command_line, cwd=folder, text=True, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert f"listening on http://127.0.0.1:{port}: " in line, line
            yield port, line
        finally:
            process.terminate()
            assert process.wait(60) == 0


def lines_of(block: Block) -> list[str]:
    """Those of a block, without what installs, which is done where tests run."""
    return [line for line in block.text.splitlines() if not line.startswith("pip install ")]


def run_line(line: str, folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "-euc", line]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_every_block_is_run_here() -> None:
    marks = ("--port 8000", "old.twa", "curl", "tritonclient", "--batch model", "mlserver")
    assert [block_with(mark) for mark in marks] == BLOCKS


def test_models_and_versions(workplace: Path) -> None:
    (line,) = lines_of(block_with("old.twa"))
    with server(line, workplace) as (_, said):
        assert said.endswith(": digits 1, digits 2\n")


def test_a_request_by_curl(workplace: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    with server("tilewright serve sums.twa", workplace) as (port, _):
        answer = run_line(block_with("curl").text.replace("localhost:8000", f"127.0.0.1:{port}"), workplace)
    assert '"name":"scores"' in answer, answer


def test_tritons_client(workplace: Path) -> None:
    """In a process of its own, for what gevent does to threads."""
    pytest.importorskip("tritonclient", reason="tritonclient is not installed")
    array = np.random.default_rng(1).standard_normal((1, 3)).astype(np.float32)
    np.save(workplace / "array.npy", array)
    (line,) = lines_of(block_with("--port 8000"))
    with server(line, workplace) as (port, _):
        text = block_with("tritonclient").text.replace("localhost:8000", f"127.0.0.1:{port}")
        program = f"import numpy as np\narray = np.load('array.npy')\n{text}\nnp.save('scores.npy', scores)"
        command = [sys.executable, "-c", program]
        run = subprocess.run(command, cwd=workplace, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
    with tilewright.load(workplace / "mobilenet.twa") as session:
        expected = session.run({"image": array})["scores"]
    np.testing.assert_array_equal(np.load(workplace / "scores.npy"), expected, strict=True)


def test_requests_computed_together(workplace: Path) -> None:
    compiling, serving = lines_of(block_with("--batch model"))
    assert run_line(compiling, workplace)
    with server(serving, workplace) as (_, said):
        assert said.endswith(": model 1\n")


def test_a_runtime_of_mlserver(workplace: Path) -> None:
    mlserver = pytest.importorskip("mlserver", reason="MLServer is not installed: pip install mlserver")
    from mlserver.codecs import NumpyCodec  # pyright: ignore[reportMissingImports]
    from mlserver.types import InferenceRequest  # pyright: ignore[reportMissingImports]

    block = block_with("mlserver")
    found: dict[str, object] = {"__name__": "runtime_of_the_page"}
    exec(compile(block.text, f"{PAGE.name}:{block.line}", "exec"), found)
    parameters = mlserver.settings.ModelParameters(uri=str(workplace / "sums.twa"))
    network = found["Network"]
    assert isinstance(network, type)
    settings = mlserver.ModelSettings(name="sums", implementation=network, parameters=parameters)
    x = np.random.default_rng(2).standard_normal((1, 3)).astype(np.float32)

    async def predicted() -> np.ndarray:
        model = network(settings)
        await model.load()
        answer = await model.predict(InferenceRequest(inputs=[NumpyCodec.encode_input("x", x)]))
        await model.unload()
        return NumpyCodec.decode_output(answer.outputs[0])

    with tilewright.load(workplace / "sums.twa") as session:
        np.testing.assert_array_equal(asyncio.run(predicted()), session.run({"x": x})["scores"])
