"""Artifacts by someone else or for another processor: their kernels are generated again, and checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from artifact_samples import compile_object
from network_files import digits_model, graph_model
from onnx import helper

from tilewright.codegen.cpu import families
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.package import Package
from tilewright.compiler.driver import build
from tilewright.compiler.options import CompileOptions
from tilewright.errors import (
    ArtifactError,
    CodegenError,
    ResourceError,
    TilewrightError,
    VerifyError,
)
from tilewright.ir.ops.softmax import Softmax
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.artifact.container import Section, SectionKind
from tilewright.runtime.artifact.manifest import CpuStage, Engine, ReferenceStage, Stage
from tilewright.runtime.session import load

pytestmark = pytest.mark.filterwarnings("ignore::tilewright.errors.RegenerationWarning")

ENGINES = ("device", "software", "float")
TRAP = "define i32 @tilewright_run(ptr %c, i64 %f, i64 %l) { unreachable }"


@pytest.fixture(autouse=True)
def configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A key of its own for each test; calling the fixture changes it, as if another user went on."""

    def become_someone_else() -> None:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("configuration")))

    become_someone_else()
    return become_someone_else


@cache
def digits(target: str) -> Package:
    """The demo's network for all engines."""
    options = CompileOptions(
        precision="int8",
        engines="device,software,float",
        calibration="random",
        calibration_limit=2,
        target=TargetDescription.named(target),
    )
    return build(digits_model().SerializeToString(), options)


def without_code(package: Package) -> bytes:
    """The artifact with object code that must not be run."""
    trap = compile_object(TRAP)
    sections = [s._replace(data=trap) if s.kind is SectionKind.CODE else s for s in package.sections]
    return artifact_bytes(package.manifest(), sections)


def outputs(content: bytes, engine: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    with load(content, engine=engine) as session:
        inputs = {spec.name: rng.random(spec.shape, np.float32) for spec in session.inputs}
        (found,) = session.run(inputs).values()
    return found


@pytest.mark.parametrize("engine", ENGINES)
def test_kernels_of_someone_else_are_generated_again(engine: str, configuration: Callable[[], None]) -> None:
    package = digits("host")
    expected = outputs(package.to_bytes(), engine)
    content = without_code(package)
    configuration()
    assert not Artifact.open(content).trusted
    np.testing.assert_array_equal(outputs(content, engine), expected)


@pytest.mark.parametrize("target", ["portable", "avx2"])
@pytest.mark.parametrize("engine", ENGINES)
def test_they_are_generated_for_this_processor(engine: str, target: str, configuration: Callable[[], None]) -> None:
    package = digits(target)
    expected = outputs(package.to_bytes(), engine)
    content = without_code(package)
    configuration()
    # Sums in another order; what is computed in integers is the same, until the last step.
    np.testing.assert_allclose(outputs(content, engine), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("foreign", [("sparc64-unknown-linux-gnu", ()), (None, ("abacus",))])
@pytest.mark.parametrize("engine", ENGINES)
def test_code_for_another_processor_is_not_run(engine: str, foreign: tuple[str | None, tuple[str, ...]]) -> None:
    package = digits("host")
    expected = outputs(package.to_bytes(), engine)
    triple, features = foreign
    programs = {
        name: replace(
            program, target=replace(program.target, triple=triple or program.target.triple, features=features)
        )
        for name, program in package.cpu_programs.items()
    }
    content = without_code(replace(package, cpu_programs=programs))
    assert Artifact.open(content).trusted
    np.testing.assert_array_equal(outputs(content, engine), expected)


def test_kernels_for_another_processor_may_need_more_work_memory(configuration: Callable[[], None]) -> None:
    """A product with a transposed matrix copies as many of its columns as the vectors of the processor hold."""
    model = graph_model(
        [helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], (("x", 1, [24, 40]), ("w", 1, [200, 40]))
    )
    package = build(model.SerializeToString(), CompileOptions(target=TargetDescription.named("portable")))
    expected = outputs(package.to_bytes(), "float")
    content = without_code(package)
    configuration()
    np.testing.assert_allclose(outputs(content, "float"), expected, rtol=1e-5, atol=1e-5)


def small_package() -> Package:
    """A product whose result is in the arena, and a softmax that reads it."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["s"]), helper.make_node("Softmax", ["s"], ["y"])]
    weights = {"w": np.arange(12, dtype=np.float32).reshape(3, 4)}
    return build(graph_model(nodes, initializers=weights).SerializeToString(), CompileOptions())


def tampered(package: Package, change: Callable[[str], str], section: str = "module.float") -> bytes:
    """The artifact with another text in one section."""

    def changed(part: Section) -> Section:
        if part.name != section:
            return part
        # Device programs are text and bytes; Latin-1 keeps both.
        text = bytes(part.data).decode("latin-1")
        assert change(text) != text
        return part._replace(data=change(text).encode("latin-1"))

    return artifact_bytes(package.manifest(), [changed(part) for part in package.sections])


@pytest.mark.parametrize(
    ("pattern", "replacement", "error", "message"),
    [
        (r"at=\[0\]", "at=[64000]", CodegenError, "result %s lies outside its memory"),
        (r"at=\[0\]", "at=[-64]", CodegenError, "result %s lies outside its memory"),
        (r"at=\[0\]", "at=[4]", CodegenError, "result %s lies outside its memory"),
        (r"at=\[0\]", "at=[none]", CodegenError, "a result lies nowhere"),
        (r"at=\[0\]", "at=[0, 64]", CodegenError, "the op has no address in memory"),
        (r"at=\[0\]", "alias=7, at=[0]", CodegenError, "the op is an alias of no operand"),
        (r"at=\[none\]", "at=[0]", CodegenError, "output %y is never written"),
        (r"arena_bytes=\d+", "arena_bytes=-4096", CodegenError, "the function has no memory plan"),
        (r"arena_bytes=\d+", "arena_bytes=0", CodegenError, "result %s lies outside its memory"),
        (r"\[2,", "[200,", CodegenError, "result %s lies outside its memory"),
        (r"\[2,", "[1,", ArtifactError, "the inputs of program 'float' are not those of the manifest"),
        (r"at=\[none\]", "alias=0, at=[none]", CodegenError, "output %y is never written"),
        (r"return %y", "return %s", CodegenError, "a result lies nowhere; found %y"),
        (r"\(%y: f32\[2,4\]\)", "(%z: f32[2,4])", ArtifactError, "the outputs of program 'float' are not those"),
        (r"f32\[2,4\]( loc\(\"y\"\)|\))", r"f32[20,4]\1", VerifyError, "a result has the wrong type"),
        (r"x: f32\[2,3\]", "x: f32[2,3]<layout=c16>", TilewrightError, "expected"),
    ],
)
def test_a_module_text_cannot_reach_beyond_its_memory(
    pattern: str, replacement: str, error: type[TilewrightError], message: str, configuration: Callable[[], None]
) -> None:
    content = tampered(small_package(), lambda text: re.sub(pattern, replacement, text))
    configuration()
    with pytest.raises(error) as caught:
        load(content)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r'"offset":0', '"offset":-1', ".offset' is out of range; expected 0 to"),
        (
            r'"offset":0',
            '"offset":100000',
            "' is no array: offset must be non-negative",
        ),
        (r'"shape":\[3,4\]', '"shape":[3,1152921504606846976]', "' is no array: "),
        (r'"shape":\[3,4\]', '"shape":3', ".shape' is not a list; found 3"),
        (r'"dtype":"f32"', '"dtype":"f33"', ".dtype' is unknown; expected one of f16, "),
        (r'"kind":"stored"', '"kind":"inline"', ".data' is missing"),
        (
            r'"kind":"stored"',
            '"kind":"elsewhere"',
            ".kind' is unknown; expected one of stored, inline",
        ),
        (r'"layout":""', '"layout":"c9"', "unknown layout"),
        (r"\{", "{{", "index of constants of artifact in memory: not JSON: "),
    ],
)
def test_an_index_of_constants_cannot_reach_beyond_them(
    pattern: str, replacement: str, message: str, configuration: Callable[[], None]
) -> None:
    content = tampered(small_package(), lambda text: re.sub(pattern, replacement, text), "module.float.blobs")
    configuration()
    with pytest.raises(TilewrightError) as caught:
        load(content)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": 1000000}, "has a feature map outside its region"),
        ({"shape": (4294967296, 4294967296, 8, 1)}, "outside its region"),
        ({"shape": (1, 8, 4, 1)}, "does not match the tensors of its stage"),
        ({"shape": (8, 8, 1)}, "outside its region"),
        ({"pixel": 0}, "outside its region"),
        ({"shape": (1, 8, 8, 0)}, "manifest: field 'device_programs.device_0.inputs[0].shape[3]' is out of range"),
        ({"shape": (1, 1, 8, 8, 1)}, "manifest: field 'device_programs.device_0.inputs[0].shape' is too long"),
        ({"offset": -1}, "manifest: field 'device_programs.device_0.inputs[0].offset' is out of range"),
    ],
)
def test_feature_maps_lie_in_the_regions_of_their_program(
    changes: dict[str, Any], message: str, configuration: Callable[[], None]
) -> None:
    package = digits("host")
    program = package.device_programs["device_0"]
    program = replace(program, inputs=(replace(program.inputs[0], **changes),))
    manifest = replace(package.manifest(), device_programs={"device_0": program})
    configuration()
    with pytest.raises(TilewrightError) as caught:
        load(artifact_bytes(manifest, package.sections), engine="device")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r'"name":"output"', '"name":"ouTput"', "has a feature map outside its region"),
        (r'"name":"input"', '"name":"inPut"', "has an input region that nothing fills"),
        (r'"name":"constants"', '"name":"conStants"', "'conStants'"),
        (r'"kind":"output"', '"kind":"inputt"', "].kind' is unknown; expected one of constant, input, output, scratch"),
    ],
)
def test_a_device_program_cannot_reach_beyond_its_regions(
    pattern: str, replacement: str, message: str, configuration: Callable[[], None]
) -> None:
    content = tampered(
        digits("host"), lambda text: re.sub(pattern, replacement, text, count=1), "instructions.device_0"
    )
    configuration()
    with pytest.raises(TilewrightError) as caught:
        load(content, engine="device")
    assert message in str(caught.value)


def restaged(package: Package, change: Callable[[list[Stage]], object], engine: str) -> bytes:
    """The artifact with other stages of one engine."""
    stages = list(package.engines[engine].stages)
    change(stages)
    assert tuple(stages) != package.engines[engine].stages
    engines = {**package.engines, engine: Engine(tuple(stages))}
    return artifact_bytes(replace(package.manifest(), engines=engines), package.sections)


def skip_the_last_step(stages: list[Stage]) -> None:
    index = max(i for i, stage in enumerate(stages) if isinstance(stage, CpuStage))
    stages[index] = replace(stages[index], last=stages[index].last - 1)  # pyright: ignore[reportAttributeAccessIssue]


def move_a_result(stages: list[Stage]) -> None:
    index = next(i for i, stage in enumerate(stages) if not isinstance(stage, CpuStage))
    (result,) = stages[index].results  # pyright: ignore[reportAttributeAccessIssue]
    moved = replace(result, position=0 if result.position else 64)
    stages[index] = replace(stages[index], results=(moved,))  # pyright: ignore[reportCallIssue]


def read_another_text(stages: list[Stage]) -> None:
    index = next(i for i, stage in enumerate(stages) if isinstance(stage, ReferenceStage))
    stages[index] = replace(stages[index], text="")  # pyright: ignore[reportCallIssue]


def leave_out_native_code(stages: list[Stage]) -> None:
    stages[:] = [stage for stage in stages if not isinstance(stage, CpuStage)]


@pytest.fixture
def softmax_by_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    lowerings = families.lowerings
    monkeypatch.setattr(families, "lowerings", lambda cls: [] if cls is Softmax else lowerings(cls))


@pytest.mark.usefixtures("softmax_by_reference")
@pytest.mark.parametrize(
    ("engine", "change"),
    [
        ("float", skip_the_last_step),
        ("float", move_a_result),
        ("float", read_another_text),
        ("device", skip_the_last_step),
        ("device", move_a_result),
        ("device", lambda stages: stages.reverse()),
        ("device", lambda stages: stages.pop()),
        ("device", lambda stages: stages.insert(0, stages[0])),
    ],
)
def test_the_stages_are_those_of_the_module(
    engine: str, change: Callable[[list[Stage]], object], configuration: Callable[[], None]
) -> None:
    """A step that is left out would leave its result as the memory was before."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Softmax", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["c"]),
        helper.make_node("Exp", ["c"], ["y"]),
    ]
    weights = {name: np.linspace(-1, 1, 256, dtype=np.float32).reshape(16, 16) for name in "wv"}
    model = graph_model(nodes, (("x", 1, [12, 16]),), initializers=weights)
    options = CompileOptions(
        precision="int8", engines="device,software,float", calibration="random", calibration_limit=2
    )
    package = build(model.SerializeToString(), options)
    content = restaged(package, change, engine)
    configuration()
    with pytest.raises(ArtifactError) as caught:
        load(content, engine=engine)
    assert str(caught.value) == (
        "load native code: the kernels of artifact in memory cannot be generated again: the stages of engine "
        f"{engine!r} of program {engine!r} are not those of the manifest. Compile the model on this machine."
    )


@pytest.mark.usefixtures("softmax_by_reference")
def test_without_native_code_the_stages_show_that_they_write_everything() -> None:
    package = small_package()
    assert [stage.kind for stage in package.engines["float"].stages] == ["cpu", "reference"]
    with pytest.raises(ArtifactError) as caught:
        restaged(package, leave_out_native_code, "float")
    assert str(caught.value) == (
        "artifact: engine 'float', stage 0: the manifest contradicts itself; "
        "expected operands that earlier stages write, found arena 0"
    )


def test_steps_of_the_manifest_are_those_of_the_module(configuration: Callable[[], None]) -> None:
    package = small_package()
    program = package.cpu_programs["float"]
    steps = (replace(program.steps[0], op="conv"), *program.steps[1:])
    manifest = replace(package.manifest(), cpu_programs={"float": replace(program, steps=steps)})
    content = artifact_bytes(manifest, package.sections)
    configuration()
    with pytest.raises(ArtifactError, match="the steps of program 'float' are not those of the manifest"):
        load(content)


def test_an_alias_is_its_operands_and_nothing_else(configuration: Callable[[], None]) -> None:
    nodes = [
        helper.make_node("Exp", ["x"], ["a"]),
        helper.make_node("Concat", ["a", "x"], ["b"], axis=1),
        helper.make_node("Exp", ["b"], ["y"]),
    ]
    package = build(graph_model(nodes, (("x", 1, [4, 4]),)).SerializeToString(), CompileOptions())
    text = next(bytes(s.data).decode() for s in package.sections if s.name == "module.float")
    assert re.search(r"concat\(.*at=\[\d+\]", text)
    content = tampered(package, lambda text: re.sub(r"(concat\(.*)at=\[\d+\]", r"\1alias=0, at=[0]", text))
    configuration()
    with pytest.raises(CodegenError, match="the op is an alias of more than its operands"):
        load(content)


def test_generating_kernels_takes_no_longer_than_it_may(configuration: Callable[[], None]) -> None:
    package = digits("host")
    content = package.to_bytes()
    configuration()
    with pytest.raises(ResourceError) as caught:
        load(content, engine="software", time_limit=1e-9)
    assert re.fullmatch(
        r"load native code: generating the kernels of artifact in memory takes longer than the time limit; "
        r"expected at most 0\.0 s of processor time, found at least \d+\.\d s\. "
        r"Give it more with load\(\.\.\., time_limit=SECONDS\), or compile the model on this machine\.",
        str(caught.value),
    )
    load(content, engine="software", time_limit=1000).close()


def test_a_text_that_takes_too_long_to_read_is_not_read(configuration: Callable[[], None]) -> None:
    content = tampered(small_package(), lambda text: text + "wrong " * 1_000_000)
    configuration()
    with pytest.raises(ResourceError, match=r"at most 2\.0 s of processor time, found at least 6\.0 s"):
        load(content, time_limit=2)
