"""The documents say what is so: links lead somewhere, tables are complete, commands run."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from markdown_blocks import fenced_blocks
from setuptools.config.pyprojecttoml import load_file

from tilewright.__main__ import main
from tilewright.compiler.benchmark import comparison

ROOT = Path(__file__).parents[2]
PROJECT = load_file(ROOT / "pyproject.toml")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FRESH, TESTS, TOUR = [block.text for block in fenced_blocks(ROOT / "README.md") if block.info == "sh"]


def first_column(document: Path, heading: str) -> list[str]:
    """The first cells of the table that follows ``heading``."""
    rows = document.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    cells = [row.split("|")[1].strip() for row in rows if row.startswith("|")]
    return cells[2:]


def anchors(document: Path) -> set[str]:
    """Of each heading, what a link to it ends in."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = [re.sub(r"\]\(.*?\)", "", each) for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE)]
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_to_files(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?[^)]*\)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            there = document.parent / target if target else document
            assert there.exists(), f"{document.name} links to {target}, which does not exist"
            if anchor and there.suffix == ".md":
                assert anchor in anchors(there), f"{document.name} links to {target}#{anchor}, which is no heading"


def test_the_decisions_are_listed() -> None:
    listed = re.findall(r"\((\d{4}-[a-z0-9-]+\.md)\)", (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8"))
    assert listed == sorted(file.name for file in (ROOT / "docs/decisions").glob("[0-9]*.md"))


def test_the_site_has_every_page() -> None:
    pages = re.findall(r"^ +- .*?([A-Za-z_/]+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    written = {file.relative_to(ROOT / "docs").as_posix() for file in (ROOT / "docs").rglob("*.md")}
    assert {page for page in written if not page.startswith("decisions/0")} <= {*pages}


def test_the_architecture_names_every_folder() -> None:
    named = " ".join(first_column(ROOT / "ARCHITECTURE.md", "One folder, one job"))
    folders = re.findall(r"`([A-Za-z_/]+)/`", named)
    for folder in folders:
        assert (ROOT / folder).is_dir(), f"ARCHITECTURE.md names {folder}/, which does not exist"
    mapped = PROJECT["tool"]["setuptools"]["package-dir"]
    for package in PROJECT["tool"]["setuptools"]["packages"]:
        root = ".".join(package.split(".")[:2])
        assert package.replace(root, mapped[root], 1).replace(".", "/") in folders


def test_the_readme_explains_every_extra() -> None:
    explained = re.findall(r"`(\w+)`", " ".join(first_column(ROOT / "README.md", "What to install")))
    assert explained == list(PROJECT["project"]["optional-dependencies"])


def test_ci_runs_what_the_readme_tells_to() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    for command in (FRESH, TESTS):
        assert command.count("\n") == 1, "each must be one line to copy"
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt ")
        last = command.split("&& .venv/bin/")[-1].strip()
        assert f"step {last}\n" in script


def test_every_direct_dependency_is_pinned() -> None:
    text = (ROOT / "constraints.txt").read_text()
    pinned = {re.split("==", line)[0].lower() for line in text.splitlines() if "==" in line}
    needed = [PROJECT["project"]["dependencies"], *PROJECT["project"]["optional-dependencies"].values()]
    names = {re.split(r"[<>=\[; ]", requirement)[0].lower() for part in needed for requirement in part}
    assert names - {"tilewright"} <= pinned


def test_numba_is_bounded_by_the_version_that_is_pinned() -> None:
    """The compiler names what is numba's own (`generation/frontend.py`), which any release may change."""
    (minor,) = re.findall(r"^numba==0\.(\d+)\.", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    bounds = PROJECT["project"]["optional-dependencies"]["compiler"]
    assert f"numba>=0.61,<0.{int(minor) + 1}" in bounds


def test_digests_are_of_the_versions_that_are_pinned() -> None:
    texts = [(ROOT / name).read_text() for name in ("constraints.txt", "hashes.txt")]
    pinned, hashed = (dict(re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)) for text in texts)
    assert hashed.items() <= {name.lower().replace("_", "-"): version for name, version in pinned.items()}.items()
    # Without a digest of each, pip would refuse to install any.
    parts = re.split(r"^(?=[\w-]+==)", texts[1], flags=re.MULTILINE)[1:]
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", part) for part in parts)
    assert {re.split(r"[<>=; ]", each)[0].lower().replace("_", "-") for each in required("dev")} <= hashed.keys()


def required(extra: str) -> set[str]:
    """The packages that an extra names, itself or by other extras."""
    found: set[str] = set()
    for each in PROJECT["project"]["optional-dependencies"][extra]:
        others = re.fullmatch(r"tilewright\[(.+)\]", each)
        found |= set[str]().union(*map(required, others[1].split(","))) if others else {each.partition("[")[0]}
    return found


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder in which the tour's paths lead somewhere."""
    for folder in ("compiler/demo", "examples/accelerator", "runtime/machines"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def in_a_shell(text: str, folder: Path) -> str:
    """What it prints."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    run = subprocess.run(["bash", "-euc", text], cwd=folder, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, f"{text}\n{run.stderr}"
    return run.stdout


def printed(line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What a line for a shell prints; commands of Tilewright run here: a process would import for each what is here."""
    words = shlex.split(line, comments=True)
    if words[0] != "tilewright":
        return in_a_shell(line, folder)
    code = main(words[1:])
    shown = capsys.readouterr()
    assert code == 0, f"{line}\n{shown.err}"
    return shown.out


def test_the_commands_of_the_tour_run(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    # Fresh processes that `bench` starts, eleven of each contender.
    monkeypatch.setattr(comparison, "STARTS", 1)
    first, *others = [line for line in TOUR.splitlines() if line and not line.startswith("#")]
    # As it stands there, by the command that the installation made.
    assert in_a_shell(first, workplace)
    for line in others:
        assert printed(line, workplace, capsys), f"{line} printed nothing"


def test_the_tutorial_runs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    for block in fenced_blocks(ROOT / "docs" / "tutorial.md"):
        if block.info == "python":
            exec(compile(block.text, f"tutorial.md:{block.line}", "exec"), {"__name__": "__main__"})
        else:
            assert block.info == "sh"
            for line in block.text.splitlines():
                printed(line, workplace, capsys)


def test_the_python_of_the_tour_runs(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    (block,) = [block for block in fenced_blocks(ROOT / "README.md") if block.info == "python"]
    exec(compile(block.text, f"README.md:{block.line}", "exec"), {"__name__": "__main__"})
    lines = [line.split(" ") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == ["device", "software", "float"]
    assert all(found == label for _, found, _, label in lines)
