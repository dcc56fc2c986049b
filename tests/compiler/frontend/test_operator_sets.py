"""Every version of ONNX's operator set: old spellings, and numbers that are not known yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_nodes import node_model

from tilewright.compiler.frontend.onnx import reader
from tilewright.compiler.frontend.onnx.operators.training import TRAINING
from tilewright.compiler.frontend.onnx.reader import NEWEST_OPSET, import_onnx
from tilewright.errors import ModelError, OperatorSetWarning, UnsupportedError
from tilewright.ir import interp

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 10
PER_CHANNEL = np.array([2, 3, 4], np.float32)


def computed(op_type: str, inputs: Sequence[np.ndarray], opset: int, **attributes: Any) -> np.ndarray:
    constants = range(1, len(inputs))
    module = import_onnx(node_model(op_type, inputs, opset=opset, constants=constants, **attributes))
    return interp.run(module, {"x0": inputs[0]})["y0"]


@pytest.mark.parametrize(
    ("op_type", "opset", "inputs", "attributes", "expected"),
    [
        ("Add", 6, [X, PER_CHANNEL], {"broadcast": 1, "axis": 1}, X + PER_CHANNEL[:, None]),
        ("Mul", 1, [X, PER_CHANNEL], {"broadcast": 1, "axis": -2, "consumed_inputs": [0, 0]}, X * PER_CHANNEL[:, None]),
        ("Sub", 6, [X, X[0, 0]], {"broadcast": 1}, X - X[0, 0]),
        ("Greater", 1, [X, X[:, :, 0]], {"broadcast": 1, "axis": 0}, X[:, :, :1] < X),
        ("PRelu", 6, [X, PER_CHANNEL], {}, np.where(X < 0, X * PER_CHANNEL[:, None], X)),
        ("PRelu", 1, [X, PER_CHANNEL[:1]], {}, np.where(X < 0, X * 2, X)),
        ("Concat", 3, [X, X], {}, np.concatenate([X, X], 1)),
        ("Reshape", 1, [X], {"shape": [0, -1]}, X.reshape(2, 12)),
        (
            "Pad",
            1,
            [X],
            {"paddings": [0, 0, 1, 0, 0, 0], "value": 3.0},
            np.pad(X, [(0, 0), (0, 0), (1, 0)], constant_values=3),
        ),
        ("Cast", 5, [X], {"to": "INT32"}, X.astype(np.int32)),
        ("Tile", 1, [X, np.array(3), np.array(1)], {}, np.tile(X, (1, 3, 1))),
        ("Selu", 1, [X], {}, 1.0507 * np.where(X < 0, 1.6732 * np.expm1(X), X)),
        ("LpNormalization", 1, [X], {"p": 1}, X / np.abs(X).sum(-1, keepdims=True)),
        ("GlobalLpPool", 1, [X], {"p": 2.0}, np.sqrt((X * X).sum(-1, keepdims=True))),
        (
            "Upsample",
            1,
            [X[None]],
            {"height_scale": 2.0, "width_scale": 1.0},
            np.repeat(X[None], 2, axis=2),
        ),
    ],
)
def test_old_spellings(
    op_type: str, opset: int, inputs: list[np.ndarray], attributes: dict[str, Any], expected: np.ndarray
) -> None:
    found = computed(op_type, inputs, opset, **attributes)
    assert (found.shape, found.dtype) == (expected.shape, expected.astype(found.dtype).dtype)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_old_spellings_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="import: Add: node 'Add_0': the second operand does not fit behind its axis"):
        computed("Add", [X, X[0]], 6, broadcast=1, axis=2)
    with pytest.raises(ModelError, match="import: Cast: node 'Cast_0': unknown element type; found FLOAT99"):
        computed("Cast", [X], 5, to="float99")
    with pytest.raises(UnsupportedError, match=r"only whole powers are supported; found 1\.5"):
        computed("GlobalLpPool", [X], 1, p=1.5)


def test_a_number_that_is_not_known_yet_is_a_warning() -> None:
    with pytest.warns(OperatorSetWarning, match=f"operator set 99 is newer than {NEWEST_OPSET}, the newest"):
        assert computed("Neg", [X], 99).tolist() == (-X).tolist()


def test_but_not_for_an_operator_that_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "NEWEST_OPSET", 12)
    message = "import: Softmax: node 'Softmax_0': the operator changed in a newer version .* or older, found 13"
    with pytest.warns(OperatorSetWarning), pytest.raises(UnsupportedError, match=message):
        computed("Softmax", [X], 13)
    with pytest.warns(OperatorSetWarning):
        assert computed("LeakyRelu", [X], 13, alpha=1.0).tolist() == X.tolist()


def test_the_newest_known_set_is_that_of_the_onnx_package() -> None:
    assert onnx.defs.onnx_opset_version() <= NEWEST_OPSET


@pytest.mark.parametrize(
    ("op_type", "count", "mode", "message"),
    [
        ("Adagrad", 0, "standard", "input 0 is missing"),
        ("Adam", 1, "standard", "input 1 is missing"),
        ("Momentum", 2, "standard", "each tensor needs 3 inputs; found 0 in all"),
        ("Momentum", 5, "other", "unknown mode; expected standard or nesterov, found other"),
        ("Momentum", 5, "standard", "attribute 'alpha' is missing"),
    ],
)
def test_steps_of_optimisers_say_what_is_missing(op_type: str, count: int, mode: str, message: str) -> None:
    node = onnx.helper.make_node(op_type, list("rtxgv")[:count], ["y"], domain=TRAINING, mode=mode)
    infos = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in "rtxgvy"]
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(TRAINING, 1)]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", infos[:5], infos[5:]), opset_imports=opsets)
    with pytest.raises(ModelError, match=message):
        import_onnx(model)
