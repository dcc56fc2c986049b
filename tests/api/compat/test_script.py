"""A script runs under `python -m tilewright.compat` as under `python`: the same output, errors and exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from script_runs import COMPAT, PYTHON, run

SHOWS_ITSELF = """
import os, pickle, sys
class Point:
    pass
print(sys.argv, sys.path[0], __file__, __name__)
print(sorted((name, str(value)) for name, value in vars().items() if name[:2] == "__" and name != "__loader__"))
print(type(__loader__), sys.modules["__main__"].__dict__ is globals())
print(type(pickle.loads(pickle.dumps(Point()))) is Point, Point.__module__)
print([name for name in ("numpy", "tilewright.runtime.session", "multiprocessing") if name in sys.modules])
"""

ENDS = {
    "well": "print('done')",
    "with a code": "import sys\nsys.exit(3)",
    "with a text": "import sys\nsys.exit('no card was found')",
    "with nothing": "import sys\nsys.exit()",
    "at once": "import os\nos._exit(7)",
    "with an exception": "def divide(a):\n    return a / 0\ndivide(1)",
    "with a chain of exceptions": "try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('b') from error",
    "with an exception of an import": "import json\njson.loads('{')",
    "with a syntax error": "print(1\nprint(2)",
    "well in an old encoding": "# coding: latin-1\nprint(ascii('\udcff'))",
    "with a module that is not there": "import no_such_module",
    "with an error of the system": "open('no such file')",
    "with a hook of its own": "import sys\nsys.excepthook = lambda *error: print(error[:2], error[2].tb_lineno)\n1 / 0",
    "with an interrupt of its own": "raise KeyboardInterrupt",
    "with an error in a thread": "import threading\nthreading.Thread(target=lambda: 1 / 0).start()",
    "with an error at the exit": "import atexit\natexit.register(divmod, 1, 0)",
    "with an object that outlives it": "class A:\n    def __del__(self):\n        print('gone')\na = A()\n1 / 0",
    "with a thread that goes on": "import threading\nthreading.Timer(0.2, print, ['late']).start()",
    "with a printed traceback": "import traceback\ntry:\n    1 / 0\nexcept ArithmeticError:\n    traceback.print_exc()",
}


def assert_alike(*arguments: str | Path, folder: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    expected, found = (run(command, *arguments, folder=folder, stdin=stdin) for command in (PYTHON, COMPAT))
    assert (found.returncode, found.stdout, found.stderr) == (expected.returncode, expected.stdout, expected.stderr)
    return found


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_it_ends_as_under_python(tmp_path: Path, end: str) -> None:
    (tmp_path / "program.py").write_text(end, errors="surrogateescape")
    assert_alike("program.py", folder=tmp_path)


def test_the_ends_are_what_they_are_called(tmp_path: Path) -> None:
    codes = {}
    for name, end in ENDS.items():
        (tmp_path / "program.py").write_text(end, errors="surrogateescape")
        codes[name] = run(COMPAT, "program.py", folder=tmp_path).returncode
    assert codes["with a code"] == 3
    assert codes["with a text"] == codes["with an exception"] == codes["with a syntax error"] == 1
    assert codes["with an interrupt of its own"] == -signal.SIGINT


@pytest.mark.parametrize("given", ["program.py", "./program.py", "../scripts/program.py", "absolute", "link.py"])
def test_it_sees_what_python_would_show_it(tmp_path: Path, given: str) -> None:
    scripts, elsewhere = tmp_path / "scripts", tmp_path / "elsewhere"
    scripts.mkdir()
    elsewhere.mkdir()
    (scripts / "program.py").write_text(SHOWS_ITSELF)
    (scripts / "link.py").symlink_to(elsewhere / "linked.py")
    (elsewhere / "linked.py").write_text(SHOWS_ITSELF)
    script = str(scripts / "program.py") if given == "absolute" else given
    found = assert_alike(script, "first", "--help", "-x", folder=scripts)
    assert f"['{script}', 'first', '--help', '-x']" in found.stdout
    assert found.stdout.endswith("True __main__\n[]\n")


def test_it_runs_from_another_folder_and_finds_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "main.py").write_text("import neighbour\nprint(neighbour.WORD)")
    (tmp_path / "program" / "neighbour.py").write_text("WORD = 'found'")
    (tmp_path / "neighbour.py").write_text("WORD = 'of the current folder'")
    assert assert_alike("program/main.py", folder=tmp_path).stdout == "found\n"


def test_it_reads_its_standard_input(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys\nprint(input(), sys.stdin.read())")
    assert assert_alike("program.py", folder=tmp_path, stdin="one\ntwo\n").stdout == "one two\n\n"


@pytest.mark.parametrize("text", [SHOWS_ITSELF, "1 / 0", "print('é')"])
def test_standard_input_may_be_the_script(tmp_path: Path, text: str) -> None:
    assert_alike("-", "first", folder=tmp_path, stdin=text)


@pytest.mark.parametrize("flag", ["-I", "-O", "-u"])
def test_options_of_python_go_before(tmp_path: Path, flag: str) -> None:
    """Isolated, Python puts no folder first; that its environment does not count is not tried here."""
    (tmp_path / "program.py").write_text("import sys\nprint(sys.flags, sys.path[0], __debug__)")
    command = (sys.executable, flag)
    found = run((*command, *COMPAT[1:]), "program.py", folder=tmp_path)
    if flag == "-I" and "No module named" in found.stderr and "tilewright" in found.stderr:
        pytest.skip("tilewright is on PYTHONPATH here and not installed")
    assert found.stdout == run(command, "program.py", folder=tmp_path).stdout


def test_an_interrupt_ends_it_as_it_ends_python(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(300)")
    process = subprocess.Popen(
        [*COMPAT, "program.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors.startswith("Traceback (most recent call last):\n")
    assert re.findall(r'File "([^"]+)"', errors) == [str(tmp_path / "program.py")]
    assert errors.endswith("\nKeyboardInterrupt\n")


SEE = "See `python -m tilewright.compat --help`."
NO_OPTION = "no such option '-m'; options of Python go before -m, those of the script behind it."


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no script was given."),
        (("absent.py",), "can't open 'absent.py': No such file or directory."),
        ((".",), "'.' is a folder; give the script in it."),
        (("-m", "json.tool"), NO_OPTION),
    ],
)
def test_what_cannot_be_run_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run(COMPAT, *arguments, folder=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"tilewright.compat: {said} {SEE}\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.py").touch(mode=0)
    result = run(COMPAT, "secret.py", folder=tmp_path)
    assert (result.returncode, result.stderr) == (
        2,
        f"tilewright.compat: can't open 'secret.py': Permission denied. {SEE}\n",
    )


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_teaches(tmp_path: Path, option: str) -> None:
    result = run(COMPAT, option, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    for word in ("Usage:", "SCRIPT", "fwdnxt", "microndla", "openvino.inference_engine", "TILEWRIGHT_CALIBRATION="):
        assert word in result.stdout


def test_help_behind_the_script_is_the_scripts(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys\nprint(sys.argv[1:])")
    assert assert_alike("program.py", "--help", folder=tmp_path).stdout == "['--help']\n"
