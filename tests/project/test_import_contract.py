"""The import order: the contract holds, it catches what it forbids, and nothing goes around it."""

from __future__ import annotations

import ast
import re
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


PROBES = (
    ("ir", "from ..runtime import api", "APIs, compiler, codegen and passes"),
    ("ir", "from ..passes import __name__", "APIs, compiler, codegen and passes"),
    ("ir", "import numba", "ir and runtime need numpy alone"),
    ("passes", "from ..codegen import cpu", "APIs, compiler, codegen and passes"),
    ("passes", "from ..runtime import api", "of the runtime, passes know"),
    ("codegen", "from ..compiler import console", "APIs, compiler, codegen and passes"),
    ("codegen", "from ..runtime import api", "of the runtime, codegen knows"),
    ("compiler", "import onnx", "onnx is imported by the frontend and"),
    ("runtime/api", "def late():\n    import onnx", "APIs need numpy alone"),
    ("runtime/files", "def late():\n    import onnx", "ir and runtime need numpy alone"),
    ("runtime/files", "from ..api import compat", "within the runtime"),
    ("runtime/files", "from ...compiler import driver", "APIs, compiler, codegen and passes"),
    ("compiler", "def late():\n    from ..runtime.api import compat", "APIs, compiler, codegen and passes"),
    ("runtime/files", "from ..serving import __name__", "within the runtime"),
    ("runtime/files", "def late():\n    import starlette", "ir and runtime need numpy alone"),
    ("runtime/serving", "from ...compiler import driver", "APIs, compiler, codegen and passes"),
    ("runtime/serving", "def late():\n    import onnx", "serving needs numpy and its extra alone"),
    ("runtime", "", "within the runtime"),
)
"""The folder of a file, what it says, and the contract that this breaks."""


def broken_contracts(text: str) -> dict[str, str]:
    """What import-linter says of each contract that is broken, by the contract's name."""
    _, *parts = re.split(r"^(\S.*)\n-+\n", text.partition("Broken contracts")[2], flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_contract_catches_upward_imports(tree: Path) -> None:
    """Each in a file of its own, which is named under the contract that it breaks."""
    probes = [(f"probe_{number}", *each) for number, each in enumerate(PROBES)]
    for name, folder, statement, _ in probes:
        (tree / "tilewright" / folder / f"{name}.py").write_text(statement + "\n")
    code, text = lint(tree)
    assert code == 1
    found = broken_contracts(text)
    for name, folder, statement, broken in probes:
        (reason,) = (reason for contract, reason in found.items() if contract.startswith(broken))
        assert re.search(rf"\b{name}\b", reason), f"{folder}: {statement!r} does not break {broken}: {text}"


def test_downward_imports_are_allowed(tree: Path) -> None:
    (tree / "tilewright/runtime/machines/machine.py").touch()
    (tree / "tilewright/passes/probe.py").write_text("from ..ir import core\nfrom ..runtime.machines import machine\n")
    (tree / "tilewright/compiler/frontend/probe.py").write_text("import onnx\nfrom ...passes import probe\n")
    code, text = lint(tree)
    assert code == 0, text


def absolute_imports(folder: str, *packages: str) -> Iterator[tuple[str, str]]:
    """(place, module) for each absolute import in the Python files below ``folder`` that import from ``packages``."""
    # To parse all that there is takes seconds.
    line = re.compile(rf"^ *(?:from|import +(?:[\w.]+(?: +as +\w+)? *, *)*) *(?:{'|'.join(packages)})\b", re.MULTILINE)
    for file in sorted((ROOT / folder).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if not line.search(text):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", alias.name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                yield f"{file.relative_to(ROOT)}:{node.lineno}", str(node.module)


@pytest.mark.parametrize("folder", [*CODE, "src", "tests", "examples"])
def test_no_file_imports_a_code_folder_by_its_bare_name(folder: str) -> None:
    """``import ir`` from the root of the checkout would load a second copy of each module."""
    for place, module in absolute_imports(folder, *CODE):
        assert module.split(".")[0] not in CODE, f"{place}: import tilewright.{module}, or relatively"


@pytest.mark.parametrize("folder", CODE)
def test_code_folders_import_each_other_relatively(folder: str) -> None:
    """In an editor an absolute import would lead to the installed copy; only the front door is meant so."""
    for place, module in absolute_imports(folder, r"tilewright(?!\.errors|\.limits|\.immutable|\.blocks)"):
        if module.split(".")[0] == "tilewright":
            names = ("tilewright", *(f"tilewright.{name}" for name in ("blocks", "errors", "immutable", "limits")))
            assert module in names, place
