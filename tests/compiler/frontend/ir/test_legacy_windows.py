"""Convolutions and pooling of IR of versions 2 to 7, in all spellings, against nodes of onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from legacy_layer_runs import imported, layer_network, run_layer, run_node

from tilewright.errors import ModelError, UnsupportedError

RNG = np.random.default_rng(7)
X = RNG.standard_normal((2, 4, 9, 11)).astype(np.float32)
LINE = RNG.standard_normal((1, 4, 5, 6, 7)).astype(np.float32)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float16).astype(np.float32)


CONVOLUTIONS: dict[str, tuple[int, dict[str, object], dict[str, Any]]] = {
    "old": (2, {"kernel-x": 3, "kernel-y": 2}, {}),
    "old, all pads from the first": (
        2,
        {"kernel-x": 3, "kernel-y": 2, "pad-x": 2, "pad-y": 1, "stride-x": 2},
        {"pads": [1, 2, 1, 2], "strides": [1, 2]},
    ),
    "old, pads of each side": (
        2,
        {"kernel-x": 3, "kernel-y": 2, "pad-x": 0, "pad-y": 1, "pad-r": 2, "pad-b": 0, "dilation-x": 2},
        {"pads": [1, 0, 0, 2], "dilations": [1, 2]},
    ),
    "old, groups": (2, {"kernel-x": 3, "kernel-y": 2, "group": 2}, {"group": 2}),
    "lists": (
        3,
        {"kernel": "2,3", "strides": "2,1", "dilations": "1,2", "pads_begin": "1,0", "pads_end": "0,3"},
        {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 0, 3]},
    ),
    "ends are as begins": (4, {"kernel": "2,3", "pads_begin": "1,2"}, {"pads": [1, 2, 1, 2]}),
    "same upper": (
        5,
        {"kernel": "2,3", "strides": "2,2", "auto_pad": "same_upper", "pads_begin": "7,7"},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ),
    "same lower": (
        6,
        {"kernel": "2,3", "strides": "2,3", "auto_pad": "same_lower"},
        {"auto_pad": "SAME_LOWER", "strides": [2, 3]},
    ),
    "valid": (7, {"kernel": "2,3", "auto_pad": "valid", "pads_begin": "1,1"}, {"auto_pad": "VALID"}),
    "explicit": (7, {"kernel": "2,3", "auto_pad": "explicit", "pads_begin": "1,1"}, {"pads": [1, 1, 1, 1]}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_agree_with_onnxruntime(name: str) -> None:
    version, attributes, node = CONVOLUTIONS[name]
    w, b = draw(6, 4 // node.get("group", 1), 2, 3), draw(6)
    expected = run_node("Conv", [X, w, b], **node)
    attributes = {"output": 6, "visualize": "x", **attributes}
    blobs = {"weights": w, "biases": b}
    found = run_layer("Convolution", [X], [expected.shape], attributes, blobs, version=version)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_convolution_in_three_dimensions() -> None:
    w = draw(3, 4, 2, 3, 1)
    expected = run_node("Conv", [LINE, w], pads=[1, 0, 0, 1, 0, 0])
    attributes = {"output": 3, "kernel": "2,3,1", "pads_begin": "1,0,0", "pads_end": "1,0,0"}
    found = run_layer("Convolution", [LINE], [expected.shape], attributes, {"weights": w})
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_may_be_inputs() -> None:
    w, b = draw(6, 4, 3, 3), draw(6)
    expected = run_node("Conv", [X, w, b])
    attributes = {"output": 6, "kernel": "3,3"}
    found = run_layer("Convolution", [X, w, b], [expected.shape], attributes, version=7, constants=(1, 2))
    np.testing.assert_allclose(found, expected, atol=1e-5)


DECONVOLUTIONS: dict[str, tuple[int, dict[str, object], dict[str, Any]]] = {
    "old": (
        2,
        {"kernel-x": 3, "kernel-y": 4, "stride-x": 2, "stride-y": 2, "pad-x": 1, "pad-y": 1},
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
    ),
    "groups": (3, {"kernel": "4,3", "strides": "2,1", "group": 2}, {"strides": [2, 1], "group": 2}),
    "one channel a group": (
        3,
        {"kernel": "4,3", "strides": "2,2", "group": 4, "pads_begin": "1,1", "pads_end": "1,0"},
        {"strides": [2, 2], "pads": [1, 1, 1, 0], "group": 4},
    ),
    "valid": (5, {"kernel": "4,3", "strides": "3,2", "auto_pad": "valid"}, {"strides": [3, 2]}),
    "dilated": (5, {"kernel": "4,3", "dilations": "2,1"}, {"dilations": [2, 1]}),
}


@pytest.mark.parametrize("name", DECONVOLUTIONS)
def test_deconvolutions_agree_with_onnxruntime(name: str) -> None:
    version, attributes, node = DECONVOLUTIONS[name]
    group = node.get("group", 1)
    w, b = draw(4, 4 // group, 4, 3), draw(4)
    expected = run_node("ConvTranspose", [X, w, b], **node)
    blobs = {"weights": w, "biases": b}
    found = run_layer("Deconvolution", [X], [expected.shape], {"output": 4, **attributes}, blobs, version=version)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["same_upper", "same_lower"])
@pytest.mark.parametrize("extents", [(18, 22), (17, 22), (17, 21)])
def test_same_deconvolutions_have_the_extents_of_the_file(mode: str, extents: tuple[int, int]) -> None:
    """Those are the extents whose convolution gave the input; of several, the file says which."""
    w = draw(4, 2, 3, 3)
    found = run_layer(
        "Deconvolution",
        [X],
        [(2, 2, *extents)],
        {"output": 2, "kernel": "3,3", "strides": "2,2", "auto_pad": mode},
        {"weights": w},
    )
    whole = run_node("ConvTranspose", [X, w], strides=[2, 2])
    totals = [max(0, have - want) for have, want in zip(whole.shape[2:], extents, strict=True)]
    begins = [total // 2 if mode == "same_upper" else total - total // 2 for total in totals]
    (top, left), (rows, columns) = begins, extents
    np.testing.assert_allclose(found, whole[:, :, top : top + rows, left : left + columns], atol=1e-5)


POOLS: dict[str, tuple[int, dict[str, object], str, dict[str, Any]]] = {
    "old": (
        2,
        {"kernel-x": 3, "kernel-y": 2, "stride-x": 2, "pool-method": "max"},
        "MaxPool",
        {"kernel_shape": [2, 3], "strides": [1, 2]},
    ),
    "Caffe": (
        2,
        {"kernel_size": 3, "stride": 2, "pad": 1, "pool": "AVE"},
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "Caffe, by axis": (
        2,
        {"kernel_h": 3, "kernel_w": 2, "stride_h": 2, "pad_w": 1, "pool": "MAX"},
        "MaxPool",
        {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [0, 1, 0, 1]},
    ),
    "lists": (
        3,
        {
            "kernel": "3,2",
            "strides": "2,2",
            "pads_begin": "1,0",
            "pads_end": "1,1",
            "pool-method": "avg",
            "exclude-pad": "true",
            "rounding_type": "floor",
        },
        "AveragePool",
        {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]},
    ),
    "padding counts": (
        3,
        {"kernel": "3,3", "strides": "2,2", "pads_begin": "1,1", "pool-method": "avg", "exclude-pad": "false"},
        "AveragePool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1},
    ),
    "rounded up": (
        3,
        {"kernel": "2,2", "strides": "2,2", "rounding_type": "ceil"},
        "MaxPool",
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    ),
    "means, rounded up": (
        3,
        {"kernel": "2,2", "strides": "2,2", "rounding_type": "ceil", "pool-method": "avg", "exclude-pad": "true"},
        "AveragePool",
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    ),
    "rounded up, as the shapes say": (
        3,
        {"kernel": "2,2", "strides": "2,2"},
        "MaxPool",
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    ),
    "rounded down, as the shapes say": (
        3,
        {"kernel": "2,2", "strides": "2,2"},
        "MaxPool",
        {"kernel_shape": [2, 2], "strides": [2, 2]},
    ),
    "same upper": (
        6,
        {"kernel": "3,3", "strides": "2,2", "auto_pad": "same_upper", "rounding_type": "ceil"},
        "MaxPool",
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ),
    "everything": (2, {"global_pooling": "1", "pool": "AVE"}, "GlobalAveragePool", {}),
    "the largest of everything": (2, {"global_pooling": "1"}, "GlobalMaxPool", {}),
}


@pytest.mark.parametrize("name", POOLS)
def test_pools_agree_with_onnxruntime(name: str) -> None:
    version, attributes, op_type, node = POOLS[name]
    expected = run_node(op_type, [X], **node)
    found = run_layer("Pooling", [X], [expected.shape], attributes, version=version)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rounding_follows_another_input() -> None:
    net = layer_network("Pooling", [X], [(2, 4, 5, 6)], {"kernel": "2,2", "strides": "2,2"})
    assert imported(net, {"x0": (2, 4, 11, 8)}).main.results[0].type.shape == (2, 4, 6, 4)


@pytest.mark.parametrize(
    ("type", "attributes", "error", "message"),
    [
        ("Convolution", {"output": 6}, ModelError, r"'y'.*'kernel' is missing; expected kernel, or kernel-y before v"),
        (
            "Convolution",
            {"output": 6, "kernel": "3"},
            ModelError,
            r"'kernel' does not match the input",
        ),
        (
            "Convolution",
            {"output": 6, "kernel": "3,3", "group": 3},
            ModelError,
            r"do not divide into groups",
        ),
        (
            "Convolution",
            {"output": 5, "kernel": "3,3"},
            ModelError,
            r"the weights do not fill their shape; exp",
        ),
        (
            "Convolution",
            {"output": 6, "kernel": "3,3", "auto_pad": "all"},
            ModelError,
            r"unknown auto_pad",
        ),
        ("Deconvolution", {"kernel": "3,3"}, ModelError, r"attribute 'output' is missing"),
        (
            "Pooling",
            {"kernel": "3,3", "pool-method": "sum"},
            UnsupportedError,
            r"unknown pooling method",
        ),
        (
            "Pooling",
            {"kernel": "3,3", "rounding_type": "up"},
            ModelError,
            r"unknown rounding_type; exp",
        ),
    ],
)
def test_wrong_windows(type: str, attributes: dict[str, object], error: type[Exception], message: str) -> None:
    net = layer_network(type, [X], [(2, 6, 7, 9)], attributes, {"weights": draw(6, 4, 3, 3)})
    with pytest.raises(error, match=message):
        imported(net)


def test_missing_weights() -> None:
    net = layer_network("Convolution", [X], [(2, 6, 7, 9)], {"output": 6, "kernel": "3,3"}, {"biases": draw(6)})
    with pytest.raises(ModelError, match=r"Convolution.*'y'.*has no 'weights'; expected weights, found biases"):
        imported(net)


def test_biases_of_another_number() -> None:
    blobs = {"weights": draw(6, 4, 3, 3), "biases": draw(5)}
    net = layer_network("Convolution", [X], [(2, 6, 7, 9)], {"output": 6, "kernel": "3,3"}, blobs)
    with pytest.raises(ModelError, match=r"the biases do not fill their shape; expected 6 for .*found 5"):
        imported(net)


def test_shapes_that_differ_from_those_of_the_file() -> None:
    net = layer_network(
        "Convolution", [X], [(2, 6, 7, 8)], {"output": 6, "kernel": "3,3"}, {"weights": draw(6, 4, 3, 3)}
    )
    with pytest.raises(ModelError, match=r"mismatch of dimensions.*expected \[2, 6, 7, 8\], found \[2, 6, 7, 9\]"):
        imported(net)
