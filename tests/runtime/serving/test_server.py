"""``tilewright serve``: what it is told, what it says, and how it ends."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from inference_requests import outputs_of, request_of
from json_results import result_of
from network_files import digits_artifact

from tilewright.__main__ import main
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.serving.server import Named, named
from tilewright.runtime.session import load


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process, and the port that it listens on."""
    command = [sys.executable, "-m", "tilewright", "serve", "--port", "0", *words]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            match = re.fullmatch(r"note: listening on http://127\.0\.0\.1:(\d+): digits 1\n", line)
            assert match is not None, line
            yield process, int(match[1])
        finally:
            process.kill()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals are POSIX's")
def test_what_has_begun_is_answered_at_the_end(rng: np.random.Generator) -> None:
    image = {"image": rng.standard_normal((1, 1, 8, 8)).astype(np.float32)}
    body, headers = request_of(image, binary=True, parameters={"binary_data_output": True})
    trust = Artifact.open(digits_artifact()).digest
    with serving(str(digits_artifact()), "--trust", trust, "--json") as (process, port):
        idle, begun = (http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(2))
        idle.request("POST", "/v2/models/digits/infer", b"[", {"Content-Encoding": "gzip"})
        assert idle.getresponse().status == 415
        begun.putrequest("POST", "/v2/models/digits/infer")
        for name, value in {**headers, "Content-Length": str(len(body)), "Expect": "100-continue"}.items():
            begun.putheader(name, value)
        begun.endheaders(body[:100])
        # Whoever reads the body has been asked for it.
        assert begun.sock.recv(100).startswith(b"HTTP/1.1 100 ")
        process.send_signal(signal.SIGTERM)
        # Nobody else is let in any more.
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 60).close()
            except ConnectionRefusedError:
                break
            except ConnectionResetError:
                # It had not been accepted when the server stopped listening.
                pass
        begun.send(body[100:])
        answer = begun.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        stdout, stderr = process.communicate(timeout=60)
        idle.close()
        begun.close()
    assert (process.returncode, stderr) == (0, "")
    assert result_of(stdout) == {"answered": {"200": 1, "415": 1}}
    found = outputs_of({name.lower(): value for name, value in answer.getheaders()}, content)
    with load(digits_artifact(), trust=trust) as session:
        np.testing.assert_array_equal(found["probabilities"], session.run(image)["probabilities"])


def test_names() -> None:
    texts = ["a/b.twa", "two:12=a/b.twa", "c=d=e.twa", "plain"]
    assert named(texts) == [
        Named("b", 1, "a/b.twa"),
        Named("two", 12, "a/b.twa"),
        Named("c", 1, "d=e.twa"),
        Named("plain", 1, "plain"),
    ]


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ([], 2, "error: Missing argument '[NAME[:VERSION]=]FILE.twa'. See `tilewright serve --help`.\n"),
        (
            ["a.twa", "x/a.twa"],
            2,
            "error: there are two models 'a' of version 1; found a.twa and x/a.twa. Tell them apart in front of the "
            "files: NAME:VERSION=FILE.twa.\n",
        ),
        (
            ["my net.twa"],
            2,
            "error: 'my net' is no name for a model; expected letters, digits, '_', '-' and '.'. Give it one in front "
            "of the file: NAME=FILE.twa.\n",
        ),
        (
            ["a/b:2=x.twa"],
            2,
            "error: 'a/b:2' is no name for a model; expected letters, digits, '_', '-' and '.', then :VERSION or not. "
            "Give it one in front of the file: NAME=FILE.twa.\n",
        ),
        (
            ["net.twa", "--batch", "nets"],
            2,
            "error: --batch: there is no model 'nets'; expected net. Did you mean 'net'?\n",
        ),
        (
            ["net.twa", "--host", "192.0.2.1"],
            1,
            "error: cannot listen on '192.0.2.1', port 8000: Cannot assign requested address. Choose another with "
            "--host and --port; port 0 is any that is free.\n",
        ),
        (["net.twa", "--port", "70000"], 2, "error: --port is out of range; expected 0 to 65535, found 70000\n"),
        (["missing.twa", "--port", "0"], 1, "error: load artifact: cannot read 'missing.twa': No such file"),
    ],
)
def test_wrong_words(capsys: pytest.CaptureFixture[str], words: list[str], code: int, error: str) -> None:
    assert main(["serve", *words]) == code
    assert capsys.readouterr().err.startswith(error)


def trusted_digits() -> list[str]:
    """The words that serve the demo's network, which another test may have compiled under a key of its own."""
    return [str(digits_artifact()), "--trust", Artifact.open(digits_artifact()).digest]


def test_a_network_without_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *trusted_digits(), "--batch", "digits", "--port", "0"]) == 2
    assert capsys.readouterr().err.startswith("error: model 'digits' has no batch but 1. Compile it for several")


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", *trusted_digits(), "--port", str(port)]) == 1
    assert f"port {port}: Address already in use" in capsys.readouterr().err


def test_without_its_extra(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("tilewright.runtime.serving.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert main(["serve", "net.twa"]) == 1
    expected = (
        "error: `tilewright serve` needs the package 'prometheus_client', which the runtime alone does not install. "
        "Install Tilewright with its extra 'serve': pip install 'tilewright[serve]'\n"
    )
    assert capsys.readouterr().err == expected
