"""Single operators of ONNX beside onnxruntime, the slowest first.

    python benchmarks/operators.py [--target host] [--filter TEXT …] [--rounds 15] [--below 0.9]

One thread each; both run in turn, and each takes the median of its processor time in all rounds. Some milliseconds of
each round go to an operator, so that quick ones are run several times in it. Some 25
microseconds of a run are ours for the call from Python, and 12 those of onnxruntime.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import tilewright

ROUND_SECONDS = 3e-3
"""What an operator may take in a round; it runs once at least."""

Case = tuple[str, str, dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]
"""A name, the operator, its inputs, its constants (in order after the inputs), and attributes."""


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def indices(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, high, shape)


def case(
    name: str, op: str, *inputs: np.ndarray, constants: Sequence[np.ndarray | np.generic | None] = (), **attributes
) -> Case:
    given = {f"x{i}": array for i, array in enumerate(inputs)}
    fixed = {f"c{i}" if array is not None else "": array for i, array in enumerate(constants)}
    return name, op, given, fixed, attributes  # pyright: ignore[reportReturnType]


def convolutions() -> Iterator[Case]:
    """With few channels, in one or three dimensions, transposed."""
    audio, image = floats(1, 1, 16000), floats(1, 1, 128, 300)
    yield case("Conv wav2vec 1->512 k10/5", "Conv", audio, constants=[floats(512, 1, 10)], strides=[5])
    yield case("Conv stft 1->402 k400/160", "Conv", audio, constants=[floats(402, 1, 400)], strides=[160])
    yield case("Conv text 1->100 (3,128)", "Conv", floats(1, 1, 200, 128), constants=[floats(100, 1, 3, 128)])
    yield case("Conv text 1->100 (5,300)", "Conv", floats(1, 1, 64, 300), constants=[floats(100, 1, 5, 300)])
    yield case("Conv 1-D 2->64 k15/4", "Conv", floats(1, 2, 16000), constants=[floats(64, 2, 15)], strides=[4])
    yield case("Conv 1-D 80->256 k3", "Conv", floats(1, 80, 500), constants=[floats(256, 80, 3)], pads=[1, 1])
    yield case(
        "Conv 1-D 64->64 k3 dilation 8",
        "Conv",
        floats(1, 64, 1000),
        constants=[floats(64, 64, 3)],
        dilations=[8],
        pads=[8, 8],
    )
    yield case("Conv 1-D 512->512 k3/2", "Conv", floats(1, 512, 800), constants=[floats(512, 512, 3)], strides=[2])
    yield case("Conv 1-D depthwise 256 k31", "Conv", floats(1, 256, 400), constants=[floats(256, 1, 31)], group=256)
    yield case("Conv 1->32 (3,3) speech", "Conv", image, constants=[floats(32, 1, 3, 3)], strides=[2, 2])
    yield case("Conv 1->64 (10,4)", "Conv", image, constants=[floats(64, 1, 10, 4)], strides=[2, 2])
    yield case("Conv 3->16 (7,7)", "Conv", floats(1, 3, 112, 112), constants=[floats(16, 3, 7, 7)], pads=[3] * 4)
    yield case("Conv 3-D 1x1x1", "Conv", floats(1, 64, 8, 28, 28), constants=[floats(64, 64, 1, 1, 1)])
    yield case("Conv 3-D 3x3x3", "Conv", floats(1, 32, 8, 28, 28), constants=[floats(32, 32, 3, 3, 3)], pads=[1] * 6)
    yield case("Conv 3-D 3->32", "Conv", floats(1, 3, 8, 56, 56), constants=[floats(32, 3, 3, 3, 3)], pads=[1] * 6)
    yield case("ConvTranspose 64->32 k2/2", "ConvTranspose", floats(1, 64, 28, 28), constants=[floats(64, 32, 2, 2)],
               strides=[2, 2])  # fmt: skip
    yield case("ConvTranspose 128->64 k4/2", "ConvTranspose", floats(1, 128, 16, 16), constants=[floats(128, 64, 4, 4)],
               strides=[2, 2], pads=[1] * 4)  # fmt: skip
    yield case("ConvTranspose 16->3 k4/2", "ConvTranspose", floats(1, 16, 64, 64), constants=[floats(16, 3, 4, 4)],
               strides=[2, 2], pads=[1] * 4)  # fmt: skip
    yield case("ConvTranspose 1-D k16/8", "ConvTranspose", floats(1, 128, 200), constants=[floats(128, 64, 16)],
               strides=[8], pads=[4, 4])  # fmt: skip


def elementwise() -> Iterator[Case]:
    x, positive = floats(1, 64, 56, 56), abs(floats(1, 64, 56, 56)) + 0.5
    for op in ("Tanh", "Sigmoid", "Erf", "Exp", "Gelu", "Softplus", "Mish", "Elu", "Selu", "Celu", "HardSwish",
               "HardSigmoid", "Softsign", "Relu", "LeakyRelu", "Abs", "Neg", "Floor", "Round", "Sign", "Sin", "Cos",
               "Sinh", "Cosh", "Atan", "Reciprocal", "IsNaN", "ThresholdedRelu"):  # fmt: skip
        yield case(op, op, x)
    for op in ("Log", "Sqrt"):
        yield case(op, op, positive)
    for op in ("Add", "Mul", "Div", "Max", "Less", "Equal", "GreaterOrEqual"):
        yield case(f"{op} same", op, x, x[:, ::-1].copy())
        yield case(f"{op} channels", op, x, floats(64, 1, 1))
        yield case(f"{op} row", op, x, floats(56))
    yield case("Add outer", "Add", floats(512, 1), floats(1, 512))
    yield case("Pow 2 tensors", "Pow", positive, x)
    yield case("Pow scalar 3.3", "Pow", positive, constants=[np.float32(3.3)])
    yield case("Mod floats", "Mod", x, positive, fmod=1)
    yield case("PRelu channels", "PRelu", x, constants=[floats(64, 1, 1)])
    yield case("Clip", "Clip", x, constants=[np.float32(-0.5), np.float32(0.5)])
    truth = x > 0
    yield case("Where same", "Where", truth, x, x * 2)
    yield case("Where row", "Where", truth, x, np.float32(0).reshape(1))
    yield case("Where mask row", "Where", truth[0, 0, :1], x, np.float32(0).reshape(1))
    yield case("Where mask column", "Where", truth[0, :, :1, :1], x, floats(56))
    for op in ("And", "Or", "Xor"):
        yield case(op, op, truth, ~truth)
    yield case("And row", "And", truth, truth[0, 0, 0])
    yield case("Not", "Not", truth)
    whole, other = indices(1000, 64, 56, 56), indices(1000, 64, 56, 56) + 1
    for op in ("Add", "Mul", "Sub", "Div", "Mod", "Equal", "Less", "Max"):
        yield case(f"{op} int64", op, whole, other)
        yield case(f"{op} int32", op, whole.astype(np.int32), other.astype(np.int32))
    yield case("Add int64 row", "Add", whole, other[0, 0])
    yield case("Abs int64", "Abs", whole)
    yield case("BitwiseAnd int32", "BitwiseAnd", whole.astype(np.int32), other.astype(np.int32))
    for name, array, to in (
        ("float to int32", x, TensorProto.INT32), ("float to int64", x, TensorProto.INT64),
        ("float to uint8", abs(x), TensorProto.UINT8), ("float to bool", x, TensorProto.BOOL),
        ("float to half", x, TensorProto.FLOAT16), ("half to float", x.astype(np.float16), TensorProto.FLOAT),
        ("int64 to float", whole, TensorProto.FLOAT), ("int32 to float", whole.astype(np.int32), TensorProto.FLOAT),
        ("int64 to int32", whole, TensorProto.INT32), ("int32 to int64", whole.astype(np.int32), TensorProto.INT64),
        ("bool to float", truth, TensorProto.FLOAT), ("bool to int64", truth, TensorProto.INT64),
        ("uint8 to float", whole.astype(np.uint8), TensorProto.FLOAT), ("float to double", x, TensorProto.DOUBLE),
    ):  # fmt: skip
        yield case(f"Cast {name}", "Cast", array, to=to)


def reductions() -> Iterator[Case]:
    x = floats(64, 128, 96)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp",
               "ReduceProd"):  # fmt: skip
        for axes in ([0], [1], [2], [0, 1], [1, 2], [0, 2], [0, 1, 2]):
            yield case(f"{op} {axes}", op, x, constants=[np.array(axes)])
    whole = indices(1000, 64, 128, 96)
    yield case("ReduceSum int64 [1]", "ReduceSum", whole, constants=[np.array([1])])
    yield case("ReduceSum int64 [2]", "ReduceSum", whole, constants=[np.array([2])])
    yield case("ReduceMax int64 [2]", "ReduceMax", whole, constants=[np.array([2])])
    for op in ("ArgMax", "ArgMin"):
        for axis in (0, 1, 2):
            yield case(f"{op} axis {axis}", op, x, axis=axis)
        yield case(f"{op} long", op, floats(1, 100000), axis=1)
        yield case(f"{op} segmentation", op, floats(1, 21, 128, 128), axis=1)
    for k in (1, 5, 100):
        yield case(f"TopK {k} of 1000", "TopK", floats(32, 1000), constants=[np.array([k])])
        yield case(f"TopK {k} of 50000", "TopK", floats(1, 50000), constants=[np.array([k])])
    yield case("TopK 1000 of 8400", "TopK", floats(1, 8400), constants=[np.array([1000])])
    yield case("TopK 5 of 128 axis 1", "TopK", x, constants=[np.array([5])], axis=1)
    for axis in (0, 1, 2):
        yield case(f"CumSum axis {axis}", "CumSum", x, constants=[np.array(axis)])
    for rows, length in ((4096, 8), (1024, 64), (256, 1000), (8, 30000)):
        yield case(f"Softmax {rows} x {length}", "Softmax", floats(rows, length), axis=-1)
        yield case(f"LogSoftmax {rows} x {length}", "LogSoftmax", floats(rows, length), axis=-1)
        scale = floats(length)
        yield case(f"LayerNorm {rows} x {length}", "LayerNormalization", floats(rows, length), constants=[scale, scale])
        yield case(f"RMSNorm {rows} x {length}", "RMSNormalization", floats(rows, length), constants=[scale])
    yield case("Softmax axis 1", "Softmax", floats(1, 21, 64, 64), axis=1)
    image = floats(1, 64, 56, 56)
    yield case("InstanceNorm", "InstanceNormalization", image, constants=[floats(64), floats(64)])
    yield case("GroupNorm", "GroupNormalization", image, constants=[floats(64), floats(64)], num_groups=8)
    yield case(
        "BatchNorm", "BatchNormalization", image, constants=[floats(64), floats(64), floats(64), abs(floats(64))]
    )
    yield case("LpNorm", "LpNormalization", x, axis=-1)
    yield case("MeanVariance", "MeanVarianceNormalization", image)
    yield case("LRN", "LRN", image, size=5)
    for op in ("GlobalAveragePool", "GlobalMaxPool"):
        yield case(op, op, image)
    pool: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1] * 4}
    yield case("MaxPool 3/1", "MaxPool", image, **pool)
    yield case("MaxPool 3/2", "MaxPool", image, strides=[2, 2], **pool)
    yield case("MaxPool 2/2", "MaxPool", image, strides=[2, 2], kernel_shape=[2, 2])
    yield case("AveragePool 3/1", "AveragePool", image, **pool)
    yield case("AveragePool 2/2", "AveragePool", image, strides=[2, 2], kernel_shape=[2, 2])
    yield case("AveragePool 7/7", "AveragePool", image, strides=[7, 7], kernel_shape=[7, 7])
    yield case("AveragePool 5/3", "AveragePool", image, strides=[3, 3], kernel_shape=[5, 5])
    yield case("AveragePool 1-D", "AveragePool", floats(1, 128, 4000), kernel_shape=[4], strides=[4])
    yield case("MaxPool 1-D", "MaxPool", floats(1, 128, 4000), kernel_shape=[3], strides=[2])
    yield case("MaxPool 3-D", "MaxPool", floats(1, 32, 16, 28, 28), kernel_shape=[2, 2, 2], strides=[2, 2, 2])
    yield case("LpPool 3/2", "LpPool", image, strides=[2, 2], p=2, **pool)


def movements() -> Iterator[Case]:
    x, y = floats(8, 64, 28, 28), floats(64, 128, 96)
    for perm in ((0, 2, 3, 1), (0, 3, 1, 2), (1, 0, 2, 3), (0, 2, 1, 3), (3, 2, 1, 0), (2, 3, 0, 1)):
        yield case(f"Transpose {perm}", "Transpose", x, perm=perm)
    yield case("Transpose heads", "Transpose", floats(1, 128, 12, 64), perm=(0, 2, 1, 3))
    yield case("Transpose bytes", "Transpose", (x * 10).astype(np.uint8), perm=(0, 2, 3, 1))
    yield case("Transpose int64", "Transpose", indices(9, 64, 56, 56), perm=(2, 0, 1))
    for axis in range(4):
        yield case(f"Concat axis {axis}", "Concat", x, x, axis=axis)
        yield case(f"Split axis {axis}", "Split", x, num_outputs=2, axis=axis)
    yield case("Slice rows", "Slice", x, constants=[np.array([2, 2]), np.array([26, 26]), np.array([2, 3])])
    yield case("Slice step 2", "Slice", x, constants=[*(np.array(a) for a in ([0, 0], [28, 28], [2, 3], [2, 2]))])
    yield case("Slice channels", "Slice", x, constants=[np.array([8]), np.array([40]), np.array([1])])
    yield case("Slice reverse", "Slice", x, constants=[*(np.array(a) for a in ([-1], [-1000], [3], [-1]))])
    for mode in ("reflect", "edge", "constant"):
        yield case(f"Pad {mode}", "Pad", x, constants=[np.array([0, 0, 3, 3, 0, 0, 3, 3])], mode=mode)
    yield case("Pad 1-D reflect", "Pad", floats(1, 1, 16000), constants=[np.array([0, 0, 200, 0, 0, 200])],
               mode="reflect")  # fmt: skip
    for mode in ("DCR", "CRD"):
        yield case(f"DepthToSpace {mode}", "DepthToSpace", x, blocksize=2, mode=mode)
    yield case("SpaceToDepth", "SpaceToDepth", x, blocksize=2)
    yield case("Expand row", "Expand", floats(1, 64, 1, 96), constants=[np.array([8, 64, 28, 96])])
    yield case("Expand column", "Expand", floats(8, 64, 28, 1), constants=[np.array([8, 64, 28, 96])])
    yield case("Tile", "Tile", x, constants=[np.array([1, 1, 2, 2])])
    yield case("Trilu", "Trilu", floats(12, 256, 256), upper=0)
    yield case("Gather rows", "Gather", floats(5000, 384), indices(5000, 128))
    yield case("Gather axis 1", "Gather", y, indices(128, 64), axis=1)
    yield case("Gather axis 2", "Gather", y, indices(96, 64), axis=2)
    for axis in (0, 1, 2):
        where = indices(y.shape[axis], *y.shape)
        yield case(f"GatherElements {axis}", "GatherElements", y, where, axis=axis)
        yield case(f"ScatterElements {axis}", "ScatterElements", y, where, y, axis=axis)
    yield case("ScatterElements add", "ScatterElements", y, indices(128, *y.shape), y, axis=1, reduction="add")
    yield case("GatherND", "GatherND", y, indices(64, 2000, 2))
    yield case("ScatterND", "ScatterND", y, indices(64, 2000, 2), floats(2000, 96))
    yield case("OneHot", "OneHot", indices(100, 1000), constants=[np.array(100), floats(2)])
    yield case("NonZero", "NonZero", y > 1)
    sizes = np.array([1, 32, 112, 112])
    image = floats(1, 32, 56, 56)
    for mode in ("nearest", "linear", "cubic"):
        for how in ("half_pixel", "align_corners", "asymmetric"):
            yield case(f"Resize {mode} {how}", "Resize", image, constants=[None, None, sizes], mode=mode,
                       coordinate_transformation_mode=how)  # fmt: skip
    small = [None, None, np.array([1, 3, 224, 224])]
    yield case("Resize linear down", "Resize", floats(1, 3, 480, 640), constants=small, mode="linear")
    yield case("Resize linear odd", "Resize", image, constants=[None, None, np.array([1, 32, 75, 101])], mode="linear")
    grid = np.clip(floats(1, 56, 56, 2), -1.1, 1.1)
    for mode in ("linear", "nearest", "cubic"):
        yield case(f"GridSample {mode}", "GridSample", image, grid, mode=mode)
    rois = np.array([[0, 0, 40, 40], [5, 5, 50, 30], [1, 9, 33, 44]], np.float32)
    yield case("RoiAlign", "RoiAlign", image, rois, np.zeros(3, np.int64), output_height=7, output_width=7)


def products() -> Iterator[Case]:
    for m, k, n in ((1, 640, 128), (1, 128, 128), (1, 2048, 1000), (1, 512, 512), (8, 512, 512), (128, 64, 128)):
        yield case(f"MatMul {m} x {k} x {n}", "MatMul", floats(m, k), constants=[floats(k, n)])
        yield case(f"Gemm B^T {m} x {k} x {n}", "Gemm", floats(m, k), constants=[floats(n, k), floats(n)], transB=1)
    yield case("MatMul two inputs", "MatMul", floats(12, 128, 64), floats(12, 64, 128))
    yield case("MatMul vector", "MatMul", floats(512, 512), constants=[floats(512)])
    yield case("Einsum bij,bjk", "Einsum", floats(8, 64, 96), floats(8, 96, 64), equation="bij,bjk->bik")
    yield case("Einsum bhwc,hkc", "Einsum", floats(4, 14, 14, 64), floats(14, 14, 64), equation="bhwc,hkc->bhwk")
    yield case("Einsum ij,j", "Einsum", floats(512, 512), floats(512), equation="ij,j->i")
    yield case("Einsum bhqd,bhkd", "Einsum", floats(2, 8, 64, 32), floats(2, 8, 64, 32), equation="bhqd,bhkd->bhqk")
    yield case("DynamicQuantizeLinear", "DynamicQuantizeLinear", floats(128, 768))
    zero = np.uint8(128)
    scale = np.float32(0.05)
    yield case("QuantizeLinear", "QuantizeLinear", floats(128, 768), constants=[scale, zero])
    yield case("DequantizeLinear", "DequantizeLinear", (floats(128, 768) * 9 + 99).astype(np.uint8),
               constants=[scale, zero])  # fmt: skip
    data = (floats(64, 256) * 30 + 128).astype(np.uint8)
    yield case("MatMulInteger", "MatMulInteger", data, constants=[(floats(256, 256) * 30).astype(np.int8), zero])
    yield case("ConvInteger", "ConvInteger", (floats(1, 16, 28, 28) * 30 + 128).astype(np.uint8),
               constants=[(floats(32, 16, 3, 3) * 30).astype(np.int8), zero])  # fmt: skip
    for batch in (1, 8):
        x, hidden = floats(50, batch, 64), 128
        for op, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
            w, r = floats(1, gates * hidden, 64) / 8, floats(1, gates * hidden, hidden) / 8
            bias = floats(1, 2 * gates * hidden)
            yield case(f"{op} batch {batch}", op, x, constants=[w, r, bias], hidden_size=hidden)
    w, r = floats(2, 512, 64) / 8, floats(2, 512, 128) / 8
    yield case("LSTM both ways", "LSTM", floats(50, 1, 64), constants=[w, r, floats(2, 1024)], hidden_size=128,
               direction="bidirectional")  # fmt: skip
    w, r, bias = floats(1, 384, 64) / 8, floats(1, 384, 128) / 8, floats(1, 768)
    yield case("GRU linear_before_reset", "GRU", floats(50, 1, 64), constants=[w, r, bias], hidden_size=128,
               linear_before_reset=1)  # fmt: skip


def model(op: str, inputs: Mapping[str, np.ndarray], fixed: Mapping[str, np.ndarray], attributes) -> onnx.ModelProto:
    """A network of the operator alone."""
    outputs = [f"y{i}" for i in range({"Split": 2, "TopK": 2, "DynamicQuantizeLinear": 3}.get(op, 1))]
    names = [*inputs, *fixed]
    if op == "Resize":
        names = [*inputs, "", "", "c2"]
    given = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
             for n, a in inputs.items()]  # fmt: skip
    node = helper.make_node(op, names, outputs, **attributes)
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    constants = [numpy_helper.from_array(np.asarray(array), name) for name, array in fixed.items() if name]
    graph = helper.make_graph([node], "operator", given, results, constants)
    opset = 23 if op == "RMSNormalization" else 21
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(made, data_prop=True)


def runners(made: onnx.ModelProto, inputs: Mapping[str, np.ndarray], target: str) -> list[Callable[[], object]]:
    """Ours and onnxruntime's, which agree within rounding."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "operator.onnx"
        onnx.save(made, path)
        ours = tilewright.load(tilewright.compile(path, precision="fp32", target=target), engine="float", threads=1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    peer = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [lambda: ours.run(inputs), lambda: peer.run(None, dict(inputs))]


def times(functions: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each."""
    repeats, found = [], [[] for _ in functions]
    for function in functions:
        function()
        start = time.perf_counter()
        function()
        repeats.append(max(1, min(100, round(ROUND_SECONDS / (time.perf_counter() - start)))))
    for _ in range(rounds):
        for function, repeat, samples in zip(functions, repeats, found, strict=True):
            start = time.thread_time()
            for _ in range(repeat):
                function()
            samples.append((time.thread_time() - start) / repeat)
    return [statistics.median(samples) for samples in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="host")
    parser.add_argument("--filter", nargs="*", default=[""], help="parts of names, of which one must occur")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--below", type=float, default=float("inf"), help="show only what has a smaller ratio")
    options = parser.parse_args()
    rows: list[tuple[float, str]] = []
    for family in (convolutions, elementwise, reductions, movements, products):
        for name, op, inputs, fixed, attributes in family():
            if not any(part in name for part in options.filter):
                continue
            try:
                ours, peer = times(
                    runners(model(op, inputs, fixed, attributes), inputs, options.target), options.rounds
                )
            except Exception as error:
                # That one of the two refuses an operator is a result.
                rows.append((0, f"{name:32} {type(error).__name__}: {str(error).strip().splitlines()[0][:120]}"))
                continue
            rows.append((peer / ours, f"{name:32} {peer / ours:6.2f} {ours * 1e6:10.1f} {peer * 1e6:10.1f}"))
            print(".", end="", flush=True)
    print(f"\n{'operator':32} {'ratio':>6} {'ours (us)':>10} {'onnxruntime':>10}")
    for ratio, line in sorted(rows):
        if ratio < options.below:
            print(line)


if __name__ == "__main__":
    main()
