"""Sessions: what goes in and comes out, what is refused, and what runs where."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import (
    LENGTH,
    compile_object,
    expected,
    small_artifact,
    small_manifest,
    small_sections,
    weights,
    with_compiler,
)

import tilewright
from tilewright.errors import (
    ArtifactError,
    InputError,
    RegenerationWarning,
    ResourceError,
    TilewrightError,
    TrustError,
    UsageError,
)
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.text.printer import print_module
from tilewright.ir.types import DType, TensorType
from tilewright.runtime import Session, load
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes, write_artifact
from tilewright.runtime.artifact.container import Section, SectionKind
from tilewright.runtime.artifact.manifest import (
    BufferRef,
    CpuStage,
    DeviceProgramInfo,
    DeviceStage,
    Engine,
    ReferenceStage,
    StepInfo,
    TensorSpec,
)
from tilewright.runtime.execution import runner
from tilewright.runtime.execution.buffers import Buffers, allocate_arena
from tilewright.runtime.execution.cpu import CodePolicy
from tilewright.runtime.native.mapping import supported
from tilewright.runtime.profile import StepTime

pytestmark = pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only")


def sample(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((2, 8), dtype=np.float32)


def test_run_from_a_file(tmp_path: Path) -> None:
    write_artifact(tmp_path / "small.twa", small_manifest(), small_sections())
    with tilewright.load(tmp_path / "small.twa") as running:
        assert running.engine == "float"
        assert running.inputs == (TensorSpec("x", "f32", (2, 8)),)
        assert running.outputs == (TensorSpec("y", "f32", (16,)),)
        assert running.inputs[0].numpy == np.float32
        outputs = running.run({"x": sample()})
    assert list(outputs) == ["y"]
    np.testing.assert_allclose(outputs["y"], expected(sample().ravel()), rtol=1e-6)


def test_run_from_memory_and_again() -> None:
    running = load(small_artifact(), engine="float", threads=1)
    first = running.run({"x": sample(1)})["y"]
    second = running.run({"x": sample(2)})["y"]
    np.testing.assert_allclose(first, expected(sample(1).ravel()), rtol=1e-6)
    np.testing.assert_allclose(second, expected(sample(2).ravel()), rtol=1e-6)


def test_arrays_in_any_form_are_taken() -> None:
    running = load(small_artifact())
    base = sample(3)
    reference = running.run({"x": base})["y"]
    unaligned = np.frombuffer(b"\0" + base.tobytes(), "u1")[1:]
    forms = {
        "transposed": np.ascontiguousarray(base.T).T,
        "strided": np.repeat(base, 2, axis=1)[:, ::2],
        "read-only": np.frombuffer(base.tobytes(), np.float32).reshape(2, 8),
        "unaligned": unaligned.view(np.float32).reshape(2, 8),
    }
    for name, array in forms.items():
        np.testing.assert_array_equal(running.run({"x": array})["y"], reference, err_msg=name)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing; expected float32 of shape (2, 8)"),
        ({"x": sample(), "z": sample()}, "unknown input 'z'; expected 'x'"),
        ({"X": sample()}, "unknown input 'X'; expected 'x'"),
        ({"x": sample().T}, "input 'x' has the wrong shape; expected (2, 8), found (8, 2)"),
        (
            {"x": sample()[:1]},
            "input 'x' has the wrong shape; expected (2, 8), found (1, 8). "
            "Give batches of 2, as `tilewright batch infer` makes of files.",
        ),
        ({"x": np.zeros((), np.float32)}, "input 'x' has the wrong shape; expected (2, 8), found ()"),
        (
            {"x": sample().astype(np.float64)},
            "input 'x' has the wrong dtype; expected float32, found float64. Convert it with array.astype('float32').",
        ),
        (
            {"x": sample().astype(">f4")},
            "input 'x' has the wrong dtype; expected float32, found >f4. Convert it with array.astype('float32').",
        ),
        ({"x": [[1.0] * 8] * 2}, "input 'x' is not an array; expected a numpy array of float32, found list"),
        (
            {"x": np.ma.masked_less(sample(), np.sort(sample(), None)[3])},
            "input 'x' has masked elements; expected none, found 3. Give them numbers with array.filled(…).",
        ),
        ([sample()], "the inputs must be arrays by name; expected a dict, found list"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, np.ndarray], message: str) -> None:
    running = load(small_artifact())
    with pytest.raises(InputError) as caught:
        running.run(inputs)
    assert str(caught.value) == message
    with pytest.raises(InputError):
        running.submit(inputs)


def test_a_step_that_refuses_values_names_itself() -> None:
    running = load(small_artifact())
    with pytest.raises(InputError) as caught:
        running.run({"x": -sample() - 1})
    assert str(caught.value) == (
        "step 'exponential': exp: node 'Exp_1': the values that reach it are out of its range. "
        "Look for indices that are out of range in the inputs."
    )
    np.testing.assert_allclose(running.run({"x": sample()})["y"], expected(sample().ravel()), rtol=1e-6)


def test_engines() -> None:
    content = small_artifact()
    with pytest.raises(UsageError, match="unknown engine; expected device or software or float, found 'gpu'"):
        load(content, engine="gpu")
    with pytest.raises(ArtifactError) as caught:
        load(content, engine="device")
    assert str(caught.value) == (
        "load artifact: artifact in memory does not hold engine 'device'; expected float, found device. "
        "Compile the model with --precision int8 --engines float,device."
    )
    two = small_artifact(engines={name: small_manifest().engines["float"] for name in ("float", "software")})
    assert load(two).engine == "software"
    assert load(two, engine="float").engine == "float"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads is out of range; expected an integer of at least 1, found 0"),
        ({"workers": 0}, "workers is out of range; expected an integer of at least 1, found 0"),
        ({"queue": True}, "queue is out of range; expected an integer of at least 1, found True"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(small_artifact(), **arguments)  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == message


@pytest.mark.parametrize("count", [0, -1, float("nan"), True, "3", 3.0, None, [3]])
def test_what_is_no_count(count: object) -> None:
    """None of the counts that programs give ends in another error than this."""
    for name in ("workers", "queue", "memory_limit"):
        if (name, count) != ("memory_limit", None):
            with pytest.raises(UsageError, match=f"{name} is out of range; expected an integer of at least 1"):
                load(small_artifact(), **{name: count})  # pyright: ignore[reportArgumentType]
    with load(small_artifact()) as running:
        for measured in (running.profile, running.host_times):
            with pytest.raises(UsageError, match="rounds is out of range; expected an integer of at least 1"):
                measured(rounds=count)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("count", [2**31, 2**63, 2**70, np.int64(3), np.uint8(3)])
def test_what_is_a_count(count: int) -> None:
    with load(small_artifact(), workers=count, queue=count, time_limit=count) as running:
        assert running.submit({"x": sample()}, timeout=count).result(timeout=count)
    if count < 2**31:
        assert load(small_artifact()).profile({"x": sample()}, rounds=count).rounds == count


def test_what_is_no_time_to_wait_and_no_callback() -> None:
    with load(small_artifact()) as running:
        for timeout in (float("nan"), "3", [1], np.float32("nan")):
            with pytest.raises(UsageError, match="timeout is no time; expected a number of seconds, or None, found"):
                running.submit({"x": sample()}, timeout=timeout)  # pyright: ignore[reportArgumentType]
            request = running.submit({"x": sample()})
            for wait in (request.wait, request.result):
                with pytest.raises(UsageError, match="timeout is no time"):
                    wait(timeout)  # pyright: ignore[reportArgumentType]
        assert running.submit({"x": sample()}, timeout=-1).wait(np.inf)
        with pytest.raises(UsageError, match="the callback cannot be called; expected a function, found int"):
            running.submit({"x": sample()}, 3)  # pyright: ignore[reportArgumentType]


def test_profile_names_every_step() -> None:
    running = load(small_artifact())
    profile = running.profile({"x": sample()}, rounds=3)
    assert (profile.engine, profile.rounds) == ("float", 3)
    assert [(step.name, step.op, step.nodes, step.kernel, step.macs, step.bytes) for step in profile.steps] == [
        ("scale", "mul", ("Mul_0",), "scale", 16, 192),
        ("exponential", "exp", ("Exp_1",), "exponential", 0, 128),
        ("copy", "reshape", ("Reshape_2",), "memcpy", 0, 128),
    ]
    assert profile.milliseconds > 0
    assert all(step.milliseconds >= 0 for step in profile.steps)
    with pytest.raises(UsageError, match="rounds is out of range"):
        running.profile(rounds=0)
    with pytest.raises(InputError, match="step 'exponential'"):
        running.profile({"x": -sample() - 1})


def test_closed_sessions_refuse_work() -> None:
    with load(small_artifact()) as running:
        running.submit({"x": sample()}).result()
    running.close()
    for use in (running.run, running.submit, running.profile):
        with pytest.raises(UsageError, match="the session is closed"):
            use({"x": sample()})


def reference_step_text() -> str:
    """The text of y = a + b on f32[16], written by the IR itself."""
    vector = TensorType((LENGTH,), DType.F32)
    module = Module("step")
    function = module.add_function(Function("main", [("a", vector), ("b", vector)]))
    op = function.append(Add(), function.parameters, names=["y"], loc=["Add_3"])
    function.set_results(op.results)
    return print_module(module)


def artifact_with_reference_step(text: str, result: BufferRef, left: BufferRef | None = None) -> bytes:
    """The small program followed by y + weights, computed by the reference interpreter; or ``left`` + weights."""
    manifest = small_manifest()
    program = manifest.cpu_programs["main"]
    steps = (*program.steps[:2], StepInfo("sum", "add", None, ("Add_3",), bytes=192))
    operands = (left or BufferRef("arena", 64, "f32", (LENGTH,)), BufferRef("constants", 0, "f32", (LENGTH,)))
    engine = Engine((CpuStage("main", 0, 2), ReferenceStage("main", 2, text, operands, (result,))))
    changed = replace(manifest, cpu_programs={"main": replace(program, steps=steps)}, engines={"float": engine})
    return artifact_bytes(changed, small_sections())


def test_steps_without_a_kernel_run_by_reference() -> None:
    running = load(artifact_with_reference_step(reference_step_text(), BufferRef("output", 0, "f32", (LENGTH,))))
    outputs = running.run({"x": sample()})
    np.testing.assert_allclose(outputs["y"], expected(sample().ravel()) + weights(), rtol=1e-6)
    profile = running.profile(rounds=2, inputs={"x": sample()})
    assert [step.kernel for step in profile.steps] == ["scale", "exponential", "reference"]
    assert profile.steps[2].nodes == ("Add_3",)


def test_steps_by_reference_read_reshaped_inputs() -> None:
    refs = (BufferRef(memory, 0, "f32", (LENGTH,)) for memory in ("output", "input"))
    running = load(artifact_with_reference_step(reference_step_text(), *refs))
    np.testing.assert_array_equal(running.run({"x": sample()})["y"], sample().ravel() + weights())


def test_reference_text_that_does_not_fit_is_refused() -> None:
    running = load(artifact_with_reference_step(reference_step_text(), BufferRef("arena", 0, "f32", (8,))))
    with pytest.raises(ArtifactError, match=r"step 'sum': the text of the reference step does not match its buffers"):
        running.run({"x": sample()})
    running = load(artifact_with_reference_step("module @", BufferRef("output", 0, "f32", (LENGTH,))))
    with pytest.raises(TilewrightError):
        running.run({"x": sample()})


def test_another_kind_of_stage_plugs_in(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = small_manifest()
    stage = DeviceStage("net", (BufferRef("input", 0, "f32", (2, 8)),), (BufferRef("output", 0, "f32", (16,)),))
    manifest = replace(
        manifest,
        device_programs={"net": DeviceProgramInfo("i", "w", (), ())},
        engines={"device": Engine((stage,))},
        cpu_programs={},
    )
    sections = [
        Section("i", SectionKind.DEVICE_INSTRUCTIONS, b""),
        Section("w", SectionKind.DEVICE_WEIGHTS, b""),
    ]
    content = artifact_bytes(manifest, sections)

    class Doubler:
        def __init__(self, artifact: Artifact, engine: Engine, policy: CodePolicy, threads: int) -> None:
            assert engine.cpu_program is None
            self.memory = {"doubles": 1000}

        def run(self, stage: DeviceStage, buffers: Buffers) -> None:
            buffers.view(stage.results[0])[:] = 2 * buffers.view(stage.operands[0]).ravel()

        def timed(self, stage: DeviceStage, buffers: Buffers) -> list[StepTime]:
            self.run(stage, buffers)
            return [StepTime(StepInfo("net", "device", None), "device", 1.0, 0.0)]

    monkeypatch.setitem(runner.EXECUTORS, "device", Doubler)
    running = load(content)
    np.testing.assert_array_equal(running.run({"x": sample()})["y"], 2 * sample().ravel())
    assert running.profile(rounds=1).steps[0].kernel == "device"


def forget_trust(configuration: Path) -> None:
    (configuration / "tilewright" / "key").write_bytes(bytes(32))


def test_untrusted_code_is_generated_again(configuration: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = compile_object("define i32 @tilewright_run(ptr %c, i64 %f, i64 %l) { unreachable }")
    content = artifact_bytes(small_manifest(), small_sections(trap))
    forget_trust(configuration)
    calls = with_compiler(monkeypatch)
    with pytest.warns(RegenerationWarning) as warned:
        outputs = load(content).run({"x": sample()})
    np.testing.assert_allclose(outputs["y"], expected(sample().ravel()), rtol=1e-6)
    assert calls == ["main: module @small {}"]
    assert [str(each.message) for each in warned] == [
        "the native code of artifact in memory does not run here: it was not made by this user on this machine, and it "
        "is not signed; it is generated again, which takes a while the first time"
    ]
    assert warned[0].filename == __file__, "it points to the line that called load"


def test_untrusted_code_without_a_compiler_says_what_to_do(
    configuration: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = small_artifact()
    forget_trust(configuration)
    monkeypatch.setitem(sys.modules, "tilewright.codegen.package", None)
    with pytest.raises(TrustError) as caught:
        load(content)
    assert str(caught.value) == (
        "load native code: the native code of artifact in memory does not run here: it was not made by this user on "
        "this machine, and it is not signed; generating it again needs the compiler, which lacks "
        "tilewright.codegen.package. Where it was made: `tilewright sign FILE` and `tilewright key export`; here: "
        '`tilewright key import KEY`. Or pass trust="sha256:…" (--trust) with the digest that `tilewright inspect` '
        "shows there. Or install the compiler here: pip install 'tilewright[compiler]'."
    )
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    with_compiler(monkeypatch)
    with pytest.raises(TrustError, match="and it is not signed; and regenerate=False refuses to generate it again"):
        load(content, regenerate=False)
    with pytest.raises(UsageError, match="regenerate is no truth value"):
        load(content, regenerate="no")  # pyright: ignore[reportArgumentType]


def test_code_for_another_processor_is_generated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = small_manifest()
    program = manifest.cpu_programs["main"]
    target = replace(program.target, features=("abacus",))
    content = small_artifact(cpu_programs={"main": replace(program, target=target)})
    calls = with_compiler(monkeypatch)
    with pytest.warns(RegenerationWarning, match="does not run here: this processor lacks abacus; it is generated"):
        outputs = load(content).run({"x": sample()})
    np.testing.assert_allclose(outputs["y"], expected(sample().ravel()), rtol=1e-6)
    assert len(calls) == 1
    monkeypatch.setitem(sys.modules, "tilewright.codegen.package", None)
    with pytest.raises(ArtifactError, match="does not run here: this processor lacks abacus; generating it ") as caught:
        load(content)
    assert not isinstance(caught.value, TrustError)
    assert "Compile it with --target portable or for this processor. Or install" in str(caught.value)


def test_an_arena_beyond_all_memory_is_an_error() -> None:
    program = replace(small_manifest().cpu_programs["main"], arena_bytes=2**62)
    with pytest.raises(ArtifactError) as caught:
        load(small_artifact(cpu_programs={"main": program}))
    assert str(caught.value) == (
        "load artifact: manifest: field 'cpu_programs.main.arena_bytes' is out of range; expected 0 to 1099511627776, "
        "found 4611686018427387904"
    )
    with pytest.raises(ResourceError, match="load artifact: no memory for an arena of 4611686018427387904 bytes: "):
        allocate_arena(2**62)


def test_the_file_may_be_replaced_while_it_is_used(tmp_path: Path) -> None:
    path = tmp_path / "small.twa"
    write_artifact(path, small_manifest(), small_sections())
    running = load(path)
    write_artifact(path, replace(small_manifest(), precision="other"), small_sections())
    np.testing.assert_allclose(running.run({"x": sample()})["y"], expected(sample().ravel()), rtol=1e-6)
    path.unlink()
    assert isinstance(running, Session)
    np.testing.assert_allclose(running.run({"x": sample()})["y"], expected(sample().ravel()), rtol=1e-6)


def test_sessions_requests_and_artifacts_say_what_they_are() -> None:
    artifact = Artifact.open(small_artifact())
    assert repr(artifact) == "<Artifact 'artifact in memory': model 'small', precision fp32, engines float>"
    signature = "x: f32[2,8] -> y: f32[16]"
    with load(artifact) as running:
        assert repr(running) == f"<Session 'artifact in memory', engine 'float': {signature}>"
        request = running.submit({"x": sample()})
        assert request.wait()
        assert repr(request) == "<Request done>"
        failing = running.submit({"x": -np.ones((2, 8), np.float32)})
        assert failing.wait()
        assert repr(failing).startswith("<Request failed: InputError('the values that reach it")
    assert repr(running) == f"<Session 'artifact in memory', engine 'float', closed: {signature}>"


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    return set(json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout))


HEAVY = {"onnx", "numba", "llvmlite", "networkx", "argcomplete", "rich", "pydantic", "asyncio"}


def test_importing_the_runtime_imports_numpy_alone() -> None:
    loaded = modules_after("import tilewright.runtime")
    assert not loaded & HEAVY
    upward = ("tilewright.compiler", "tilewright.ir", "tilewright.passes", "tilewright.codegen")
    assert not [name for name in loaded if name.startswith(upward)]


def test_importing_the_package_imports_nothing() -> None:
    assert "numpy" not in modules_after("import tilewright; tilewright.__version__")
    with pytest.raises(AttributeError, match="module 'tilewright' has no attribute 'lode'"):
        tilewright.lode  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_running_an_artifact_imports_numpy_alone(tmp_path: Path) -> None:
    write_artifact(tmp_path / "a.twa", small_manifest(), small_sections())
    loaded = modules_after(
        "import numpy, tilewright\n"
        f"with tilewright.load({str(tmp_path / 'a.twa')!r}) as session:\n"
        "    session.submit({'x': numpy.ones((2, 8), numpy.float32)}).result()\n"
    )
    assert not loaded & HEAVY
    assert "tilewright.ir" not in loaded


def test_kernels_run_without_the_interpreter_lock() -> None:
    """A kernel that waits for another thread to write a flag ends only if that thread can run meanwhile."""
    waiting = compile_object(
        """
        define i32 @tilewright_run(ptr %context, i64 %first, i64 %last) {
        entry: %pio = getelementptr { ptr, ptr, ptr }, ptr %context, i32 0, i32 2
          %io = load ptr, ptr %pio
          %x = load ptr, ptr %io
          br label %spin
        spin: %n = phi i64 [ 0, %entry ], [ %m, %spin ]
          %flag = load volatile i32, ptr %x
          %m = add i64 %n, 1
          %unset = icmp eq i32 %flag, 0
          %patient = icmp ult i64 %m, 20000000000
          %again = and i1 %unset, %patient
          br i1 %again, label %spin, label %done
        done: %failed = zext i1 %unset to i32
          ret i32 %failed
        }
        """
    )
    import threading

    running = load(artifact_bytes(small_manifest(), small_sections(waiting)))
    flag = np.zeros((2, 8), np.float32)
    thread = threading.Thread(target=lambda: ctypes.memset(flag.ctypes.data, 1, 4))
    threading.Timer(0.05, thread.start).start()
    running.run({"x": flag})
