"""What roundings do to the outputs, and which layers are kept in floating point for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import pytest
from onnx_networks import OnnxNetwork

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.progress import silent
from tilewright.compiler.quantization.ladder import climb
from tilewright.compiler.quantization.ladder.goal import Goal
from tilewright.compiler.quantization.ladder.judging import Score, decibels
from tilewright.compiler.quantization.ladder.layer_costs import layer_costs
from tilewright.compiler.quantization.ladder.output_noise import (
    Harmed,
    OutputNoise,
    harmed_results,
    layers_to_keep,
    output_noise,
)
from tilewright.compiler.quantization.ladder.result import Rung
from tilewright.compiler.quantization.ladder.tries import Try, slow_methods
from tilewright.compiler.quantization.methods import Choices, Prepared
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import PassError
from tilewright.ir import interp

F32 = onnx.TensorProto.FLOAT
SAMPLES = np.random.default_rng(1).standard_normal((24, 3, 8, 8)).astype(np.float32)
OPTIONS = CompileOptions(calibration=SAMPLES[:16], methods="none", engines="device,software")


def branches(*further: str) -> bytes:
    """Two ways to the output: a coarse one of heavy tails that hardly counts, and one that does; and more outputs."""
    rng = np.random.default_rng(0)
    heavy = rng.standard_normal((8, 3, 1, 1)) * np.asarray([1e3, *[1.0] * 7]).reshape(-1, 1, 1, 1)
    weights = {"a": heavy, "b": rng.standard_normal((8, 3, 1, 1))}
    weights |= {"c": rng.standard_normal((2, 8, 1, 1)) * 1e-6, "d": rng.standard_normal((2, 8, 1, 1))}
    nodes = [
        onnx.helper.make_node("Conv", ["x", "a"], ["coarse"], name="coarse"),
        onnx.helper.make_node("Conv", ["x", "b"], ["fine"], name="fine"),
        onnx.helper.make_node("Sigmoid", ["coarse"], ["p"]),
        onnx.helper.make_node("Sigmoid", ["fine"], ["q"]),
        onnx.helper.make_node("Conv", ["p", "c"], ["s"], name="little"),
        onnx.helper.make_node("Conv", ["q", "d"], ["t"], name="much"),
        onnx.helper.make_node("Add", ["s", "t"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "branches",
        [onnx.helper.make_tensor_value_info("x", F32, [1, 3, 8, 8])],
        [onnx.helper.make_tensor_value_info(name, F32, [1, 2, 8, 8]) for name in ("y", *further)],
        [onnx.numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]).SerializeToString()


def noise_of(model: bytes, methods: str) -> tuple[Prepared, OutputNoise, float]:
    """The network, what its roundings do, and the SQNR that it has."""
    module, choices = import_model(model), Choices()
    found = quantize_module(module, CompileOptions(calibration=SAMPLES[:16], methods=methods), None, choices)
    assert choices.prepared is not None
    inputs = [{"x": x} for x in SAMPLES[16:20, None]]
    signal = wrong = 0.0
    for each in inputs:
        a, b = (interp.run(network, each)["y"].astype(np.float64) for network in (module, found))
        signal, wrong = signal + float(np.square(a).sum()), wrong + float(np.square(b - a).sum())
    return choices.prepared, output_noise(choices.prepared, inputs, silent), decibels(signal, wrong)


@pytest.mark.parametrize("methods", ["none", "all"])
def test_roundings_add_up_to_what_the_network_loses(methods: str) -> None:
    prepared, noise, found = noise_of(branches(), methods)
    assert decibels(noise.signal, noise.of(prepared.plan())) == pytest.approx(found, abs=1.5)


def test_layers_are_kept_by_what_they_do_to_the_outputs() -> None:
    prepared, noise, found = noise_of(branches(), "none")
    seconds: dict[str, float] = dict.fromkeys(["coarse", "fine", "little", "much"], 1.0)
    ways = [*layers_to_keep(prepared, noise, seconds, 4)]
    assert {*ways[0].nodes} <= {"fine", "much"}
    assert ways[0].sqnr > found
    assert [way.sqnr for way in ways] == sorted(way.sqnr for way in ways)
    # One layer at least is left.
    assert len(ways[-1].nodes) <= 3
    # What costs a thousand times as much has to bring as much.
    dear = [*layers_to_keep(prepared, noise, {**seconds, "fine": 1e3, "much": 1e3}, 1)]
    assert len(dear) == 1


def test_a_goal_that_methods_miss_is_reached_by_what_does_most_to_the_outputs(tmp_path: Path) -> None:
    plain = tilewright.quantize(branches(), tmp_path / "plain.twa", calibration=SAMPLES, engines="software")
    goal = max(rung.score.sqnr for rung in plain.rungs) + 3
    found = tilewright.quantize(
        branches(), tmp_path / "kept.twa", calibration=SAMPLES, engines="software", min_sqnr=goal
    )
    assert found.reached and len(found.rungs) > len(plain.rungs)
    assert not {"coarse", "little"} & {*found.kept}


def test_a_goal_is_reached_by_every_output_and_not_by_the_loudest(tmp_path: Path) -> None:
    found = tilewright.quantize(
        branches("s"), tmp_path / "every.twa", calibration=SAMPLES, engines="software", min_sqnr=30
    )
    first, score = found.rungs[0].score, found.rungs[found.chosen].score
    assert first.sqnr >= 30 > first.outputs["s"] and found.chosen > 0
    assert found.reached and min(score.outputs.values()) >= 30


def test_layers_stay_in_floating_point_beside_results_of_16_bits(tmp_path: Path) -> None:
    """Where neither alone reaches the goal; what chooses is the numbers, not zeros or indices beside them."""
    net = OnnxNetwork(np.random.default_rng(0))
    y = net.op("Conv", net.op("Relu", net.op("Conv", "x", net.some(6, 3, 3, 3))), net.some(4, 6, 1, 1))
    model = onnx.load_from_string(net.model([1, 3, 8, 8], y))
    model.graph.node.extend(
        [onnx.helper.make_node("Sub", [y, y], ["zeros"]), onnx.helper.make_node("ArgMax", [y], ["index"], axis=1)]
    )
    kinds = {"zeros": F32, "index": onnx.TensorProto.INT64}
    model.graph.output.extend(onnx.helper.make_tensor_value_info(*each, None) for each in kinds.items())
    found = tilewright.quantize(model, tmp_path / "a.twa", calibration=SAMPLES, engines="software", min_sqnr=48)
    *others, last = found.rungs
    assert found.reached and found.kept and found.wide
    assert last.what == "+ 1 layer besides"
    assert max(rung.score.outputs[y] for rung in others) < 48
    assert last.choice == pytest.approx(last.score.outputs[y], abs=6)
    text = " ".join(found.to_text().split())
    assert " + 1 layer besides " in text
    assert " besides: layers in floating point, too, on the best row in 16 bits " in text
    assert " that they take longer, on the best row before any in 16 bits " in text


@pytest.mark.parametrize("between", ["Softmax", "PRelu"])
def test_what_is_kept_may_leave_a_name_of_16_bits_or_a_prelu_no_integers(
    between: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A softmax makes integers, and a PReLU becomes a convolution, for the layer behind alone."""
    net = OnnxNetwork(np.random.default_rng(0))
    x = net.op("Conv", "x", net.some(6, 3, 3, 3))
    y = net.op(between, x, net.some(6, 1, 1)) if between == "PRelu" else net.op("Softmax", x, axis=1)
    model = net.model([1, 3, 8, 8], net.op("Exp", net.op("Conv", y, net.some(4, 6, 1, 1))))
    monkeypatch.setattr(climb, "WIDE_SHARES", (1,))
    found = tilewright.quantize(model, tmp_path / "a.qonnx", calibration=SAMPLES, min_sqnr=150)
    assert not found.failed
    assert [rung.what for rung in found.rungs if "besides" in rung.what]
    options = CompileOptions(calibration=SAMPLES[:4], wide=(y,), methods="none")
    with pytest.raises(PassError, match="make no integers"):
        quantize_module(import_model(model), replace(options, wide=("v3",)))
    idle: set[str] = set()
    quantize_module(import_model(model), replace(options, keep_float=("v2",)), None, Choices(idle=idle))
    assert idle == {y}


def test_results_get_16_bits_by_what_they_do_over_the_time_that_it_takes() -> None:
    prepared, noise, _ = noise_of(branches(), "none")
    first, *others = harmed_results(prepared, noise)
    assert first.noise == max(each.noise for each in (first, *others)) and not first.seconds
    dear = harmed_results(prepared, noise, lambda name: 1e9 * (name == first.name))
    assert dear[0].name in {each.name for each in others} and dear.index(Harmed(first.name, first.noise, 1e9))
    told: list[tuple[int, int]] = []
    harmed_results(prepared, noise, lambda _: 0.0, report=lambda _, done, total: told.append((done, total)))
    assert told == [(at, 1 + len(others)) for at in range(1 + len(others))]
    # Less than the least is as good as the least.
    assert harmed_results(prepared, noise, lambda name: 0.5 * (name == first.name))[0].name == first.name
    costs = layer_costs(quantize_module(import_model(branches()), OPTIONS), OPTIONS)
    assert costs.more.keys() >= {"coarse", "fine", "little", "much"}
    # What moves between the two is in no layer.
    assert costs.total > 0 < min(costs.more.values())


def test_what_lowered_the_choice_is_tried_again_on_methods_that_came_later(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    judged = climb.Search._attempt

    def attempt(search: climb.Search, what: str, methods: str, keep: Sequence[str], wide: Sequence[str]) -> Score:
        judged(search, what, methods, keep, wide)
        names = {*methods.split(",")}
        choice = 30.0 + 5 * ("rounding" in names) + (1 if "rounding" in names else -1) * ("outputs" in names)
        found = replace(search.rungs[-1].score, sqnr=choice + len(search.rungs) / 100)
        search.rungs[-1] = replace(search.rungs[-1], choice=choice, score=found)
        return found

    monkeypatch.setattr(climb.Search, "_attempt", attempt)
    found = tilewright.quantize(branches(), tmp_path / "a.twa", calibration=SAMPLES, engines="software")
    assert [rung.what.partition(":")[0] for rung in found.rungs if rung.rejected] == ["+ outputs"]
    assert found.rungs[-1].what == "+ outputs, tried again" and found.chosen == len(found.rungs) - 1


class Tries:
    """Tries of so many, of which those of at least some number meet a goal, and which take a second, and more each."""

    def __init__(self, least: int, seconds: float = 1.0) -> None:
        self.search, self.counts, self.goal = object.__new__(climb.Search), list[int](), Goal(0.0, None, None)
        self.search.rungs, self.search.tried, self.least, self.seconds = [], [], least, seconds

    def fewest(self, steps: Sequence[int], seconds: float = 1.0) -> int:
        base = Mock(spec=Try, seconds=seconds)
        return self.search._fewest(self.goal, base, steps, self.attempt)

    def attempt(self, count: int) -> Score:
        found = Score(0.0, float(count >= self.least), None)
        self.counts.append(count)
        self.search.rungs.append(Rung(f"{count}", found, 0.0))
        self.search.tried.append(Mock(spec=Try, seconds=1 + self.seconds * count))
        return found


def test_fewer_are_tried_between_the_step_that_misses_a_goal_and_the_next_one() -> None:
    few = Tries(3)
    assert few.fewest([2, 7, 14]) == 3 and few.counts == [2, 7, 4, 3]
    many = Tries(101)
    assert many.fewest([100, 400]) == 118 and many.counts == [100, 400, 250, 175, 137, 118]
    none = Tries(30)
    assert none.fewest([2, 7, 14]) == 0 and none.counts == [2, 7, 14]
    # Nothing is to be saved, or another try is quicker.
    equal = Tries(3, 0.001)
    assert equal.fewest([2, 7]) == 7 and equal.counts == [2, 7]
    quicker = Tries(3)
    quicker.attempt(5)
    assert quicker.fewest([2, 7, 14], 6.0) == 0 and quicker.counts == [5]


def test_no_more_results_get_16_bits_than_it_takes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = {"calibration": SAMPLES, "engines": "software", "methods": "none"}
    plain = tilewright.quantize(branches(), tmp_path / "plain.twa", **options)  # pyright: ignore
    goal = max(rung.score.sqnr for rung in plain.rungs) + 3
    monkeypatch.setattr(climb, "WIDE_SHARES", ())
    few = tilewright.quantize(branches(), tmp_path / "few.twa", min_sqnr=goal, **options)  # pyright: ignore
    whole, *between = [rung for rung in few.rungs if "16 bits" in rung.what]
    assert whole.what == "+ all activations in 16 bits" and between
    assert few.reached and few.wide != ["all"]
    seconds = [rung.seconds for rung in few.rungs if rung.score.sqnr >= goal]
    assert few.rungs[few.chosen].seconds == min(seconds) < whole.seconds  # pyright: ignore


def test_results_that_do_little_lose_16_bits_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def misled(*given: object) -> list[Harmed]:
        found = sorted(harmed_results(*given), key=lambda each: each.noise)  # pyright: ignore
        return [found[0], *found[:0:-1]]

    monkeypatch.setattr(climb, "harmed_results", misled)
    options = {"calibration": SAMPLES, "engines": "software"}
    plain = tilewright.quantize(branches(), tmp_path / "plain.twa", **options)  # pyright: ignore
    goal = max(rung.score.sqnr for rung in plain.rungs) + 1
    found = tilewright.quantize(branches(), tmp_path / "few.twa", min_sqnr=goal, **options)  # pyright: ignore
    assert found.reached
    assert " of " in found.rungs[found.chosen].what
    assert "coarse" not in found.wide


def test_a_method_that_takes_time_gives_way_to_what_takes_less(tmp_path: Path) -> None:
    """The host takes longer for scores of many classes than the accelerator does for results of 16 bits."""
    net = OnnxNetwork(np.random.default_rng(0))
    x = net.op("Relu", net.op("Conv", "x", net.some(64, 3, 3, 3)))
    y = net.op("Conv", net.op("GlobalAveragePool", x), net.some(1000, 64, 1, 1))
    model, options = net.model([1, 3, 8, 8], y), {"calibration": SAMPLES}
    plain = tilewright.quantize(model, tmp_path / "plain.twa", **options)  # pyright: ignore
    (with_outputs,) = (rung.score.sqnr for rung in plain.rungs if rung.what.startswith("+ outputs"))
    found = tilewright.quantize(model, tmp_path / "quick.twa", min_sqnr=with_outputs - 0.01, **options)  # pyright: ignore
    (outputs,) = (rung for rung in found.rungs if rung.what.startswith("+ outputs"))
    best = found.rungs[found.chosen]
    assert found.reached and best.seconds < outputs.seconds  # pyright: ignore
    assert any(rung.what.startswith("without outputs") for rung in found.rungs)


def test_methods_that_are_free_are_not_left_out_for_their_time() -> None:
    steps = [("none", 10.0), ("outputs", 20.0), ("outputs,rounding", 21.0)]
    tried = [Mock(spec=Try, keep=(), wide=(), names=tuple(m.split(",")) * (m != "none"), seconds=s) for m, s in steps]
    assert slow_methods(tried[-1], tried, 0.01) == {"outputs": 10.0}


def test_a_name_for_16_bits_may_be_given_twice(tmp_path: Path) -> None:
    options = {"calibration": SAMPLES, "engines": "software", "min_sqnr": 150, "wide": ["x", "x"]}
    found = tilewright.quantize(branches(), tmp_path / "twice.twa", **options)  # pyright: ignore
    assert found.wide == ["x"] and found.kept


def test_the_host_multiplies_half_as_many_numbers_of_16_bits_or_in_floating_point() -> None:
    net = OnnxNetwork(np.random.default_rng(0))
    model = net.model(
        [1, 32, 32, 32], net.op("Conv", net.op("Conv", "x", net.some(32, 32, 3, 3)), net.some(32, 32, 3, 3))
    )
    options = CompileOptions(calibration=np.ones((2, 32, 32, 32), np.float32), engines=("software",))
    module = import_model(model)
    last = [*module.main.ops][-1].result.name
    ways = {"narrow": options, "wide": replace(options, wide=("all",)), "real": replace(options, keep_float=(last,))}
    seconds = {name: layer_costs(quantize_module(module, each), each).total for name, each in ways.items()}
    assert seconds["wide"] > seconds["real"] > 1.3 * seconds["narrow"], seconds


def test_layers_take_what_all_clusters_take_unless_the_options_say_otherwise() -> None:
    net = OnnxNetwork(np.random.default_rng(0))
    model = net.model([1, 32, 32, 32], net.op("Conv", "x", net.some(64, 32, 3, 3)))
    options = CompileOptions(calibration=np.ones((2, 32, 32, 32), np.float32), engines=("device",), machine="m4096")
    module = quantize_module(import_model(model), options)
    one, some = (layer_costs(module, replace(options, clusters=clusters)).total for clusters in (1, 4))
    assert layer_costs(module, options).total == some < one
