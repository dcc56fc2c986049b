"""add_cpu_extension: Python operator libraries, and libraries that are accepted unread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from ir_files import LayerText, write_network
from markdown_blocks import blocks_to_run

from tilewright.compiler import operator_library
from tilewright.compiler.frontend.ir.families import layer_types
from tilewright.runtime.api.inference_engine import IECore, IENetwork, IEPlugin


def documented_library() -> str:
    """The one of the documentation."""
    (block,) = blocks_to_run(Path(__file__).parents[3] / "docs" / "api" / "inference_engine.md")
    return block.text


@pytest.fixture(autouse=True)
def registries_as_before() -> Iterator[None]:
    before = [dict(registry) for registry in operator_library._REGISTRIES]
    yield
    for registry, entries in zip(operator_library._REGISTRIES, before, strict=True):
        registry.clear()
        registry.update(entries)  # pyright: ignore[reportArgumentType, reportCallIssue]
    for name in [name for name in sys.modules if name.startswith("tilewright_operators_")]:
        del sys.modules[name]


@pytest.fixture(params=[2, 10])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> IENetwork:
    is_legacy = request.param < 10
    kind, opset = ("Input", "") if is_legacy else ("Parameter", "opset1")
    shape = {"shape": "2,3", "element_type": "f32"}
    layers = [
        LayerText("x", kind, (), [(2, 3)], {} if is_legacy else shape, version=opset),
        LayerText("y", "Threshold", ["x"], [(2, 3)], {"limit": "1.5"}, version=opset),
    ]
    if not is_legacy:
        layers.append(LayerText("out", "Result", ["y"], version=opset))
    return IENetwork.from_ir(*write_network(tmp_path, layers, version=request.param))


def test_a_python_library_adds_a_layer(network: IENetwork, tmp_path: Path) -> None:
    library = tmp_path / "library.py"
    library.write_text(documented_library())
    plugin = IEPlugin("HETERO:FPGA,CPU")
    assert "y" not in plugin.get_supported_layers(network)
    for _ in range(2):
        plugin.add_cpu_extension(str(library))
    assert "y" in plugin.get_supported_layers(network)
    executable = IEPlugin("CPU").load(network)
    x = np.array([[0, 1, 2], [-3, 1.5, 1.6]], np.float32)
    np.testing.assert_array_equal(executable.infer({"x": x})["y"], np.where(x > 1.5, x, 0))
    assert executable.requests[0].get_perf_counts()["y"]["status"] == "EXECUTED"


def test_an_operator_without_a_kernel_is_computed_by_its_reference(network: IENetwork, tmp_path: Path) -> None:
    library = tmp_path / "library.py"
    library.write_text(documented_library().partition("@formula")[0])
    IECore().add_extension(str(library), "CPU")
    executable = IEPlugin("CPU").load(network)
    np.testing.assert_array_equal(executable.infer({"x": np.full((2, 3), 3)})["y"], np.full((2, 3), 3))
    assert executable.requests[0].get_perf_counts()["y"]["exec_type"] == "reference"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (documented_library() + "\nraise ValueError('unlucky')", "ValueError: unlucky"),
        ("def broken(", "SyntaxError: "),
        (documented_library() * 2, "an operator of this name exists"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
    ids=["raises", "no Python", "registers twice", "imports"],
)
def test_a_library_that_fails_leaves_nothing_behind(text: str, reason: str, network: IENetwork, tmp_path: Path) -> None:
    library = tmp_path / "library.py"
    library.write_text(text)
    plugin = IEPlugin("CPU")
    with pytest.raises(RuntimeError, match=rf"^library '{library}' ended in an exception: .*{reason}"):
        plugin.add_cpu_extension(str(library))
    assert "y" not in plugin.get_supported_layers(network)
    assert "Threshold" not in layer_types()
    library.write_text(documented_library())
    plugin.add_cpu_extension(str(library))
    assert "y" in plugin.get_supported_layers(network)


def test_other_libraries_are_accepted_unread(tmp_path: Path) -> None:
    library = tmp_path / "libcpu_extension_avx2.so"
    library.write_bytes(b"not even a library")
    library.chmod(0)
    IEPlugin("CPU").add_cpu_extension(str(library))
    IEPlugin("HETERO:GPU,CPU").add_cpu_extension(extension_path=str(library))
    IECore().add_extension(str(library), "CPU")


def test_what_is_no_library(tmp_path: Path) -> None:
    plugin = IEPlugin("CPU")
    for path in ("missing.so", "missing.py", "", "a\0b"):
        with pytest.raises(
            RuntimeError, match=r"^\[NOT_FOUND\] cannot load library .*; expected a file, found nothing"
        ):
            plugin.add_cpu_extension(path)
    with pytest.raises(RuntimeError, match="expected a file, found a folder"):
        plugin.add_cpu_extension(str(tmp_path))
    with pytest.raises(TypeError, match=r"^a library is named by its path; expected a path, found int$"):
        plugin.add_cpu_extension(3)  # pyright: ignore[reportArgumentType]
    text = r"^add_cpu_extension is for devices with CPU in their name; expected such as 'CPU', found FPGA$"
    with pytest.raises(RuntimeError, match=text):
        IEPlugin("FPGA").add_cpu_extension("missing.so")
    with pytest.raises(
        RuntimeError, match=r"^\[NOT_IMPLEMENTED\] device FPGA takes no libraries of layers; expected CPU"
    ):
        IECore().add_extension("missing.so", "FPGA")
