"""Small models that ask for much: refused with node and number, or left to the run; never computed on the spot."""

from __future__ import annotations

import itertools
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from types import FrameType

import numpy as np
import onnx
import pytest
import round_trip
from network_files import graph_model
from onnx import NodeProto, TensorProto, helper

import tilewright
from tilewright import limits
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.compiler.pipeline import float_pipeline
from tilewright.errors import ResourceError, TilewrightError

FLOAT, I64 = TensorProto.FLOAT, TensorProto.INT64
ROOM = "expected at most 805306368 bytes in all such constants of the model"


def small(nodes: Sequence[NodeProto], **constants: np.ndarray | Sequence[int] | int) -> onnx.ModelProto:
    """A model with an input of two elements; numbers without an array are integers."""
    arrays = {name: np.asarray(array) for name, array in constants.items()}
    return graph_model(nodes, [("x", FLOAT, [2])], initializers=arrays, opset=17)


def total_of(node: NodeProto) -> list[NodeProto]:
    """Add all elements of the first output of a node to the input."""
    total = helper.make_node("ReduceSum", [node.output[0]], ["total"], keepdims=0)
    return [node, total, helper.make_node("Add", ["x", "total"], ["y"])]


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(TilewrightError) as caught:
        tilewright.compile(model.SerializeToString())
    return str(caught.value)


def test_constants_that_a_model_describes() -> None:
    node = helper.make_node("ConstantOfShape", ["s"], ["c"], name="c")
    assert refusal(small(total_of(node), s=[2**28])) == (
        "import: ConstantOfShape: node 'c': the node asks for a constant that is too large; "
        f"{ROOM}, found 1073741824 bytes with f32[268435456]"
    )
    node = helper.make_node("Range", ["zero", "s", "one"], ["c"], name="r")
    assert refusal(small(total_of(node), s=2**28, zero=0, one=1)) == (
        "import: Range: node 'r': the node asks for a constant that is too large; "
        f"{ROOM}, found 2147483648 bytes with i64[268435456]"
    )
    node = helper.make_node("EyeLike", ["x"], ["y"], name="e", dtype=FLOAT)
    eye = graph_model([node], [("x", FLOAT, [2**14, 2**15])])
    assert f"node 'e': the node asks for a constant that is too large; {ROOM}, found 2147483648 bytes" in refusal(eye)
    node = helper.make_node("Dropout", ["x"], ["y", "m"], name="d")
    mask = graph_model([node], [("x", FLOAT, [2**15, 2**15])], ["y", "m"])
    assert f"node 'd': the node asks for a constant that is too large; {ROOM}, found 1073741824 bytes" in refusal(mask)


def test_expand_to_more_dimensions_than_numpy_counts() -> None:
    node = helper.make_node("Expand", ["x", "s"], ["y"], name="e")
    assert refusal(small([node], s=[1] * 33 + [2])) == (
        f"import: Expand: node 'e': x does not expand to the shape; expected {[1] * 33 + [2]}, found f32[2]"
    )


def test_places_take_the_memory_of_their_dimensions() -> None:
    """Not of all of their combinations, for which a few hundred bytes would take gigabytes."""
    node = helper.make_node("AffineGrid", ["theta", "size"], ["y"])
    sizes = {"size": np.array([1, 1, 512, 512])}
    model = graph_model([node], [("theta", FLOAT, [1, 2, 3])], initializers=sizes, opset=20)
    tracemalloc.start()
    import_onnx(model)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 512 * 512
    node = helper.make_node("MelWeightMatrix", ["bands", "length", "rate", "low", "high"], ["c"], name="m")
    low, high = np.zeros((), np.float32), np.ones((), np.float32)
    matrix = small(total_of(node), bands=2**14, length=2**14, rate=100, low=low, high=high)
    assert "node 'm': there is no such matrix; expected positive integers, an upper edge above" in refusal(matrix)


def test_they_count_together() -> None:
    nodes = [helper.make_node("ConstantOfShape", ["s"], [f"c{i}"], name=f"c{i}") for i in range(200)]
    model = small([*nodes, helper.make_node("Relu", ["x"], ["y"])], s=[2**21])
    with pytest.raises(
        ResourceError, match=r"ConstantOfShape: node 'c96': the node asks .* found 813694976 bytes with f32"
    ):
        import_onnx(model)


def ops_after_folding(model: onnx.ModelProto) -> list[str]:
    module = import_onnx(model)
    float_pipeline().run(module)
    assert sum(constant.array.nbytes for constant in module.constants.values()) < 2 * limits.FOLDED
    return [op.name for op in module.ops]


def test_what_would_take_long_to_compute_stays_an_op() -> None:
    square = helper.make_node("ConstantOfShape", ["s"], ["c"])
    conv = helper.make_node("Conv", ["c", "c"], ["d"], auto_pad="SAME_UPPER")
    pool = helper.make_node("AveragePool", ["c"], ["d"], kernel_shape=[501, 501], auto_pad="SAME_UPPER")
    for node, name in ((conv, "conv"), (pool, "average_pool")):
        total = helper.make_node("ReduceSum", ["d"], ["total"], keepdims=0)
        model = small([square, node, total, helper.make_node("Add", ["x", "total"], ["y"])], s=[1, 1, 501, 501])
        assert name in ops_after_folding(model)


def test_many_constants_from_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of 60 products has 16 KiB; room is for four, however often a pass computes constants."""
    monkeypatch.setattr(limits, "FOLDED", 2**16)
    doubled = [helper.make_node("Concat", [f"t{i}"] * 2, [f"t{i + 1}"], axis=0) for i in range(12)]
    nodes = [helper.make_node("Mul", ["t12", f"k{i}"], [f"m{i}"]) for i in range(60)]
    sums = [helper.make_node("ReduceSum", [f"m{i}"], [f"r{i}"], keepdims=0) for i in range(60)]
    total = helper.make_node("Sum", ["x", *(f"r{i}" for i in range(60))], ["y"])
    factors = {f"k{i}": np.array([i + 1.0], np.float32) for i in range(60)}
    model = small([*doubled, *nodes, *sums, total], t0=np.ones(1, np.float32), **factors)
    assert ops_after_folding(model).count("reduce_sum") >= 60 - 4
    with tilewright.load(tilewright.compile(model.SerializeToString())) as session:
        found = session.run({"x": np.zeros(2, np.float32)})["y"]
    np.testing.assert_array_equal(found, np.full(2, 4096 * 61 * 30, np.float32))


@pytest.mark.parametrize("parts", [1500, pytest.param(1024, marks=pytest.mark.sweep)])
def test_joining_and_cutting_in_many_parts(parts: int, rng: np.random.Generator) -> None:
    names = [f"p{i}" for i in range(parts)]
    sizes = rng.integers(1, 4, parts)
    nodes = [
        helper.make_node("Split", ["x", "sizes"], names, axis=1),
        helper.make_node("Concat", names[::-1], ["y"], axis=1),
    ]
    x = rng.standard_normal((2, sizes.sum())).astype(np.float32)
    model = graph_model(nodes, [("x", FLOAT, x.shape)], initializers={"sizes": sizes})
    module = import_onnx(model)
    assert max(len(op.operands) + len(op.results) for op in module.ops) <= limits.OPERANDS + 1
    with tilewright.load(tilewright.compile(model.SerializeToString())) as session:
        found = session.run({"x": x})["y"]
    edges = np.cumsum(sizes)[:-1]
    np.testing.assert_array_equal(found, np.concatenate(np.split(x, edges, 1)[::-1], 1))


def test_the_same_value_many_times() -> None:
    model = small([helper.make_node("Concat", ["x"] * 3000, ["y"], axis=0)])
    with tilewright.load(tilewright.compile(model.SerializeToString())) as session:
        x = np.array([1, 2], np.float32)
        np.testing.assert_array_equal(session.run({"x": x})["y"], np.tile(x, 3000))


def work_of(nodes: Sequence[NodeProto], result: str) -> int:
    """Calls of functions while a model is imported and goes through the passes."""
    constants = {"w": np.eye(4, dtype=np.float32), "s": np.array([4, 4])}
    content = graph_model(nodes, [("x", FLOAT, [4, 4])], [result], constants).SerializeToString()
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        float_pipeline().run(import_onnx(content))
    finally:
        sys.setprofile(before)
    return calls


def chain(op_type: str, count: int, *others: str) -> list[NodeProto]:
    names = ["x", *(f"t{i}" for i in range(1, count)), "y"]
    return [helper.make_node(op_type, [a, *others], [b]) for a, b in itertools.pairwise(names)]


def fan(op_type: str, count: int, joint: str, alphas: Sequence[float] = ()) -> list[NodeProto]:
    names = [f"r{i}" for i in range(count)]
    nodes = [helper.make_node(op_type, ["x"], [name], name="same") for name in names]
    for node, alpha in zip(nodes, alphas, strict=False):
        node.attribute.append(helper.make_attribute("alpha", alpha))
    last = helper.make_node(joint, names, ["y"])
    if joint == "Concat":
        last.attribute.append(helper.make_attribute("axis", 0))
    return [*nodes, last]


GRAPHS: dict[str, Callable[[int], list[NodeProto]]] = {
    "in reverse order": lambda count: chain("Relu", count)[::-1],
    "additions": lambda count: chain("Add", count, "x"),
    "products": lambda count: chain("MatMul", count, "w"),
    "transpositions": lambda count: chain("Transpose", count),
    "reshapes": lambda count: chain("Reshape", count, "s"),
    "equal readers": lambda count: fan("LeakyRelu", count, "Sum"),
    "different readers": lambda count: fan("LeakyRelu", count, "Concat", [i / 64 for i in range(count)]),
    "shapes under one name": lambda count: fan("Shape", count, "Concat"),
    "results that nobody reads": lambda count: [helper.make_node("Relu", ["x"], ["y"]), *fan("Exp", count, "Sum")[:-1]],
}


@pytest.mark.parametrize("name", GRAPHS)
def test_twice_the_nodes_take_twice_the_work(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Printing and parsing are part of the work, of modules of every size.
    monkeypatch.setattr(round_trip, "OF_LARGE", 1)
    monkeypatch.setattr(round_trip, "ONE_IN", 1)
    work_of(GRAPHS[name](10), "y")
    once, twice = (work_of(GRAPHS[name](count), "y") for count in (100, 200))
    assert twice < 2.4 * once
