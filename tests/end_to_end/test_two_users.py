"""An artifact that is signed where it was made runs elsewhere, with numpy alone: the commands of docs/security.md."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from json_results import result_of
from markdown_blocks import fenced_blocks

ROOT = Path(__file__).parents[2]
BLOCKS = {block.info: block.text.splitlines() for block in fenced_blocks(ROOT / "docs" / "security.md")}

HERE = """
import sys
allowed = {"tilewright", "numpy"} | set(sys.stdlib_module_names)

class NumpyAlone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NumpyAlone())
"""
COMMAND = "from tilewright.__main__ import main; import sys; sys.exit(main())"


class User:
    """A user of a machine: a home folder, and what is installed.

    Args:
        preparation: Python that runs before each command.
    """

    def __init__(self, home: Path, preparation: str = "") -> None:
        home.mkdir()
        self.folder, self._preparation = home, preparation
        hidden = ("XDG_CONFIG_HOME", "XDG_CACHE_HOME")
        self._environment = {**{n: v for n, v in os.environ.items() if n not in hidden}, "HOME": str(home)}

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        """Execute a ``tilewright`` command in the home folder."""
        program, *words = shlex.split(line)
        assert program == "tilewright"
        command = [sys.executable, "-c", self._preparation + COMMAND, *words]
        return subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=300
        )

    def sees(self, line: str) -> str:
        """What a command prints that succeeds and complains of nothing."""
        done = self.types(line)
        assert (done.returncode, done.stderr) == (0, ""), line
        return done.stdout


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> User:
    """The user who compiles and signs the demo's network, as ``digits.twa``."""
    user = User(tmp_path_factory.mktemp("homes") / "alice")
    user.sees(f"tilewright compile {shlex.quote(str(ROOT / 'compiler' / 'demo' / 'digits.onnx'))} -o digits.twa -q")
    shutil.copy(user.folder / "digits.twa", user.folder / "unsigned.twa")
    for line in BLOCKS["sh there"]:
        user.sees(line)
    return user


@pytest.fixture
def bob(alice: User, tmp_path: Path) -> User:
    """A user with numpy alone, who was given the artifact and the key."""
    user = User(tmp_path / "bob", HERE)
    for name in ("digits.twa", "unsigned.twa", "alice.key"):
        shutil.copy(alice.folder / name, user.folder / name)
    return user


def test_three_commands_to_the_first_result(alice: User, bob: User) -> None:
    first, second, third = BLOCKS["sh here"]
    bob.sees(first)
    bob.sees(second)
    assert bob.sees(third) == alice.sees(third)
    assert not (bob.folder / ".cache").exists()
    outputs = result_of(bob.sees("tilewright run digits.twa --random 1 --json"))
    assert np.isclose(sum(outputs["probabilities"]["data"]), 1)


def test_without_the_key_the_error_says_what_to_type(bob: User) -> None:
    done = bob.types("tilewright run digits.twa --random 1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1, "one paragraph"
    assert "which this user does not trust; generating it again needs the compiler, which lacks " in done.stderr
    found = re.search(
        r"If you trust its signer: (tilewright key import ed25519:[0-9a-f]{64}) --name NAME\. ", done.stderr
    )
    assert found is not None
    assert "pip install" in done.stderr
    done = bob.types("tilewright run unsigned.twa --random 1")
    for command in ("tilewright sign FILE", "tilewright key export", "tilewright key import KEY", "pip install"):
        assert command in done.stderr
    bob.sees(f"{found[1]} --name alice")
    assert bob.sees("tilewright run digits.twa --random 1")


def test_the_digest_serves_as_well(alice: User, bob: User) -> None:
    digest = result_of(alice.sees("tilewright inspect unsigned.twa --json"))["digest"]
    expected = alice.sees("tilewright run digits.twa --random 1")
    assert bob.sees(f"tilewright run unsigned.twa --random 1 --trust {digest}") == expected


def test_with_the_compiler_kernels_are_generated_once(alice: User, bob: User, tmp_path: Path) -> None:
    carol = User(tmp_path / "carol")
    shutil.copy(bob.folder / "unsigned.twa", carol.folder)
    expected = alice.sees("tilewright run digits.twa --random 1")
    first = carol.types("tilewright run unsigned.twa --random 1")
    assert (first.returncode, first.stdout) == (0, expected)
    assert first.stderr.startswith("warning: the native code of unsigned.twa does not run here: ")
    assert first.stderr.count("\n") == 1
    assert carol.sees("tilewright run unsigned.twa --random 1") == expected, "silently, from what was kept"
    shutil.copytree(carol.folder / ".cache", bob.folder / ".cache")
    assert bob.types("tilewright run unsigned.twa --random 1").returncode == 1, "for carol alone"
    shutil.copytree(carol.folder / ".config", bob.folder / ".config")
    assert bob.sees("tilewright run unsigned.twa --random 1") == expected, "without the compiler"
