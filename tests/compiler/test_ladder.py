"""Tries of `tilewright quantize`: those that fail are left out, and what is said of the others is so."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from onnx_networks import OnnxNetwork
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.codegen.cpu import assemble
from tilewright.compiler.driver import Shared
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.ladder import attempts, climb, quantize_model
from tilewright.compiler.quantization.ladder.goal import Goal
from tilewright.compiler.quantization.ladder.judging import Score, losses, score
from tilewright.compiler.quantization.ladder.layer_costs import LayerCosts, layer_costs
from tilewright.compiler.quantization.ladder.quantize_model import write_quantized
from tilewright.compiler.quantization.ladder.result import Quantization, Rung
from tilewright.compiler.quantization.methods import METHODS
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import CalibrationWarning, NothingToQuantizeError, OutputError, PassError, UsageError
from tilewright.ir.core import Module
from tilewright.ir.ops.activation import Swish
from tilewright.ir.types import DType, TensorType
from tilewright.ir.types import Quantization as Grid
from tilewright.runtime.artifact.artifact import Artifact

F32 = onnx.TensorProto.FLOAT
SAMPLES = np.random.default_rng(1).standard_normal((24, 3, 8, 8)).astype(np.float32)


def network() -> bytes:
    """Two convolutions, with a clamp between them."""
    rng = np.random.default_rng(0)
    weights = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 3, 3, 3), (4, 6, 1, 1)))
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Conv", ["x", "w"], ["c"], name="first"),
            onnx.helper.make_node("Relu", ["c"], ["r"]),
            onnx.helper.make_node("Conv", ["r", "v"], ["y"], name="last"),
        ],
        "network",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", F32, [1, 4, 6, 6])],
        [onnx.numpy_helper.from_array(array, name) for array, name in zip(weights, "wv", strict=True)],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


@pytest.fixture
def quantize(tmp_path: Path) -> Callable[..., Quantization]:
    """Quantise the network, for the CPU alone."""

    def call(samples: np.ndarray = SAMPLES, **options: object) -> Quantization:
        given = {"calibration": samples, "engines": "software", **options}
        return tilewright.quantize(network(), tmp_path / "network.twa", **given)  # pyright: ignore

    return call


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Quantization:
    """What is found where no try fails."""
    output = tmp_path_factory.mktemp("ladder") / "network.twa"
    return tilewright.quantize(network(), output, calibration=SAMPLES, engines="software")


def refuse(monkeypatch: pytest.MonkeyPatch, method: str, error: BaseException) -> None:
    """Have every try with a method fail."""

    def fails(module: Module, options: CompileOptions, *others: object) -> Module:
        if method in options.methods:
            raise error
        return quantize_module(module, options, *others)  # pyright: ignore

    monkeypatch.setattr(attempts, "quantize_module", fails)


def test_a_try_that_fails_is_left_out_and_the_others_are_made(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization], undisturbed: Quantization
) -> None:
    whole = [rung.what for rung in undisturbed.rungs]
    refuse(monkeypatch, "outputs", PassError("there is no room for it", stage="place", node="last"))
    found = quantize()
    assert [rung.what for rung in found.rungs] == [what for what in whole if not what.startswith("+ outputs")]
    assert found.rungs[-1].what.startswith("+ rounding") and len(found.rungs) == len(whole) - 1
    assert "\nLeft out: + outputs: place: node 'last': there is no room for it\n" in found.to_text()


def test_a_method_for_which_there_is_no_memory_is_left_out(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization]
) -> None:
    refuse(monkeypatch, "outputs", MemoryError())
    (failed,) = quantize().failed
    assert failed.what.startswith("+ outputs")
    assert failed.why == "quantize: this machine does not have enough memory"


def test_ctrl_c_tells_what_was_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization], undisturbed: Quantization
) -> None:
    refuse(monkeypatch, "rounding", KeyboardInterrupt())
    tries = "; ".join(f"{each.what.partition(':')[0]} {each.score.sqnr:.1f} dB" for each in undisturbed.rungs[:-1])
    said = f"^{re.escape(f'nothing was written; SQNR of what was tried by then: {tries}')}$"
    with pytest.warns(CalibrationWarning, match=said), pytest.raises(KeyboardInterrupt):
        quantize()
    assert not [*tmp_path.iterdir()]


def test_what_the_others_stand_on_must_not_fail(quantize: Callable[..., Quantization]) -> None:
    with pytest.raises(PassError, match="nothing"):
        quantize(keep_float=["nothing"])


def test_times_of_some_tries_alone_choose_none(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization]
) -> None:
    """One whose time is not known would take none, and be the quickest."""

    def costs(*given: Any) -> LayerCosts:
        asked.append(given)
        if len(asked) > 2:
            raise PassError("no machine has this form")
        return layer_costs(*given)

    asked: list[object] = []
    monkeypatch.setattr(attempts, "layer_costs", costs)
    found = quantize(min_sqnr=150)
    assert [(each.what, each.why) for each in found.failed] == [("times of layers", "no machine has this form")]
    assert len(found.rungs) > len(asked) == 3
    assert [rung.seconds for rung in found.rungs] == [None] * len(found.rungs)


def test_16_bits_are_tried_where_layers_cannot_be_ranked(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization]
) -> None:
    def fails(*_: object) -> None:
        raise PassError("it cannot be compiled")

    monkeypatch.setattr(climb, "output_noise", fails)
    found = quantize(min_sqnr=150)
    assert "+ all activations in 16 bits" in [rung.what for rung in found.rungs]
    assert "\nLeft out: ranking of layers by what their rounding does: it cannot be compiled\n" in found.to_text()


def test_poor_integers_get_16_bits_without_a_goal_and_no_layer_in_floating_point(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization]
) -> None:
    assert not any("16 bits" in rung.what for rung in quantize().rungs)
    monkeypatch.setattr(climb, "POOR", 150.0)
    found = quantize()
    further = [rung.what for rung in found.rungs if not rung.what.startswith(("ranges", *(f"+ {n}:" for n in METHODS)))]
    assert further[:2] == ["+ 1 result in 16 bits", "+ all activations in 16 bits"]
    assert all(what.endswith(", tried again") for what in further[2:])
    assert found.wide and not found.kept and found.goal is None
    # No more than it takes.
    best = max(rung.choice for rung in found.rungs if rung.what not in further)
    monkeypatch.setattr(climb, "POOR", best + 0.1)
    assert [rung.what for rung in quantize().rungs if "16 bits" in rung.what] == further[:1]


def test_what_cannot_be_written_is_left_out_for_the_next_best(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization], undisturbed: Quantization
) -> None:
    best = undisturbed

    def fails(model: bytes, output: Path, options: CompileOptions, shared: Shared) -> None:
        if "outputs" in options.methods:
            raise PassError("there is no room for it")
        write_quantized(model, output, options, shared)

    monkeypatch.setattr(quantize_model, "write_quantized", fails)
    found = quantize()
    left = [each.what for each in found.failed]
    assert best.rungs[best.chosen].what in left and all(each.why == "there is no room for it" for each in found.failed)
    assert not {*left} & {rung.what for rung in found.rungs}
    assert found.rungs[found.chosen].choice == max(rung.choice for rung in found.rungs)

    def never(*_: object) -> None:
        raise PassError("there is no room at all")

    monkeypatch.setattr(quantize_model, "write_quantized", never)
    with pytest.raises(PassError, match="there is no room at all"):
        quantize()

    def wrong(*_: object) -> None:
        raise UsageError("this is no option")

    # It would be the same for every try.
    monkeypatch.setattr(quantize_model, "write_quantized", wrong)
    with pytest.raises(UsageError, match="this is no option"):
        quantize()


def test_what_is_written_is_what_was_judged(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization]
) -> None:
    for engines in ("software", None):
        written = Path(quantize(engines=engines).output).read_bytes()
        with monkeypatch.context() as patch:
            # As if nothing were known of the samples yet.
            patch.setattr(attempts, "Shared", lambda *_: None)
            assert Path(quantize(engines=engines).output).read_bytes() == written
    with pytest.raises(UsageError, match="--engines is for artifacts; found output"):
        tilewright.quantize(network(), "network.onnx", calibration=SAMPLES, engines="software")


def test_integers_are_written_or_nothing(
    quantize: Callable[..., Quantization], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for engines, shown in (("float", "float"), (["float"], "float"), ([], "")):
        words = f"quantize writes integers; expected engine device or software, found {shown}"
        with pytest.raises(UsageError, match=words):
            quantize(engines=engines)
    assert not [*tmp_path.iterdir()]
    artifact = Artifact.open(quantize(engines="software,float").output)
    assert {*artifact.manifest.engines} == {"software", "float"}
    assert main(["quantize", "--help"]) == 0
    assert "beside these float, the model as it was" in " ".join(capsys.readouterr().out.split())


def test_which_samples_choose_is_said(quantize: Callable[..., Quantization]) -> None:
    text = quantize().to_text()
    assert "\nCalibrated on 12 samples, methods chosen by 4 others, judged on 8 others.\n" in text
    assert "\n  choice: SQNR of the 4 samples that choose; the rest is of those that judge\n" in text
    assert "\n  * was written: its choice is the highest\n" in text
    said = " ".join(text.split())
    assert (
        "as in floating point; it tells nothing of coordinates, boxes, pictures or sounds, for which SQNR does choice:"
        in said
    )
    assert f"\n  + inputs: {METHODS['inputs']}\n" not in text and f"\n  + rounding: {METHODS['rounding']}\n" in text
    assert re.search(
        r"\nInput x: 12 samples, (.*\n)+?Written, on 8 samples: SQNR \d+\.\d dB, [\d.]+ % of answers as in", text
    )
    few = quantize(SAMPLES[:3], min_sqnr=1).to_text()
    assert "\nCalibrated on 2 samples, methods chosen by the same, judged on 1 other.\n" in few
    assert "\n  choice: SQNR of the 2 samples that choose; the rest is of those that judge\n" in few
    assert "\n  * was written: the quickest, modelled, that reaches the goal\n" in few
    # From the table on.
    assert max(len(line) for each in (text, few) for line in each.partition("\n\n")[2].splitlines()) <= 80


def test_what_lowers_the_choice_is_marked_and_each_output_has_its_own_loss(undisturbed: Quantization) -> None:
    scores = [Score(30.0, 1.0, None, {"y": 31.0, "z": 28.0})] * 3
    whats = "first", "+ worse: so", "+ best: so"
    rungs = [*map(Rung, whats, scores, (3.0, 2.0, 4.0), (False, True, False))]
    text = replace(undisturbed, rungs=rungs, chosen=2).to_text()
    lines = text.splitlines()
    assert " SQNR 30.0 dB, least that of z, 28.0 dB, 100.00 % of" in " ".join(text.split())
    assert {"- + worse", "* + best", "first 30.0 100.00"} <= {" ".join(line.split()[:3]) for line in lines}
    assert "  * was written: its choice is the highest; y: 31.0 dB, z: 28.0 dB" in lines
    assert "  - is a method that lowered the choice; no row below has it" in lines
    equal = Rung("first", replace(scores[0], sqnr=200.0, outputs={"y": 200.0}), 200.0)
    alone = replace(undisturbed, rungs=[equal], chosen=0).to_text()
    assert re.search(r"SQNR equal, 100(.*\n)+ +\* +first +equal +100.00 +equal\n", alone) and "200" not in alone
    many = replace(scores[0], outputs={f"output{at}": 30.0 for at in range(12)})
    shown = replace(undisturbed, rungs=[Rung("first", many, 3.0)], chosen=0, top1=0.5).to_text()
    # Numbers stay with their unit; with labels, answers are those of classes.
    assert len(re.findall(r"30\.0 dB", shown)) == 14 and "20 dB: a" in shown and "coordinates" not in shown
    # Whatever stands above it, and nothing but methods.
    (alone,) = replace(undisturbed, rungs=[*rungs[1:]], chosen=1).marks[:1]
    assert alone == "-"
    assert replace(undisturbed, rungs=[replace(each, rejected=False) for each in rungs], chosen=2).marks == [
        "",
        "",
        "*",
    ]


def test_a_method_that_lowers_the_choice_is_marked_whatever_is_left_out(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization]
) -> None:
    judged, decibels = climb.Search._attempt, iter([10.0, 30.0, 20.0])

    def attempt(search: climb.Search, what: str, methods: str, *others: Sequence[str]) -> Score:
        tried.append(methods)
        judged(search, what, methods, *others)
        choice = next(decibels, 5.0)
        # Every try has something for it.
        found = replace(search.rungs[-1].score, sqnr=choice + len(tried) / 100)
        search.rungs[-1] = replace(search.rungs[-1], choice=choice, score=found)
        return found

    def fails(model: bytes, output: Path, options: CompileOptions, shared: Shared) -> None:
        if options.methods == tried[1]:
            raise PassError("there is no room for it")
        write_quantized(model, output, options, shared)

    tried: list[str] = []
    monkeypatch.setattr(climb.Search, "_attempt", attempt)
    monkeypatch.setattr(quantize_model, "write_quantized", fails)
    monkeypatch.setattr(climb, "POOR", 150.0)
    found = quantize()
    # The best is left out; the next one above all others is one that is not in those below.
    assert [rung.choice for rung in found.rungs[:2]] == [10.0, 20.0] and found.chosen == 1
    assert found.rungs[1].rejected and all(rung.rejected == ("16 bits" not in rung.what) for rung in found.rungs[1:])
    rejected = found.rungs[1].what.partition(":")[0].removeprefix("+ ")
    assert not any(rejected in methods.split(",") for methods in tried[3:])
    marks = found.marks
    assert marks[:3] == ["", "*", "-"] and marks[-1] == ""


def test_what_8_bits_hide_is_tried_again_on_the_best_try_of_16_bits(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization]
) -> None:
    judged = climb.Search._attempt

    def attempt(search: climb.Search, what: str, methods: str, keep: Sequence[str], wide: Sequence[str]) -> Score:
        judged(search, what, methods, keep, wide)
        names = {*methods.split(",")}
        # Rounding harms 8 bits and helps 16; outputs harm both; those that judge would have it the other way round.
        choice = 10.0 + 5 * len(wide) + (4 if wide else -4) * ("rounding" in names) - 2 * ("outputs" in names)
        found = replace(search.rungs[-1].score, sqnr=-choice - len(search.rungs) / 100)
        search.rungs[-1] = replace(search.rungs[-1], choice=choice, score=found)
        return found

    monkeypatch.setattr(climb.Search, "_attempt", attempt)
    monkeypatch.setattr(climb, "WIDE_SHARES", ())
    monkeypatch.setattr(climb, "POOR", 150.0)
    found = quantize()
    again = [rung for rung in found.rungs if rung.what.endswith(", tried again")]
    assert [(rung.what, rung.rejected) for rung in again] == [
        ("+ outputs, tried again", True),
        ("+ rounding, tried again", False),
    ]
    assert found.rungs[found.chosen] == again[1] and found.wide == ["all"]
    text = " ".join(found.to_text().split())
    assert "- is a method that lowered the choice; no row below has it, but where it is tried again" in text
    assert not [rung for rung in quantize(wide=["all"]).rungs if "again" in rung.what]


@pytest.mark.parametrize("least", [1, 93])
def test_a_full_disk_is_noticed_before_the_work(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization], least: int
) -> None:
    def full(descriptor: int, start: int, bytes: int) -> None:
        asked.append(bytes)
        if bytes >= least:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def works(*_: object, **__: object) -> None:
        pytest.fail("there is no room for what this makes")

    asked: list[int] = []
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr(quantize_model, "Search", works)
    with pytest.raises(OutputError, match="No space left on device"):
        quantize()
    # 162 and 24 weights.
    assert asked == [1, 93][: 1 + (least > 1)]


def test_outputs_are_judged_together_and_each_by_itself() -> None:
    expected = [np.asarray([1, 2, 10, np.inf], np.float32)]
    found = [np.asarray([1, 2.1, 11, 0], np.float32)]
    both = score(expected, found, None, (1, 2, 1), {"y": 2, "z": 2})
    assert both.outputs["y"] == pytest.approx(10 * np.log10(5 / 0.01), abs=1e-4)
    assert both.outputs["z"] == pytest.approx(20, abs=1e-4)
    assert both.sqnr == pytest.approx(10 * np.log10(105 / 1.01), abs=1e-4)
    assert score(expected, found, None, (1, 2, 1)) == Score(both.sqnr, 1.0, None)


def test_outputs_of_zeros_and_of_indices_do_not_keep_a_goal_from_being_met() -> None:
    zeros = [np.asarray([1, 2, 0, 0], np.float32)]
    found = score(zeros, [np.asarray([1, 2.01, 0, 0], np.float32)], None, (1, 2, 1), {"y": 2, "z": 2})
    assert found.outputs["z"] == 200 and Goal(None, 30.0, None).met(found)
    indices = Score(40.0, 1.0, None, {"y": 40.0, "index": 12.0})
    assert not Goal(None, 30.0, None).met(indices)
    assert Goal(None, 30.0, None, {"index"}).met(indices)
    assert not Goal(None, 50.0, None, {"index"}).met(indices)
    assert not Goal(None, 30.0, None, {"y", "index"}).met(indices), "where all are discrete, each counts"


def test_indices_beside_numbers_are_known_as_discrete(tmp_path: Path) -> None:
    model = onnx.load_from_string(network())
    model.graph.node.append(onnx.helper.make_node("ArgMax", ["y"], ["index"], axis=1))
    model.graph.output.append(onnx.helper.make_tensor_value_info("index", onnx.TensorProto.INT64, None))
    found = tilewright.quantize(
        model, tmp_path / "network.twa", calibration=SAMPLES, engines="software", methods="none", min_sqnr=25
    )
    (rung,) = found.rungs
    assert rung.score is not None and rung.score.outputs["index"] < 25 < rung.score.outputs["y"]
    assert found.reached


def test_the_heading_says_which_integers(quantize: Callable[..., Quantization]) -> None:
    def heading(**options: object) -> str:
        return quantize(**options).to_text().splitlines()[0].partition(": ")[2]

    assert heading() == "network in int8"
    assert heading(weights_bits=4) == "network with weights of 4 bits, activations of 8"
    assert heading(wide=["first"]) == "network with weights of 8 bits, activations of 8 and 16"
    wide = quantize(min_sqnr=150, wide=["all"])
    assert wide.to_text().startswith(f"{wide.output}: network with weights of 8 bits, activations of 16\n")
    assert "\nActivations of 16 bits: all\n" in wide.to_text()
    many = replace(wide, wide=[f"layer/long-name-{index}" for index in range(40)]).to_text()
    assert max(map(len, many.partition("\n\n")[2].splitlines())) <= 80 and "layer/long-name-39\n" in many


def test_answers_that_cannot_tell_a_fall_are_said() -> None:
    assert Goal(0.01, None, None).doubts(99) == ["99 answers tell no fall of 1 %: one of them is more than that"]
    assert Goal(0.01, None, None).doubts(100) == []
    # That none falls is told by any number.
    assert Goal(0.0, None, None).doubts(2) == Goal(None, 30.0, None).doubts(2) == []
    assert Goal(0.0, None, None).met(Score(20.0, 1.0, None))
    assert not Goal(0.0, None, None).met(None)


def test_what_is_cut_off_where_a_function_is_flat_is_no_loss() -> None:
    x = np.concatenate([np.linspace(-60, -9, 200), np.linspace(-8, 8, 200)]).astype(np.float32)
    types = {"x": TensorType(x.shape, DType.I8, Grid.per_tensor(16 / 255))}
    (plain,) = losses({"x": [x]}, {"x": [x]}, types, {})
    assert plain.why == "numbers beyond its range"
    (found,) = losses({"x": [x]}, {"x": [x]}, types, {"x": Swish().reference})
    assert found.why == "rounding to 256 equal steps"
    assert found.own > plain.own + 20
    assert found.saturated == plain.saturated > 0.4
    # Where it is not flat, that is a loss as before.
    (found,) = losses({"x": [-x]}, {"x": [-x]}, types, {"x": Swish().reference})
    assert found.why == "numbers beyond its range"


@pytest.mark.parametrize(("count", "is_few"), [(8, False), (400, True)])
def test_few_numbers_do_not_use_few_levels(count: int, is_few: bool) -> None:
    """An age of each of thirty samples was said to use eight of 256 levels."""
    values = np.linspace(100, 101, count, dtype=np.float32)
    types = {"y": TensorType((count,), DType.U8, Grid.per_tensor(101 / 255))}
    (found,) = losses({"y": [values]}, {"y": [values]}, types, {})
    assert found.levels < 8 and ("few levels used" in found.why) == is_few


def test_no_line_is_wider_than_80_columns_or_the_terminal(
    undisturbed: Quantization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Causes made lines of 84 columns where names have the most that they are given."""
    name = "features/block/0/conv/out"
    (loss,) = losses(
        {name: [np.array([0, 0.4, 1], np.float32)]},
        {name: [np.array([0, 0.1, 3], np.float32)]},
        {name: TensorType((3,), DType.U8, Grid.per_tensor(0.01))},
        {},
    )
    found = replace(undisturbed, layers=[loss])
    assert loss.why == "layers before, and its weights" and loss.why in found.to_text()
    assert max(map(len, found.to_text().splitlines()[1:])) <= 80
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, found.to_text().splitlines()[1:])) <= 60


def test_what_is_harmed_most_is_told_and_then_what_rounding_itself_harms(undisturbed: Quantization) -> None:
    loss = undisturbed.layers[0]
    here = [replace(loss, name=f"{index}", here=float(index), own=30.0 - index) for index in range(12)]
    text = replace(undisturbed, layers=here).to_text()
    assert re.findall(r"^  (\d+) ", text, re.M)[-8:] == ["0", "1", "2", "3", "11", "10", "9", "8"]


def test_long_names_of_what_loses_most_are_cut_unless_they_become_the_same(undisturbed: Quantization) -> None:
    def told(*names: str) -> str:
        return replace(undisturbed, layers=[replace(undisturbed.layers[0], name=name) for name in names]).to_text()

    first, second, other = (f"branch/{name}/activation/Relu_output_0" for name in ("encoder.1", "encoder.2", "decoder"))
    assert first not in told(first, "y") and "branch/enc…Relu_output_0 " in told(first, "y")
    assert first in told(first, second, other) and second in told(first, second, other)


def test_tries_with_the_same_code_compile_it_once(
    monkeypatch: pytest.MonkeyPatch, quantize: Callable[..., Quantization]
) -> None:
    compiled: list[object] = []

    def counted(*arguments: object) -> bytes:
        compiled.append(arguments)
        return make(*arguments)  # pyright: ignore

    make = assemble._compiled
    monkeypatch.setattr(assemble, "_compiled", counted)
    monkeypatch.setattr(assemble, "_objects", {})
    first = quantize()
    count = len(compiled)
    monkeypatch.setattr(assemble, "REMEMBERED", 1)
    monkeypatch.setattr(assemble, "_objects", {})
    assert quantize().rungs == first.rungs
    assert len(compiled) > 2 * count > 0 and len(assemble._objects) == 1


def test_how_images_become_inputs_is_told_where_nothing_says_it(
    tmp_path: Path, quantize: Callable[..., Quantization]
) -> None:
    for index, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    told = [each for each in quantize(tmp_path).warnings if each.startswith("nothing says how images become input 'x'")]
    assert len(told) == 1 and "resize=shorter" in told[0]
    assert "Try --preprocess with what the network was trained with: imagenet, tf, caffe, yolo, or pairs" in told[0]
    assert not any("nothing says" in each for each in quantize(tmp_path, preprocessing="tf").warnings)


def test_products_in_a_branch_are_said_not_to_be_quantised(tmp_path: Path) -> None:
    helper = onnx.helper
    y = helper.make_tensor_value_info("y", F32, [2, 4])
    branches = [
        helper.make_graph([helper.make_node("MatMul", ["x", "w"], [f"y{at}"])], "branch", [], [y]) for at in range(2)
    ]
    for at, branch in enumerate(branches):
        branch.output[0].name = f"y{at}"
    chosen = helper.make_node("If", ["first"], ["y"], then_branch=branches[0], else_branch=branches[1])
    given = [("x", F32, [2, 3]), ("first", onnx.TensorProto.BOOL, [])]
    inputs = [helper.make_tensor_value_info(*each) for each in given]
    weights = onnx.numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    graph = helper.make_graph([chosen], "branches", inputs, [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    samples = {"x": np.ones((4, 2, 3), np.float32), "first": np.ones(4, bool)}
    with pytest.raises(NothingToQuantizeError, match="with constant weights, outside of branches and loops"):
        tilewright.quantize(model, tmp_path / "branches.twa", calibration=samples)


@pytest.mark.parametrize(("choice", "is_wanting"), [(19.9, True), (20.1, False)])
def test_integers_are_poor_by_the_mean_of_the_outputs(choice: float, *, is_wanting: bool) -> None:
    """The power of one output hides what others lose: detectors' classes and boxes."""
    search = object.__new__(climb.Search)
    search.rungs, search._options = [Rung("first", Score(30.0, 1.0, None), choice)], CompileOptions()
    assert search._is_wanting(Goal(None, None, None)) is is_wanting


def test_losses_are_told_of_values_of_one_shape_in_both_networks(tmp_path: Path) -> None:
    """Attention in integers gives its name to a result by heads, before they are joined."""
    net, parts = OnnxNetwork(np.random.default_rng(0)), [np.array(shape) for shape in ([1, 8, 2, 16], [1, 8, 32])]

    def heads() -> str:
        rows = net.op("Reshape", net.op("MatMul", "x", net.some(32, 32)), net.number(parts[0]))
        return net.op("Transpose", rows, perm=[0, 2, 1, 3])

    scores = net.op("MatMul", heads(), net.op("Transpose", heads(), perm=[0, 1, 3, 2]))
    attended = net.op("MatMul", net.op("Softmax", scores, axis=-1), heads())
    joined = net.op("Reshape", net.op("Transpose", attended, perm=[0, 2, 1, 3]), net.number(parts[1]))
    model = net.model([1, 8, 32], net.op("MatMul", joined, net.some(32, 8)))
    samples = np.random.default_rng(1).standard_normal((12, 8, 32)).astype(np.float32)
    found = tilewright.quantize(model, tmp_path / "attention.twa", calibration=samples, methods="none")
    assert joined not in {each.name for each in found.layers}
    assert found.layers
