"""The import order: the contract holds, it catches what it forbids, and nothing goes around it."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from setuptools.config.pyprojecttoml import load_file

ROOT = Path(__file__).parents[2]
CODE = ("ir", "passes", "codegen", "compiler", "runtime")

pytest.importorskip("importlinter", reason="import-linter comes with the dev extra")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The packages as they lie in an installation, for changing."""
    for package, folder in load_file(ROOT / "pyproject.toml")["tool"]["setuptools"]["package-dir"].items():
        target = tmp_path / package.replace(".", "/")
        shutil.copytree(ROOT / folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def lint(tree: Path) -> tuple[int, str]:
    program = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports; sys.exit(lint_imports("
    program += f"config_filename={str(ROOT / 'pyproject.toml')!r}, cache_dir=None, no_cache=True))"
    run = subprocess.run([sys.executable, "-c", program], cwd=tree, capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


def test_the_contract_is_kept(tree: Path) -> None:
    code, text = lint(tree)
    assert code == 0, text
    assert "8 kept, 0 broken" in text


@pytest.mark.parametrize(
    ("file", "statement", "broken"),
    [
        ("ir/probe.py", "from ..runtime import api", "APIs, compiler, codegen and passes"),
        ("ir/probe.py", "from ..passes import __name__", "APIs, compiler, codegen and passes"),
        ("ir/probe.py", "import numba", "ir and runtime need numpy alone"),
        ("passes/probe.py", "from ..codegen import cpu", "APIs, compiler, codegen and passes"),
        ("passes/probe.py", "from ..runtime import api", "of the runtime, passes know"),
        ("codegen/probe.py", "from ..compiler import console", "APIs, compiler, codegen and passes"),
        ("codegen/probe.py", "from ..runtime import api", "of the runtime, codegen knows"),
        ("compiler/probe.py", "import onnx", "onnx is imported by the frontend and"),
        ("runtime/api/probe.py", "def late():\n    import onnx", "APIs need numpy alone"),
        ("runtime/files/probe.py", "def late():\n    import onnx", "ir and runtime need numpy alone"),
        ("runtime/files/probe.py", "from ..api import compat", "within the runtime"),
        ("runtime/files/probe.py", "from ...compiler import driver", "APIs, compiler, codegen and passes"),
        (
            "compiler/probe.py",
            "def late():\n    from ..runtime.api import compat",
            "APIs, compiler, codegen and passes",
        ),
        ("runtime/files/probe.py", "from ..serving import __name__", "within the runtime"),
        ("runtime/files/probe.py", "def late():\n    import starlette", "ir and runtime need numpy alone"),
        ("runtime/serving/probe.py", "from ...compiler import driver", "APIs, compiler, codegen and passes"),
        ("runtime/serving/probe.py", "def late():\n    import onnx", "serving needs numpy and its extra alone"),
        ("runtime/probe.py", "", "within the runtime"),
    ],
)
def test_the_contract_catches_an_upward_import(tree: Path, file: str, statement: str, broken: str) -> None:
    (tree / "tilewright" / file).write_text(statement + "\n")
    code, text = lint(tree)
    assert code == 1
    assert any(line.startswith(broken) and " BROKEN" in line for line in text.splitlines()), text


def test_downward_imports_are_allowed(tree: Path) -> None:
    (tree / "tilewright/runtime/machines/machine.py").touch()
    (tree / "tilewright/passes/probe.py").write_text("from ..ir import core\nfrom ..runtime.machines import machine\n")
    (tree / "tilewright/compiler/frontend/probe.py").write_text("import onnx\nfrom ...passes import probe\n")
    code, text = lint(tree)
    assert code == 0, text


def absolute_imports(folder: str) -> Iterator[tuple[str, str]]:
    """(place, module) for each absolute import in the Python files below ``folder``."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", alias.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield f"{file.relative_to(ROOT)}:{node.lineno}", str(node.module)


@pytest.mark.parametrize("folder", [*CODE, "src", "tests", "examples"])
def test_no_file_imports_a_code_folder_by_its_bare_name(folder: str) -> None:
    """``import ir`` from the root of the checkout would load a second copy of each module."""
    for place, module in absolute_imports(folder):
        assert module.split(".")[0] not in CODE, f"{place}: import tilewright.{module}, or relatively"


@pytest.mark.parametrize("folder", CODE)
def test_code_folders_import_each_other_relatively(folder: str) -> None:
    """In an editor an absolute import would lead to the installed copy; only the front door is meant so."""
    for place, module in absolute_imports(folder):
        if module.split(".")[0] == "tilewright":
            names = ("tilewright", *(f"tilewright.{name}" for name in ("blocks", "errors", "immutable", "limits")))
            assert module in names, place
