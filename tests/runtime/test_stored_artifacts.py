"""Artifacts that earlier builds wrote: those of this format run as they did, others are refused with the way out.

``pytest --update-golden`` stores one where the format is new. Those of formats that have been released stay.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from network_files import graph_model
from onnx import TensorProto, helper

import tilewright
from tilewright.errors import ArtifactError
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.artifact.container import FORMAT_VERSION
from tilewright.runtime.native import host
from tilewright.runtime.report.details import details_of

STORED = Path(__file__).parents[1] / "golden" / "artifacts"
ENGINES = ("device", "software", "float")
FILES = sorted(STORED.glob("format_*.twa"))


def version_of(path: Path) -> int:
    return int(path.stem.removeprefix("format_"))


def example() -> np.ndarray:
    return np.linspace(-1, 1, 16 * 12 * 12, dtype=np.float32).reshape(1, 16, 12, 12)


def results(path: Path, engine: str, *, regenerate: bool) -> np.ndarray:
    trust = None if regenerate else Artifact.open(path).digest
    with tilewright.load(path, engine=engine, trust=trust, regenerate=regenerate, time_limit=600) as session:
        return session.run({"x": example()})["y"]


def store(path: Path) -> None:
    weights = np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["y"]),
    ]
    model = graph_model(nodes, (("x", TensorProto.FLOAT, [1, 16, 12, 12]),), ("y",), {"w": weights}).SerializeToString()
    path.parent.mkdir(parents=True, exist_ok=True)
    tilewright.compile(model, output=path, calibration=example(), engines=ENGINES, target="portable")
    np.save(path.with_suffix(".npy"), np.stack([results(path, engine, regenerate=False) for engine in ENGINES]))


def test_there_is_one_of_this_format(request: pytest.FixtureRequest) -> None:
    path = STORED / f"format_{FORMAT_VERSION}.twa"
    if request.config.getoption("--update-golden") and not path.exists():
        store(path)
    assert path.exists(), "the format is new: run this test with --update-golden"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "path", [path for path in FILES if version_of(path) == FORMAT_VERSION], ids=lambda path: path.stem
)
@pytest.mark.filterwarnings("ignore::tilewright.errors.RegenerationWarning")
def test_those_of_this_format_run_as_they_did(path: Path, engine: str) -> None:
    artifact = Artifact.open(path)
    assert artifact.manifest.device_programs, "nothing is on the accelerator"
    assert [each.rate for each in details_of(artifact).calibration] == [0]
    expected = np.load(path.with_suffix(".npy"))[ENGINES.index(engine)]
    exact = engine != "float"
    for regenerate in (False, True):
        if not regenerate and host.architecture() != "x86_64":
            continue
        found = results(path, engine, regenerate=regenerate)
        np.testing.assert_allclose(found, expected, rtol=0, atol=0 if exact else 1e-5)


@pytest.mark.parametrize(
    "path", [path for path in FILES if version_of(path) != FORMAT_VERSION], ids=lambda path: path.stem
)
def test_those_of_others_are_refused(path: Path) -> None:
    with pytest.raises(ArtifactError, match=re.escape(refusal(path.name, version_of(path)))):
        tilewright.load(path)


def refusal(name: str, version: int) -> str:
    newer = "Load it with the version of Tilewright that made it, or a newer one."
    older = "Compile the model again with this version of Tilewright."
    return f"{name} has another format version; expected {FORMAT_VERSION}, found {version}. " + (
        newer if version > FORMAT_VERSION else older
    )


@pytest.mark.parametrize("version", [FORMAT_VERSION - 1, FORMAT_VERSION + 1])
def test_another_format_is_told_with_the_way_out(version: int, tmp_path: Path) -> None:
    content = bytearray((STORED / f"format_{FORMAT_VERSION}.twa").read_bytes())
    content[8:12] = version.to_bytes(4, "little")
    (tmp_path / "other.twa").write_bytes(content)
    with pytest.raises(ArtifactError, match=re.escape(refusal("other.twa", version))):
        tilewright.load(tmp_path / "other.twa")
