"""Layers of neural networks along lengths that the data decide."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx.helper import make_node as node
from open_models import REPEATED, check_lines, model_of

import tilewright
from tilewright.errors import ModelError, UnsupportedError

PYTORCH = "pytorch_half_pixel"


def test_convolutions_along_what_the_data_decide() -> None:
    """Strides, dilation and pads on either side, and the way back; more than there is to see, too."""
    rng = np.random.default_rng(1)
    layers = [
        node("Conv", ["line", "w", "b"], ["same"], pads=[2, 2], dilations=[2]),
        node("Conv", ["same", "w", "b"], ["half"], pads=[3, 1], strides=[2]),
        node("ConvTranspose", ["half", "w", "b"], ["back"], pads=[1, 0], strides=[3], output_padding=[1]),
        node("Conv", ["back", "w"], ["z"], auto_pad="SAME_UPPER"),
    ]
    x = rng.standard_normal((4, 3)).astype(np.float32)
    w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 3, 3), (3,)))
    counts = ([1, 2, 3, 4], [0, 0, 1, 0], [5, 5, 5, 5], [0, 2, 0, 5])
    check_lines(layers, x, counts, ["same", "half", "back", "z"], {"w": w, "b": b})


def test_pooling_and_normalisation_along_what_the_data_decide() -> None:
    """What lies behind the end counts neither in a maximum nor in a mean."""
    rng = np.random.default_rng(2)
    layers = [
        node("MaxPool", ["line"], ["most"], kernel_shape=[3], strides=[2], pads=[1, 1]),
        node("AveragePool", ["line"], ["mean"], kernel_shape=[3], strides=[2], pads=[1, 1]),
        node("AveragePool", ["line"], ["mean_of_pads"], kernel_shape=[2], pads=[1, 0], count_include_pad=1),
        node("AveragePool", ["line"], ["same"], kernel_shape=[4], auto_pad="SAME_UPPER"),
        node("LpPool", ["line"], ["norm"], kernel_shape=[2], strides=[2]),
        node("GlobalAveragePool", ["line"], ["global_mean"]),
        node("GlobalMaxPool", ["line"], ["global_most"]),
        node("InstanceNormalization", ["line", "scale", "b"], ["instances"]),
        node("BatchNormalization", ["line", "scale", "b", "b", "scale"], ["batch"]),
        node("Unsqueeze", ["line", "last"], ["image"]),
        node("LRN", ["image"], ["local"], size=3),
    ]
    x = rng.standard_normal((4, 3)).astype(np.float32) - 2
    scale, b = (rng.random(3, np.float32) + 0.5 for _ in range(2))
    outputs = [each.output[0] for each in layers if each.op_type != "Unsqueeze"]
    counts = ([1, 2, 3, 4], [0, 1, 1, 0], [5, 5, 5, 5], [0, 2, 0, 5])
    check_lines(layers, x, counts, outputs, {"scale": scale, "b": b}, rtol=1e-4)


RESIZED = [
    node("Resize", ["line", "", "twice"], ["nearest"], mode="nearest"),
    node("Resize", ["line", "", "twice"], ["floor"], nearest_mode="floor", coordinate_transformation_mode="asymmetric"),
    node("Resize", ["line", "", "odd"], ["linear"], mode="linear", nearest_mode="ceil"),
    node("Resize", ["line", "", "odd"], ["corners"], mode="linear", coordinate_transformation_mode="align_corners"),
    node("Resize", ["line", "", "odd"], ["up"], nearest_mode="ceil", coordinate_transformation_mode="asymmetric"),
    node("Resize", ["line", "", "", "sizes"], ["sized"], nearest_mode="round_prefer_ceil"),
    node("Resize", ["image", "", "", "both"], ["whole"], mode="linear", coordinate_transformation_mode=PYTORCH),
    node("Resize", ["line", "", "channels"], ["shifted"], mode="linear"),
]


def test_resizing_of_and_to_what_the_data_decide() -> None:
    rng = np.random.default_rng(3)
    layers = [
        node("Shape", ["y"], ["shape"]),
        node("Add", ["shape", "shape"], ["doubled"]),
        node("Concat", ["last", "doubled"], ["sizes"], axis=0),
        node("Concat", ["last", "last", "shape"], ["both"], axis=0),
        *RESIZED,
    ]
    x, image = rng.random((4, 3), np.float32), rng.random((1, 1, 5, 7), np.float32)
    scales = {"twice": np.array([1, 1, 2], np.float32), "odd": np.array([1, 1, 1.7], np.float32)}
    # As many channels, at other points.
    scales["channels"] = np.array([1, 1.2, 2], np.float32)
    outputs = [name for each in RESIZED for name in each.output]
    counts = ([1, 2, 3, 4], [0, 0, 1, 0], [5, 5, 5, 5], [0, 2, 0, 5])
    check_lines(layers, x, counts, outputs, {"image": image, **scales})


CUBIC = [
    node("Resize", ["map", "", "odd"], ["odd_points"]),
    node("Resize", ["map", "", "odd"], ["corners"], coordinate_transformation_mode="align_corners"),
    node("Resize", ["map", "", "odd"], ["within"], exclude_outside=1, cubic_coeff_a=-0.5),
    node("Resize", ["map", "", "less"], ["fewer"], coordinate_transformation_mode="asymmetric", exclude_outside=1),
    node("Resize", ["map", "", "", "sizes"], ["sized"], coordinate_transformation_mode=PYTORCH),
    node("Resize", ["image", "", "", "sizes"], ["whole"]),
]


def test_cubic_resizing_of_and_to_what_the_data_decide() -> None:
    rng = np.random.default_rng(4)
    for each in CUBIC:
        each.attribute.append(onnx.helper.make_attribute("mode", "cubic"))
    layers = [
        node("Unsqueeze", ["line", "last"], ["map"]),
        node("Shape", ["y"], ["shape"]),
        node("Add", ["shape", "shape"], ["doubled"]),
        node("Concat", ["last", "last", "doubled"], ["sizes"], axis=0),
        *CUBIC,
    ]
    x, image = rng.random((4, 3), np.float32), rng.random((1, 1, 5, 7), np.float32)
    scales = {"odd": np.array([1, 1, 1.5, 1.7], np.float32), "less": np.array([1, 1, 0.7, 0.6], np.float32)}
    outputs = [name for each in CUBIC for name in each.output]
    counts = ([1, 2, 3, 4], [0, 0, 2, 0], [5, 5, 5, 5], [0, 2, 0, 5])
    check_lines(layers, x, counts, outputs, {"image": image, **scales}, rtol=1e-4)


@pytest.mark.parametrize(
    "last",
    [
        node("Conv", ["line", "w"], ["z"], auto_pad="SAME_LOWER", strides=[2]),
        node("ConvTranspose", ["line", "w"], ["z"], output_shape=[30]),
        node("MaxPool", ["line"], ["z"], kernel_shape=[3], strides=[2], ceil_mode=1),
        node("Resize", ["line", "", "twice"], ["z"], mode="cubic", antialias=1),
    ],
)
def test_pads_that_follow_from_open_extents_are_refused(last: onnx.NodeProto) -> None:
    nodes = [*REPEATED, node("Unsqueeze", ["y", "zeros"], ["line"]), last]
    constants = {"zero": 0, "one": 1, "last": [1], "zeros": [0], "w": np.ones((3, 3, 3), np.float32)}
    constants["twice"] = np.array([1, 1, 2], np.float32)
    inputs = {"often": np.zeros(4, np.int64), "x": np.zeros((4, 3), np.float32)}
    with pytest.raises(
        UnsupportedError, match=r"the data decide (an extent of what .* reads|extents of what is resized)"
    ):
        tilewright.compile(model_of(nodes, inputs, ["z"], constants), bounds={"n": 20})


@pytest.mark.parametrize("scale", [0, -2, np.nan, np.inf])
def test_scales_of_what_the_data_decide_are_positive(scale: float) -> None:
    nodes = [
        *REPEATED,
        node("Unsqueeze", ["y", "zeros"], ["line"]),
        node("Resize", ["line", "", "scales"], ["z"], name="grow"),
    ]
    constants = {"zero": 0, "one": 1, "last": [1], "zeros": [0], "scales": np.array([1, 1, scale], np.float32)}
    inputs = {"often": np.zeros(4, np.int64), "x": np.zeros((4, 3), np.float32)}
    with pytest.raises(ModelError, match=r"Resize: node 'grow': scales must be positive numbers; found \[1\.0, 1\.0, "):
        tilewright.compile(model_of(nodes, inputs, ["z"], constants), bounds={"n": 20})


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (np.array([1, 2], np.float32), ModelError, r"wrong number of scales; expected 3, found 2"),
        (np.array([1, 2, 3, 4]), ModelError, r"wrong number of sizes; expected 3, found 4"),
        (np.array([1, 1, 1e30], np.float32), UnsupportedError, r"nothing says how large it can be"),
    ],
)
def test_what_open_extents_are_resized_by_fits(given: np.ndarray, error: type[Exception], message: str) -> None:
    operands = ["line", "", "given"] if given.dtype.kind == "f" else ["line", "", "", "given"]
    nodes = [*REPEATED, node("Unsqueeze", ["y", "zeros"], ["line"]), node("Resize", operands, ["z"], name="grow")]
    constants = {"zero": 0, "one": 1, "last": [1], "zeros": [0], "given": given}
    model = model_of(nodes, {"often": np.zeros(4, np.int64), "x": np.zeros((4, 3), np.float32)}, [], constants)
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("z"))
    with pytest.raises(error, match=f"Resize: node 'grow': .*{message}"):
        tilewright.compile(model, bounds={"n": 20})
