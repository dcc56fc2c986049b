"""Options that programs alone have: the order of convolutions, and what stays in floating point."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
import pytest
from network_files import tiled_model
from onnx_networks import OnnxNetwork

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import PassError, UsageError
from tilewright.runtime.report.details import details_of
from tilewright.runtime.report.simulation import device_programs


def model() -> bytes:
    return tiled_model("GlobalAveragePool").SerializeToString()


@cache
def compiled(stationary: str = "cheapest", keep_float: Sequence[str] = ()) -> tilewright.Artifact:
    samples = np.random.default_rng(1).standard_normal((2, 128, 14, 14), np.float32)
    return tilewright.compile(
        model(), calibration=samples, machine="s256", stationary=stationary, keep_float=keep_float
    )


def test_what_convolutions_keep_changes_the_program_and_no_result() -> None:
    x = np.random.default_rng(2).standard_normal((1, 128, 14, 14), np.float32)
    results: set[bytes] = set()
    programs: dict[str, list[str]] = {}
    for order in ("cheapest", "weights", "inputs"):
        artifact = compiled(stationary=order)
        for engine in ("device", "software"):
            with tilewright.load(artifact, engine=engine) as session:
                results.add(session.run({"x": x})["classes"].tobytes())
        programs[order] = [program.disassemble() for (program,) in device_programs(artifact, "test").values()]
    assert len(results) == 1
    assert programs["weights"] != programs["inputs"]


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (["classifer"], "found 'classifer'. 'classifer' is like 'classifier', 'classes'."),
        (["classif"], "found 'classif'. 'classif' is like 'classifier'."),
        (["matmul", "MatMul", "zzzz"], "found 'MatMul', 'zzzz'. 'MatMul' is like 'matmul'."),
        (["con*", "zz*"], "found 'zz*'. `tilewright inspect` lists the ops with their names."),
        (["mtxl"], "found 'mtxl'. `tilewright inspect` lists the ops with their names."),
        (["zzzz"], "found 'zzzz'. `tilewright inspect` lists the ops with their names."),
    ],
)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_names_to_keep_that_stand_for_nothing_are_refused(precision: str, kept: list[str], message: str) -> None:
    with pytest.raises(PassError) as caught:
        tilewright.compile(model(), precision=precision, keep_float=kept)
    assert str(caught.value) == f"quantize: --keep-float names ops that the network does not have; {message}"


def test_where_everything_is_in_floating_point_nothing_can_be_kept() -> None:
    with pytest.raises(UsageError, match="--keep-float is for precision int8; in fp32"):
        tilewright.compile(model(), keep_float=["classifier"])
    tilewright.compile(model(), keep_float=[])


def test_one_name_to_keep_is_given_in_a_list() -> None:
    with pytest.raises(UsageError, match="option 'keep_float' has the wrong type; expected Sequence"):
        tilewright.compile(model(), keep_float="conv")


@pytest.mark.parametrize("kept", ["matmul", "classifier", "class*", "*assifi*r"])
def test_what_stays_in_floating_point_is_named_by_operator_node_or_pattern(kept: str) -> None:
    placed = {op.op: op.on for op in details_of(compiled(keep_float=(kept,))).placement}
    assert placed["matmul"] == "cpu"
    assert placed["conv"] == "device"
    assert "matmul" not in {op.op for op in details_of(compiled()).placement}
    assert onnx.load_from_string(model()).graph.node[3].name == "classifier"


def test_a_join_of_one_is_known_by_its_name() -> None:
    net = OnnxNetwork(np.random.default_rng(0))
    joined = net.op("Concat", net.op("Conv", "x", net.some(8, 3, 3, 3)), axis=1)
    last = net.op("Conv", joined, net.some(4, 8, 3, 3))
    samples = np.random.default_rng(1).standard_normal((4, 3, 8, 8)).astype(np.float32)
    module = import_model(net.model([1, 3, 8, 8], last))
    found, others = (
        [op.name for op in quantize_module(module, CompileOptions(calibration=samples, keep_float=kept)).ops]
        for kept in ([joined], [])
    )
    assert found == others


KEPT = {
    "pool": ("GlobalAveragePool", {}),
    "mean": ("ReduceMean", {"axes": [2, 3], "keepdims": 1}),
    "mean of rows": ("ReduceMean", {"axes": [2, 3], "keepdims": 0}),
    "window": ("AveragePool", {"kernel_shape": [2, 2]}),
    "function": ("Tanh", {}),
    "mean of tokens": ("ReduceMean", {"axes": [1], "keepdims": 1}),
}


@pytest.mark.parametrize("engines", ["device,software", "software"])
@pytest.mark.parametrize("kind", KEPT)
def test_what_is_kept_between_layers_of_integers_is_in_floating_point(kind: str, engines: str) -> None:
    net, (operator, attributes) = OnnxNetwork(np.random.default_rng(0)), KEPT[kind]
    is_map = kind != "mean of tokens"
    shape = [1, 3, 8, 8] if is_map else [1, 6, 8]
    x = net.op("Conv", "x", net.some(8, 3, 3, 3)) if is_map else net.op("MatMul", "x", net.some(8, 8))
    kept = net.op(operator, x, **attributes)
    if kind in ("window", "function"):
        last = net.op("Conv", kept, net.some(4, 8, 3, 3))
    else:
        last = net.op("MatMul", net.op("Flatten", kept), net.some(8, 4))
    samples = np.random.default_rng(1).standard_normal((4, *shape[1:])).astype(np.float32)
    options = CompileOptions(calibration=samples, engines=engines, keep_float=[kept])
    module = quantize_module(import_model(net.model(shape, last)), options)
    kinds = ("global_average_pool", "reduce_mean", "average_pool", "tanh")
    named = [op for op in module.ops if kept in op.loc and op.name in kinds]
    assert named and all(op.result.type.quant is None for op in named)
    assert [op.result.type.quant is None for op in module.ops if op.name in ("conv", "matmul")][:1] == [False]
    if engines != "software":
        found = tilewright.compile(net.model(shape, last), calibration=samples, keep_float=[kept])
        assert {each.on for each in details_of(found).placement if each.op == named[0].name} == {"cpu"}
