"""Follows CONTRIBUTING.md to the letter, in a copy of the repository.

A block ``python PATH`` is added to the end of that file, which is created if it does not exist; a block ``diff PATH``
is applied to it; the commands of a block ``sh`` must succeed. Blocks ``sh WORD`` are about a developer's environment
and are not run, but for the one that links the packages together, which puts the copy in place of the installed ones.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from markdown_blocks import Block, fenced_blocks

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "CONTRIBUTING.md"
COPIED = ("ir", "passes", "codegen", "compiler", "runtime", "src", "tests", "tools", "docs", "pyproject.toml")


def sections() -> dict[str, list[Block]]:
    """The blocks of each walk-through, by the heading it stands under."""
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    found: dict[str, list[Block]] = {}
    for block in fenced_blocks(GUIDE):
        heading = next(line for line in reversed(lines[: block.line]) if line.startswith("## "))
        if heading.startswith("## Adding "):
            found.setdefault(heading.removeprefix("## "), []).append(block)
    return found


WALKS = sections()


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the repository whose packages Python finds under their installed names; in one folder for all tests of
    a process, of which each copies what the one before has changed: what they start finds the bytecode that it made
    before of files of the same age."""
    tmp_path = tmp_path_factory.getbasetemp() / "clone"
    tmp_path.mkdir(exist_ok=True)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path.with_name("bytecode of clones")))
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    known = set[Path]()

    def copied(source: str, target: str) -> None:
        known.add(Path(target))
        with suppress(FileNotFoundError):
            ages = [(each.st_size, each.st_mtime_ns) for each in map(os.stat, (source, target))]
            if ages[0] == ages[1]:
                return
        shutil.copy2(source, target)

    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored, copy_function=copied, dirs_exist_ok=True)
        else:
            copied(str(ROOT / name), str(tmp_path / name))
    for file in [*tmp_path.rglob("*")]:
        if file not in known and not file.is_dir():
            file.unlink()
    (link,) = [block.text for block in fenced_blocks(GUIDE) if block.info == "sh link"]
    subprocess.run(["bash", "-euc", link], cwd=tmp_path, check=True)
    return tmp_path


def apply_diff(text: str, diff: str) -> str:
    """Replaces the lines marked ``-`` and those without a mark by those without and those marked ``+``.

    The lines to replace must stand in ``text`` once, one after the other; a line ``...`` begins another place.
    """
    for hunk in diff.split("...\n"):
        lines = hunk.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] in " -")
        after = "".join(line[1:] for line in lines if line[0] in " +")
        assert text.count(before) == 1, f"these lines should stand there once:\n{before}"
        text = text.replace(before, after)
    return text


def follow(clone: Path, block: Block) -> None:
    kind, _, path = block.info.partition(" ")
    file = clone / path
    if kind == "python":
        before = file.read_text(encoding="utf-8") + "\n\n" if file.exists() else ""
        file.write_text(before + block.text, encoding="utf-8")
    elif kind == "diff":
        file.write_text(apply_diff(file.read_text(encoding="utf-8"), block.text), encoding="utf-8")
    elif block.info == "sh":
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(clone / ".links")}
        command = block.text.replace("python -m", f"{sys.executable} -m")
        run = subprocess.run(["bash", "-euc", command], cwd=clone, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, f"CONTRIBUTING.md:{block.line}: {block.text}{run.stdout}{run.stderr}"
        assert "pytest" not in command or re.search(r"\b[1-9]\d* passed", run.stdout)


@pytest.mark.parametrize("walk", WALKS)
def test_the_walk_through_works(walk: str, clone: Path) -> None:
    assert any(block.info == "sh" for block in WALKS[walk]), "a walk-through ends with a command that checks it"
    for block in WALKS[walk]:
        follow(clone, block)


def test_a_new_family_with_a_kernel_is_four_new_files(clone: Path) -> None:
    """The commands are those of the walk-through for operators."""
    for block in fenced_blocks(Path(__file__).with_name("pairwise_distances.md")):
        assert not (clone / block.info.removeprefix("python ")).exists()
        follow(clone, block)
    for block in WALKS["Adding an operator"]:
        if block.info == "sh":
            follow(clone, Block(block.info, block.text.replace("shrink", "pairwise_distances"), block.line))
    assert "| pairwise_distances | distances |" in (clone / "docs" / "operators.md").read_text(encoding="utf-8")


def test_there_is_a_walk_through_for_each_kind_of_extension() -> None:
    assert list(WALKS) == ["Adding an operator", "Adding a pass", "Adding an instruction"]


def test_the_copy_stands_in_for_the_installed_packages(clone: Path) -> None:
    program = "import tilewright, tilewright.ir.op as op; print(tilewright.__file__); print(op.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(clone / ".links")}
    run = subprocess.run([sys.executable, "-c", program], cwd=clone, env=environment, capture_output=True, text=True)
    assert all(Path(line).resolve().is_relative_to(clone) for line in run.stdout.splitlines())
    assert len(run.stdout.splitlines()) == 2


def test_the_import_order_is_checked_where_the_folders_are_linked(clone: Path) -> None:
    """An editable installation has no folder of packages that import-linter could read."""
    pytest.importorskip("importlinter", reason="import-linter comes with the dev extra")
    program = "from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    environment = {**os.environ, "PYTHONPATH": ".links"}
    run = subprocess.run([sys.executable, "-c", program], cwd=clone, env=environment, capture_output=True, text=True)
    assert " kept, 0 broken" in run.stdout, run.stdout + run.stderr


def test_a_wrong_step_is_noticed(clone: Path) -> None:
    blocks = WALKS["Adding a pass"]
    for block in blocks[:-1]:
        wrong = block.text.replace('match["x"]', "match.root.operands[0]") if block.info.startswith("python p") else ""
        follow(clone, Block(block.info, wrong or block.text, block.line))
    with pytest.raises(AssertionError, match=r"CONTRIBUTING.md:\d+"):
        follow(clone, blocks[-1])
