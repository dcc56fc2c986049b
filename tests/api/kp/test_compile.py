"""Networks that take and give integers: the same on each engine, and the same as the network that they are made of."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from compat_programs import draw_pictures, picture_model
from json_results import result_of
from kp_containers import picture_samples
from kp_interfaces import check_engines, expected_integers, real
from onnx import TensorProto, helper, numpy_helper

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.containers.container import compile_container
from tilewright.compiler.containers.interface import Interface, input_radix, pixel_range
from tilewright.compiler.options import CompileOptions
from tilewright.errors import NoCalibrationError, UnsupportedError, UsageError
from tilewright.passes.quantization.integer_interface import node_shape, planes_of, symmetric_scale
from tilewright.runtime.containers.files import open_container


def model_of(
    nodes: Sequence[onnx.NodeProto],
    outputs: Mapping[str, Sequence[int]],
    arrays: Mapping[str, np.ndarray | np.generic],
    shape: Sequence[int] = (1, 3, 8, 12),
    kind: int = TensorProto.FLOAT,
) -> bytes:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
    given = [helper.make_tensor_value_info(name, kind, extents) for name, extents in outputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(list(nodes), "network", [image], given, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def weights(channels: int = 3, count: int = 6) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((count, channels, 3, 3)) / 5).astype(np.float32)


CONV = helper.make_node("Conv", ["image", "w"], ["map"], kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def samples(shape: Sequence[int] = (1, 3, 8, 12), low: float = -0.5, high: float = 0.49) -> np.ndarray:
    return np.random.default_rng(1).uniform(low, high, (6, *shape[1:])).astype(np.float32)


def test_a_network_in_floating_point(tmp_path: Path) -> None:
    path = picture_model(tmp_path / "pictures.onnx")
    container = compile_container(path, 1, calibration=picture_samples(), output=tmp_path / "one.nef")
    (model,) = container.models
    image, found = check_engines(model)
    assert model.inputs[0].radix == 8
    artifact = tilewright.compile(path)
    with tilewright.load(artifact) as session:
        scores = session.run({"image": image.astype(np.float32) / 256})["scores"]
    step = 1 / (model.outputs[0].scale * 2.0 ** model.outputs[0].radix)
    assert np.abs(real(found["scores"], model).reshape(1, 12) - scores).max() < 4 * step
    content = (tmp_path / "one.nef").read_bytes()
    assert zlib.crc32(content[:-4]) == container.crc
    compile_container(path, 1, calibration=picture_samples(), output=tmp_path / "two.nef")
    assert (tmp_path / "two.nef").read_bytes() == content


def test_the_radix_covers_every_number_of_the_samples() -> None:
    """The method that cuts off what is rare does not decide on it: devices send all that a byte can hold."""
    rare = np.random.default_rng(0).normal(0, 0.02, (4, 3, 8, 12)).astype(np.float32)
    rare[0, 0, 0, :2] = -0.5, 127 / 256
    source = model_of([CONV], {"map": [1, 6, 8, 12]}, {"w": weights()})
    assert compile_container(source, 9, calibration=rare).models[0].inputs[0].radix == 8


def test_several_outputs_of_several_ranks() -> None:
    nodes = [
        CONV,
        helper.make_node("Relu", ["map"], ["positive"]),
        helper.make_node("Reshape", ["map", "five"], ["anchors"]),
        helper.make_node("Reshape", ["map", "three"], ["boxes"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["mean"]),
    ]
    outputs = {"positive": [1, 6, 8, 12], "anchors": [1, 2, 3, 8, 12], "boxes": [1, 6, 96], "mean": [1, 6, 1, 1]}
    arrays = {"w": weights(), "five": np.array([1, 2, 3, 8, 12]), "three": np.array([1, 6, 96])}
    (model,) = compile_container(model_of(nodes, outputs, arrays), 2, calibration=samples()).models
    shapes = {node.name: (node.shape, node.source_shape) for node in model.outputs}
    assert shapes == {
        "positive": ((1, 6, 8, 12), (1, 6, 8, 12)),
        "anchors": ((1, 6, 8, 12), (1, 2, 3, 8, 12)),
        "boxes": ((1, 6, 1, 96), (1, 6, 96)),
        "mean": ((1, 6, 1, 1), (1, 6, 1, 1)),
    }
    _, found = check_engines(model)
    assert np.array_equal(found["anchors"].ravel(), found["boxes"].ravel())
    assert found["positive"].min() == 0


@pytest.mark.parametrize("tail", ["Softmax", "Sigmoid", "Exp"])
def test_outputs_that_are_computed_in_floating_point(tail: str) -> None:
    """Softmax and Sigmoid have ranges of their own; others have those of the samples."""
    nodes = [CONV, helper.make_node(tail, ["map"], ["y"])]
    source = model_of(nodes, {"y": [1, 6, 8, 12]}, {"w": weights()})
    (model,) = compile_container(source, 3, calibration=samples()).models
    node = model.outputs[0]
    if tail != "Exp":
        assert node.scale * 2.0**node.radix == pytest.approx(127)
    image, found = check_engines(model, 12 if tail == "Exp" else 3)
    with tilewright.load(tilewright.compile(source)) as session:
        values = session.run({"image": image.astype(np.float32) / 256})["y"]
    assert np.abs(expected_integers(values, model).astype(int) - found["y"]).max() <= (12 if tail == "Exp" else 3)


def test_images_of_another_order_of_dimensions() -> None:
    nodes = [helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2])]
    nodes.append(helper.make_node("Conv", ["planes", "w"], ["map"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    source = model_of(nodes, {"map": [1, 6, 8, 12]}, {"w": weights()}, (1, 8, 12, 3))
    (model,) = compile_container(source, 4, calibration=samples((1, 8, 12, 3))).models
    assert (model.inputs[0].shape, model.inputs[0].source_shape) == ((1, 3, 8, 12), (1, 8, 12, 3))
    plain = model_of([CONV], {"map": [1, 6, 8, 12]}, {"w": weights()})
    moved = samples((1, 8, 12, 3)).transpose(0, 3, 1, 2)
    (other,) = compile_container(plain, 4, calibration=np.ascontiguousarray(moved)).models
    assert model.outputs[0].scale == other.outputs[0].scale
    assert np.array_equal(check_engines(model)[1]["map"], check_engines(other)[1]["map"])


def quantized(scale: float, zero: np.generic, output_scale: float, output_zero: np.generic, tail: str = "") -> bytes:
    """A convolution in QDQ form, whose input and output have these scales and zero points."""
    rng = np.random.default_rng(3)
    arrays = {
        "s": np.float32(scale),
        "z": zero,
        "w8": rng.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8),
        "ws": np.float32(0.01),
        "os": np.float32(output_scale),
        "oz": output_zero,
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["image", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["x"]),
        helper.make_node("DequantizeLinear", ["w8", "ws"], ["w"]),
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["c", "os", "oz"], ["cq"]),
        helper.make_node("DequantizeLinear", ["cq", "os", "oz"], ["y"]),
    ]
    if tail:
        nodes[-1].output[0] = "d"
        nodes.append(helper.make_node(tail, ["d"], ["y"]))
    return model_of(nodes, {"y": [1, 6, 8, 12]}, arrays)


@pytest.mark.parametrize(
    ("scale", "zero", "output_scale", "output_zero", "radix", "factor"),
    [
        (1 / 256, np.int8(0), 0.03, np.int8(0), 8, 1 / 0.03),
        (1 / 255, np.uint8(0), 0.03, np.uint8(128), 7, 1 / 0.03),
        (0.0078, np.int8(-1), 0.021, np.int8(17), 7, 128 / 0.021 / 145),
        (0.017, np.uint8(114), 0.01, np.uint8(0), 5, 127 / 0.01 / 255),
    ],
)
def test_networks_that_are_quantised_already(
    scale: float, zero: np.generic, output_scale: float, output_zero: np.generic, radix: int, factor: float
) -> None:
    """They keep their integers inside; what comes in and goes out is what they make of the real numbers, exactly."""
    source = quantized(scale, zero, output_scale, output_zero)
    (model,) = compile_container(source, 5).models
    assert model.inputs[0].radix == radix
    assert model.outputs[0].scale * 2.0 ** model.outputs[0].radix == pytest.approx(factor)
    image, found = check_engines(model)
    with tilewright.load(tilewright.compile(source), engine="software") as session:
        values = session.run({"image": image.astype(np.float32) / 2**radix})["y"]
    assert np.array_equal(found["y"], expected_integers(values, model))


def test_a_quantised_network_with_a_tail_needs_to_be_told_its_range() -> None:
    source = quantized(1 / 256, np.int8(0), 0.03, np.int8(0), "Exp")
    message = (
        r"interface: output 'y' is computed in floating point, and nothing tells its range. "
        r"Give --calibration, or take the output from before what stays in floating point."
    )
    with pytest.raises(NoCalibrationError, match=message):
        compile_container(source, 6)
    (model,) = compile_container(source, 6, calibration=samples()).models
    assert model.inputs[0].radix == 8
    check_engines(model)
    (bounded,) = compile_container(quantized(1 / 256, np.int8(0), 0.03, np.int8(0), "Sigmoid"), 6).models
    assert bounded.outputs[0].scale * 2.0 ** bounded.outputs[0].radix == pytest.approx(127)


def test_an_input_that_is_not_quantised_first_needs_a_radix() -> None:
    source = quantized(1 / 256, np.int8(0), 0.03, np.int8(0))
    model = onnx.load_from_string(source)
    model.graph.node.insert(0, helper.make_node("Sqrt", ["image"], ["root"]))
    model.graph.node[1].input[0] = "root"
    source = model.SerializeToString()
    with pytest.raises(NoCalibrationError, match=r"nothing tells the range of the input\. Say with --kp-radix that"):
        compile_container(source, 7)
    assert compile_container(source, 7, kp_radix=7).models[0].inputs[0].radix == 7
    assert compile_container(source, 7, calibration=samples(low=0, high=2)).models[0].inputs[0].radix == 6


def test_what_devices_cannot_run() -> None:
    def refusal(source: bytes) -> str:
        with pytest.raises(UnsupportedError) as caught:
            compile_container(source, 8, calibration="random")
        return str(caught.value)

    two = onnx.load_from_string(model_of([CONV], {"map": [1, 6, 8, 12]}, {"w": weights()}))
    two.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, [1]))
    assert refusal(two.SerializeToString()) == (
        "interface: devices of the kp API take one image; expected one input, found 'image', 'other'. Make constants "
        "of the others, or leave what they go into to the program."
    )
    product = [helper.make_node("MatMul", ["image", "w"], ["y"])]
    flat = model_of(product, {"y": [1, 4]}, {"w": np.ones((10, 4), np.float32)}, (1, 10))
    begin = "interface: input 'image' is no image that devices of the kp API can be sent; expected f32[1, C, H, W] of "
    assert refusal(flat) == f"{begin}1, 3 or 4 channels, found f32[1,10]"
    deep = model_of([CONV], {"map": [1, 6, 8, 12]}, {"w": weights(7)}, (1, 7, 8, 12))
    assert refusal(deep).startswith(f"{begin}1, 3 or 4 channels, found f32[1,7,8,12]")
    batch = model_of([CONV], {"map": [2, 6, 8, 12]}, {"w": weights()}, (2, 3, 8, 12))
    assert refusal(batch).startswith(f"{begin}1, 3 or 4 channels, found f32[2,3,8,12]")
    indices = [CONV, helper.make_node("ArgMax", ["map"], ["best"], axis=1)]
    best = model_of(indices, {"best": [1, 1, 8, 12]}, {"w": weights()}, kind=TensorProto.INT64)
    assert refusal(best) == (
        "interface: output 'best' cannot be given as integers of 8 bits that stand for real numbers; expected f32, "
        "found i64[1,1,8,12]. Take the output from before what computes indices, and leave that to the program."
    )


@pytest.mark.parametrize(
    ("range", "radix"),
    [
        ((-0.5, 127 / 256), 8),
        ((-1.0, 1.0), 7),
        ((0.0, 1.0), 7),
        ((-2.2, 2.64), 5),
        ((0.0, 255.0), -1),
        ((-128.0, 127.0), 0),
        ((0.0, 0.0), 7),
        ((0.0, 1e30), -30),
    ],
)
def test_the_radix_covers_the_range(range: tuple[float, float], radix: int) -> None:
    assert input_radix(Interface(), range) == radix
    assert input_radix(Interface(3), range) == 3


def test_the_range_of_pixels(tmp_path: Path) -> None:
    def of(preprocessing: str | None) -> tuple[float, float] | None:
        return pixel_range(CompileOptions(calibration=tmp_path, preprocessing=preprocessing))

    assert of("mean=128,scale=1/256") == (-0.5, 127 / 256)
    assert of(None) == pytest.approx((-1, 1))
    assert of("mean=0,scale=1/255") == pytest.approx((0, 1))
    assert of("mean=100/50/200,scale=-2") == (-410, 400)
    assert pixel_range(CompileOptions(calibration="random")) is None


def test_shapes_and_scales() -> None:
    assert [node_shape(shape) for shape in ((), (5,), (1, 5), (3, 5), (1, 2, 3), (4, 5, 6), (1, 2, 3, 4, 5))] == [
        (1, 1, 1, 1),
        (1, 5, 1, 1),
        (1, 5, 1, 1),
        (1, 3, 1, 5),
        (1, 2, 1, 3),
        (1, 4, 5, 6),
        (1, 6, 4, 5),
    ]
    assert planes_of((1, 8, 9, 3)) == (1, 3, 8, 9)
    assert planes_of((1, 3, 9, 3)) == (1, 3, 9, 3)
    assert [symmetric_scale(range) for range in ((-1.0, 0.5), (0.0, 2.54), (0.0, 0.0))] == [1 / 128, 2.54 / 127, 1.0]


# The command


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    picture_model(tmp_path / "a.onnx")
    picture_model(tmp_path / "b.onnx", seed=1, classes=5)
    draw_pictures(tmp_path / "images", 3)
    words = ["compile", "a.onnx", "b.onnx", "--kp-id", "32769", "--kp-id", "7", "--kp-target", "KL720"]
    words += ["--calibration", "images", "--preprocess", "resize=stretch,mean=128,scale=1/256", "-q"]
    assert main(words) == 0
    shown = capfd.readouterr()
    container = open_container("a.nef")
    assert (container.target, [model.id for model in container.models]) == ("KL720", [32769, 7])
    assert {model.inputs[0].radix for model in container.models} == {8}
    scales = [f"radix {model.outputs[0].radix}, scale {model.outputs[0].scale:.6g}" for model in container.models]
    lines = shown.out.splitlines()
    assert lines[0].startswith(f"a.nef: for KL720, made by tilewright {tilewright.__version__}, crc 0x")
    assert lines[1:] == [
        "  id 32769  a, raw result 2.4 KiB",
        "    input   image int8[1,3,32,32] radix 8",
        f"    output  scores int8[1,12,1,1] {scales[0]}",
        "  id 7  b, raw result 2.3 KiB",
        "    input   image int8[1,3,32,32] radix 8",
        f"    output  scores int8[1,5,1,1] {scales[1]}",
    ]
    assert main(["inspect", "a.nef"]) == 0
    assert capfd.readouterr().out.splitlines() == lines
    assert main(["inspect", "a.nef", "--json"]) == 0
    found = result_of(capfd.readouterr().out)
    assert (found["target"], found["crc"], len(found["models"])) == ("KL720", f"0x{container.crc:08X}", 2)
    assert main(["inspect", "a.nef", "--memory"]) == 2
    assert "--memory is for artifacts and models, not for containers of them; found a.nef" in capfd.readouterr().err


def test_images_that_no_device_normalises_so_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    picture_model(tmp_path / "a.onnx")
    draw_pictures(tmp_path / "images", 2)
    words = ["compile", "a.onnx", "--kp-id", "1", "--calibration", "images"]
    assert main([*words, "--preprocess", "mean=123.7/116.3/103.5,scale=1/58", "-o", "b.nef"]) == 0
    assert capfd.readouterr().err.startswith(
        "warning: no device normalises images as calibration did, so programs have to, and bypass preprocessing "
        "(KP_NORMALIZE_KNERON: mean=128,scale=0.00390625; KP_NORMALIZE_TENSOR_FLOW: mean=127.5,scale=0.00784314; "
        "KP_NORMALIZE_YOLO: mean=0,scale=0.00392157)\n"
    )
    assert open_container("b.nef").models[0].inputs[0].radix == 5
    assert main(words) == 0
    assert "no device normalises" not in capfd.readouterr().err
    assert open_container("a.nef").models[0].inputs[0].radix == 7


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--kp-target", "KL720"], "--kp-target is for containers. Give --kp-id, or leave it out."),
        (["--kp-radix", "7"], "--kp-radix is for containers. Give --kp-id, or leave it out."),
        (
            ["b.onnx"],
            "an artifact holds one model; found a.onnx, b.onnx. Compile one after the other; or, for programs",
        ),
        (["b.onnx", "--kp-id", "1"], "a container needs an id for each model; expected 2 ids, found 1. Repeat --kp-id"),
        (["--kp-id", "0"], "wrong id of a model; expected 1 to 65535, found 0"),
        (["b.onnx", "--kp-id", "3", "--kp-id", "3"], "models of a container need different ids; found 3, 3"),
        (["--kp-id", "1", "--kp-target", "KL530"], "unknown device; expected KL520 or KL720, found KL530"),
        (["--kp-id", "1", "--kp-radix", "31"], "the radix of the input is out of range; expected -30 to 30, found 31"),
        (
            ["--kp-id", "1", "--precision", "fp32"],
            "devices of the kp API compute in integers; expected int8, found fp32",
        ),
        (["--kp-id", "x"], "Invalid value for '--kp-id': "),
    ],
)
def test_wrong_usage(words: list[str], message: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", "a.onnx", *words]) == 2
    assert capfd.readouterr().err.startswith(f"error: {message}")


def test_python_calls_of_wrong_types() -> None:
    for arguments, message in (
        ((5, 1), r"option 'models' has the wrong type; expected str \| os.PathLike"),
        ((b"", "7"), r"option 'kp_id' has the wrong type; expected int \| list\[int\] \| tuple\[int, ...\], found"),
        ((b"", ["7"]), "option 'kp_id' has the wrong type; expected int, found str '7'"),
        (([], []), "a container holds at least one and not too many models; expected 1 to 16, found 0"),
    ):
        with pytest.raises(UsageError, match=message):
            compile_container(*arguments)  # pyright: ignore[reportArgumentType]
    assert tilewright.compile_container is compile_container
