"""Networks for C: the object computes what a session does, to the last bit, with nothing behind it but libc."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from emulated_programs import PROCESSORS, linked, tools
from json_results import result_of
from network_files import digits_artifact, graph_model
from onnx import TensorProto, helper, numpy_helper
from random_seeds import in_turn

import tilewright
from tilewright import limits
from tilewright.__main__ import main
from tilewright.codegen.c_library import PROVIDED, c_library
from tilewright.codegen.cpu.llvm.target import TargetDescription
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.export import export_c
from tilewright.errors import ArtifactError, ParseError, ResourceError, UnsupportedError, UsageError
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.artifact.container import Section
from tilewright.runtime.native.elf import parse
from tilewright.runtime.native.mapping import NativeObject
from tilewright.runtime.trust.verdict import Verdict

Fails = Callable[..., str]
EXAMPLE = Path(__file__).parents[2] / "examples" / "embedded" / "digits.c"
HOST = TargetDescription.host()
EMBEDDED = ("mobilenet_v1_0.25_128_qdq", "kws_int8_qdq", "resnet8_int8_qdq", "kws_float")

PROGRAM = """
#include "NAME.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 8
static const size_t input_bytes[] = {INPUTS}, output_bytes[] = {OUTPUTS};
static void *inputs[UPPER_INPUTS], *outputs[THREADS][UPPER_OUTPUTS], *workspaces[THREADS];

static void *run(void *argument)
{
    size_t number = *(const size_t *)argument;
    int status = 0;
    for (int again = 0; again < 5; again++)
        status |= NAME_run((const void *const *)inputs, outputs[number], workspaces[number]);
    return status ? argument : NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    size_t numbers[THREADS];
    int wrong = 0;
    for (size_t i = 0; i < UPPER_INPUTS; i++) {
        inputs[i] = malloc(input_bytes[i]);
        if (fread(inputs[i], 1, input_bytes[i], stdin) != input_bytes[i]) return 2;
    }
    for (size_t t = 0; t < THREADS; t++) {
        for (size_t i = 0; i < UPPER_OUTPUTS; i++) outputs[t][i] = malloc(output_bytes[i]);
        workspaces[t] = aligned_alloc(UPPER_WORKSPACE_ALIGNMENT, UPPER_WORKSPACE_BYTES + UPPER_WORKSPACE_ALIGNMENT);
        numbers[t] = t;
        if (pthread_create(&threads[t], NULL, run, &numbers[t])) return 3;
    }
    for (size_t t = 0; t < THREADS; t++) {
        void *failed;
        pthread_join(threads[t], &failed);
        wrong |= failed != NULL;
        for (size_t i = 0; i < UPPER_OUTPUTS; i++) fwrite(outputs[t][i], 1, output_bytes[i], stdout);
    }
    return wrong;
}
"""
WARNINGS = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
FURTHER = ("kws_int8_qdq", "riscv64")


@dataclass(frozen=True)
class Case:
    """A network, inputs at random, and what a session makes of them."""

    artifact: Artifact
    engine: str
    inputs: dict[str, np.ndarray]
    outputs: list[np.ndarray]


def case(artifact: Artifact, engine: str) -> Case:
    rng = np.random.default_rng(7)
    inputs = {each.name: rng.standard_normal(each.shape).astype(each.numpy) for each in artifact.manifest.inputs}
    with tilewright.load(artifact, engine=engine) as session:
        return Case(artifact, engine, inputs, list(session.run(inputs).values()))


@cache
def digits(engine: str) -> Case:
    samples = load_digits().prepare(load_digits().calibration_images[:4])
    return case(tilewright.compile(MODEL, calibration=samples, engines="device,software,float", effort="quick"), engine)


def pointers(arrays: Sequence[np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def number_in(header: str, name: str) -> int:
    (line,) = (line for line in header.splitlines() if line.startswith(f"#define {name} "))
    return int(eval(line.split(maxsplit=2)[2]))


def loaded(given: Case, name: str = "network") -> Callable[..., tuple[int, list[np.ndarray]]]:
    """Its function, as our own loader finds it, which gives what is returned, and the outputs."""
    files = c_library(given.artifact, given.engine, HOST, name)
    native, header = NativeObject(files[f"{name}.o"]), files[f"{name}.h"].decode()
    function = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_void_p] * 3)(native.address(f"{name}_run"))
    upper = name.upper()
    size, alignment = (number_in(header, f"{upper}_WORKSPACE_{word}") for word in ("BYTES", "ALIGNMENT"))

    def run(inputs: Sequence[np.ndarray], misaligned_by: int = 0) -> tuple[int, list[np.ndarray]]:
        assert native
        sizes = [number_in(header, f"{upper}_OUTPUT_{i}_BYTES") for i in range(number_in(header, f"{upper}_OUTPUTS"))]
        outputs = [np.full(size, 0xA5, np.uint8) for size in sizes]
        memory = np.full(size + 2 * alignment, 0x5A, np.uint8)
        start = -memory.ctypes.data % alignment + misaligned_by
        status = function(pointers(inputs), pointers(outputs), memory.ctypes.data + start)
        assert np.all(memory[:start] == 0x5A)
        assert np.all(memory[start + size :] == 0x5A)
        return status, outputs

    return run


@pytest.mark.parametrize("engine", ["software", "float"])
def test_the_object_computes_what_a_session_does(engine: str) -> None:
    given = digits(engine)
    status, found = loaded(given)([*given.inputs.values()])
    assert status == 0
    for mine, theirs in zip(found, given.outputs, strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert loaded(given)([*given.inputs.values()], 8)[0] == -1


@pytest.mark.parametrize("engine", ["software", "float"])
def test_it_needs_nothing_but_memory_functions_and_mathematics(engine: str) -> None:
    found = parse(c_library(digits(engine).artifact, engine, HOST, "net")["net.o"])
    assert {symbol.name for symbol in found.symbols if symbol.section == 0 and symbol.name} <= PROVIDED
    assert [symbol.name for symbol in found.symbols if symbol.section and symbol.is_global] == ["net_run"]
    assert not any(section.writable for section in found.sections.values() if section.data)
    assert ".rodata.net" in {section.name for section in found.sections.values()}


def gather_model() -> bytes:
    nodes = [helper.make_node("Gather", ["table", "index"], ["y"])]
    inputs = (("table", TensorProto.FLOAT, [5, 3]), ("index", TensorProto.INT64, [2]))
    return graph_model(nodes, inputs, ("y",)).SerializeToString()


def test_a_network_without_work_memory_and_inputs(tmp_path: Path) -> None:
    """Its declarations are strict C as well, and bring the types that its comments name."""
    compiler = shutil.which("cc") or pytest.skip("no compiler of C is installed")
    three = numpy_helper.from_array(np.arange(3, dtype=np.int8))
    model = graph_model([helper.make_node("Constant", [], ["return"], value=three)], (), ("return",))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT8
    export_c(tilewright.compile(model.SerializeToString(), precision="fp32"), tmp_path, name="class")
    text = """#include "class.h"
    static unsigned char workspace[CLASS_WORKSPACE_BYTES + CLASS_WORKSPACE_ALIGNMENT];
    int main(void)
    {
        int8_t three[CLASS_OUTPUT_0_BYTES];
        void *outputs[CLASS_OUTPUTS] = {three};
        unsigned char *start = workspace + -(uintptr_t)workspace % CLASS_WORKSPACE_ALIGNMENT;
        static const char fits[CLASS_WORKSPACE_BYTES] = {0};
        return class_run(0, outputs, start) || three[2] != 2 || fits[0];
    }"""
    (tmp_path / "use.c").write_text(text)
    words = [compiler, "-std=c11", *WARNINGS, "use.c", "class.o", "-lm", "-o", "use"]
    subprocess.run(words, cwd=tmp_path, check=True, timeout=60)
    subprocess.run([tmp_path / "use"], check=True, timeout=60)


def test_an_artifact_of_ones_own_takes_the_time_that_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Fails
) -> None:
    monkeypatch.setattr(limits, "GENERATION_SECONDS", 0)
    monkeypatch.setattr(limits, "GENERATION_BYTES_PER_SECOND", 10**12)
    own = digits("float").artifact
    assert export_c(own, tmp_path, engine="float", name="net")
    monkeypatch.setattr(Artifact, "judge", lambda self: Verdict(False, "of a stranger"))
    with pytest.raises(ResourceError, match=r"takes longer than the time limit.* Give it more with --time-limit SEC"):
        export_c(own, tmp_path, engine="float", name="net")
    assert export_c(own, tmp_path, engine="float", name="net", time_limit=1000)


def test_what_a_step_refuses_is_returned() -> None:
    artifact = tilewright.compile(gather_model(), precision="fp32")
    table = np.arange(15, dtype=np.float32).reshape(5, 3)
    run = loaded(Case(artifact, "float", {}, []))
    status, (found,) = run([table, np.array([4, 1])])
    assert (status, found.view(np.float32).tolist()) == (0, [12, 13, 14, 3, 4, 5])
    assert run([table, np.array([5, 1])])[0] == 1


def test_extents_that_data_decide_are_further_outputs() -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"])]
    model = graph_model(nodes, (("x", TensorProto.FLOAT, [2, 3]),), ("y",))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    artifact = tilewright.compile(model.SerializeToString(), precision="fp32")
    header = c_library(artifact, "float", HOST, "net")["net.h"].decode()
    assert "/* outputs[0]: y, int64_t[2][6], row-major, at most; axis 1: extent 0 */" in header
    status, (_, extent) = loaded(Case(artifact, "float", {}, []))([np.eye(2, 3, dtype=np.float32)])
    assert (status, extent.view(np.int64).tolist()) == (0, [2])


@pytest.mark.parametrize(("target", "asks"), [("amx", True), ("v4", False)])
def test_objects_ask_linux_for_tiles(target: str, asks: bool, tmp_path: Path) -> None:
    export_c(digits("software").artifact, tmp_path, engine="software", name="digits", target=target)
    move_number_of_arch_prctl, system_call = b"\xb8\x9e\x00\x00\x00", b"\x0f\x05"
    _, found, rest = (tmp_path / "digits.o").read_bytes().partition(move_number_of_arch_prctl)
    assert (bool(found) and system_call in rest[:32]) is asks
    assert "-2 if Linux refuses this process tiles of AMX" in (tmp_path / "digits.h").read_text()


def written(folder: Path, given: Case, name: str, target: str = "host") -> None:
    """``program.c`` around a network, and what it includes and is linked with."""
    export_c(given.artifact, folder, engine=given.engine, name=name, target=target)
    sizes = [", ".join(str(array.nbytes) for array in arrays) for arrays in (given.inputs.values(), given.outputs)]
    text = PROGRAM.replace("NAME", name).replace("UPPER", name.upper())
    text = text.replace("{INPUTS}", f"{{{sizes[0]}}}").replace("{OUTPUTS}", f"{{{sizes[1]}}}")
    (folder / "program.c").write_text(text)


def compiled(folder: Path, given: Case, name: str, language: str) -> list[str | Path]:
    """A program around a network, by the compiler that is there."""
    compiler = shutil.which({"c": "cc", "c++": "c++"}[language]) or pytest.skip("no compiler of C is installed")
    written(folder, given, name)
    standard = ["-std=c11"] if language == "c" else ["-std=c++17", "-fpermissive", "-w"]
    strict = WARNINGS if language == "c" else ()
    words = [compiler, *standard, *strict, "-x", language, "program.c", "-x", "none", f"{name}.o"]
    subprocess.run([*words, "-o", "program", "-pthread", "-lm"], cwd=folder, check=True, timeout=300)
    return [folder / "program"]


def check_program(command: Sequence[str | Path], given: Case, tolerance: float = 0.0) -> None:
    """Eight threads compute what a session does; on other processors within a part of the largest result."""
    data = b"".join(array.tobytes() for array in given.inputs.values())
    found = subprocess.run(command, input=data, capture_output=True, check=True, timeout=600).stdout
    expected = b"".join(array.tobytes() for array in given.outputs)
    if tolerance == 0.0:
        assert found == 8 * expected
        return
    assert found == 8 * found[: len(expected)]
    mine, theirs = (np.frombuffer(each, np.float32) for each in (found[: len(expected)], expected))
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=tolerance * float(np.abs(theirs).max()))


@pytest.mark.parametrize("language", ["c", "c++"])
@pytest.mark.parametrize("engine", ["software", "float"])
def test_programs_run_it_in_eight_threads(engine: str, language: str, tmp_path: Path) -> None:
    check_program(compiled(tmp_path, digits(engine), "digits", language), digits(engine))


@cache
def embedded(model: str, folder: Path) -> Case:
    engine = "float" if model.endswith("float") else "software"
    return case(tilewright.compile(folder / "models" / f"{model}.onnx", engines=engine), engine)


@pytest.mark.parametrize("model", EMBEDDED)
def test_networks_of_small_machines(model: str, data_folder: Path, tmp_path: Path) -> None:
    given = embedded(model, data_folder)
    check_program(compiled(tmp_path, given, "embedded", "c"), given)


def check_elsewhere(given: Case, level: str, folder: Path) -> None:
    """The program that runs in eight threads, on another processor under emulation."""
    tools(level)
    written(folder, given, "network", level)
    command = linked(level, folder, "-std=c11", *WARNINGS, "program.c", "network.o", "-pthread")
    check_program(command, given, 1e-4 if given.engine == "float" else 0.0)


@cache
def logits(engine: str) -> Case:
    """Digits without Softmax, whose sums in floating point are of as many lanes as a processor has."""
    model = onnx.load(MODEL)
    model.graph.output[0].name = model.graph.node.pop().input[0]
    samples = load_digits().prepare(load_digits().calibration_images[:4])
    in_integers = {"calibration": samples, "effort": "quick"}
    options: dict[str, Any] = in_integers if engine == "software" else {"precision": "fp32"}
    return case(tilewright.compile(model, engines=engine, **options), engine)


@pytest.mark.parametrize(("engine", "level"), in_turn(["software", "float"], PROCESSORS))
def test_programs_for_other_architectures(engine: str, level: str, tmp_path: Path) -> None:
    check_elsewhere(logits(engine), level, tmp_path)


@pytest.mark.parametrize(
    ("model", "level"),
    [pytest.param(m, v, marks=[] if (m, v) == FURTHER else pytest.mark.sweep) for m in EMBEDDED for v in PROCESSORS],
)
def test_networks_of_other_architectures(model: str, level: str, data_folder: Path, tmp_path: Path) -> None:
    check_elsewhere(embedded(model, data_folder), level, tmp_path)


def test_the_example_recognises_digits(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or pytest.skip("no compiler of C is installed")
    given, images = digits("software"), load_digits()
    export_c(given.artifact, tmp_path, name="digits")
    words = [
        compiler,
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{tmp_path}",
        EXAMPLE,
        tmp_path / "digits.o",
        "-lm",
    ]
    subprocess.run([*words, "-o", tmp_path / "recognise"], check=True, timeout=300)
    with tilewright.load(given.artifact, engine="software") as session:
        for image in images.images[:5]:
            text = " ".join(map(str, image.reshape(-1)))
            found = subprocess.run(
                [tmp_path / "recognise"], input=text, capture_output=True, text=True, timeout=60
            ).stdout
            expected = session.run({"image": images.prepare(image[np.newaxis])})["probabilities"].argmax()
            assert int(found.split()[0]) == expected


def test_the_header_is_strict_c_and_c_plus_plus(tmp_path: Path) -> None:
    export_c(digits("software").artifact, tmp_path, name="digits")
    (tmp_path / "use.c").write_text('#include "digits.h"\nint use(void);\nint use(void) { return DIGITS_INPUTS; }\n')
    for name, standard in (("cc", "c99"), ("c++", "c++11")):
        compiler = shutil.which(name) or pytest.skip("no compiler of C is installed")
        words = [compiler, f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
        subprocess.run([*words, "-x", name.replace("cc", "c"), "use.c"], cwd=tmp_path, check=True, timeout=60)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(digits_artifact()), "--c", str(tmp_path / "a" / "b"), "--name", "net", "-q"]
    assert main([*words, "--json"]) == 0
    found = result_of(capsys.readouterr().out)["files"]
    assert found == {each.name: each.stat().st_size for each in (tmp_path / "a" / "b").iterdir()}
    assert main([*words, "--engine", "float", "--target", "portable"]) == 0
    assert "portable: no extension" in (tmp_path / "a" / "b" / "net.h").read_text()
    assert "net.o: " in capsys.readouterr().out
    assert main([*words, "--engine", "software"]) == 1
    assert "does not hold engine 'software'; expected float" in capsys.readouterr().err
    (tmp_path / "file").write_bytes(b"")
    inside = tmp_path / "file" / "folder"
    assert main(["export", str(digits_artifact()), "--c", str(inside), "-q"]) == 1
    assert f"cannot write '{inside}': Not a directory." in capsys.readouterr().err


def test_names_from_strangers_end_no_comment() -> None:
    nodes = [helper.make_node("Relu", ["*/ x"], ["y\\"])]
    model = graph_model(nodes, (("*/ x", TensorProto.FLOAT, [2]),), ("y\\",))
    model.graph.name = "a*/b"
    artifact = tilewright.compile(model.SerializeToString(), precision="fp32")
    header = c_library(artifact, "float", HOST, "net")["net.h"].decode()
    assert "__ x, float[2]" in header
    assert "\\" not in header


def test_a_manifest_of_strangers_does_not_size_the_memory_of_callers() -> None:
    given = digits("software").artifact
    manifest, (output,) = given.manifest, given.manifest.outputs
    sections = [Section(name, each.kind, given.copy(name)) for name, each in given.sections.items()]
    smaller = replace(manifest, outputs=(replace(output, shape=(1, 5)),))
    changed = Artifact.open(artifact_bytes(smaller, [each for each in sections if each.name != "manifest"]))
    with pytest.raises(ArtifactError, match=r"^export: the kernels .* the outputs of program 'software' are not those"):
        c_library(changed, "software", HOST, "net")


def test_names_of_sections_that_compilers_make_are_free() -> None:
    given = digits("float")
    for name in ("cst4", "cst32"):
        assert loaded(given, name)([*given.inputs.values()])[1][0].tobytes() == given.outputs[0].tobytes()


def test_what_cannot_be_written(fails: Fails, tmp_path: Path) -> None:
    given = digits("software").artifact
    with pytest.raises(
        UnsupportedError, match=r"^export: engine device does not run on CPU kernels alone; found the dev"
    ):
        c_library(given, "device", HOST, "net")
    with pytest.raises(
        UsageError, match=r"^export: the name is no identifier of C that is free; found a-b\. Give another with "
    ):
        c_library(given, "software", HOST, "a-b")
    with pytest.raises(UsageError, match="no identifier of C that is free; found tilewright"):
        c_library(given, "software", HOST, "tilewright")
    relu = graph_model([helper.make_node("Relu", ["x"], ["y"])], (("x", TensorProto.FLOAT, ["n", 2]),))
    shapes = [{"x": (1, 2)}, {"x": (3, 2)}]
    several = tilewright.compile(relu.SerializeToString(), precision="fp32", input_shapes=shapes)
    with pytest.raises(UsageError, match="holds the network in 2 shapes; expected one shape"):
        c_library(several, "float", HOST, "net")
    both = rf"{re.escape(given.origin)} does not hold engine 'reference'; expected float or software"
    with pytest.raises(ArtifactError, match=both):
        export_c(given, tmp_path, engine="reference")
    with pytest.raises(UnsupportedError, match=r"^export: engine device .*\. Give --engine float or software\.$"):
        export_c(given, tmp_path, engine="device")
    texts = {name: given.copy(name) for name in given.sections}
    texts["module.software"] = texts["module.software"].replace(b"conv", b"conf", 1)
    sections = [Section(n, each.kind, texts[n]) for n, each in given.sections.items() if n != "manifest"]
    damaged = Artifact.open(artifact_bytes(given.manifest, sections))
    with pytest.raises(ParseError, match=r"^load artifact: module\.software of artifact in memory: line \d+, column"):
        export_c(damaged, tmp_path, engine="software")
    words = ["export", str(digits_artifact()), "--c", str(tmp_path)]
    assert "expected at most 0.0 s of processor time" in fails([*words, "--time-limit", "0.001"])
    assert "--time-limit is for --c" in fails(["export", MODEL, "-o", "x.onnx", "--time-limit", "1"], code=2)
    words += ["--target", "v2,v3"]
    assert "export: an object is for one target; found v2,v3. Export once for each" in fails(words, code=2)
    assert "--name is for --c" in fails(["export", MODEL, "-o", "x.onnx", "--name", "net"], code=2)
    assert "--quantized is not for --c" in fails(["export", "a.twa", "--c", "x", "--quantized", "qdq"], code=2)
