"""Activations of 16 bits: what makes them, and that kernels, reference and other runtimes compute the same integers."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest
from random_seeds import in_turn

import tilewright
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.compiler.quantization.quantize import quantize_module
from tilewright.errors import IRError, PassError, UsageError
from tilewright.ir import interp
from tilewright.ir.accumulators import overflowing_channels
from tilewright.ir.clone import clone_module
from tilewright.ir.core import Module, is_op
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.pooling import AveragePool
from tilewright.ir.quantized import is_wide, requantized
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.base import Record
from tilewright.passes.quantization.wide_forms import WideForms
from tilewright.runtime.report.details import details_of

F32 = onnx.TensorProto.FLOAT


@pytest.fixture
def model(rng: np.random.Generator) -> bytes:
    """Convolutions of three kinds, a sum that is clamped, pooling of three kinds, and a product."""
    constants = {
        "w0": (8, 3, 3, 3),
        "w1": (8, 1, 3, 3),
        "w2": (8, 8, 1, 1),
        "w3": (16, 8, 3, 3),
        "b": (8,),
        "v": (16, 7),
    }
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "w0", "b"], ["c0"], name="first", pads=[1] * 4),
        node("Relu", ["c0"], ["r0"]),
        node("Conv", ["r0", "w1", "b"], ["c1"], name="depthwise", pads=[1] * 4, group=8),
        node("Clip", ["c1", "low", "high"], ["r1"]),
        node("Conv", ["r1", "w2", "b"], ["c2"], name="pointwise"),
        node("Add", ["r0", "c2"], ["s"], name="sum"),
        node("Relu", ["s"], ["r2"]),
        node("Conv", ["r2", "w3"], ["c3"], name="strided", pads=[1] * 4, strides=[2, 2]),
        node("MaxPool", ["c3"], ["m"], kernel_shape=[2, 2]),
        node("AveragePool", ["m"], ["a"], kernel_shape=[2, 2]),
        node("GlobalAveragePool", ["a"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("MatMul", ["f", "v"], ["y"], name="product"),
    ]
    # Of 8 bits, so that activations alone are rounded.
    arrays = {name: rng.integers(-100, 100, shape).astype(np.float32) / 64 for name, shape in constants.items()}
    arrays |= {"low": np.float32(0), "high": np.float32(6)}
    ends = [onnx.helper.make_tensor_value_info(*each) for each in (("x", F32, [1, 3, 13, 13]), ("y", F32, [1, 7]))]
    initializers = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], initializers)
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8
    ).SerializeToString()


@pytest.fixture
def samples(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((4, 3, 13, 13)).astype(np.float32)


def quantized(model: bytes, samples: np.ndarray, *wide: str, methods: str = "none") -> Module:
    options = CompileOptions(calibration=samples, wide=wide, methods=methods)
    return quantize_module(import_model(model), options)


def widths(module: Module) -> dict[str, str]:
    """The element types of quantised values by name."""
    return {v.name: v.type.dtype.value for op in module.main.ops for v in op.results if v.type.quant is not None}


SOME = ("x", "depthwise", "c3")


@pytest.mark.parametrize(("wide", "methods"), in_turn([("all",), SOME], ["none", "additions"]))
def test_kernels_compute_the_integers_of_the_reference(
    model: bytes, samples: np.ndarray, wide: tuple[str, ...], methods: str
) -> None:
    module = quantized(model, samples, *wide, methods=methods)
    options = {"calibration": samples, "wide": wide, "methods": methods, "engines": "software", "strict": True}
    with tilewright.load(tilewright.compile(model, **options)) as session:
        for sample in samples:
            expected = interp.run(module, {"x": sample[None]})["y"]
            assert session.run({"x": sample[None]})["y"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["softmax", "last", "attention"])
def test_names_that_make_no_integers_are_told(samples: np.ndarray, rng: np.random.Generator, name: str) -> None:
    weights = onnx.numpy_helper.from_array(rng.standard_normal((4, 3, 1, 1)).astype(np.float32), "w")
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"], name="first"),
        onnx.helper.make_node("Softmax", ["c"], ["y"], name="last"),
    ]
    ends = [onnx.helper.make_tensor_value_info(*each) for each in (("x", F32, [1, 3, 13, 13]), ("y", F32, None))]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    text = rf"--wide names ops that make no integers, of 16 bits or of 8; expected .* found '{name}'. Leave them out"
    with pytest.raises(PassError, match=text):
        quantized(model.SerializeToString(), samples, "first", name)
    # What integers are made of counts, and so does what is kept in floating point.
    graph.node.extend([onnx.helper.make_node("Conv", ["y", "v"], ["z"], name="second")])
    graph.initializer.append(onnx.numpy_helper.from_array(np.ones((2, 4, 1, 1), np.float32), "v"))
    graph.output[0].name = "z"
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    options = CompileOptions(calibration=samples, wide=("last", "first"), keep_float=("first",), methods="none")
    assert "i16" in widths(quantize_module(import_model(model.SerializeToString()), options)).values()


def test_the_accelerator_computes_the_same_integers(model: bytes, samples: np.ndarray) -> None:
    options = {"calibration": samples, "methods": "additions", "machine": "s256", "effort": "quick"}
    artifact = tilewright.compile(model, wide=SOME, **options)
    placed = [op.op for op in details_of(artifact).placement if op.on == "device"]
    assert placed.count("conv") >= 3
    with tilewright.load(artifact, engine="device") as device, tilewright.load(artifact, engine="software") as software:
        for sample in samples:
            expected = software.run({"x": sample[None]})["y"]
            assert device.run({"x": sample[None]})["y"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("methods", [pytest.param("none", marks=pytest.mark.sweep), "additions"])
def test_weights_of_16_bits_are_two_layers_and_their_sum(
    model: bytes, samples: np.ndarray, rng: np.random.Generator, methods: str
) -> None:
    edited = onnx.load_from_string(model)
    for tensor in edited.graph.initializer:
        array = onnx.numpy_helper.to_array(tensor)
        if array.ndim > 1:
            # On no grid of 8 bits, so that weights are what is lost.
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(rng.standard_normal(array.shape).astype(np.float32), tensor.name)
            )
    # A name that the first of two layers might get.
    names = {edited.graph.node[1].output[0]: f"{edited.graph.node[0].output[0]}.coarse"}
    for node in edited.graph.node:
        node.input[:], node.output[:] = ([names.get(name, name) for name in each] for each in (node.input, node.output))
    model = edited.SerializeToString()
    options = {"calibration": samples, "wide": ("all",), "methods": methods}
    expected = [interp.run(import_model(model), {"x": sample[None]})["y"] for sample in samples]
    noise: list[float] = []
    for bits in (8, 16):
        module = quantize_module(import_model(model), CompileOptions(weights_bits=bits, **options))
        found = [interp.run(module, {"x": sample[None]})["y"] for sample in samples]
        noise.append(float(sum(((a - b) ** 2).sum() for a, b in zip(found, expected, strict=True))))
    # Of 7 bits more, activations leave more than half.
    assert noise[1] < noise[0] / 400
    artifact = tilewright.compile(model, weights_bits=16, machine="s256", effort="quick", **options)
    with tilewright.load(artifact, engine="device") as device, tilewright.load(artifact, engine="software") as software:
        for sample, integers in zip(samples, found, strict=True):
            assert software.run({"x": sample[None]})["y"].tobytes() == integers.tobytes()
            assert device.run({"x": sample[None]})["y"].tobytes() == integers.tobytes()


def test_weights_of_16_bits_go_with_results_of_16(model: bytes, samples: np.ndarray) -> None:
    options = {"calibration": samples, "weights_bits": 16}
    with pytest.raises(UsageError, match=r"weights of 16 bits are for layers whose results have 16. Give --wide all"):
        quantize_module(import_model(model), CompileOptions(**options))
    # Weights of this network lie on grids of 8 bits.
    as_they_are = quantize_module(import_model(model), CompileOptions(wide=("all",), **options))
    assert [op.name for op in as_they_are.ops] == [op.name for op in quantized(model, samples, "all").ops]


def test_names_say_which_values_have_16_bits(model: bytes, samples: np.ndarray) -> None:
    assert set(widths(quantized(model, samples)).values()) == {"i8"}
    assert set(widths(quantized(model, samples, "all")).values()) == {"i16"}
    found = widths(quantized(model, samples, *SOME))
    # The clamp behind a convolution is part of it, and a maximum is among the numbers that it chooses from.
    assert {name for name, dtype in found.items() if dtype == "i16"} >= {"r1", "c3", "m"}
    assert {found[name] for name in ("r0", "c2", "y")} == {"i8"}
    assert {
        v.type.quant.zero_point for op in quantized(model, samples, "all").main.ops for v in op.results if v.type.quant
    } == {(0,)}
    with pytest.raises(PassError, match=r"--wide names ops that the network does not have; found 'firts'.*'first'"):
        quantized(model, samples, "firts")


def test_16_bits_are_nearer_to_floating_point(model: bytes, samples: np.ndarray) -> None:
    exact = np.concatenate([interp.run(import_model(model), {"x": each[None]})["y"] for each in samples])

    def error(*wide: str) -> float:
        module = quantized(model, samples, *wide)
        found = np.concatenate([interp.run(module, {"x": each[None]})["y"] for each in samples])
        return float(np.square(found - exact).sum())

    assert error("all") < error() / 10


def test_exported_files_mean_the_same_in_onnxruntime(model: bytes, samples: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "wide.onnx"
    tilewright.export(model, path, quantized="qdq", calibration=samples, wide=["all"])
    exported = onnx.load(path)
    onnx.checker.check_model(exported)
    stored = {each.data_type for each in exported.graph.initializer if each.name.endswith("_zero_point")}
    assert onnx.TensorProto.INT16 in stored and onnx.TensorProto.UINT8 not in stored
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    other = onnxruntime.InferenceSession(exported.SerializeToString(), options)
    own, again = quantized(model, samples, "all"), quantize_module(import_model(path), CompileOptions())
    assert set(widths(again).values()) == {"i16"}
    steps = [op.inputs[0].type.quant for op in own.main.ops if op.name == "dequantize"]
    assert steps[0] is not None
    for sample in samples:
        expected = interp.run(own, {"x": sample[None]})["y"]
        assert interp.run(again, {"x": sample[None]})["y"].tobytes() == expected.tobytes()
        assert np.abs(other.run(None, {"x": sample[None]})[0] - expected).max() <= 2.01 * steps[0].scale[0]


@pytest.mark.parametrize(("dtype", "zero"), [(np.uint16, 32768), (np.uint16, 1234), (np.int16, -77)])
def test_files_with_any_zero_point_are_read(
    model: bytes, samples: np.ndarray, tmp_path: Path, dtype: type, zero: int
) -> None:
    tilewright.export(model, tmp_path / "wide.onnx", quantized="qdq", calibration=samples, wide=["all"])
    changed = onnx.load(tmp_path / "wide.onnx")
    for each in changed.graph.initializer:
        if each.name.endswith("_zero_point") and each.data_type == onnx.TensorProto.INT16:
            each.CopyFrom(onnx.numpy_helper.from_array(np.array(zero, dtype), each.name))
    del changed.graph.value_info[:]
    contents = changed.SerializeToString()
    module = quantize_module(import_model(contents), CompileOptions())
    assert set(widths(module).values()) == {np.dtype(dtype).name.replace("uint", "u").replace("int", "i")}
    with tilewright.load(tilewright.compile(contents, engines="software", strict=True)) as session:
        expected = interp.run(module, {"x": samples[:1]})["y"]
        assert session.run({"x": samples[:1]})["y"].tobytes() == expected.tobytes()


def test_forms_of_16_bits_become_convolutions_without_another_byte(model: bytes, samples: np.ndarray) -> None:
    module = quantized(model, samples, *SOME, "sum", "a", "g")
    forms = clone_module(module)
    record = Record("wide_forms")
    assert WideForms().apply(forms, record)
    left = [op for op in forms.main.ops if any(is_wide(v.type) for v in op.results) and not is_op(op, Conv)]
    assert {op.name for op in left} <= {"quantize", "max_pool", "reshape"}
    for sample in samples:
        before, after = (interp.run(each, {"x": sample[None]})["y"] for each in (module, forms))
        assert before.tobytes() == after.tobytes()


def type_of(dtype: DType, *shape: int, scale: float = 1.0) -> TensorType:
    return TensorType(shape, dtype, Quantization.per_tensor(scale))


def test_accumulators_have_54_bits() -> None:
    x, w, y = type_of(DType.I16, 1), type_of(DType.I8, 1), type_of(DType.I16, 1, scale=2.0**40)
    found = requantized(np.array([2.0**50, -(2.0**50)]), x, w, y, channel_axis=0)
    assert found.tolist() == [1024, -1024]
    with pytest.raises(IRError, match=r"does not fit 54 bits; expected below 2\*\*53"):
        requantized(np.array([2.0**53]), x, w, y, channel_axis=0)
    with pytest.raises(IRError, match=r"does not fit 32 bits; expected below 2\*\*31"):
        requantized(np.array([2.0**31]), type_of(DType.I8, 1), w, y, channel_axis=0)


def test_sums_of_many_products_need_more_than_32_bits(model: bytes, samples: np.ndarray) -> None:
    module = quantized(model, samples, "all")
    convs = [op for op in module.main.ops if is_op(op, Conv)]
    assert all(not overflowing_channels(op).size for op in convs)
    assert [overflowing_channels(op, 25).size > 0 for op in convs] == [True] * len(convs)


def test_what_has_no_form_of_16_bits_is_refused() -> None:
    x, y = type_of(DType.I16, 1, 2, 4, 4), type_of(DType.I16, 1, 2, 3, 3)
    pool = AveragePool((3, 3), (2, 2), (1, 1, 1, 1), (1, 1), count_include_pad=False, overhang=(0, 0))
    assert pool.check_quantized([x], [y]) == "means of 16 bits are of windows of as many elements"


def test_weights_are_rounded_by_what_16_bits_show(model: bytes, samples: np.ndarray, rng: np.random.Generator) -> None:
    """Of weights on no grid: rounded by sums of inputs that were cut off to 8 bits, they would make noise alone."""
    loaded = onnx.load_from_string(model)
    for each in loaded.graph.initializer:
        if each.name in ("w0", "w1", "w2", "w3", "v"):
            array = onnx.numpy_helper.to_array(each)
            array = array + rng.normal(0, 0.005, array.shape).astype(np.float32)
            each.CopyFrom(onnx.numpy_helper.from_array(array, each.name))
    module, noise = import_model(loaded), {}
    for methods in ("none", "rounding"):
        found = quantized(loaded.SerializeToString(), samples, "all", methods=methods)
        pairs = [(interp.run(each, {"x": samples[:1]})["y"] for each in (module, found))]
        noise[methods] = sum(float(np.square(a - b).sum()) for a, b in pairs)
    assert noise["rounding"] < 2 * noise["none"]


def test_a_sum_of_8_and_16_bits_is_computed(samples: np.ndarray, rng: np.random.Generator) -> None:
    """A convolution of 8 bits that rounds its sum with a map of 16 bits, between blocks of channels."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "stem_w"], ["stem"], name="stem"),
        node("Conv", ["stem", "expand_w"], ["e"], name="expand"),
        node("Relu", ["e"], ["r"]),
        node("Conv", ["r", "project_w"], ["p"], name="project"),
        node("Add", ["stem", "p"], ["s"], name="sum"),
        node("Conv", ["s", "expand_w"], ["y"], name="last"),
    ]
    shapes = {"stem_w": (8, 3, 1, 1), "expand_w": (16, 8, 1, 1), "project_w": (8, 16, 1, 1)}
    initializers = [
        onnx.numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    ends = [
        onnx.helper.make_tensor_value_info(*each) for each in (("x", F32, [1, 3, 13, 13]), ("y", F32, [1, 16, 13, 13]))
    ]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], initializers)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    module = quantized(made.SerializeToString(), samples, "stem", methods="additions")
    expected = interp.run(module, {"x": samples[:1]})["y"]
    options = {"calibration": samples, "wide": ["stem"], "methods": "additions", "engines": "software"}
    with tilewright.load(tilewright.compile(made, precision="int8", **options)) as session:
        np.testing.assert_array_equal(session.run({"x": samples[:1]})["y"], expected)


def test_layers_of_8_and_16_bits_that_are_else_alike_have_tiles_of_their_own(rng: np.random.Generator) -> None:
    """Of an odd number of blocks of channels: those of 16 bits come in pairs, which tiles of 8 bits would cut apart."""
    names = [f"c{index}" for index in range(5)]
    nodes = [onnx.helper.make_node("Conv", [x, "w"], [y], name=y, pads=[1] * 4) for x, y in itertools.pairwise(names)]
    weights = onnx.numpy_helper.from_array(rng.normal(0, 0.05, (48, 48, 3, 3)).astype(np.float32), "w")
    ends = [onnx.helper.make_tensor_value_info(name, F32, [1, 48, 9, 9]) for name in (names[0], names[-1])]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], [weights])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    x = rng.standard_normal((2, 48, 9, 9)).astype(np.float32)
    artifact = tilewright.compile(made, calibration=x, wide=["c3"], machine="m4096", effort="quick")
    assert [each.on for each in details_of(artifact).placement if each.op == "conv"] == ["device"] * 4
    with tilewright.load(artifact, engine="device") as device, tilewright.load(artifact, engine="software") as software:
        for sample in x[:, None]:
            assert device.run({"c0": sample})["c4"].tobytes() == software.run({"c0": sample})["c4"].tobytes()


@pytest.mark.parametrize(
    ("wide", "methods"),
    [
        (("all",), "additions"),
        (("gated", "depthwise"), "none"),
        pytest.param(("clip", "sum"), "additions", marks=pytest.mark.sweep),
        pytest.param(("swish", "stem"), "additions", marks=pytest.mark.sweep),
        pytest.param(("depthwise", "first"), "none", marks=pytest.mark.sweep),
    ],
)
def test_widths_that_meet_anywhere_are_one_program(
    wide: tuple[str, ...], methods: str, samples: np.ndarray, rng: np.random.Generator
) -> None:
    """Functions, one that bends where no knot is, depthwise convolutions, a clamp beside another reader, gates and sums
    between 8 and 16 bits."""
    node = onnx.helper.make_node
    nodes = [
        node("Conv", ["x", "first_w"], ["c"], name="first", pads=[1] * 4),
        node("Clip", ["c", "low", "high"], ["k"], name="clip"),
        node("Conv", ["k", "stem_w"], ["s"], name="stem"),
        node("Add", ["s", "c"], ["t"], name="sum"),
        node("Conv", ["t", "expand_w"], ["e"], name="expand"),
        node("Sigmoid", ["e"], ["g"]),
        node("Mul", ["e", "g"], ["a"], name="swish"),
        node("Conv", ["a", "depthwise_w"], ["d"], name="depthwise", pads=[1] * 4, group=37),
        node("GlobalAveragePool", ["d"], ["m"]),
        node("Conv", ["m", "gate_w"], ["h"], name="gate"),
        node("Sigmoid", ["h"], ["i"]),
        node("Mul", ["d", "i"], ["z"], name="gated"),
        node("Conv", ["z", "last_w"], ["p"], name="project"),
        node("Add", ["t", "p"], ["u"], name="shortcut"),
        node("Conv", ["u", "stem_w"], ["v"], name="bent"),
        node("HardSigmoid", ["v"], ["w"], alpha=1 / 6, beta=0.5),
        node("Mul", ["v", "w"], ["b"], name="hard_swish"),
        node("Conv", ["b", "stem_w"], ["y"], name="last"),
    ]
    shapes = {"first_w": (21, 3, 3, 3), "stem_w": (21, 21, 1, 1), "expand_w": (37, 21, 1, 1)}
    shapes |= {"depthwise_w": (37, 1, 3, 3), "gate_w": (37, 37, 1, 1), "last_w": (21, 37, 1, 1)}
    arrays = {name: rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    initializers = [
        onnx.numpy_helper.from_array(np.asarray(array, np.float32), name)
        for name, array in {**arrays, "low": 0, "high": 1}.items()
    ]
    ends = [
        onnx.helper.make_tensor_value_info(*each) for each in (("x", F32, [1, 3, 13, 13]), ("y", F32, [1, 21, 13, 13]))
    ]
    graph = onnx.helper.make_graph(nodes, "network", ends[:1], ends[1:], initializers)
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    options = {"calibration": samples, "wide": wide, "methods": methods, "machine": "m4096", "effort": "quick"}
    artifact = tilewright.compile(made, engines=("device", "software"), **options)
    assert {each.op for each in details_of(artifact).placement if each.on != "device"} == {"quantize", "dequantize"}
    assert len(artifact.manifest.device_programs) == 1
    with tilewright.load(artifact, engine="device") as device, tilewright.load(artifact, engine="software") as software:
        for sample in samples[:, None]:
            assert device.run({"x": sample})["y"].tobytes() == software.run({"x": sample})["y"].tobytes()
