"""One network as exporters write it: the schedule does not depend on which of them did."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tilewright.compiler.device.plans import choose_plans
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.pipeline import (
    calibration_pipeline,
    outline_pipeline,
    post_training_pipeline,
    schedule_pipeline,
    tile_pipeline,
)
from tilewright.passes.quantization.plan import plan_quantization
from tilewright.runtime.machines.machine import load

WIDTHS = (3, 32, 32, 48)


def network(normalized: Callable[[int], bool], shared: bool) -> onnx.ModelProto:
    """Three convolutions with a sum around the second one.

    Args:
        normalized: whether the convolution with that number is followed by a batch normalisation.
        shared: constants that are equal are one initialiser, otherwise nodes of their own.
    """
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    weights: dict[str, np.ndarray] = {}

    def constant(name: str, array: np.ndarray) -> str:
        if not shared:
            nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name)))
            return name
        same = next((each for each, other in weights.items() if np.array_equal(other, array)), name)
        weights.setdefault(same, array)
        return same

    x = "x"
    for number, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
        kernel = rng.normal(0, 0.1, (outputs, inputs, 3, 3)).astype(np.float32)
        bias, scale = np.ones(outputs, np.float32), rng.uniform(0.5, 2, outputs).astype(np.float32)
        y = f"y{number}"
        if normalized(number):
            w = constant(f"w{number}", kernel / scale.reshape(-1, 1, 1, 1))
            ones = np.full(outputs, 1 - 1e-5, np.float32)
            numbers = {"scale": scale, "bias": bias, "mean": 0 * bias, "variance": ones}
            names = [constant(f"{name}{number}", array) for name, array in numbers.items()]
            nodes.append(helper.make_node("Conv", [x, w], [f"sums{number}"], pads=[1] * 4))
            nodes.append(helper.make_node("BatchNormalization", [f"sums{number}", *names], [y], epsilon=1e-5))
        else:
            names = [constant(f"w{number}", kernel), constant(f"bias{number}", bias)]
            nodes.append(helper.make_node("Conv", [x, *names], [y], pads=[1] * 4))
        if number == 1:
            nodes.append(helper.make_node("Add", [y, x], ["sum"]))
            y = "sum"
        nodes.append(helper.make_node("Relu", [y], [f"relu{number}"]))
        x = f"relu{number}"
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, WIDTHS[0], 40, 40])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, WIDTHS[-1], 40, 40])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def cycles(model: onnx.ModelProto, machine: str) -> float:
    """Of its device programs, modelled."""
    module, device = import_model(model), load(machine)
    calibration_pipeline().run(module)
    values = plan_quantization(module.main, ()).values
    post_training_pipeline(dict.fromkeys(values, (0.0, 3.0))).run(module)
    outline_pipeline(machine, clusters=device.clusters).run(module)
    drafts = choose_plans(module, device, schedule_pipeline(machine), tile_pipeline(machine), device.clusters, "quick")
    assert drafts
    return sum(draft.cycles for draft in drafts.values())


def check(machine: str, *ways: onnx.ModelProto) -> None:
    found = [cycles(way, machine) for way in ways]
    assert max(found) <= 1.01 * min(found)


def test_how_a_network_was_exported_does_not_change_its_schedule_by_a_hundredth() -> None:
    check("m4096", network(lambda _: False, False), network(lambda _: True, True), network(lambda n: n == 1, False))


@pytest.mark.sweep
@pytest.mark.parametrize("machine", ["m4096", "s256"])
def test_no_pair_of_choices_of_an_exporter_does(machine: str) -> None:
    normalized: tuple[Callable[[int], bool], ...] = (lambda _: False, lambda _: True, lambda n: n == 1)
    check(machine, *(network(where, shared) for where in normalized for shared in (False, True)))
