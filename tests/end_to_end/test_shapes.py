"""Artifacts of several shapes: each computes what an artifact of its own would, and weights are stored once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from json_results import result_of
from onnx import helper
from open_networks import convolutional, open_model, recurrent

import tilewright
from tilewright.__main__ import main
from tilewright.codegen.package import regenerate
from tilewright.compiler.export import export_model
from tilewright.compiler.frontend.input_shapes import each_shape
from tilewright.compiler.weights import Parameters, last_layer, with_parameters
from tilewright.errors import ArtifactError, InputError, InstructionError, ModelError, TilewrightError, UsageError
from tilewright.runtime.api.accelerator.third import MDLA
from tilewright.runtime.api.classify.classifier import in_batches
from tilewright.runtime.api.simulator.session import CompiledNetwork
from tilewright.runtime.artifact.artifact import Artifact, artifact_bytes
from tilewright.runtime.artifact.container import Section
from tilewright.runtime.artifact.manifest import Manifest, OtherShape
from tilewright.runtime.commands.shapes import parse_input_shapes
from tilewright.runtime.execution.shapes import _unfit
from tilewright.runtime.report.details import InputStatistics
from tilewright.runtime.report.summary import summarize


@cache
def batches() -> Artifact:
    return tilewright.compile(convolutional(), input_shapes={"batch": (1, 4, 8)})


@cache
def integers() -> Artifact:
    options = {"calibration": "random", "calibration_limit": 2, "effort": "quick"}
    return tilewright.compile(convolutional(), input_shapes={"batch": (1, 3)}, **options)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 8, 8)).astype(np.float32)


def message(error: pytest.ExceptionInfo[TilewrightError]) -> str:
    return str(error.value)


def test_each_batch_computes_what_an_artifact_of_its_own_does() -> None:
    with tilewright.load(batches()) as session:
        assert session.shapes == tuple({"x": (count, 3, 8, 8)} for count in (1, 4, 8))
        for count in (8, 1, 4, 1):
            own = tilewright.load(tilewright.compile(convolutional(), input_shapes={"x": (count, 3, 8, 8)}))
            expected, found = own.run({"x": images(count)})["y"], session.run({"x": images(count)})["y"]
            assert found.shape == (count, 12) and found.tobytes() == expected.tobytes()
            assert session.submit({"x": images(count)}).result()["y"].tobytes() == expected.tobytes()
            assert session.run_timed({"x": images(count)})[0]["y"].tobytes() == expected.tobytes()


def test_extents_by_name_are_combined_each_with_each() -> None:
    given = parse_input_shapes(["sequence=4..12/4", "batch=1,2"])
    artifact = tilewright.compile(recurrent(), input_shapes=given)
    assert artifact.manifest.shapes is not None
    assert artifact.manifest.shapes.extents == {"sequence": 4, "batch": 1}
    assert [each.extents for each in artifact.manifest.shapes.others][-1] == {"sequence": 12, "batch": 2}
    rng = np.random.default_rng(0)
    with tilewright.load(artifact) as session:
        assert [each["x"][:2] for each in session.shapes] == [(s, b) for s in (4, 8, 12) for b in (1, 2)]
        for shapes in session.shapes:
            own = tilewright.load(tilewright.compile(recurrent(), input_shapes=shapes))
            x = rng.standard_normal(shapes["x"]).astype(np.float32)
            for name, expected in own.run({"x": x}).items():
                assert session.run({"x": x})[name].tobytes() == expected.tobytes()


def test_weights_are_stored_once() -> None:
    model = convolutional(64, 256)
    one = tilewright.compile(model, input_shapes={"batch": [1]})
    several = tilewright.compile(model, input_shapes={"batch": (1, 2, 4, 8)})
    assert several.length < 1.3 * one.length
    assert len(several.section("constants")) < 1.05 * len(one.section("constants"))


def test_calibration_for_the_first_shape_serves_all() -> None:
    for engine in ("device", "software"):
        with tilewright.load(integers(), engine=engine) as session:
            together = session.run({"x": images(3)})["y"]
            alone = [session.run({"x": images(3)[i : i + 1]})["y"] for i in range(3)]
        # The end in floating point is the same numbers in another order of additions, at most.
        assert np.allclose(together, np.concatenate(alone), atol=1e-6)


def test_no_elements_are_a_shape_like_others() -> None:
    model = open_model([helper.make_node("Relu", ["x"], ["y"])], [("x", ["n", 2])], ["y"], {})
    with tilewright.load(tilewright.compile(model, input_shapes={"n": (0, 3)})) as session:
        assert session.run({"x": np.ones((0, 2), np.float32)})["y"].shape == (0, 2)
        assert session.run({"x": -np.ones((3, 2), np.float32)})["y"].tolist() == [[0, 0]] * 3


def test_sums_and_extremes_of_nothing() -> None:
    """LLVM refused their kernels, which read a vector of no elements."""
    kinds = {"ReduceSum": 0.0, "ReduceMax": -np.inf, "ReduceMin": np.inf, "ReduceLogSumExp": -np.inf}
    nodes = [helper.make_node(kind, ["x", "axes"] if kind == "ReduceSum" else ["x"], [kind]) for kind in kinds]
    for node in nodes[1:]:
        node.attribute.append(helper.make_attribute("axes", [1]))
    model = open_model(nodes, [("x", [2, "n"])], [*kinds], {"axes": np.array([1])})
    with tilewright.load(tilewright.compile(model, input_shapes={"n": (0,)})) as session:
        found = session.run({"x": np.zeros((2, 0), np.float32)})
    for kind, value in kinds.items():
        np.testing.assert_array_equal(found[kind], [[value], [value]], kind)


def test_inputs_that_fit_no_shape_are_told_which_there_are() -> None:
    with tilewright.load(batches()) as session:
        with pytest.raises(InputError) as caught:
            session.run({"x": images(2)})
        assert message(caught) == (
            "the artifact has no shape that fits the inputs; expected x [1, 3, 8, 8], or x [4, 3, 8, 8], or "
            "x [8, 3, 8, 8], found x [2, 3, 8, 8]. Compile the model with --input-shape for this shape as well, or see "
            "--pad of tilewright run."
        )
        with pytest.raises(InputError, match="unknown input 'z'"):
            session.run({"z": images(1)})
        with pytest.raises(InputError, match="input 'x' has the wrong dtype"):
            session.run({"x": images(4).astype(np.float64)})
        with pytest.raises(InputError, match="input 'x' is not an array"):
            session.run({"x": [[1.0]]})  # pyright: ignore[reportArgumentType]


def test_of_several_inputs_the_one_that_fits_no_shape_is_told() -> None:
    known = [{"ids": (1, 1), "key": (1, past), "value": (1, past)} for past in range(2)]
    alone = _unfit(known, {"ids": (1, 1), "key": (1, 5), "value": (1, 5)}, pads=False)
    assert (alone.expected, alone.found) == ("key [1, 0], or key [1, 1]", "key [1, 5]")
    together = _unfit(known, {"ids": (1, 1), "key": (1, 0), "value": (1, 1)}, pads=False)
    assert together.found == "ids [1, 1] and key [1, 0] and value [1, 1]"


def test_many_shapes_are_cut_short_in_messages() -> None:
    model = open_model([helper.make_node("Relu", ["x"], ["y"])], [("x", ["n"])], ["y"], {})
    with tilewright.load(tilewright.compile(model, input_shapes={"n": range(1, 13)})) as session:
        assert session.run({"x": np.ones(12, np.float32)})["y"].sum() == 12
        with pytest.raises(InputError, match=r"or x \[8\], or 4 more, found x \[13\]"):
            session.run({"x": np.ones(13, np.float32)})


def test_artifacts_of_each_shape_are_pickled_and_copied() -> None:
    for artifact in (batches(), *batches().in_shapes()):
        for again in (pickle.loads(pickle.dumps(artifact)), deepcopy(artifact)):
            assert (again.shape, again.extents, again.manifest) == (artifact.shape, artifact.extents, artifact.manifest)
            assert all(again.copy(name) == artifact.copy(name) for name in artifact.sections)
            assert again.sections.keys() == artifact.sections.keys()
            assert again.trusted


@pytest.mark.parametrize("shape", [3, -1, "first"])
def test_a_forged_pickle_of_a_shape_is_refused(shape: object) -> None:
    make, (content, _) = batches().in_shapes()[1].__reduce__()
    with pytest.raises(ArtifactError, match=r"load artifact: a pickled artifact .* expected 0 to \d, found"):
        make(content, shape)  # pyright: ignore[reportArgumentType]


def test_kernels_of_every_shape_can_be_generated_again() -> None:
    for artifact in batches().in_shapes():
        code, arena, constants = regenerate(artifact, "float", None)
        entry = artifact.manifest.cpu_programs["float"]
        assert (code, arena, constants) == (artifact.copy(entry.code), entry.arena_bytes, b"")


def test_a_limit_of_memory_holds_for_all_shapes_together() -> None:
    sizes = [_needed(artifact) for artifact in batches().in_shapes()]
    limit = batches().length + sizes[0] + max(sizes[1:])
    with tilewright.load(batches(), memory_limit=limit) as session:
        for count in (4, 8, 4, 1):
            assert session.run({"x": images(count)})["y"].shape == (count, 12)
        assert len(session._runners._others) == 1
    with (
        tilewright.load(batches(), memory_limit=batches().length + sizes[0]) as session,
        pytest.raises(tilewright.errors.ResourceError, match="does not fit the memory limit"),
    ):
        session.run({"x": images(8)})


def _needed(artifact: Artifact) -> int:
    with tilewright.load(artifact) as session:
        return session._runner.own_bytes


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["x=1,3,8,8"], {"x": (1, 3, 8, 8)}),
        (["x=1x3x8x8"], {"x": (1, 3, 8, 8)}),
        (["x="], {"x": ()}),
        (["n=1,32..96/32"], {"n": (1, 32, 64, 96)}),
        (["n=2..4"], {"n": (2, 3, 4)}),
        (["x=1,2", "y=5", "x=3,2"], [{"x": (1, 2), "y": (5,)}, {"x": (3, 2), "y": (5,)}]),
        ([], {}),
    ],
)
def test_shapes_as_texts(texts: list[str], expected: object) -> None:
    assert parse_input_shapes(texts) == expected


def test_a_pattern_is_a_shape_for_several_and_names_go_before_it() -> None:
    declared = {"past.0": (None, 2), "past.1": (None, 2), "x": ("batch", 3)}
    (found,) = each_shape(declared, {"past.1": (5, 2), "past.*": (4, 2), "b*": [3]})
    assert found == ({"past.0": (4, 2), "past.1": (5, 2)}, {"batch": 3})
    with pytest.raises(ModelError, match=r"an input that the model does not have; .*found y\*"):
        each_shape(declared, {"y*": [1]})


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["x=a"], "wrong --input-shape; expected NAME=1,3,224,224 or NAME=32..512/32, found x=a"),
        (["3,4"], "wrong --input-shape; expected NAME=1,3,224,224 or NAME=32..512/32, found 3,4"),
        (["n=9..1"], "9..1 is no range; expected FIRST..LAST/STEP, of 1 to 64 shapes of a network in one artifact"),
        (["n=1..9/0"], "1..9/0 is no range; expected FIRST..LAST/STEP, of 1 to 64 shapes of a network in one artifact"),
        (["n=1..9999999999"], "1..9999999999 is no range; expected FIRST..LAST/STEP, of 1 to 64 shapes of a network in "
         "one artifact"),
        (["x=1", "x=2", "y=1", "y=2", "y=3"], "--input-shape x=… is given 2 times; expected 1 or 3, as for others"),
    ],
)  # fmt: skip
def test_texts_that_are_no_shapes(texts: list[str], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_input_shapes(texts)
    assert message(caught) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"bach": [1]}, "import: a shape was given for an input that the model does not have; expected x; open extents "
         "sequence, batch, found bach. Did you mean 'batch'?"),
        ({"batch": [1]}, "import: input 'x' has an open shape [sequence, 1, 6]. Fix it with --input-shape sequence=1 "
         "(input_shapes={'sequence': [1]} in Python); several shapes as --input-shape sequence=1,4."),
        ({"batch": []}, "wrong extents 'batch'; expected whole numbers of at least 0, found []"),
        ({"batch": [-1]}, "wrong extents 'batch'; expected whole numbers of at least 0, found [-1]"),
        ({"batch": "12"}, "wrong extents 'batch'; expected whole numbers, found '12'. "
         "In Python they are no text: [1, 4] or range(32, 513, 32)."),
        ({"batch": b"12"}, "wrong extents 'batch'; expected whole numbers, found b'12'. "
         "In Python they are no text: [1, 4] or range(32, 513, 32)."),
        ({"batch": range(100)}, "too many extents 'batch'; expected at most 64 shapes of a network in one artifact, "
         "found 100"),
        ({"batch": range(1, 10), "sequence": range(1, 10)}, "too many shapes; expected at most 64 shapes of a network "
         "in one artifact"),
        ({"batch": [2], "x": [4, 1, 6]}, "wrong shape for input 'x'; expected batch=2, as is given too, "
         "found [4, 1, 6]"),
        ([{"x": [4, 1, 6]}, {"x": [4, 1, 7]}], "import: in shape sequence=4 batch=1 x=4,1,7, the given shape does not "
         "fit input 'x'; expected [sequence, batch, 6], found [4, 1, 7]"),
        ([5], "wrong input_shapes; expected a mapping by input name, or a list of them, found [5]"),
        (5, "wrong input_shapes; expected a mapping by input name, or a list of them, found 5"),
    ],
)  # fmt: skip
def test_shapes_that_do_not_fit_the_model(given: object, expected: str) -> None:
    with pytest.raises(TilewrightError) as caught:
        tilewright.compile(recurrent(), input_shapes=given)  # pyright: ignore[reportArgumentType]
    assert message(caught) == expected


def test_what_holds_one_shape_refuses_several(tmp_path: object) -> None:
    with pytest.raises(UsageError, match="only `compile` makes one network of several shapes; expected one shape"):
        export_model(convolutional(), f"{tmp_path}/m.onnx", input_shapes={"batch": (1, 2)})


def test_a_shape_tells_the_open_extents_that_it_has() -> None:
    model = open_model([helper.make_node("Add", ["a", "b"], ["y"])], [("a", ["n", 2]), ("b", ["n", 1])], ["y"], {})
    with tilewright.load(tilewright.compile(model, input_shapes=[{"a": (3, 2)}, {"n": [5]}])) as session:
        assert session.shapes == ({"a": (3, 2), "b": (3, 1)}, {"a": (5, 2), "b": (5, 1)})
    with pytest.raises(ModelError, match=r"input 'a' has an open shape \[n, 2\]"):
        tilewright.compile(model)


CODE, INSTRUCTIONS = "2/code.device", "2/instructions.device_0"


def _file(name: str, change: Callable[[bytearray], None]) -> bytes:
    """The file of `integers` with a section changed."""
    content = bytearray(integers().copy(name))
    change(content)
    parts = integers().sections.items()
    sections = [Section(n, e.kind, content if n == name else integers().copy(n)) for n, e in parts if n != "manifest"]
    return artifact_bytes(integers().manifest, sections)


@pytest.mark.parametrize("section", [CODE, INSTRUCTIONS])
def test_programs_of_every_shape_are_verified(section: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def cut(content: bytearray) -> None:
        content[len(content) // 2 :] = b""

    path = tmp_path / "damaged.twa"
    path.write_bytes(_file(section, cut))
    assert main(["verify", str(path)]) == 1
    assert "in shape x [3, 3, 8, 8], " in capsys.readouterr().err
    with tilewright.load(path, engine="device") as session:
        assert session.run({"x": images(1)})["y"].shape == (1, 12)
        with pytest.raises(TilewrightError, match=r"in shape x \[3, 3, 8, 8\], "):
            session.run({"x": images(3)})


def test_a_machine_at_hand_is_compared_with_programs_of_every_shape() -> None:
    artifact = Artifact.open(_file(INSTRUCTIONS, lambda content: content.extend(b"more")))
    with pytest.raises(InstructionError, match=r"in shape x \[3, 3, 8, 8\], "):
        tilewright.load(artifact, engine="device", machine="m4096")


def test_commands_show_the_shape_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(convolutional())
    artifact, given = str(tmp_path / "m.twa"), ["--calibration", "random", "--effort", "quick"]
    words = ["compile", str(tmp_path / "m.onnx"), "-o", artifact, "--input-shape", "batch=1,3", *given]

    def says(*words: str) -> tuple[str, str]:
        assert main([*words]) == 0
        found = capsys.readouterr()
        return found.out, found.err

    def cycles(*more: str) -> int:
        return result_of(says("simulate", artifact, "--json", *more)[0])["total"]["cycles"]

    assert "\n  shapes           batch 1, 3\n" in says(*words)[0]
    shapes = result_of(says(*words, "--json")[0])["shapes"]
    assert [(each["inputs"], each["extents"]) for each in shapes] == [
        ({"x": [count, 3, 8, 8]}, {"batch": count}) for count in (1, 3)
    ]
    note = "note: of 2 shapes, this is x [1, 3, 8, 8]; --input-shape NAME=1,3,224,224 names another\n"
    for command in (
        ["simulate", "--without", "host-stages"],
        ["inspect", "--ir"],
        ["inspect", "--disassemble"],
        ["inspect", "--memory"],
    ):
        first, told = says(*command, artifact)
        assert told == note
        assert says(*command, artifact, "--input-shape", "batch=1") == (first, "")
        second = says(*command, artifact, "--input-shape", "batch=3")[0]
        assert second not in ("", first) and says(*command, artifact, "--input-shape", "x=3x3x8x8")[0] == second
    assert cycles("--input-shape", "batch=3") > cycles()
    assert "x: f32[3,3,8,8]" in says("inspect", artifact, "--input-shape", "batch=3")[0]
    assert "this is x [3, 3, 8, 8]" in says("power", artifact, "--bs", "5", "--reps", "1")[1]
    assert "this is" not in says("power", artifact, "--reps", "1", "--input-shape", "batch=3")[1]
    for given, expected in (
        (["batch=2"], "has no such shape; expected x [1, 3, 8, 8], or x [3, 3, 8, 8], found batch=2\n"),
        (["bach=1"], "has no such input or extent; expected batch, x, found bach. Did you mean 'batch'?\n"),
        (["x=1", "x=3"], "only one shape can be chosen; found x=1 x=3\n"),
    ):
        assert main(["simulate", artifact, *(word for text in given for word in ("--input-shape", text))]) == 2
        assert capsys.readouterr().err.endswith(expected)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"batch": (1, 2), "sequence": (4, 8)}, "batch 1, 2 and sequence 4, 8"),
        ([{"batch": [1], "sequence": [4]}, {"batch": [2], "sequence": [8]}], "x [4, 1, 6]; x [8, 2, 6]"),
    ],
)
def test_a_summary_lists_extents_that_are_combined_each_with_each(given: Any, expected: str) -> None:
    summary = summarize(tilewright.compile(recurrent(), input_shapes=given))
    assert f"\n  shapes           {expected}\n" in summary.to_text("m.twa")
    seen = InputStatistics("x", 9, 0, 1, (), (), None, 0.0, 0)
    text = replace(summary, calibration=(seen,)).to_text("m.twa")
    assert "\n  calibration      input x [4, 1, 6]: 9 samples, 0 to 1\n" in text


@pytest.mark.parametrize("engine", ["device", "software"])
def test_other_weights_go_into_every_shape(engine: str) -> None:
    layer = last_layer(integers(), engine)
    others = np.roll(layer.weights, 1, axis=0)
    changed = with_parameters(integers(), engine, {layer.name: Parameters(others)})
    assert [each.extents for each in changed.in_shapes()] == [{"batch": 1}, {"batch": 3}]
    assert len(changed.section("constants")) <= len(integers().section("constants"))
    same = with_parameters(integers(), engine, {layer.name: Parameters(layer.weights)})
    with (
        tilewright.load(integers(), engine=engine) as session,
        tilewright.load(same) as as_before,
        tilewright.load(changed) as with_others,
    ):
        for count in (1, 3):
            x = {"x": images(count)}
            assert as_before.run(x)["y"].tobytes() == session.run(x)["y"].tobytes()
            alone = with_others.run({"x": images(3)[:1]})["y"]
            assert np.allclose(with_others.run({"x": images(3)})["y"][:1], alone, atol=1e-6)
            assert not np.allclose(alone, session.run({"x": images(3)[:1]})["y"], atol=1e-3)


def test_a_classification_takes_the_batch_that_suits_its_own() -> None:
    for images, expected in ((1, 1), (3, 1), (4, 4), (7, 4), (100, 8)):
        assert in_batches(batches(), images).manifest.inputs[0].shape[0] == expected
    model = open_model([helper.make_node("Relu", ["x"], ["y"])], [("x", ["n", "m"])], ["y"], {})
    given = [{"n": [n], "m": [m]} for n, m in ((4, 2), (0, 2), (2, 2), (1, 3))]
    artifact = tilewright.compile(model, input_shapes=given)
    assert [in_batches(artifact, n).manifest.inputs[0].shape for n in (1, 3, 5)] == [(2, 2), (2, 2), (4, 2)]


def test_documented_interfaces_take_the_first_shape(tmp_path: Path) -> None:
    path = tmp_path / "m.twa"
    path.write_bytes(_file(INSTRUCTIONS, lambda content: None))
    network = CompiledNetwork(str(path))
    assert [each.shape for each in network.get_inputs()] == [[1, 3, 8, 8]]
    assert network.run(["y"], {"x": images(3)})[0].shape == (3, 12)
    network.close()
    accelerator = MDLA()
    accelerator.Init(str(path))
    found = accelerator.Run(images(1))
    assert isinstance(found, np.ndarray) and found.shape == (1, 12)
    accelerator.Free()


def _changed(**changes: object) -> tuple[Manifest, list[Section]]:
    """The manifest of a network of three shapes, the second of them changed, and the sections of its file."""
    artifact = batches()
    shapes = artifact.manifest.shapes
    assert shapes is not None
    first, *others = shapes.others
    other = replace(first, **changes)  # pyright: ignore[reportArgumentType]
    manifest = replace(artifact.manifest, shapes=replace(shapes, others=(other, *others)))
    sections = [Section(n, e.kind, artifact.copy(n)) for n, e in artifact.sections.items() if n != "manifest"]
    return manifest, sections


def _second() -> OtherShape:
    shapes = batches().manifest.shapes
    assert shapes is not None
    return shapes.others[0]


def test_the_file_is_as_it_was_read() -> None:
    assert Artifact.open(artifact_bytes(*_changed())).manifest == batches().manifest


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"sections": {**_second().sections, "code.float": "elsewhere"}}, "shape 2, section 'code.float': the manifest "
         "contradicts itself; expected one of ["),
        ({"sections": {**_second().sections, "other": "code.float", "more": "code.float"}}, "shape 2, sections: the "
         "manifest contradicts itself; expected each section once"),
        ({"sections": {}}, "shape 2, CPU program 'float': code: the manifest contradicts itself; expected a section of "
         "its own, of []"),
        ({"inputs": batches().manifest.inputs}, "shape 2, inputs: the manifest contradicts itself; expected each shape "
         "once, found [[1, 3, 8, 8]]"),
        ({"inputs": tuple(replace(each, dtype="f64") for each in _second().inputs)}, "shape 2, inputs: the manifest "
         "contradicts itself; expected [('x', 'f32')], found [('x', 'f64')]"),
        ({"outputs": ()}, "shape 2, outputs: the manifest contradicts itself; expected [('y', 'f32')], found []"),
        ({"engines": {}}, "shape 2, engines: the manifest contradicts itself"),
        ({"engines": {"float": replace(_second().engines["float"], stages=(
            replace(_second().engines["float"].stages[0], last=1000),))}},
         "shape 2, engine 'float', stage 0: the manifest contradicts itself; expected steps within 0 to "),
    ],
)  # fmt: skip
def test_shapes_that_point_outside_are_refused(changes: dict[str, object], expected: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        artifact_bytes(*_changed(**changes))
    assert message(caught).startswith(f"artifact: {expected}")


def test_commands_take_the_shape_of_their_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for text in ("batch=1,4", "x=1,3,8,8"):
        (tmp_path / "m.onnx").write_bytes(convolutional())
        words = [str(tmp_path / "m.onnx"), "-o", str(tmp_path / f"{text[0]}.twa"), "--input-shape", text, "--quiet"]
        assert main(["compile", *words]) == 0
    capsys.readouterr()
    np.save(tmp_path / "four.npy", images(4))
    np.save(tmp_path / "five.npy", images(5))
    artifact = str(tmp_path / "b.twa")
    assert main(["run", artifact, str(tmp_path / "four.npy")]) == 0
    assert capsys.readouterr().out.startswith("y: float32[4,12]")
    assert main(["run", artifact, str(tmp_path / "five.npy")]) != 0
    expected = "no shape that fits the inputs; expected x [1, 3, 8, 8], or x [4, 3, 8, 8], found x [5, 3, 8, 8]"
    assert expected in capsys.readouterr().err
    assert main(["inspect", artifact]) == 0
    assert "shapes of engine float; below, the first" in capsys.readouterr().out
    assert main(["inspect", artifact, "--json"]) == 0
    rows = result_of(capsys.readouterr().out)["shapes"]["float"]
    assert [row["shape"] for row in rows] == ["x [1, 3, 8, 8]", "x [4, 3, 8, 8]"]
    assert rows[1]["macs"] == 4 * rows[0]["macs"]
    assert main(["inspect", str(tmp_path / "x.twa"), "--json"]) == 0
    assert result_of(capsys.readouterr().out)["shapes"] == {}
