"""Range statistics and how they are gathered over a network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
from calibration_interpreter import collect_ranges, interpreter
from network_files import graph_model
from onnx import helper
from onnx_networks import OnnxNetwork

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.compiler.calibration.ranges import METHODS, Histogram, MeanSquaredError, Percentile, make_statistics
from tilewright.compiler.demo import MODEL
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import CalibrationError, UsageError
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.unary import Sqrt
from tilewright.ir.types import DType, TensorType
from tilewright.passes.quantization.parameters import affine_parameters


@pytest.mark.parametrize("method", METHODS)
def test_no_values_zero_values_and_one_sided_values(method: str) -> None:
    statistics = make_statistics(method)
    assert statistics.range() == (0.0, 0.0)
    statistics.observe(np.zeros((3, 4), np.float32))
    assert statistics.range() == (0.0, 0.0)
    statistics.observe(np.array([[0, 1, 2, 3]], np.float32))
    low, high = statistics.range()
    assert low == 0
    assert 2.9 <= high <= 3


@pytest.mark.parametrize("method", METHODS)
def test_splitting_the_data_changes_nothing(method: str, rng: np.random.Generator) -> None:
    values = rng.standard_normal(10_000).astype(np.float32) * 5
    # The largest values come late, so that histograms must grow.
    values = values[np.argsort(np.abs(values))]
    whole, parts = make_statistics(method), make_statistics(method)
    whole.observe(values)
    for part in np.array_split(values, 7):
        parts.observe(part)
    np.testing.assert_allclose(parts.range(), whole.range(), rtol=2e-3)


def test_percentile_is_that_of_the_data(rng: np.random.Generator) -> None:
    values = rng.standard_normal(100_000).astype(np.float32)
    statistics = Percentile(99.0)
    statistics.observe(values)
    np.testing.assert_allclose(statistics.range(), np.percentile(values, [1, 99]), atol=0.02)


def test_hundredth_percentile_is_the_extreme(rng: np.random.Generator) -> None:
    values = rng.standard_normal(1000).astype(np.float32)
    statistics = Percentile(100.0)
    statistics.observe(values)
    np.testing.assert_allclose(statistics.range(), (values.min(), values.max()), atol=2e-3)


@pytest.mark.parametrize("largest", [3.0, 1e4, 1e38, 1e-38, 1e-44])
def test_numbers_are_counted_alike_in_single_and_in_double(rng: np.random.Generator, largest: float) -> None:
    values = (rng.uniform(-1, 1, 150_000) * largest).astype(np.float32)
    values[:2] = np.float32(1e-45), np.float32(-1e-45)
    single, double = Histogram(), Histogram()
    single.observe(values.reshape(3, -1))
    double.observe(values.astype(np.float64))
    assert single.limit == double.limit and single.counts.sum() == values.size
    np.testing.assert_array_equal(single.counts, double.counts)


def quantization_error(values: np.ndarray, range: tuple[float, float]) -> float:
    quant = affine_parameters(range, DType.I8)
    scale, zero = quant.scale[0], quant.zero_point[0]
    stored = np.clip(np.rint(values / scale) + zero, -128, 127)
    return float(np.mean(((stored - zero) * scale - values) ** 2))


def test_mean_squared_error_beats_the_extremes_where_outliers_are_rare(rng: np.random.Generator) -> None:
    values = rng.standard_normal(200_000)
    values[:4] = (20, -14, 20, 20)
    statistics = MeanSquaredError()
    statistics.observe(values)
    low, high = statistics.range()
    best = quantization_error(values, (low, high))
    assert best < 0.8 * quantization_error(values, (-14.0, 20.0))
    for factor in (0.8, 1.25):
        assert best <= 1.02 * quantization_error(values, (low * factor, high * factor))


def range_of_samples(samples: Iterable[np.ndarray]) -> tuple[float, float]:
    statistics = MeanSquaredError()
    for each in samples:
        statistics.observe(each.astype(np.float32))
    return statistics.range()


def test_where_samples_have_few_numbers_there_is_room_for_what_others_have(rng: np.random.Generator) -> None:
    tails = rng.lognormal(0, 1, (1000, 16))
    low, high = range_of_samples(tails[:75])
    assert low == 0 and high > 1.2 * tails[:75].max()
    wrong = [quantization_error(tails[75:], (0.0, end)) for end in (high, float(tails[:75].max()))]
    assert wrong[0] < 0.7 * wrong[1]


@pytest.mark.parametrize("few", [True, False])
def test_numbers_with_a_bound_and_many_numbers_have_no_room_beyond(few: bool, rng: np.random.Generator) -> None:
    samples = rng.lognormal(0, 0.5, (75, 16 if few else 20_000)).clip(0, 2.0 if few else np.inf)
    assert range_of_samples(samples)[1] <= samples.max()
    assert range_of_samples(-samples)[0] >= -samples.max()


def test_unknown_method_and_percentile() -> None:
    expected = "unknown calibration method; expected mse or minmax or percentile, found entropy"
    with pytest.raises(UsageError, match=expected):
        tilewright.compile(MODEL, calibration="random", calibration_method="entropy")
    with pytest.raises(UsageError, match="between 50 and 100; found 20"):
        make_statistics("percentile", 20)


def test_ranges_become_parameters() -> None:
    exact = affine_parameters((-1.0, 254 / 255 * 2 - 1), DType.U8)
    assert exact.zero_point[0] in (128, 129)
    assert affine_parameters((0.0, 6.0), DType.I8).zero_point == (-128,)
    assert affine_parameters((-3.0, -1.0), DType.I8).zero_point == (127,)
    assert affine_parameters((2.0, 5.1), DType.U8).scale == (float(np.float32(5.1 / 255)),)
    assert affine_parameters((0.0, 0.0), DType.I8).scale == (1.0,)
    assert affine_parameters((-1e-40, 1e-40), DType.I8).scale == (1.0,)


def network() -> Module:
    module = Module("m")
    main = module.add_function(Function("main", [("x", TensorType((1, 4), DType.F32))]))
    total = main.append(Add(), [main.parameters[0], main.parameters[0]], names=["twice"])
    root = main.append(Sqrt(), [total.result], names=["root"])
    main.set_results([root.result])
    return module


def test_collects_over_all_samples_and_reports_progress() -> None:
    module = network()
    values = {"x": module.main.parameters[0], "root": module.main.results[0]}
    calls: list[int] = []
    samples = open_calibration_set(np.array([[0, 1, 2, 8], [0.5, 2, 2, 2]], np.float32), {"x": values["x"].type})
    found = collect_ranges(interpreter(module, values), samples, values, method="minmax", report=calls.append)
    assert found == {"x": (0.0, 8.0), "root": (0.0, 4.0)}
    assert calls == [1, 2]


def test_a_network_that_leaves_the_real_numbers_is_named() -> None:
    module = network()
    samples = open_calibration_set(
        np.array([[1, 1, 1, 1], [1, -1, 1, 1]], np.float32), {"x": module.main.parameters[0].type}
    )
    expected = r"not finite on calibration sample 1; found NaN or infinity in 'root'.*; do not give random ones"
    with pytest.raises(CalibrationError, match=expected):
        collect_ranges(interpreter(module, {"root": module.main.results[0]}), samples, ["root"])


@pytest.mark.parametrize("wrong", range(9))
def test_a_sample_that_the_network_refuses_is_named(
    wrong: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it was given, also to `quantize`, which calibrates on some, chooses by some and judges on others."""
    known = {"table": np.eye(50, 4, dtype=np.float32), "w": np.ones((4, 4), np.float32)}
    nodes = [helper.make_node("Gather", ["table", "ids"], ["e"]), helper.make_node("MatMul", ["e", "w"], ["y"])]
    onnx.save(graph_model(nodes, [("ids", onnx.TensorProto.INT64, [1, 6])], ["y"], known), path := tmp_path / "i.onnx")
    ids = np.zeros((9, 6), np.int64)
    ids[wrong, 2] = 77
    np.save(samples := tmp_path / "ids.npy", ids)
    words = [str(path), "-o", str(tmp_path / "i.twa"), "--calibration", str(samples)]
    expected = (
        f"calibration sample {wrong}: the values that reach it are out of its range; expected -50 to 49, found 77"
    )
    for command in (["quantize"], ["compile", "--precision", "int8"])[: 1 + (wrong == 0)]:
        assert main([*command, *words]) == 1
        assert expected in capsys.readouterr().err


def test_ranges_are_the_same_for_whichever_processor_they_are_made(rng: np.random.Generator) -> None:
    """They are told by kernels of the least processor: with multiply-add in one rounding sums have other last bits."""
    net = OnnxNetwork(rng)
    y = net.op("Conv", net.op("Relu", net.op("Conv", "x", net.some(16, 16, 3, 3))), net.some(16, 16, 3, 3))
    module = import_model(net.model([1, 16, 12, 12], y))
    samples = rng.standard_normal((4, 16, 12, 12)).astype(np.float32)
    types: list[list[TensorType]] = []
    for target in ("host", "x86-64-v3", "aarch64"):
        found = quantize_module(module, CompileOptions(precision="int8", calibration=samples, target=target))
        types.append([value.type for op in found.main.ops for value in op.results])
    assert types[0] == types[1] == types[2]
