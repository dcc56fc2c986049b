"""What is released: everything is in the wheel and in the sdist, and the base install needs numpy alone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from setuptools.config.pyprojecttoml import load_file

import tilewright

ROOT = Path(__file__).parents[2]
CODE = ("ir", "passes", "codegen", "compiler", "runtime")
FURTHER = (".ci", ".github", "benchmarks", "docs", "examples", "tests", "tools")
NAMED = ("constraints.txt", "hashes.txt", "mkdocs.yml", ".gitignore", ".pre-commit-config.yaml")
TOOL = load_file(ROOT / "pyproject.toml")["tool"]["setuptools"]

IMPORT_ALL = """
import importlib, importlib.util, json, pkgutil, sys
patterns, hidden = json.loads(sys.argv[1]), json.loads(sys.argv[2])

class Hide:
    # Only what numpy and the standard library need may be found.
    def find_spec(self, name, path=None, target=None):
        if any(name == h or name.startswith(h + ".") for h in hidden):
            raise ModuleNotFoundError(f"{name} is hidden from this test", name=name)

sys.meta_path.insert(0, Hide())
failed = {}
names = []
for pattern in patterns:
    root, star, _ = pattern.partition(".*")
    names.append(root)
    if star:
        path = importlib.import_module(root).__path__
        found = pkgutil.walk_packages(path, root + ".", onerror=lambda name: None)
        # A program, as __main__ is, may work as soon as it is imported.
        names += [m.name for m in found if not m.name.endswith("__main__")]
for name in names:
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        failed[name] = repr(error)
        continue
    if not module.__file__.startswith(sys.argv[3]):
        failed[name] = "came from " + module.__file__
print(json.dumps({"names": names, "failed": failed, "loaded": sorted(sys.modules)}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources as a clone without history has them, so that the checkout stays clean."""
    folder = tmp_path_factory.mktemp("source")
    caches = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in (*CODE, "src", *FURTHER):
        shutil.copytree(ROOT / name, folder / name, ignore=caches)
    for name in (
        "pyproject.toml",
        "MANIFEST.in",
        "LICENSE",
        *NAMED,
        *(file.name for file in ROOT.glob("*.md")),
    ):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    program = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    run = subprocess.run([sys.executable, "-c", program], cwd=source, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (built,) = folder.glob("*.tar.gz")
    return built


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel, built from the sdist: nothing that it takes is missing there."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(sdist.parent), str(sdist)], check=True)
    (built,) = sdist.parent.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's packages and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(folder), str(wheel)], check=True)
    return folder


def test_the_sdist_holds_what_it_takes_to_work_on_it(source: Path, sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    for name in (*CODE, *FURTHER):
        files = [file for file in (source / name).rglob("*") if file.is_file()]
        assert {file.relative_to(source).as_posix() for file in files} - packed == set()
    assert {"pyproject.toml", *NAMED, "README.md", "CHANGELOG.md", "SECURITY.md"} <= packed


def test_the_version_is_that_of_the_newest_release_in_the_changelog(sdist: Path, wheel: Path) -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, *released = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", text, re.MULTILINE)
    assert (unreleased, released[0]) == ("Unreleased", tilewright.__version__)
    assert sdist.name == f"tilewright-{tilewright.__version__}.tar.gz"
    assert wheel.name == f"tilewright-{tilewright.__version__}-py3-none-any.whl"


def import_all(installed: Path, patterns: list[str], hidden: Iterable[str] = ()) -> dict[str, Any]:
    """What became of the modules that ``patterns`` name (``package.*``: with all below), the ``hidden`` ones absent."""
    paths = [str(installed), str(Path(np.__file__).parents[1])]
    program = f"import sys; sys.path[:0] = {paths!r}\n{IMPORT_ALL}"
    # -S: without the site module, neither the editable install nor any .pth file of this environment is seen.
    command = [sys.executable, "-S", "-I", "-c", program, json.dumps(patterns), json.dumps([*hidden]), str(installed)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=installed.parent)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_every_package_folder_is_listed() -> None:
    folders = {"tilewright": ROOT / "src" / "tilewright", **{f"tilewright.{name}": ROOT / name for name in CODE}}
    found = {
        ".".join([package, *file.parent.relative_to(folder).parts])
        for package, folder in folders.items()
        for file in folder.rglob("*.py")
    }
    assert found == set(TOOL["packages"])


def test_the_wheel_holds_every_file_of_the_code_folders_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"tilewright"}
    assert "tilewright/py.typed" in names
    for name in CODE:
        for file in (ROOT / name).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                assert f"tilewright/{name}/{file.relative_to(ROOT / name).as_posix()}" in names


def test_the_licence_and_the_metadata_are_in_the_wheel(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
    text = archive.read(metadata).decode()
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Dist: numpy>=1.26\n" in text
    required = [line for line in text.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert len(required) == 1
    assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())


EXTRAS = (
    *("onnx", "onnxruntime", "llvmlite", "numba", "networkx", "argcomplete", "pydantic", "PIL"),
    *("dask", "distributed", "fsspec"),
    *("scipy", "sklearn", "ml_dtypes", "google", "yaml", "cryptography", "cffi", "h5py"),
    *("starlette", "uvicorn", "h11", "prometheus_client"),
)


NEEDING_EXTRAS = {
    *(f"tilewright.runtime.api.simulator.{name}" for name in ("api", "schema.base", "cuda_kernel")),
    "tilewright.runtime.cluster.dask_workers",
    "tilewright.runtime.pictures.image_file",
    *(f"tilewright.runtime.serving.{name}" for name in ("application", "server")),
}
"""Modules of the runtime that are made of what an extra installs."""


def test_the_base_install_imports_with_numpy_alone(installed: Path) -> None:
    base = ["tilewright", "tilewright.errors", "tilewright.__main__", "tilewright.ir.*", "tilewright.runtime.*"]
    found = import_all(installed, base, hidden=EXTRAS)
    assert found["failed"].keys() == NEEDING_EXTRAS
    assert {"tilewright.ir.ops.convolution", "tilewright.runtime.artifact.artifact"} <= set(found["names"])


def test_the_runtime_loads_neither_compiler_nor_its_libraries(installed: Path) -> None:
    found = import_all(installed, ["tilewright", "tilewright.runtime.*"], hidden=NEEDING_EXTRAS)
    assert found["failed"].keys() == NEEDING_EXTRAS
    loaded = set(found["loaded"])
    assert not loaded & {"tilewright.compiler", "tilewright.codegen", "tilewright.passes", "tilewright.ir", *EXTRAS}


def test_samples_and_the_demonstration_are_read_from_an_archive(wheel: Path) -> None:
    program = (
        "from tilewright.compiler.demo import MODEL, load_digits; from tilewright.runtime.machines import machine\n"
        "print(machine.samples() == [machine.load(name).name.lower() for name in machine.samples()])\n"
        "print(machine.__file__, MODEL.stat().st_size > 10_000, load_digits().images.shape[0])"
    )
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(wheel)!r})\n{program}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=wheel.parent)
    found = done.stdout.split()
    assert found[0] == "True" and found[1].startswith(str(wheel)) and found[2:] == ["True", "500"]


def test_every_module_imports_with_all_extras(installed: Path) -> None:
    found = import_all(installed, ["tilewright.*"])
    assert found["failed"] == {}
    assert {f"tilewright.{name}" for name in CODE} <= set(found["names"])
