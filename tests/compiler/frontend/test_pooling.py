"""Import of pooling nodes: automatic padding and numbers of windows that are rounded up."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model
from random_seeds import seeds

from tilewright.compiler.frontend.onnx.writer import export_onnx
from tilewright.errors import ModelError, UnsupportedError
from tilewright.ir.core import Function, Module
from tilewright.ir.ops.pooling import AveragePool, MaxPool
from tilewright.ir.types import DType, TensorType


@pytest.mark.parametrize("op_type", ["MaxPool", "AveragePool", "LpPool"])
@pytest.mark.parametrize("seed", seeds(15, 40))
def test_random_windows_agree_with_onnxruntime(op_type: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    spatial = int(rng.integers(1, 3))
    kernel = rng.integers(1, 5, spatial)
    dilations = rng.integers(1, 3, spatial) if seed % 3 == 0 else np.ones(spatial, int)
    attributes = {
        "kernel_shape": kernel.tolist(),
        "strides": rng.integers(1, 5, spatial).tolist(),
        "dilations": dilations.tolist(),
        "ceil_mode": seed % 2,
    }
    if seed % 5 == 0:
        attributes["auto_pad"] = ("SAME_UPPER", "SAME_LOWER", "VALID")[seed % 3]
        attributes["dilations"] = [1] * spatial
        # onnxruntime takes no strides beyond the kernel here: its padding becomes negative.
        attributes["strides"] = np.minimum(attributes["strides"], kernel).tolist()
    else:
        attributes["pads"] = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
    if op_type == "AveragePool":
        attributes["count_include_pad"] = seed // 2 % 2
    if op_type == "LpPool":
        attributes["p"] = 2
    x = rng.standard_normal((1, 2, *rng.integers(9, 14, spatial))).astype(np.float32)
    assert_imports_like_onnxruntime(node_model(op_type, [x], opset=22, **attributes), [x])


def test_rounding_up_becomes_explicit() -> None:
    x = np.zeros((1, 1, 8, 8), np.float32)
    model = node_model("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    (op,) = import_checked(model).main.ops
    assert op.operator == MaxPool((3, 3), (2, 2), (0, 0, 1, 1), (1, 1))
    model = node_model("AveragePool", [x], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1, count_include_pad=1)
    (op,) = import_checked(model).main.ops
    assert op.operator == AveragePool((3, 3), (2, 2), (0, 0, 0, 0), (1, 1), True, overhang=(1, 1))


def test_a_kernel_of_another_rank_is_refused() -> None:
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(ModelError, match="kernel_shape does not match the input; expected 2 extents, found"):
        import_checked(node_model("MaxPool", [x], kernel_shape=[2]))


def test_an_overhang_that_onnx_cannot_say_is_refused_by_the_export() -> None:
    module = Module("odd")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType((1, 1, 5), DType.F32))
    op = function.append(AveragePool((2,), (1,), (0, 0), (1,), True, overhang=(1,)), [x])
    function.set_results(op.results)
    with pytest.raises(UnsupportedError, match="overhang"):
        export_onnx(module)


@pytest.mark.parametrize("cls", [MaxPool, AveragePool])
@pytest.mark.parametrize(
    ("kernel", "strides", "pads"),
    [
        ((1, 3, 1, 1), (1, 3, 1, 1), (0,) * 8),
        ((2, 1, 1, 3), (1, 1, 1, 2), (1, 0, 0, 0, 0, 0, 0, 2)),
        ((1, 1, 1, 2, 1), (1, 1, 1, 1, 1), (0, 0, 0, 2, 0, 0, 0, 0, 1, 0)),
    ],
)
def test_windows_of_more_than_three_dimensions_are_exported(
    cls: type[MaxPool | AveragePool], kernel: tuple[int, ...], strides: tuple[int, ...], pads: tuple[int, ...]
) -> None:
    """Along three at most they are computed in onnxruntime."""
    ones, zeros = (1,) * len(kernel), (0,) * len(kernel)
    if cls is AveragePool and max(pads) >= 2 and max(kernel) == 2:
        pads = tuple(min(pad, 1) for pad in pads)
    shape = 2, 3, *range(4, 4 + len(kernel))
    module = Module("deep")
    function = module.add_function(Function("main"))
    x = function.add_parameter("x", TensorType(shape, DType.F32))
    window = kernel, strides, pads, ones
    operator = MaxPool(*window) if cls is MaxPool else AveragePool(*window, True, zeros)
    op = function.append(operator, [x])
    function.set_results(op.results)
    array = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    session = onnxruntime.InferenceSession(export_onnx(module).SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": array})
    np.testing.assert_allclose(np.asarray(found), operator.reference(array), rtol=1e-5, atol=1e-6)
