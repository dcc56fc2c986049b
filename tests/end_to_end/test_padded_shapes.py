"""Inputs that fit no shape of an artifact are padded where they may be, and outputs are what they would be without."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from json_results import result_of
from onnx import helper
from open_networks import Info, convolutional, open_model, recurrent

import tilewright
from tilewright.__main__ import main
from tilewright.errors import InputError, TilewrightError, UsageError
from tilewright.runtime.artifact.artifact import Artifact


@cache
def batches() -> Artifact:
    return tilewright.compile(convolutional(), input_shapes={"batch": (1, 8, 4)})


@cache
def sequences() -> Artifact:
    return tilewright.compile(recurrent(), input_shapes={"sequence": (4, 8), "batch": (1, 3)})


def network(nodes: list[tuple[str, str, str]], inputs: list[Info], given: Any) -> Artifact:
    """A network of nodes, each of an operator, its inputs and its output."""
    made = [helper.make_node(kind, operands.split(), [result]) for kind, operands, result in nodes]
    weights = {"flat": np.array([-1, 2], np.int64)}
    return tilewright.compile(open_model(made, inputs, [nodes[-1][2]], weights), input_shapes=given)


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(("count", "padded"), [(0, 1), (1, 1), (2, 4), (3, 4), (5, 8), (8, 8)])
def test_items_of_a_batch_give_what_they_give_among_others(count: int, padded: int) -> None:
    x = numbers(8, 3, 8, 8)
    with tilewright.load(batches(), pad="batch") as session, tilewright.load(batches()) as exact:
        expected = exact.run({"x": np.concatenate([x[:count], np.zeros_like(x[count:padded])])})["y"][:count]
        found = session.run({"x": x[:count]})["y"]
        assert found.shape == (count, 12) and found.flags.c_contiguous
        assert found.tobytes() == expected.tobytes()
        assert session.submit({"x": x[:count]}).result()["y"].tobytes() == expected.tobytes()
        assert session.run_timed({"x": x[:count]})[0]["y"].tobytes() == expected.tobytes()
        assert session.profile({"x": x[:count]}, rounds=1).milliseconds > 0
        others = exact.run({"x": x})["y"][:count]
    assert np.allclose(found, others, atol=1e-6)


def test_several_extents_are_padded_at_once_and_each_output_cut_along_its_own() -> None:
    x = numbers(8, 3, 6)
    with tilewright.load(sequences(), pad=["batch", "sequence"]) as session, tilewright.load(sequences()) as exact:
        for sequence, batch in ((4, 2), (3, 1), (5, 2), (7, 3)):
            given = x[:sequence, :batch]
            whole = np.zeros((4 if sequence <= 4 else 8, 1 if batch == 1 else 3, 6), np.float32)
            whole[:sequence, :batch] = given
            found, expected = session.run({"x": given}), exact.run({"x": whole})
            assert found["y"].tobytes() == expected["y"][:batch, :sequence].tobytes()
            assert found["h"].tobytes() == expected["h"][:, :batch].tobytes()


def test_only_named_extents_are_padded() -> None:
    with tilewright.load(sequences(), pad="batch") as session:
        assert session.run({"x": numbers(8, 2, 6)})["y"].shape == (2, 8, 8)
        for shape in ((7, 2, 6), (8, 4, 6), (8, 2, 5), (8, 2)):
            with pytest.raises(InputError, match="the artifact has no shape that fits the inputs; expected x "):
                session.run({"x": numbers(*shape)})
        with pytest.raises(InputError, match="input 'x' has the wrong dtype"):
            session.run({"x": numbers(8, 2, 6).astype(np.float64)})


def test_inputs_agree_on_an_extent_and_what_lacks_it_stays_as_it_is() -> None:
    inputs: list[Info] = [("a", ["n", 2]), ("b", ["n", 1]), ("c", [4])]
    artifact = network([("Add", "a b", "s"), ("ReduceSum", "c", "r"), ("Mul", "s r", "y")], inputs, {"n": (2, 4)})
    with tilewright.load(artifact, pad="n") as session:
        c = np.ones(4, np.float32)
        found = session.run({"a": numbers(3, 2), "b": numbers(3, 1), "c": c})["y"]
        assert np.allclose(found, 4 * (numbers(3, 2) + numbers(3, 1)))
        with pytest.raises(InputError, match=r"found a \[3, 2\] and b \[4, 1\] and c \[4\]"):
            session.run({"a": numbers(3, 2), "b": numbers(4, 1), "c": c})
        with pytest.raises(InputError, match=r"found a \[3, 2\] and b \[3, 1\] and c \[3\]"):
            session.run({"a": numbers(3, 2), "b": numbers(3, 1), "c": c[:3]})


FLAT = [("Reshape", "x flat", "y")]
"""Both extents of ``x`` f32[n, m, 2] in one of the result."""


@pytest.mark.parametrize(
    ("nodes", "given", "pad", "expected"),
    [
        (FLAT, {"n": (1, 4), "m": (3,)}, "n", "y: f32[3,2] and y: f32[12,2]"),
        (FLAT, {"n": (1, 4), "m": (3, 5)}, "m", "y: f32[3,2] and y: f32[5,2]"),
        (FLAT, [{"n": [2], "m": [3]}, {"n": [4], "m": [5]}], "n", "y: f32[6,2] and y: f32[20,2]"),
        ([("NonZero", "x", "y")], {"n": (1, 4), "m": (3,)}, "n", "y: i64[3,≤6]"),
    ],
)
def test_outputs_that_cannot_be_cut_are_refused(
    nodes: list[tuple[str, str, str]], given: Any, pad: str, expected: str
) -> None:
    artifact = network(nodes, [("x", ["n", "m", 2])], given)
    with pytest.raises(UsageError) as caught:
        tilewright.load(artifact, pad=pad)
    assert str(caught.value) == (
        "output 'y' cannot be cut back: nothing tells what of it belongs to the padding; expected dimensions that are "
        f"{pad}, or the same whatever that is, found {expected}. Give inputs of a shape that the artifact has."
    )


def test_an_output_that_follows_from_other_extents_alone_is_left_whole() -> None:
    inputs: list[Info] = [("x", ["n", "m", 2]), ("z", ["k", "l", 2])]
    given = {"n": (1, 4), "m": (3, 5), "k": (2, 4), "l": (1, 2)}
    made = [helper.make_node("Reshape", ["x", "flat"], ["y"]), helper.make_node("Relu", ["z"], ["w"])]
    model = open_model(made, inputs, ["y", "w"], {"flat": np.array([-1, 2], np.int64)})
    with tilewright.load(tilewright.compile(model, input_shapes=given), pad="k") as session:
        found = session.run({"x": numbers(4, 5, 2), "z": numbers(3, 2, 2)})
        assert (found["y"].shape, found["w"].shape) == ((20, 2), (3, 2, 2))


@pytest.mark.parametrize(
    ("artifact", "pad", "expected"),
    [
        (sequences, "bach", "'bach' is no open extent in which the shapes of artifact in memory differ; expected batch "
         "or sequence. Did you mean 'batch'?"),
        (lambda: sequences().in_shapes()[0], "batch", "'batch' is no open extent in which the shapes of artifact in "
         "memory differ; expected several shapes. Compile the model for some, such as --input-shape batch=1,4,8."),
        (sequences, True, "wrong pad; expected names of open extents, such as 'batch', found True"),
        (sequences, [5], "wrong pad; expected names of open extents, such as 'batch', found [5]"),
    ],
)  # fmt: skip
def test_what_cannot_be_padded(artifact: Any, pad: Any, expected: str) -> None:
    with pytest.raises(TilewrightError) as caught:
        tilewright.load(artifact(), pad=pad)
    assert str(caught.value) == expected


def test_an_extent_that_is_the_same_in_every_shape_cannot_be_told_from_others() -> None:
    artifact = network(FLAT, [("x", ["n", "m", 2])], {"n": (2,), "m": (3, 5)})
    with pytest.raises(UsageError, match=r"'n' is no open extent in which the shapes of .* differ; expected m"):
        tilewright.load(artifact, pad="n")


def test_the_command_pads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.onnx").write_bytes(convolutional())
    words = ["compile", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "m.twa"), "--input-shape", "batch=1,4"]
    assert main([*words, "--quiet"]) == 0
    np.save(tmp_path / "x.npy", numbers(3, 3, 8, 8))
    words = ["run", str(tmp_path / "m.twa"), str(tmp_path / "x.npy"), "--json"]
    capsys.readouterr()
    assert main([*words, "--pad", "batch"]) == 0
    assert result_of(capsys.readouterr().out)["y"]["shape"] == [3, 12]
    assert main(words) == 1
    assert "no shape that fits the inputs" in capsys.readouterr().err
