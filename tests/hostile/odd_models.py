"""Models of one node with a number, a shape or an attribute that its operator was not meant for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from network_files import graph_model
from onnx import TensorProto, helper

MOST, LEAST = 2**63 - 1, -(2**63)
EMPTY = np.zeros(0, np.float32)
SCALE = np.ones(3, np.float32)
BODY = helper.make_graph(
    [helper.make_node("Identity", ["goes"], ["on"]), helper.make_node("Identity", ["s"], ["t"])],
    "body",
    [helper.make_empty_tensor_value_info(name) for name in ("i", "goes", "s")],
    [helper.make_empty_tensor_value_info(name) for name in ("on", "t", "t")],
)
OFFSETS = np.zeros((1, 8, 3, 3), np.float32)
NGRAMS = {
    "pool_int64s": [1, 1, 2],
    "ngram_counts": [0, 1],
    "ngram_indexes": [0, 1],
    "min_gram_length": 1,
    "max_gram_length": 2,
    "max_skip_count": 1,
    "mode": "TF",
}
NAN, INFINITY = np.float32(np.nan), np.float32(np.inf)


def _odd(
    op_type: str,
    shape: Sequence[int] = (2, 3),
    *,
    arrays: Sequence[object] = (),
    x: Sequence[str] = ("x",),
    opset: int = 18,
    outputs: Sequence[str] = ("y",),
    **attributes: object,
) -> onnx.ModelProto:
    """A node of ``x``, then of constants; those given as integers are i64, ``""`` is an absent one."""
    names = ["" if isinstance(array, str) else f"c{i}" for i, array in enumerate(arrays)]
    constants = {name: np.asarray(array) for name, array in zip(names, arrays, strict=True) if name}
    node = helper.make_node(op_type, [*x, *names], outputs)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    return graph_model([node], [("x", TensorProto.FLOAT, shape)], outputs[:1] or ("x",), constants, opset)


ODD_MODELS: list[onnx.ModelProto] = [
    # Constants that are empty, no numbers, or too many
    _odd("Clip", arrays=[EMPTY]),
    _odd("Pad", arrays=[[0, 0, 1, 1], EMPTY]),
    _odd("Range", x=(), arrays=[EMPTY] * 3),
    _odd("Range", x=(), arrays=[np.float32(0), NAN, np.float32(1)]),
    _odd("Range", x=(), arrays=[np.float32(0), INFINITY, np.float32(1)]),
    _odd("OneHot", x=(), arrays=[[1], [1, 2], np.array([0, 1], np.float32)]),
    _odd("CumSum", arrays=[[1, 2]]),
    _odd("Tile", arrays=[np.array([NAN, 3], np.float32)]),
    _odd("Resize", arrays=["", np.array([NAN, 1], np.float32)]),
    _odd("Resize", arrays=["", np.array([INFINITY, 1], np.float32)]),
    _odd("Gather", x=(), arrays=[np.ones(3, np.float32), 7]),
    # Shapes
    _odd("ConstantOfShape", x=(), arrays=[[-1, 2]]),
    _odd("ConstantOfShape", x=(), arrays=[np.array([NAN, 2], np.float32)]),
    _odd("ConstantOfShape", x=(), arrays=[np.ones(40, np.int64)]),
    _odd("ConstantOfShape", x=(), arrays=[[2]], value=onnx.numpy_helper.from_array(EMPTY)),
    _odd("Resize", arrays=["", np.array([-1, 1], np.float32)]),
    _odd("Resize", arrays=["", "", [0, 1]]),
    _odd("Unsqueeze", arrays=[np.arange(60)]),
    _odd("Expand", arrays=[np.ones(70, np.int64)]),
    _odd("Expand", arrays=[[-1, 3]]),
    _odd("Tile", arrays=[[-1, 3]]),
    _odd("Reshape", arrays=[[-2, -3]]),
    _odd("Relu", [1] * 40),
    _odd("Relu", [2**62, 4]),
    _odd("Relu", [-5, 3]),
    # Axes, positions and counts
    _odd("Transpose", perm=[0, 0]),
    _odd("Transpose", perm=[5, -1]),
    _odd("Split", outputs=(), axis=0),
    _odd("Split", axis=0, num_outputs=0),
    _odd("TopK", arrays=[[-3]], outputs=("y", "i")),
    _odd("TopK", arrays=[[2**62]], outputs=("y", "i")),
    _odd("Squeeze", arrays=[[2**62]]),
    _odd("Flatten", axis=2**62),
    _odd("EyeLike", k=2**62),
    _odd("EyeLike", k=LEAST),
    _odd("Trilu", arrays=[MOST]),
    _odd("Shape", start=LEAST, end=2**62),
    _odd("Slice", arrays=[[LEAST], [MOST], [0], [LEAST]]),
    _odd("Slice", arrays=[[MOST], [LEAST], [1], [LEAST]]),
    _odd("Pad", arrays=[[LEAST] * 4]),
    _odd("Hardmax", axis=LEAST),
    # Windows
    _odd("MaxPool", [1, 1, 4], kernel_shape=[1], strides=[0], ceil_mode=1),
    _odd("MaxPool", [1, 1, 4], kernel_shape=[1], strides=[0], auto_pad="SAME_UPPER"),
    _odd("Conv", [4], arrays=[np.ones(1, np.float32)]),
    _odd("Conv", [4, 4], arrays=[np.ones((4, 4), np.float32)]),
    _odd("ConvTranspose", [], arrays=[np.ones((4, 4), np.float32)]),
    _odd("ConvTranspose", [1, 4, 4, 4], arrays=[np.ones((4, 4, 1, 1), np.float32)], output_shape=[1]),
    _odd("DepthToSpace", [1, 4, 2, 2], blocksize=0),
    _odd("SpaceToDepth", [1, 4, 2, 2], blocksize=-1),
    _odd("LRN", [1, 2, 3], size=2**62),
    _odd("LRN", [1, 2, 3], size=0),
    # Normalisations
    _odd("GroupNormalization", [1, 3, 2], arrays=[SCALE, SCALE], num_groups=0),
    _odd("GroupNormalization", [1, 3, 2], arrays=[SCALE, SCALE], opset=21, num_groups=0),
    _odd("BatchNormalization", [], x=["x"] * 5),
    _odd("InstanceNormalization", [1, 2, 0], arrays=[SCALE, SCALE]),
    # Attributes of another kind, and none
    _odd("Transpose", perm="10"),
    _odd("Softmax", axis=0.5),
    _odd("Mod", x=("x", "x"), fmod=7),
    _odd("Cast", to=9999),
    _odd("Cast", to=TensorProto.BFLOAT16),
    _odd("Einsum", x=("x", "x"), equation="->...,"),
    _odd("Einsum", x=("x", "x"), equation="...ij,...jk->...q"),
    _odd("Einsum", x=("x", "x"), equation=b"\xff\xfe,ab->"),
    _odd("Einsum", x=("x", "x"), equation="aabbccddeeffgghh,ij->z"),
    # Geometry of compositions
    _odd("Col2Im", [1, 4, 4], arrays=[[2, 2], [2, 2]], strides=[0, 0]),
    _odd("Col2Im", [1, 4, 4], arrays=[[2**62, 2], [1, 2**62]]),
    _odd("Col2Im", [1, 4, 4], arrays=[[-2, -2], [2, 2]], pads=[9, 9, 9, 9]),
    _odd("Col2Im", [1, 0, 4], arrays=[[2, 2], [1, 1]]),
    _odd("MaxUnpool", [1, 1, 1], arrays=[np.zeros((1, 1, 1), np.int64)], kernel_shape=[2**40], strides=[2**40]),
    _odd("MaxUnpool", [1, 1, 1], arrays=[np.full((1, 1, 1), 9)], kernel_shape=[2]),
    _odd("MaxUnpool", [1, 1, 2], arrays=[np.zeros((1, 1, 2), np.int64), [1, 1, -4]], kernel_shape=[1], strides=[-5]),
    _odd("ReverseSequence", arrays=[[9, -9, MOST]]),
    _odd("ReverseSequence", arrays=[[1, 2]], batch_axis=0, time_axis=LEAST),
    _odd("TensorScatter", opset=24, arrays=[np.ones((2, 3), np.float32), [MOST, LEAST]], axis=1),
    _odd("TensorScatter", [2, 0], opset=24, arrays=[np.ones((2, 3), np.float32), [1, 1]], axis=1, mode="circular"),
    _odd("DeformConv", [1, 1, 4, 4], opset=19, arrays=[OFFSETS[:, :1, :2, :2], OFFSETS], offset_group=0),
    _odd("DeformConv", [1, 1, 4, 4], opset=19, arrays=[OFFSETS[:, :1, :2, :2], OFFSETS], strides=[0, 0], group=2**62),
    _odd("DeformConv", [1, 1, 4, 4], opset=19, arrays=[OFFSETS[:, :1, :2, :2], OFFSETS * NAN], pads=[MOST] * 4),
    _odd(
        "GridSample", [1, 1, 4, 4], arrays=[OFFSETS[:, :3, :, :2] * INFINITY], mode="cubic", padding_mode="reflection"
    ),
    _odd("AffineGrid", [1, 2, 3], opset=20, arrays=[[1, 1, 2**40, 2**40]]),
    _odd("GridSample", [1, 1, 0, 4], arrays=[OFFSETS[:, :3, :, :2]]),
    _odd("TfIdfVectorizer", x=(), arrays=[[1, 2]], **{**NGRAMS, "ngram_indexes": [2**62]}),
    _odd("TfIdfVectorizer", x=(), arrays=[[1, 2]], **{**NGRAMS, "ngram_counts": [0, 1, 5]}),
    _odd("TfIdfVectorizer", x=(), arrays=[[1, 2]], **{**NGRAMS, "max_skip_count": MOST, "max_gram_length": MOST}),
    _odd("ImageDecoder", x=(), arrays=[np.arange(99, dtype=np.uint8)], opset=20),
    _odd("RandomNormalLike", [2**30]),
    _odd("Dropout", arrays=[NAN, True]),
    _odd("Det"),
    _odd("If", x=(), arrays=[True]),
    _odd("If", x=(), arrays=[True], then_branch=1, else_branch=2),
    _odd("Loop", arrays=[2**62, True]),
    _odd("Loop", x=(), arrays=[2**62, True], body=BODY),
    _odd("Loop", x=(), arrays=[LEAST, True, SCALE], body=BODY),
    _odd("Loop", x=(), arrays=[SCALE, SCALE, SCALE], body=BODY),
    _odd("Scan", num_scan_inputs=2**62, body=BODY),
    _odd("Scan", num_scan_inputs=LEAST, body=BODY),
    _odd("Scan", num_scan_inputs=1, scan_input_axes=[LEAST], body=BODY),
    _odd("Scan", opset=8, x=("x", "x"), num_scan_inputs=1, body=BODY),
    _odd("Scan", [], num_scan_inputs=1, body=BODY),
    _odd("Constant", x=(), value_strings=["a"]),
    # Integers that have no result
    _odd("Pow", x=(), arrays=[2, -1]),
    _odd("Div", x=(), arrays=[2, 0]),
    _odd("Div", x=(), arrays=[LEAST, -1]),
    _odd("BitShift", x=(), arrays=[np.uint8(2), np.uint8(200)], direction="LEFT"),
]
