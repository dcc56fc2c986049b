"""Loops and branches run as native code around the kernels of their bodies, and by the reference where one has none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hostile.execution import run_guarded

from tilewright.codegen.c_library import c_library
from tilewright.codegen.cpu import program as cpu_program
from tilewright.codegen.cpu.families import lower
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.codegen.cpu.parallel import REGION
from tilewright.codegen.package import Package, add_engine, regenerate
from tilewright.compiler.pipeline import float_pipeline
from tilewright.errors import InputError, IRError, VerifyError
from tilewright.ir import interp
from tilewright.ir.calls import host_functions
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module
from tilewright.ir.text.literals import digest_of
from tilewright.ir.text.parser import parse_module
from tilewright.ir.verify import verify
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.native.team_layout import HELP
from tilewright.runtime.session import Session, load

NETWORK = """
module @nested {
  const @true : bool[] = [true]
  const @two : f32[] = [0x1.0p+1]
  const @three : i64[] = [3]
  const @weights : f32[32,16,3] = blob "sha256:WEIGHTS"
  func @main(%n: i64[], %x: f32[1,16,8], %limit: f32[], %c: bool[])
      -> (%count: i64[], %y: f32[1,16,8], %s: f32[8,1,16,8], %z: f32[1,16,8]) {
    %y, %s, %count = loop(%n, @true, %x, %x, %limit) {body=body, states=1} : f32[1,16,8], f32[8,1,16,8], i64[]
    %z = if(%c, %y, %x) {then=negated, otherwise=convolved} : f32[1,16,8]
    return %count, %y, %s, %z
  }
  func @body(%i: i64[], %v: f32[1,16,8], %x: f32[1,16,8], %limit: f32[])
      -> (%go: bool[], %w: f32[1,16,8], %p: f32[1,16,8]) {
    %m = mul(%v, @two) : f32[1,16,8]
    %w = add(%m, %x) : f32[1,16,8]
    %t = reduce_max(%w) {axes=[0,1,2], keepdims=false} : f32[]
    %go = less(%t, %limit) : bool[]
    return %go, %w, %m
  }
  func @negated(%v: f32[1,16,8], %x: f32[1,16,8]) -> (%r: f32[1,16,8]) {
    %r = neg(%v) : f32[1,16,8]
    return %r
  }
  func @convolved(%v: f32[1,16,8], %x: f32[1,16,8]) -> (%r: f32[1,16,8]) {
    %a, %b, %n = loop(@three, @true, %v, %x) {body=swapped, states=2} : f32[1,16,8], f32[1,16,8], i64[]
    return %a
  }
  func @swapped(%i: i64[], %a: f32[1,16,8], %b: f32[1,16,8]) -> (%go: bool[], %c: f32[1,16,8], %d: f32[1,16,8]) {
    %e = conv(%b, @weights) {strides=[1], pads=[1,1], dilations=[1], group=1, act="none", act_args=[]} : f32[1,32,8]
    %f, %g = split(%e) {axis=1, sizes=[16,16]} : f32[1,16,8], f32[1,16,8]
    %h = add(%f, %g) : f32[1,16,8]
    return @true, %h, %a
  }
}
"""


def network(rng: np.random.Generator) -> Module:
    weights = rng.standard_normal((32, 16, 3), np.float32)
    module = parse_module(NETWORK.replace("WEIGHTS", digest_of(weights)), {digest_of(weights): weights})
    verify(module)
    return module


def packed(module: Module) -> bytes:
    float_pipeline().run(module)
    package = Package(module, "fp32", "test")
    add_engine(package, "float", module, [TargetDescription.host()], report=lambda *_: None)
    return package.to_bytes()


def compiled(module: Module) -> Session:
    return load(Artifact.open(packed(module)))


def inputs(rng: np.random.Generator, n: int, limit: float, c: bool) -> dict[str, np.ndarray]:
    x = rng.uniform(0.5, 1, (1, 16, 8)).astype(np.float32)
    return {"n": np.asarray(n), "x": x, "limit": np.asarray(limit, np.float32), "c": np.asarray(c)}


CASES = ((0, 100, True), (-5, 100, False), (1, 100, False), (2, 100, True), (7, 1e9, False), (2**62, 40, True))


def compare(session: Session, module: Module, given: Mapping[str, np.ndarray]) -> None:
    found, expected = session.run(given), interp.run(module, given)
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-5, err_msg=name)


def test_native_loops_compute_what_the_reference_says(rng: np.random.Generator) -> None:
    module = network(rng)
    session = compiled(clone_module(module))
    steps = session.artifact.manifest.cpu_programs["float"].steps
    assert [step.op for step in steps] == ["loop", "if"]
    assert not any(step.reference for step in steps)
    assert [step.endless for step in steps] == [True, False]
    for case in CASES:
        compare(session, module, inputs(rng, *case))


def test_the_text_of_an_artifact_gives_the_same_code_again(rng: np.random.Generator) -> None:
    artifact = compiled(network(rng)).artifact
    program = artifact.manifest.cpu_programs["float"]
    expected = (bytes(artifact.section(program.code)), program.arena_bytes, b"")
    assert regenerate(artifact, "float", None) == expected


def test_bodies_keep_to_the_memory_that_they_are_given(rng: np.random.Generator) -> None:
    for _ in range(4):
        run_guarded(network(rng), rng)


WIDE = """
module @wide {
  const @true : bool[] = [true]
  const @steps : i64[] = [5]
  const @weights : f32[256,256] = blob "sha256:WEIGHTS"
  func @main(%x: f32[8,256]) -> (%y: f32[8,256]) {
    %y, %n = loop(@steps, @true, %x) {body=body, states=1} : f32[8,256], i64[]
    return %y
  }
  func @body(%i: i64[], %v: f32[8,256]) -> (%go: bool[], %w: f32[8,256]) {
    %p = matmul(%v, @weights) {transpose_a=false, transpose_b=false, act="none", act_args=[]} : f32[8,256]
    %w = tanh(%p) : f32[8,256]
    return @true, %w
  }
}
"""


@pytest.mark.parametrize("steps", [5, 2])
def test_several_threads_share_long_calls_of_a_loop(rng: np.random.Generator, steps: int) -> None:
    """Those of few steps are not worth a team; a program has one where nothing but calls within its loop is shared."""
    weights = rng.standard_normal((256, 256), np.float32) / 16
    text = WIDE.replace("WEIGHTS", digest_of(weights)).replace("[5]", f"[{steps}]")
    artifact = Artifact.open(packed(parse_module(text, {digest_of(weights): weights})))
    assert [step.op for step in artifact.manifest.cpu_programs["float"].steps] == ["loop"]
    code = bytes(artifact.section(artifact.manifest.cpu_programs["float"].code))
    assert (HELP.encode() in code) == (REGION.encode() in code) == (steps == 5)
    # Programs in C run in one thread, without what only a pool needs.
    assert REGION.encode() not in c_library(artifact, "float", TargetDescription.host(), "net")["net.o"]
    given = {"x": rng.standard_normal((8, 256), np.float32)}
    alone, together = (load(artifact, threads=threads).run(given)["y"] for threads in (1, 2))
    np.testing.assert_array_equal(alone, together)


def test_a_body_with_an_op_without_kernel_runs_by_the_reference(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = network(rng)
    monkeypatch.setattr(cpu_program, "lower", lambda op, target: None if op.name == "split" else lower(op, target))
    session = compiled(clone_module(module))
    steps = session.artifact.manifest.cpu_programs["float"].steps
    assert [(step.op, step.reference) for step in steps] == [("loop", False), ("if", True)]
    for case in CASES:
        compare(session, module, inputs(rng, *case))


def test_steps_beyond_the_room_for_pieces_are_refused(rng: np.random.Generator) -> None:
    module = network(rng)
    given = inputs(rng, 9, 1e9, True)
    with pytest.raises(InputError, match="takes more steps than its results have room for; expected at most 8"):
        interp.run(module, given)
    with pytest.raises(InputError, match="the values that reach it are out of its range"):
        compiled(module).run(given)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("body=body", "body=other", "the op names no function that can be its body"),
        ("body=body", "body=main", "the op names no function that can be its body"),
        ("then=negated", "then=body", "the parameters of @body are not what the op needs"),
        ("body=body, states=1", "body=body, states=2", "a loop returns other types than its operands ask for"),
        ("body=body, states=1", "body=body, states=-1", "a loop returns other types than its operands ask for"),
        ("loop(%n, @true, %x, %x,", "loop(@true, %n, %x, %x,", "the first operands decide how often bodies run"),
        ("body=swapped", "body=convolved", "the parameters of @convolved are not what the op needs"),
    ],
)
def test_ops_that_do_not_fit_their_bodies_are_refused(
    rng: np.random.Generator, old: str, new: str, message: str
) -> None:
    module = network(rng)
    arrays = {constant.digest: constant.array for constant in module.constants.values()}
    wrong = parse_module(str(module).replace(old, new), arrays)
    assert old in str(module)
    with pytest.raises(VerifyError, match=message):
        verify(wrong)


def test_a_function_is_the_body_of_one_op(rng: np.random.Generator) -> None:
    main = "func @main(%c: bool[]) -> (%c: bool[]) {{ %y = if(%c) {{then=b, otherwise={}}} : bool[] return %c }}"
    text = f"module @m {{{{ {main} {{}} }}}}"
    body = "func @{}() -> (%y: bool[]) {{ return @t }}"
    known = "const @t : bool[] = [true] "
    verify(parse_module(text.format("d", body.format("b") + body.format("d")).replace("func", known + "func", 1)))
    with pytest.raises(VerifyError, match="@b: a function is a body twice"):
        verify(parse_module(text.format("b", body.format("b")).replace("func", known + "func", 1)))


def test_the_work_of_bodies_is_counted(rng: np.random.Generator) -> None:
    session = compiled(network(rng))
    steps = session.artifact.manifest.cpu_programs["float"].steps
    assert [step.macs for step in steps] == [0, 3 * 32 * 16 * 3 * 8]


def test_bodies_nested_too_deeply_are_refused() -> None:
    def branches(name: str, level: int) -> str:
        op = f"%y = if(@c, %x) {{then=b{level}, otherwise=e{level}}} : f32[1]"
        return f"func @{name}(%x: f32[1]) -> (%y: f32[1]) {{ {op} return %y }}"

    ends = [f"func @e{level}(%x: f32[1]) -> (%x: f32[1]) {{ return %x }}" for level in range(20)]
    nested = [
        branches("main", 0),
        *(branches(f"b{level}", level + 1) for level in range(19)),
        ends[0].replace("e0", "b19"),
    ]
    module = parse_module("module @deep { const @c : bool[] = [true] " + " ".join([*nested, *ends]) + " }")
    verify(module)
    with pytest.raises(IRError, match="branches and loops are nested too deeply"):
        host_functions(module)
    with pytest.raises(IRError, match="the module has no function @main; found man"):
        host_functions(parse_module(f"module @m {{ {ends[0].replace('e0', 'man')} }}"))
