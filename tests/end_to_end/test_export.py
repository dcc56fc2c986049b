"""Networks as ONNX models again: other runtimes compute the same, and so do we."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import onnx.helper
import onnxruntime
import pytest
from exact_onnxruntime import qdq_session
from json_results import result_of
from network_files import graph_model, partly_quantized_model, write_model
from onnx import TensorProto, helper
from onnxruntime.quantization.qdq_loss_debug import create_activation_matching

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.frontend.onnx.large_models import digest_of, serialized
from tilewright.compiler.frontend.onnx.large_models import write_model as write_large
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.errors import UnsupportedError, UsageError
from tilewright.ir import interp
from tilewright.ir.core import Constant, Function, Module
from tilewright.ir.ops.indexing import Gather
from tilewright.ir.text.parser import parse_module
from tilewright.ir.types import DType, TensorType

Fails = Callable[..., str]
DIGITS = load_digits()
SAMPLES = DIGITS.prepare(DIGITS.calibration_images[:20])
IMAGE = DIGITS.prepare(DIGITS.images[:1])


def results(artifact: tilewright.Artifact, engine: str) -> np.ndarray:
    with tilewright.load(artifact, engine=engine) as session:
        return session.run({"image": IMAGE})["probabilities"]


@pytest.fixture(scope="module")
def original() -> tilewright.Artifact:
    """The network that is exported."""
    return tilewright.compile(MODEL)


@pytest.fixture(scope="module")
def original_in_integers() -> tilewright.Artifact:
    return tilewright.compile(MODEL, calibration=SAMPLES, engines="device,software,float")


def in_onnxruntime(model: Path, form: str = "") -> np.ndarray:
    is_qdq = form == "qdq"
    providers = ["CPUExecutionProvider"]
    session = qdq_session(model) if is_qdq else onnxruntime.InferenceSession(str(model), providers=providers)
    (found,) = session.run(["probabilities"], {"image": IMAGE})
    return np.asarray(found)


def test_a_network_as_it_is(tmp_path: Path, original: tilewright.Artifact) -> None:
    nodes = tilewright.export(MODEL, tmp_path / "digits.onnx")
    given, written = onnx.load(MODEL).graph, onnx.load(tmp_path / "digits.onnx").graph
    ones = {"Add": 1, "Clip": 1, "MaxPool": 1, "GlobalAveragePool": 1, "Reshape": 1, "Gemm": 1, "Softmax": 1}
    assert nodes == {"Conv": 4, "Relu": 3} | ones
    assert {node.name for node in written.node} == {node.name for node in given.node}
    assert [value.name for value in written.output] == [value.name for value in given.output]
    np.testing.assert_array_equal(
        results(tilewright.compile(tmp_path / "digits.onnx"), "float"), results(original, "float")
    )
    np.testing.assert_allclose(in_onnxruntime(tmp_path / "digits.onnx"), in_onnxruntime(MODEL), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("form", "operator"), [("qdq", "Conv"), ("qlinear", "QLinearConv")])
@pytest.mark.parametrize("activations", [None, "int8"])
def test_a_quantised_network(
    form: str, operator: str, activations: str | None, tmp_path: Path, original_in_integers: tilewright.Artifact
) -> None:
    written = tmp_path / "digits_int8.onnx"
    nodes = tilewright.export(MODEL, written, quantized=form, activations=activations, calibration=SAMPLES)
    assert nodes[operator] == 4
    onnx.checker.check_model(onnx.load(written), full_check=True)
    (zero,) = (each for each in onnx.load(written).graph.initializer if each.name == "image_zero_point")
    is_unsigned = form == "qdq" and activations is None
    assert zero.data_type == (onnx.TensorProto.UINT8 if is_unsigned else onnx.TensorProto.INT8)
    artifact = tilewright.compile(written)
    expected = results(original_in_integers, "software")
    for engine in ("device", "software"):
        np.testing.assert_array_equal(results(artifact, engine), expected)
    np.testing.assert_array_equal(results(original_in_integers, "device"), expected)
    np.testing.assert_allclose(in_onnxruntime(written, form), expected, rtol=0, atol=1e-6)


def test_a_network_as_ir(tmp_path: Path, capsys: pytest.CaptureFixture[str], original: tilewright.Artifact) -> None:
    assert main(["export", str(MODEL), "-o", str(tmp_path / "digits.xml"), "--json"]) == 0
    layers = result_of(capsys.readouterr().out)["nodes"]
    assert layers["Convolution"] + layers["GroupConvolution"] == 4
    assert not layers.keys() & {"Const", "Parameter", "Result"}
    np.testing.assert_array_equal(
        results(tilewright.compile(tmp_path / "digits.xml"), "float"), results(original, "float")
    )
    again = tilewright.export(tmp_path / "digits.xml", tmp_path / "again.onnx")
    assert again["Conv"] == 4
    np.testing.assert_array_equal(
        results(tilewright.compile(tmp_path / "again.onnx"), "float"), results(original, "float")
    )


def test_a_quantised_network_as_ir(tmp_path: Path, original_in_integers: tilewright.Artifact) -> None:
    written = tmp_path / "digits.xml"
    tilewright.export(MODEL, written, quantized="qdq", calibration=SAMPLES)
    np.testing.assert_array_equal(
        results(tilewright.compile(written), "software"), results(original_in_integers, "software")
    )


def test_a_network_that_brings_its_scales_changes_its_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "partly.onnx", partly_quantized_model())
    assert main(["export", str(model), "-o", str(tmp_path / "q.onnx"), "--quantized", "qlinear", "--json"]) == 0
    assert result_of(capsys.readouterr().out)["nodes"]["QLinearConv"] == 1
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    found = []
    for path in (model, tmp_path / "q.onnx"):
        with tilewright.load(tilewright.compile(path), engine="software") as session:
            found.append(session.run({"x": x}))
    assert found[0].keys() == found[1].keys() == {"y", "v"}
    for name in found[0]:
        np.testing.assert_array_equal(found[0][name], found[1][name])


def test_a_module_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str], original: tilewright.Artifact) -> None:
    text, written = tmp_path / "digits.tw", tmp_path / "digits.onnx"
    assert main(["opt", str(MODEL), "--passes", "fold_constants,canonicalize,fuse", "-o", str(text)]) == 0
    assert main(["export", str(text), "-o", str(written)]) == 0
    assert capsys.readouterr().out.startswith(f"{written}: 4 Conv, ")
    np.testing.assert_array_equal(results(tilewright.compile(written), "float"), results(original, "float"))


def test_averages_of_integers_are_taken_by_onnxruntime(tmp_path: Path, rng: np.random.Generator) -> None:
    """It makes them an operator of its own, which has no dilations."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("AveragePool", ["c"], ["y"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    inputs, weights = [("x", TensorProto.FLOAT, [1, 4, 6, 6])], {"w": np.eye(4, dtype=np.float32)[..., None, None]}
    model = write_model(tmp_path / "a.onnx", graph_model(nodes, inputs, ["y"], weights))
    x = rng.standard_normal((20, 4, 6, 6)).astype(np.float32)
    tilewright.export(model, tmp_path / "b.onnx", quantized="qdq", calibration=x)
    session = onnxruntime.InferenceSession(str(tmp_path / "b.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x[:1]})
    expected = x[:1].reshape(1, 4, 3, 2, 3, 2).mean((3, 5))
    np.testing.assert_allclose(np.asarray(found), expected, atol=0.1)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
def test_integers_below_zero_are_cut_by_onnxruntime(dtype: type[np.signedinteger]) -> None:
    x = np.array([np.iinfo(dtype).min, -1, 0, 7, np.iinfo(dtype).max], dtype)
    element = helper.np_dtype_to_tensor_dtype(x.dtype)
    ends = [helper.make_tensor_value_info(name, element, x.shape) for name in "xy"]
    model = helper.make_model(
        helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:]),
        opset_imports=[helper.make_opsetid("", 21)],
    )
    written = export_onnx(import_onnx(model)).SerializeToString()
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(np.asarray(found), np.maximum(x, 0))


def test_names_of_outputs_are_kept() -> None:
    module = parse_module("""module @m {
  func @main(%x: f32[2]) -> (%b: f32[2], %x: f32[2], %relu: f32[2], %c: f32[2]) {
    %a = neg(%x) : f32[2]
    %b = relu(%a) : f32[2]
    return %b, %x, %a, %b
  }
}""")
    graph = export_onnx(module).graph
    assert [value.name for value in graph.output] == ["b", "x", "relu", "c"]
    onnx.checker.check_model(export_onnx(module), full_check=True)


def test_tensors_that_are_called_after_operators_keep_their_names(tmp_path: Path) -> None:
    """PyTorch names them so: each had the name of the one before it, and was compared with that."""
    names = ["x", "gelu_1", "gelu", "transpose", "gelu_2", "y"]
    types = ["Gelu", "Gelu", "Transpose", "Gelu", "Transpose"]
    nodes = [helper.make_node(type, [names[at]], [names[at + 1]]) for at, type in enumerate(types)]
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [2, 3])], ["y"], opset=20)
    tilewright.export(model, tmp_path / "same.onnx")
    assert [node.output[0] for node in onnx.load(tmp_path / "same.onnx").graph.node] == names[1:]


@pytest.mark.parametrize("quantized", ["qdq", "qlinear"])
def test_onnxruntime_rounds_no_weights_that_are_kept(tmp_path: Path, quantized: str) -> None:
    """Its optimiser made integers of 8 bits of them, as they stood between conversions."""
    rng = np.random.default_rng(0)
    weights = {f"w{at}": rng.normal(0, 0.2, (4, 4, 3, 3)).astype(np.float32) for at in range(3)}
    weights["w1"][0] *= 30
    nodes = [helper.make_node("Conv", [f"c{at}", f"w{at}"], [f"c{at + 1}"], name=f"conv{at}") for at in range(3)]
    model = graph_model(nodes, [("c0", TensorProto.FLOAT, [1, 4, 9, 9])], ["c3"], weights)
    x = rng.normal(0, 1, (4, 4, 9, 9)).astype(np.float32)
    path = tmp_path / "kept.onnx"
    tilewright.export(model, path, quantized=quantized, calibration=x, keep_float=["conv1"])
    plain = onnxruntime.SessionOptions()
    plain.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    first, second = (
        np.asarray(onnxruntime.InferenceSession(path, each).run(None, {"c0": x[:1]})[0])
        for each in (plain, onnxruntime.SessionOptions())
    )
    assert np.sqrt(np.square(first - second).mean()) < 0.002 * np.sqrt(np.square(first).mean())


def test_tensors_that_are_called_after_constants_keep_their_names(tmp_path: Path) -> None:
    """Bounds of a Clip took the name from the tensor."""
    nodes = [helper.make_node("Clip", ["x", "low", "high"], ["c"]), helper.make_node("Exp", ["c"], ["bound"])]
    nodes.append(helper.make_node("Sigmoid", ["bound"], ["y"]))
    bounds = {"low": np.array(-1, np.float32), "high": np.array(1, np.float32)}
    model = graph_model(nodes, [("x", TensorProto.FLOAT, [2, 3])], ["y"], bounds, opset=20)
    tilewright.export(model, tmp_path / "same.onnx")
    assert [node.output[0] for node in onnx.load(tmp_path / "same.onnx").graph.node] == ["c", "bound", "y"]


def test_what_passes_make_is_not_called_as_a_tensor_of_the_model(tmp_path: Path) -> None:
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 6, 6, 6]) for name in "xyb"]
    nodes = [
        helper.make_node("Einsum", ["x", "y"], ["a"], equation="bhij,bhkj->bihk"),
        helper.make_node("Relu", ["a"], ["b"]),
    ]
    graph = helper.make_graph(nodes, "sums", given[:2], given[2:])
    tilewright.export(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "sums.onnx")
    written = onnx.load(tmp_path / "sums.onnx").graph.node
    assert [node.op_type for node in written if "a" in node.output] == ["Transpose"]
    assert next(node for node in written if node.op_type == "Relu").input == ["a"]


def test_products_that_only_one_form_has(tmp_path: Path) -> None:
    kind, scales = "<s=0x1.0p-4, z=3>", "<axis=1, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]>"
    module = parse_module(f"""module @m {{
  const @w : i8[3,2]{scales} = [1, 2, 3, 4, 5, 6]
  const @b : i32[2] = [100, -200]
  func @main(%x: i8[2,1,3]{kind}) -> (%y: i8[2,1,2]{kind}) {{
    %y = matmul(%x, @w, @b) {{act="none", act_args=[], transpose_a=false, transpose_b=false}} : i8[2,1,2]{kind}
    return %y
  }}
}}""")
    with pytest.raises(
        UnsupportedError, match=r"ONNX has no batched product with bias of integers\. The form qdq has one"
    ):
        export_onnx(module)
    again = import_onnx(export_onnx(module, is_qdq=True))
    x = {"x": np.arange(-3, 3, dtype=np.int8).reshape(2, 1, 3) * 40}
    np.testing.assert_array_equal(interp.run(again, x)["y"], interp.run(module, x)["y"])


def test_layers_that_are_kept_have_no_conversions(tmp_path: Path) -> None:
    names = [node.name or node.output[0] for node in onnx.load(MODEL).graph.node if node.op_type == "Conv"]
    options = {"quantized": "qdq", "calibration": SAMPLES, "calibration_method": "minmax"}
    counts = [
        tilewright.export(MODEL, tmp_path / "kept.onnx", keep_float=kept, **options)["DequantizeLinear"]
        for kept in ((), names[-1:], names)
    ]
    assert counts[0] > counts[1] > counts[2] > 0
    kept = onnx.load(tmp_path / "kept.onnx").graph
    weights = [node.input[1] for node in kept.node if node.op_type == "Conv"]
    assert weights and all(name in {tensor.name for tensor in kept.initializer} for name in weights)


def test_a_network_larger_than_a_file(tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tilewright.compiler.frontend.onnx.large_models.LARGEST_FILE", 1000)
    large, constants = tmp_path / "large.onnx", tmp_path / "large.onnx.data"
    tilewright.export(MODEL, large)
    assert large.stat().st_size < 10_000 < constants.stat().st_size
    tilewright.export(large, tmp_path / "again.onnx")
    np.testing.assert_array_equal(in_onnxruntime(large), in_onnxruntime(tmp_path / "again.onnx"))
    assert fails(["export", MODEL, "-o", "/dev/null"]) == (
        "export: the network is too large for one ONNX file, and there is no place for a second one; "
        "expected constants of at most 1000 bytes, found 41792. Export it into a file."
    )
    # Constants get no name before the model does.
    monkeypatch.setattr("tilewright.compiler.frontend.onnx.large_models.content_of", lambda model: None)
    with pytest.raises(UnsupportedError, match="the model is too large for one file"):
        write_large(tmp_path / "none.onnx", onnx.load(MODEL))
    assert not [*tmp_path.glob("none*")]


def test_constants_of_a_model_that_was_renamed_are_not_replaced(tmp_path: Path, fails: Fails) -> None:
    for data, output in (("net.onnx.data", "net.onnx"), ("net.bin", "net.xml")):
        onnx.save(onnx.load(MODEL), tmp_path / "old.onnx", save_as_external_data=True, location=data)
        for words in (["export"], ["quantize", "--calibration", "random"]):
            message = fails([*words, "old.onnx", "-o", output], 2)
            assert message == f"the output would replace the model; found {data}. Choose another output."
        (tmp_path / data).unlink()


def test_a_model_in_memory_that_no_message_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load(MODEL)
    digests = {digest_of(model)}
    with monkeypatch.context() as patched:
        patched.setattr("tilewright.compiler.frontend.onnx.large_models.content_of", lambda model: None)
        digests.add(digest_of(model))
        model.graph.node[0].name = "other"
        digests.add(digest_of(model))
        model.opset_import[0].version -= 1
        digests.add(digest_of(model))
        with pytest.raises(UnsupportedError, match=r"^reduce: the model is too large for one file\. Make its"):
            serialized(model, "reduce")
    assert len(digests) == 4
    assert onnx.load_from_string(serialized(model, "reduce")) == model


@pytest.mark.sweep
def test_one_tensor_of_two_gigabytes(tmp_path: Path) -> None:
    module, function = Module("large"), Function("main", [("rows", TensorType((2,), DType.I64))])
    table = Constant("table", np.zeros((2**15 + 64, 2**14), np.float32))
    function.set_results(function.append(Gather(0), [table, function.parameters[0]]).results)
    module.add_function(function)
    written = export_onnx(module)
    assert len(digest_of(written)) == 64
    write_large(tmp_path / "large.onnx", written)
    assert (tmp_path / "large.onnx.data").stat().st_size == table.array.nbytes > 2**31


def test_wrong_usage(tmp_path: Path, fails: Fails) -> None:
    export = ["export", MODEL, "-o", "out.onnx"]
    assert fails([*export, "--quantized", "qoperator"], 2) == (
        "Invalid value for '--quantized': 'qoperator' is none of qdq, qlinear. See `tilewright export --help`."
    )
    assert fails([*export, "--keep-float", "conv*"], 2) == (
        "--keep-float is for quantised networks. Give --quantized qdq, or leave --keep-float out."
    )
    with pytest.raises(UsageError, match=r"^unknown form of a quantised network; expected qdq or qlinear, found q$"):
        tilewright.export(MODEL, tmp_path / "out.onnx", quantized="q")
    assert fails([*export, "--calibration", "random"], 2) == (
        "--calibration is for quantised networks. Give --quantized qdq, or leave --calibration out."
    )
    assert fails([*export, "--quantized", "qdq", "--preprocess", "scale=2"], 2) == (
        "--preprocess has no use without calibration data. Give calibration data, or leave --preprocess out."
    )
    assert fails(["export", MODEL, "-o", "out.xml", "--quantized", "qlinear"], 2) == (
        "IR has no operators on integers; expected qdq, found qlinear. Give --quantized qdq, or write ONNX."
    )
    write_model(tmp_path / "same.onnx", partly_quantized_model())
    assert fails(["export", "same.onnx", "-o", "same.onnx"], 2) == (
        "the output would replace the model; found same.onnx. Choose another output."
    )
    (tmp_path / "net.bin").write_bytes(b"weights")
    assert fails(["export", "net.bin", "-o", "net.xml"], 2) == (
        "the output would replace the model; found net.bin. Choose another output."
    )
    assert fails(["export", "same.onnx", "-o", "out.onnx", "--quantized", "qdq", "--calibration", "random"], 2) == (
        "the network is already quantised. Leave --calibration out."
    )


def test_activations_of_a_network_that_brings_its_own_change_their_sign(tmp_path: Path) -> None:
    model = write_model(tmp_path / "partly.onnx", partly_quantized_model())
    for activations, dtype in (("uint8", onnx.TensorProto.UINT8), ("int8", onnx.TensorProto.INT8)):
        tilewright.export(model, tmp_path / "q.onnx", quantized="qdq", activations=activations)
        zeros = [each for each in onnx.load(tmp_path / "q.onnx").graph.initializer if each.name == "x_zero_point"]
        assert [each.data_type for each in zeros] == [dtype]


def names_of(graph: onnx.GraphProto) -> dict[str, Sequence[np.ndarray]]:
    """The tensors of a network as onnxruntime's comparison of networks takes them, without numbers."""
    return {name: [] for name in (*(each.name for each in graph.input), *(o for n in graph.node for o in n.output))}


def test_tools_find_quantised_tensors_by_the_names_of_the_model(tmp_path: Path) -> None:
    written = tmp_path / "digits_int8.onnx"
    nodes = tilewright.export(MODEL, written, quantized="qdq", calibration=SAMPLES)
    assert not nodes.keys() & {"Relu", "Clip", "Identity"}
    found = create_activation_matching(names_of(onnx.load(written).graph), names_of(onnx.load(MODEL).graph))
    assert [name for name, each in found.items() if "float" not in each] == []
    assert len(found) == nodes["QuantizeLinear"]


CONVOLUTION = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="clip", act_args=[0x0.0p0, 0x1.8p2]'


def quantised_module(scale: str) -> Module:
    """A convolution up to 6 joined with its input, whose tensors have names of every kind; all results are used."""
    y = f"<s={scale}, z=-128>"
    return parse_module(f"""module @m {{
  const @w : i8[2,2,1,1]<axis=0, s=[0x1.0p-5, 0x1.0p-6], z=[0, 0]> = [1, 2, 3, 4]
  func @main(%"a:0": f32[1,2,2,2]) -> (%"a:0_scale": i8[1,2,2,2]{y}, %"n/j": f32[1,4,2,2]) {{
    %q = quantize(%"a:0") : i8[1,2,2,2]<s=0x1.0p-4, z=3>
    %"a:0_scale" = conv(%q, @w, _) {{{CONVOLUTION}}} : i8[1,2,2,2]{y}
    %r = requantize(%q) : i8[1,2,2,2]{y}
    %"n/j.1" = concat(%"a:0_scale", %r) {{axis=1}} : i8[1,4,2,2]{y}
    %"n/j" = dequantize(%"n/j.1") : f32[1,4,2,2]
    return %"a:0_scale", %"n/j"
  }}
}}""")


@pytest.mark.parametrize(("scale", "clips"), [("0x1.8p-6", []), ("0x1.0p-4", ["Clip"])])
def test_conversions_around_operators(scale: str, clips: list[str]) -> None:
    """Activations that saturation does are left out, operands of a concatenation have scales of their own, and
    initialisers whose names are taken get a number."""
    module = quantised_module(scale)
    model = export_onnx(module, is_qdq=True)
    onnx.checker.check_model(model, full_check=True)
    pair = ["QuantizeLinear", "DequantizeLinear"]
    weights = ["DequantizeLinear"]
    assert [node.op_type for node in model.graph.node] == [*pair, *weights, "Conv", *clips, *pair, "Concat", *pair]
    join = next(node for node in model.graph.node if node.op_type == "Concat")
    assert join.input == ["a:0_scale_DequantizeLinear_Output", "a:0_DequantizeLinear_Output"]
    x = {"a:0": np.linspace(-4, 40, 8, dtype=np.float32).reshape(1, 2, 2, 2)}
    expected, found = interp.run(module, x), interp.run(import_onnx(model), x)
    assert [*expected] == [*found] == ["a:0_scale", "n/j"]
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_signed_activations_that_are_moved_load_in_onnxruntime(dtype: str, tmp_path: Path) -> None:
    """With operator set 21 it adds conversions beside the movement whose attribute and zero point differ."""
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("Transpose", ["d"], ["y"], perm=[0, 2, 3, 1]),
    ]
    constants = {"s": np.array(0.02, np.float32), "z": np.array(3, dtype)}
    model = graph_model(nodes, [("x", TensorProto.FLOAT, x.shape)], ["y"], constants, 21)
    tilewright.export(model, tmp_path / "moved.onnx")
    # Words came with 21.
    version = onnx.load(tmp_path / "moved.onnx").opset_import[0].version
    assert version == (20 if dtype == "int8" else 21)
    if version == 20:
        session = onnxruntime.InferenceSession(tmp_path / "moved.onnx")
        whole = np.clip(np.round(x / np.float32(0.02)) + 3, -128, 127) - 3
        expected = whole.astype(np.float32).transpose(0, 2, 3, 1) * np.float32(0.02)
        np.testing.assert_allclose(cast("np.ndarray", session.run(None, {"x": x})[0]), expected, atol=1e-6)


def test_words_have_no_qlinear_operators(tmp_path: Path) -> None:
    """Products, sums and averages of 16 bits stand between conversions."""
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32)
    pair = ["QuantizeLinear", "DequantizeLinear"]
    operators = {
        "d": ("Conv", ["x_d", "w"]),
        "sum": ("Add", ["d_d", "x_d"]),
        "y": ("GlobalAveragePool", ["sum_d"]),
    }
    nodes = [helper.make_node("DequantizeLinear", ["w_q", "w_s", "w_z"], ["w"])]
    for name, (op_type, inputs) in {"x": ("", []), **operators}.items():
        nodes += [helper.make_node(op_type, inputs, [name])] if op_type else []
        nodes.append(helper.make_node(pair[0], [name, "s", "z"], [f"{name}_q"]))
        nodes.append(helper.make_node(pair[1], [f"{name}_q", "s", "z"], [f"{name}_d"]))
    constants = {
        "s": np.array(2.0**-12, np.float32),
        "z": np.array(0, np.int16),
        "w_q": np.arange(-2, 2, dtype=np.int8).reshape(2, 2, 1, 1),
        "w_s": np.array(0.25, np.float32),
        "w_z": np.array(0, np.int8),
    }
    model = graph_model(nodes, [("x", TensorProto.FLOAT, x.shape)], ["y_d"], constants, 21)
    tilewright.export(model, tmp_path / "words.onnx", quantized="qlinear")
    onnx.checker.check_model(tmp_path / "words.onnx", full_check=True)
    found = onnxruntime.InferenceSession(tmp_path / "words.onnx").run(None, {"x": x})
    expected = interp.run(import_onnx(model), {"x": x})["y_d"]
    np.testing.assert_allclose(cast("np.ndarray", found[0]), expected, rtol=0, atol=2.0**-11)
