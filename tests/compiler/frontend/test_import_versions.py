"""ONNX operators whose form changed between versions, or that vanish when importing, against onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnxruntime
import pytest

from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import InputError, ModelError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.verify import verify

RNG = np.random.default_rng(3)
IMAGE = RNG.standard_normal((1, 2, 5, 6)).astype(np.float32)
SMALL = RNG.standard_normal((2, 3, 4)).astype(np.float32)


@dataclass(frozen=True)
class NodeCase:
    """One node of a given version, the first operand an input and the others constants."""

    op_type: str
    opset: int
    x: np.ndarray
    constants: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1

    def __str__(self) -> str:
        return f"{self.op_type}-{self.opset}-" + "-".join(f"{k}={v}" for k, v in self.attributes.items())


def ints(*values: int) -> np.ndarray:
    return np.asarray(values, np.int64)


def floats(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def model_of(nodes: list[onnx.NodeProto], inputs: dict[str, np.ndarray], outputs: list[str], opset: int, **known: Any):
    infos = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in inputs.items()
    ]
    constants = [onnx.numpy_helper.from_array(np.asarray(a), n) for n, a in known.items()]
    graph = onnx.helper.make_graph(nodes, "case", infos, [onnx.ValueInfoProto(name=n) for n in outputs], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=8)


def node_model(case: NodeCase) -> onnx.ModelProto:
    known = {f"c{i}": array for i, array in enumerate(case.constants) if array is not None}
    names = ["x", *(f"c{i}" if array is not None else "" for i, array in enumerate(case.constants))]
    outputs = [f"y{i}" for i in range(case.outputs)]
    node = onnx.helper.make_node(case.op_type, names, outputs, name="node", **case.attributes)
    return model_of([node], {"x": case.x}, outputs, case.opset, **known)


def compare(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> None:
    module = import_onnx(model)
    verify(module)
    found = interp.run(module, inputs)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    for name, expected in zip(names, map(np.asarray, session.run(None, inputs)), strict=True):
        assert (found[name].dtype, found[name].shape) == (expected.dtype, expected.shape)
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


CASES = [
    NodeCase("Squeeze", 11, SMALL[:1], attributes={"axes": [0]}),
    NodeCase("Squeeze", 13, SMALL[:1], (ints(-3),)),
    NodeCase("Squeeze", 13, SMALL[:1, :, :1]),
    NodeCase("Squeeze", 13, SMALL[:1, :, :1], (ints(),)),
    NodeCase("Unsqueeze", 11, SMALL, attributes={"axes": [0, 4]}),
    NodeCase("Unsqueeze", 13, SMALL, (ints(-1, 0),)),
    NodeCase("Flatten", 9, SMALL, attributes={"axis": 0}),
    NodeCase("Flatten", 13, SMALL, attributes={"axis": -1}),
    NodeCase("Reshape", 8, SMALL, (ints(0, -1),)),
    NodeCase("Expand", 8, SMALL[:, :1], (ints(1, 3, 1),)),
    NodeCase("Dropout", 9, SMALL, outputs=1),
    NodeCase("Dropout", 13, SMALL, outputs=2),
    NodeCase("Split", 11, SMALL, attributes={"axis": 2, "split": [1, 3]}, outputs=2),
    NodeCase("Split", 11, SMALL, attributes={"axis": 2}, outputs=2),
    NodeCase("Split", 13, SMALL, (ints(1, 2),), {"axis": 1}, 2),
    NodeCase("Split", 18, SMALL, attributes={"axis": 1, "num_outputs": 2}, outputs=2),
    NodeCase("Slice", 9, SMALL, attributes={"starts": [0, -3], "ends": [9, 3], "axes": [1, 2]}),
    NodeCase("Slice", 13, SMALL, (ints(-1, 1), ints(-99, 2**31), ints(2, 0), ints(-2, 1))),
    NodeCase("Slice", 13, SMALL, (ints(3), ints(1), ints(1))),
    NodeCase("Pad", 10, SMALL, attributes={"pads": [0, 1, 0, 1, 0, 2], "value": 3.5}),
    NodeCase("Pad", 13, SMALL, (ints(0, 1, -1, 0, -1, 2), np.float32(2)), {"mode": "constant"}),
    NodeCase("Pad", 18, SMALL, (ints(1, 2), None, ints(-1)), {"mode": "reflect"}),
    NodeCase("Pad", 19, SMALL, (ints(0, 0, 3, 0, 0, 3),), {"mode": "wrap"}),
    NodeCase("Concat", 11, SMALL, (SMALL, SMALL[:, :, :1]), {"axis": -1}),
    NodeCase("Upsample", 7, IMAGE, attributes={"mode": "nearest", "scales": [1.0, 1.0, 2.0, 3.0]}),
    NodeCase("Upsample", 9, IMAGE, (floats(1, 1, 2, 2),), {"mode": "linear"}),
    NodeCase("Resize", 10, IMAGE, (floats(1, 1, 0.6, 0.5),), {"mode": "nearest"}),
    NodeCase("Resize", 10, IMAGE, (floats(1, 1, 2, 0.5),), {"mode": "nearest"}),
    NodeCase("Resize", 10, IMAGE, (floats(1, 1, 1.5, 0.5),), {"mode": "linear"}),
    NodeCase("Resize", 11, IMAGE, (floats(), floats(), ints(1, 2, 7, 3)), {"mode": "linear"}),
    NodeCase("Resize", 18, IMAGE, (None, None, ints(9, 9)), {"axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}),
    NodeCase(
        "Resize", 18, IMAGE, (None, None, ints(9, 9)), {"axes": [2, 3], "keep_aspect_ratio_policy": "not_smaller"}
    ),
    NodeCase("Resize", 18, IMAGE, (None, floats(2, 0.5)), {"axes": [3, 2], "mode": "linear"}),
    NodeCase("ReduceSum", 11, SMALL, attributes={"axes": [-1], "keepdims": 0}),
    NodeCase("ReduceSum", 13, SMALL, (ints(1),)),
    NodeCase("ReduceSum", 13, SMALL, attributes={"noop_with_empty_axes": 1}),
    NodeCase("ReduceMean", 13, SMALL, attributes={"axes": [0, 2]}),
    NodeCase("ReduceMean", 18, SMALL, (ints(0, -1),), {"keepdims": 0}),
    NodeCase("ReduceMax", 13, SMALL),
    NodeCase("TopK", 9, SMALL, attributes={"k": 2}, outputs=2),
    NodeCase("TopK", 11, SMALL, (ints(3),), {"axis": 1, "largest": 0}, 2),
    NodeCase("ArgMax", 11, SMALL, attributes={"axis": -1}),
    NodeCase("Softmax", 11, SMALL),
    NodeCase("Softmax", 11, IMAGE, attributes={"axis": 2}),
    NodeCase("Softmax", 11, IMAGE.reshape(1, 60, 1, 1)),
    NodeCase("LogSoftmax", 9, SMALL, attributes={"axis": 0}),
    NodeCase("Hardmax", 11, SMALL),
    NodeCase("Hardmax", 13, SMALL),
    NodeCase("Scatter", 10, SMALL[0], (ints(0, 1, 2, 0).reshape(1, 4), floats(1, 2, 3, 4).reshape(1, 4))),
    NodeCase("OneHot", 11, np.array([1, -1, 3]), (np.float32(4), floats(0, 1)), {"axis": 0}),
    NodeCase("CumSum", 14, SMALL, (np.asarray(-1),), {"reverse": 1}),
    NodeCase("Trilu", 14, SMALL, (), {"upper": 0}),
    NodeCase("Shape", 15, SMALL, attributes={"start": -2, "end": 9}),
    NodeCase("Size", 13, SMALL),
    NodeCase("EyeLike", 9, SMALL[0], attributes={"k": 1, "dtype": onnx.TensorProto.INT32}),
    NodeCase("CastLike", 15, SMALL, (np.float64(1),)),
    NodeCase("QuantizeLinear", 13, SMALL, (floats(0.1, 0.2, 0.3), np.zeros(3, np.int8)), {"axis": -2}),
    NodeCase("QuantizeLinear", 10, SMALL, (np.float32(0.05),)),
    NodeCase("QuantizeLinear", 13, SMALL, (floats(0.05), np.asarray([3], np.uint8))),
    NodeCase("DequantizeLinear", 13, np.arange(5, dtype=np.int8), (np.float32(0.05), np.int8(2))),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_node_means_what_it_means_to_onnxruntime(case: NodeCase) -> None:
    compare(node_model(case), {"x": case.x})


def test_shape_chains_leave_attributes_behind() -> None:
    make = onnx.helper.make_node
    nodes = [
        make("Shape", ["x"], ["shape"]),
        make("Gather", ["shape", "zero"], ["batch"], axis=0),
        make("Unsqueeze", ["batch", "axes"], ["batch_1"]),
        make("Concat", ["batch_1", "rest"], ["target"], axis=0),
        make("Reshape", ["x", "target"], ["y"]),
        make("ConstantOfShape", ["shape"], ["zeros"], value=onnx.numpy_helper.from_array(ints(7))),
        make("Range", ["start", "stop", "step"], ["range"]),
    ]
    known = {"zero": ints(0)[0], "axes": ints(0), "rest": ints(-1, 2)}
    known |= {"start": np.float32(1), "stop": np.float32(2), "step": np.float32(0.3)}
    model = model_of(nodes, {"x": SMALL}, ["y", "zeros", "range"], 13, **known)
    assert [op.name for op in import_onnx(model).main.ops] == ["reshape"]
    compare(model, {"x": SMALL})


@pytest.mark.parametrize("condition", [True, False])
def test_the_taken_branch_of_an_if_is_imported_in_place(condition: bool) -> None:
    make = onnx.helper.make_node
    value = onnx.ValueInfoProto(name="inner")
    bias = onnx.numpy_helper.from_array(floats(2), "hidden")
    then = onnx.helper.make_graph([make("Add", ["x", "hidden"], ["inner"])], "then", [], [value], [bias])
    other = onnx.helper.make_graph([make("Mul", ["x", "outer"], ["inner"])], "other", [], [value])
    nodes = [
        make("If", ["condition"], ["a"], then_branch=then, else_branch=other),
        make("If", ["condition"], ["hidden"], then_branch=other, else_branch=then),
        make("Sub", ["a", "hidden"], ["y"]),
    ]
    known = {"condition": np.asarray(condition), "outer": floats(3)}
    compare(model_of(nodes, {"x": SMALL}, ["y"], 13, **known), {"x": SMALL})


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("value", onnx.numpy_helper.from_array(floats(1, 2)), floats(1, 2)),
        ("value_float", 1.5, np.float32(1.5)),
        ("value_floats", [1.5, 2.5], floats(1.5, 2.5)),
        ("value_int", 3, np.int64(3)),
        ("value_ints", [3, 4], ints(3, 4)),
    ],
)
def test_constants_of_every_form(attribute: str, value: Any, expected: np.ndarray) -> None:
    nodes = [onnx.helper.make_node("Constant", [], ["y"], **{attribute: value})]
    found = interp.run(import_onnx(model_of(nodes, {"x": SMALL}, ["y"], 13)), {"x": SMALL})["y"]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("case", "kind", "message"),
    [
        (NodeCase("Reshape", 13, SMALL, (ints(5, -1),)), ModelError, "x does not divide into the shape"),
        (NodeCase("Reshape", 13, SMALL, (ints(-1, -1),)), ModelError, "only one extent may be left open"),
        (NodeCase("Squeeze", 13, SMALL, (ints(0),)), ModelError, "only dimensions of extent 1 can be squeezed"),
        (NodeCase("Softmax", 13, SMALL, (), {"axis": 3}), ModelError, "the axis is out of range"),
        (NodeCase("Split", 13, SMALL, (), {"axis": 2}, 3), ModelError, "does not split into 3 equal parts"),
        (NodeCase("Slice", 13, SMALL, (ints(0), ints(1), ints(0), ints(0))), ModelError, "must not be 0"),
        (
            NodeCase(
                "Resize",
                19,
                IMAGE,
                (floats(0, 0, 0, 0, 1, 1, 1, 1), floats(1, 1, 2, 2)),
                {"antialias": 1, "mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"},
            ),
            UnsupportedError,
            "antialiasing is of floats, and without cropping",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_imported_is_said(case: NodeCase, kind: type[ModelError], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        import_onnx(node_model(case))
    assert caught.value.node == "node"


def test_an_index_out_of_range_is_an_error_when_running() -> None:
    node = onnx.helper.make_node("Gather", ["x", "i"], ["y"])
    module = import_onnx(model_of([node], {"x": SMALL, "i": ints(0)}, ["y"], 13))
    with pytest.raises(InputError, match="an index is out of range"):
        interp.run(module, {"x": SMALL, "i": ints(2)})
