"""The command line where nothing but numpy is installed."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from json_results import result_of
from network_files import digits_artifact
from warm_interpreter import WarmInterpreter

import tilewright
from tilewright.compiler.demo import MODEL
from tilewright.runtime.artifact.manifest import ENGINES
from tilewright.runtime.commands import COMMANDS
from tilewright.runtime.compiler import NotInstalledError
from tilewright.runtime.native import host
from tilewright.runtime.native.mapping import supported

EXTRAS = ("onnx", "llvmlite", "numba", "networkx", "argcomplete", "pydantic", "PIL")
MISSING = "needs the package {!r}, which the runtime alone does not install. "
COMPILER = f"{MISSING}Install Tilewright with its extra 'compiler': pip install 'tilewright[compiler]'"
PICTURES = f"{MISSING}Install Tilewright with its extra 'pictures': pip install 'tilewright[pictures]'".format("Pillow")
ONNX = COMPILER.format("onnx")


HIDE = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS}))"
PROGRAM = """
missing, *sys.argv[1:] = sys.argv[1:]
for name in EXTRAS:
    if name not in missing.split():
        del sys.modules[name]
sys.modules.update(dict.fromkeys(missing.split()))
sys.exit(main())
"""


@cache
def interpreter() -> WarmInterpreter:
    """With numpy alone, and the command line imported."""
    found = WarmInterpreter(
        f"{HIDE}\nimport numpy, tilewright.__main__",
        f"import sys\nfrom tilewright.__main__ import main\nEXTRAS = {EXTRAS}\n{PROGRAM}",
    )
    atexit.register(found.close)
    return found


class Done(NamedTuple):
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str


def alone(*words: str, missing: Iterable[str] = EXTRAS) -> Done:
    """The command in a process that cannot import what the compiler needs, or some of it."""
    return Done(*interpreter().run([" ".join(missing), *words], Path.cwd(), os.environ))


def shown(*words: str) -> str:
    """What a command prints that succeeds."""
    done = alone(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_version() -> None:
    assert shown("--version") == f"tilewright {tilewright.__version__}\n"


def test_help_lists_all_commands_and_what_is_missing() -> None:
    text = shown("--help")
    assert text.startswith("Usage: tilewright COMMAND [OPTIONS]\n\nCompile neural networks ahead of time")
    for name in COMMANDS:
        assert f"\n  {name:<9} " in text
    of_compiler = ", ".join(name for name, part in COMMANDS.items() if part == "compiler")
    missing = f"Not installed here is what these need: {of_compiler}. Install it with: pip install 'tilewright[all]'\n"
    assert missing in text
    done = alone()
    assert (done.returncode, done.stdout, done.stderr) == (2, text, "")
    done = alone("--help", missing=())
    assert (done.returncode, done.stdout, done.stderr) == (0, text.replace(missing, ""), "")


def test_run() -> None:
    outputs = result_of(shown("run", str(digits_artifact()), "--random", "1", "--json"))
    assert outputs["probabilities"]["shape"] == [1, 10]
    assert "time (ms)" in shown("run", str(digits_artifact()), "--random", "1", "--profile")


@pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only")
@pytest.mark.parametrize("target", ["host", "portable", pytest.param("avx2", marks=pytest.mark.sweep)])
def test_what_is_compiled_here_runs_here(target: str, tmp_path: Path) -> None:
    if target == "avx2" and "avx2" not in host.features():
        pytest.skip("this machine has no avx2")
    file = tmp_path / "a.twa"
    options = {"precision": "int8", "engines": ENGINES, "calibration": "random", "effort": "quick"}
    tilewright.compile(MODEL, output=file, target=target, **options)
    for engine in ENGINES:
        found = shown("run", str(file), "--engine", engine, "--random", "1", "--json", "--no-regenerate")
        assert result_of(found)["probabilities"]["shape"] == [1, 10]
    assert "; its native code is used: " in shown("inspect", str(file))
    assert result_of(shown("simulate", str(file), "--json"))["host"]["not_measured"] == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str) -> None:
    text = shown(command, "--help")
    assert text.startswith(f"Usage: tilewright {command} [OPTIONS]")
    assert "\n\nExamples:\n" in text
    assert "\nOptions:\n" in text


def test_classify_needs_pillow(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    done = alone("classify", "--xclbin", str(digits_artifact()), "--img_path", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == f"error: reading images {PICTURES}"


def test_inspect() -> None:
    assert "input  image: f32[1,1,8,8]" in shown("inspect", str(digits_artifact()))
    assert "\nwork memory of engine float\n" in shown("inspect", str(digits_artifact()), "--memory")
    assert shown("inspect", str(digits_artifact()), "--ir").startswith("module @digits")


def test_simulate() -> None:
    done = alone("simulate", str(digits_artifact()))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: simulate: {digits_artifact()} holds no device program; found precision fp32. "
        "Compile the model with --precision int8.\n"
    )


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["compile", "m.onnx"], 1, f"`tilewright compile` {ONNX}"),
        (["export", "m.onnx", "-o", "n.onnx"], 1, f"`tilewright export` {ONNX}"),
        (["compile"], 2, "Missing argument 'MODEL'. See `tilewright compile --help`."),
        (
            ["opt", "a.tw", "--pases", "fuse"],
            2,
            "No such option: --pases. Did you mean '--passes' or '--time-passes'? See `tilewright opt --help`.",
        ),
        (["inspect", "m.onnx"], 1, f"inspect of a model {ONNX}"),
        (["inspect", "--supported-ops"], 1, f"inspect --supported-ops {ONNX}"),
        (["exprt"], 2, "No such command 'exprt'. Did you mean 'export' or 'report'? See `tilewright --help`."),
        (["--verzion"], 2, "No such option '--verzion'. Did you mean '--version'? See `tilewright --help`."),
        (["xyz"], 2, "No such command 'xyz'. See `tilewright --help`."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_is_named(words: list[str], code: int, message: str) -> None:
    done = alone(*words)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"error: {message}\n")


@pytest.mark.parametrize("package", ["onnx", "llvmlite", "networkx"])
def test_half_a_compiler_names_the_other_half(package: str) -> None:
    done = alone("compile", "m.onnx", missing=[package])
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: `tilewright compile` {COMPILER.format(package)}\n"


def test_a_picture_library_is_called_by_the_name_of_its_package(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    done = alone("compile", str(MODEL), "--calibration", str(tmp_path / "a.png"), missing=["PIL"])
    assert (done.returncode, done.stderr) == (1, f"error: reading images {PICTURES}\n")


def test_what_is_compared_with_is_in_no_extra() -> None:
    done = alone("compare", f"onnxruntime:{MODEL}", str(MODEL), "--data", "random", missing=["onnxruntime"])
    text = MISSING.format("onnxruntime") + "Install it: pip install onnxruntime"
    assert (done.returncode, done.stderr) == (1, f"error: comparing with onnxruntime {text}\n")


def test_without_numpy_the_python_that_lacks_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the extra of the compiler: the runtime installs it."""
    expected = f"`tilewright run` needs the package 'numpy', which is not there for {sys.executable}. "
    assert str(NotInstalledError("`tilewright run`", "numpy")) == f"{expected}Install it there: pip install numpy"
    # As where it may not be read by who runs it.
    monkeypatch.setattr(sys, "executable", "")
    assert "which is not there for this Python. " in str(NotInstalledError("`tilewright run`", "numpy"))


def test_the_functions_of_the_compiler_name_what_it_needs() -> None:
    program = f"{HIDE}\nimport tilewright\ntilewright.compile('m.onnx')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stderr.splitlines()[-1] == f"tilewright.runtime.compiler.NotInstalledError: tilewright.compile {ONNX}"
