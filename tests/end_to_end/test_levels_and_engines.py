"""Which engines an artifact holds, and its native code for several levels of processors."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np
import pytest
from onnx_nodes import node_model

import tilewright
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.compiler.demo import MODEL
from tilewright.compiler.driver import build
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.weights import layers_of
from tilewright.errors import ArtifactError, RegenerationWarning, UsageError
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.execution import cpu
from tilewright.runtime.execution.cpu import fitting
from tilewright.runtime.native import host
from tilewright.runtime.report.inspection import InspectedArtifact, inspect_artifact

on_x86_64 = pytest.mark.skipif(host.architecture() != "x86_64", reason="levels of x86-64")


@cache
def digits(engines: str | None = None, target: str = "host", precision: str = "int8") -> Artifact:
    if precision == "fp32":
        return tilewright.compile(MODEL, precision=precision, engines=engines, target=target)
    given = {"calibration": "random", "calibration_limit": 2, "effort": "quick"}
    return tilewright.compile(MODEL, precision=precision, engines=engines, target=target, **given)


def outputs(artifact: Artifact, engine: str | None = None, *, regenerate: bool = False) -> np.ndarray:
    with tilewright.load(artifact, engine=engine, regenerate=regenerate) as session:
        rng = np.random.default_rng(0)
        (found,) = session.run({spec.name: rng.random(spec.shape, np.float32) for spec in session.inputs}).values()
    return found


@pytest.mark.parametrize(
    ("given", "precision", "held"),
    [
        (None, "int8", ["device", "software"]),
        (None, "fp32", ["float"]),
        ("device", "int8", ["device"]),
        ("software", "int8", ["software"]),
        ("float,software", "int8", ["float", "software"]),
    ],
)
def test_an_artifact_holds_the_engines_that_were_asked_for(given: str | None, precision: str, held: list[str]) -> None:
    artifact = digits(given, precision=precision)
    assert sorted(artifact.manifest.engines) == held
    assert [name for name, entry in artifact.sections.items() if entry.kind.name == "CONSTANTS"] == ["constants"]
    for engine in held:
        np.testing.assert_array_equal(outputs(artifact, engine), outputs(digits("device,software,float"), engine))
    inspect_artifact(artifact, held[0], None, as_json=False)


def test_the_device_alone_stores_weights_once() -> None:
    artifact = digits("device")
    assert "module.device_0.blobs" not in artifact.sections
    with pytest.raises(ArtifactError, match=r"for the device alone\. Compile the model with --engines device,software"):
        layers_of(artifact, "device")


def test_the_device_reads_constants_where_it_does_everything() -> None:
    scale, zero, x = np.float32(0.05), np.int8(3), np.arange(-6, 6, dtype=np.int8).reshape(1, 3, 2, 2)
    factors = np.array([5, -7, 1], np.int8).reshape(1, 3, 1, 1)
    given = [x, scale, zero, factors, scale, zero, scale, zero]
    model = node_model("QLinearMul", given, constants=range(1, 8), domain="com.microsoft")
    compiled = tilewright.compile(model, precision="int8", effort="quick", affinity={"y0": "device"})
    assert compiled.manifest.engines["device"].cpu_program is None
    found: list[np.ndarray] = []
    for engine in ("device", "software"):
        with tilewright.load(compiled, engine=engine) as session:
            found += session.run({"x0": x}).values()
    np.testing.assert_array_equal(found[0], found[1])


def test_large_arrays_of_the_device_stand_among_the_constants_that_engines_share() -> None:
    """Not in the index that names them, in hexadecimal; there they are found again."""
    weights = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    model = node_model("MatMul", [np.ones((32, 64), np.float32), weights], constants=[1])
    artifact = tilewright.compile(model, precision="int8", calibration="random", calibration_limit=2, effort="quick")
    indices = [name for name in artifact.sections if name.startswith("module.device_") and name.endswith(".blobs")]
    arrays = [each for name in indices for each in json.loads(artifact.text(name))["arrays"].values()]
    assert any(each["kind"] == "stored" for each in arrays)
    assert all(len(each["data"]) < 2048 for each in arrays if each["kind"] == "inline")
    assert layers_of(artifact, "device")


def test_what_is_not_there_is_told_with_the_command_that_brings_it() -> None:
    with pytest.raises(ArtifactError, match="Compile the model with --engines device,software,float"):
        tilewright.load(digits(), engine="float")
    with pytest.raises(ArtifactError, match="--precision int8 --engines software,device"):
        tilewright.load(digits("software"), engine="device")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("gpu", "unknown engine; expected device or software or float, found gpu"),
        ("", "unknown engine"),
        ("software", "fp32 has no engine but float; expected float, found software"),
    ],
)
def test_wrong_engines(given: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tilewright.compile(MODEL, precision="fp32", engines=given)


@on_x86_64
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_levels_share_everything_but_code(precision: str) -> None:
    artifact = digits("float" if precision == "fp32" else "software", "portable,v3,v2,avx2", precision)
    (program,) = artifact.manifest.cpu_programs.values()
    assert [level.target.cpu for level in program.levels] == ["x86-64-v3", "x86-64-v2", "portable"]
    kinds = [entry.kind.name for entry in artifact.sections.values()]
    assert (kinds.count("CODE"), kinds.count("CONSTANTS")) == (3, 1)


@on_x86_64
@pytest.mark.parametrize(("hidden", "chosen"), [((), None), (("avx2",), "x86-64-v2"), (("avx2", "ssse3"), "portable")])
def test_the_most_capable_level_that_runs_here_is_loaded(
    hidden: tuple[str, ...], chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = digits("software", "portable,v2,v3,amx")
    (program,) = artifact.manifest.cpu_programs.values()
    expected = outputs(digits("software", "portable"))
    here = host.features() - set(hidden)
    monkeypatch.setattr(host, "features", lambda: here)
    level, reason = fitting(program)
    assert reason is None
    assert chosen in (None, level.target.cpu)
    np.testing.assert_array_equal(outputs(artifact), expected)
    found = cast("InspectedArtifact", inspect_artifact(artifact, "software", None, as_json=True))
    rows = found["cpu_programs"]["software"]["levels"]
    assert [row["cpu"] for row in rows if row["use"] == "runs"] == [level.target.cpu]
    assert "levels of engine software" in str(inspect_artifact(artifact, "software", None, as_json=False))


@on_x86_64
def test_kernels_are_generated_again_where_no_level_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = digits("software", "v2,v3")
    expected = outputs(digits("software", "portable"))
    monkeypatch.setattr(host, "features", lambda: frozenset[str]())
    with pytest.raises(ArtifactError, match="this processor lacks popcnt, sse3"):
        outputs(artifact)
    with pytest.warns(RegenerationWarning, match="this processor lacks popcnt, sse3"):
        np.testing.assert_array_equal(outputs(artifact, regenerate=True), expected)


def test_levels_of_several_architectures(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs here is loaded; where nothing does, what is told is the reason of the nearest."""
    artifact = digits("software", "aarch64-i8mm,aarch64-dotprod,portable")
    (program,) = artifact.manifest.cpu_programs.values()
    levels = {level.target.cpu: level.target for level in program.levels}
    assert len(levels) == 3
    if host.architecture() == "x86_64":
        np.testing.assert_array_equal(outputs(artifact), outputs(digits("software", "portable")))
    monkeypatch.setattr(host, "architecture", lambda: "aarch64")
    for here, expected in (
        (set[str](), ("aarch64-dotprod", "this processor lacks dotprod")),
        ({"dotprod"}, ("aarch64-dotprod", None)),
        ({"dotprod", "i8mm"}, ("aarch64-i8mm", None)),
    ):
        monkeypatch.setattr(host, "features", lambda here=here: frozenset(here))
        level, reason = fitting(program)
        assert (level.target.cpu, reason) == expected


@on_x86_64
@pytest.mark.parametrize(("made_for", "level"), [("portable", "v2"), ("v2", "v3"), ("v3", "portable")])
def test_kernels_for_another_level_bring_the_data_that_the_artifact_lacks(
    made_for: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights in pairs, for one, which a processor needs that multiplies bytes without VNNI."""
    here, artifact, expected = (
        TargetDescription.named(level),
        digits("software", made_for),
        outputs(digits("software", "portable")),
    )
    if host.missing(here.triple, here.features):
        pytest.skip(f"this processor is no {level}")
    monkeypatch.setattr(cpu, "unfit", lambda found: "it is another processor")
    monkeypatch.setattr(TargetDescription, "host", lambda: here)
    monkeypatch.setattr(host, "description", lambda: level)
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RegenerationWarning)
            np.testing.assert_array_equal(outputs(artifact, regenerate=True), expected)


@on_x86_64
@pytest.mark.parametrize("target", ["", "v3,v9", []])
def test_wrong_targets(target: str | list[str]) -> None:
    with pytest.raises(UsageError, match=r"no such target|wrong number of targets; expected 1 to 16, found 0"):
        tilewright.compile(MODEL, target=target)


@on_x86_64
def test_hostile_levels_are_refused() -> None:
    package = build(str(MODEL), CompileOptions(target="v2,v3"))
    program = package.cpu_programs["float"]
    manifest = package.manifest()
    twice = replace(program, others=(replace(program.others[0], code=program.code),))
    with pytest.raises(ArtifactError, match="a section of its own"):
        artifact_bytes(replace(manifest, cpu_programs={"float": twice}), package.sections)
    many = {f"{number}": program for number in range(4)}
    with pytest.raises(ArtifactError, match="CPU programs: the manifest contradicts itself; expected at most 3"):
        artifact_bytes(replace(manifest, cpu_programs=many), package.sections)
