"""Running programs as Python runs them and as `python -m tilewright.compat` does."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import tilewright

PYTHON = (sys.executable,)
COMPAT = (sys.executable, "-m", "tilewright.compat")

_SECONDS = 300
"""What hangs is ended then."""


def packages(folder: Path, *names: str) -> Path:
    """A folder with tilewright, these packages of it and nothing else, as a plain installation has them.

    Nothing has to tell Python where its parts are, as an editable installation does at its start.
    """
    package = folder / "tilewright"
    package.mkdir(parents=True)
    parts = [Path(str(import_module(f"tilewright.{name}").__file__)).parent for name in names]
    for part in (*parts, *Path(str(tilewright.__file__)).parent.glob("*.*")):
        (package / part.name).symlink_to(part.resolve())
    return folder


def run(
    command: tuple[str, ...], *arguments: str | Path, folder: Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """A finished command, which was run in a folder with additions to this process's environment."""
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )


def run_compat(folder: Path, text: str, *arguments: str, **environment: str) -> str:
    """What a program, given as text, prints under `tilewright.compat`, which it must end well under."""
    script = folder / "program.py"
    script.write_text(text)
    result = run(COMPAT, script, *arguments, folder=folder, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout
