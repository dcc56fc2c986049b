"""Layers of IR v10 and v11 whose meaning a reader would get wrong: what they compute, as openvino computes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from opset_ir import IrFile, Source

from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.reader import read_document

F32 = np.float32


def computed(file: IrFile, source: Source, *inputs: np.ndarray) -> np.ndarray:
    file.result(source)
    return file.run(*inputs)[0]


@pytest.mark.parametrize(
    ("before", "after", "exclude", "expected"),
    [
        (0, 0, False, [1, 1, 1]),
        (1, 0, False, [0.75, 1, 0.75]),
        (0, 1, False, [1, 1, 0.5]),
        (1, 0, True, [1, 1, 1]),
        (0, 1, True, [1, 1, 1]),
    ],
)
def test_what_an_average_counts_behind_the_padding(
    before: int, after: int, exclude: bool, expected: list[float]
) -> None:
    file = IrFile()
    attributes: dict[str, Any] = {
        "kernel": 4,
        "strides": 3,
        "pads_begin": before,
        "pads_end": after,
        "rounding_type": "ceil",
    }
    attributes["exclude-pad"] = exclude
    x = file.parameter(1, 1, 8)
    y = file.layer("AvgPool", [x], [(1, 1, 3)], **attributes, auto_pad="explicit")
    np.testing.assert_allclose(computed(file, y, np.ones((1, 1, 8), F32)).reshape(-1), expected, 1e-6)


@pytest.mark.parametrize(
    ("mode", "wanted", "expected"),
    [
        ("explicit", None, [2, 13, 24, 130, 240, 300, 400]),
        ("explicit", 8, [2, 13, 24, 130, 240, 300, 400, 0]),
        ("explicit", 5, [2, 13, 24, 130, 240]),
        ("same_upper", None, [1, 2, 13, 24, 130, 240, 300, 400]),
        ("same_upper", 7, [2, 13, 24, 130, 240, 300, 400]),
        ("same_lower", 7, [1, 2, 13, 24, 130, 240, 300]),
        ("same_upper", 9, [1, 2, 13, 24, 130, 240, 300, 400, 0]),
        ("valid", 6, [1, 2, 13, 24, 130, 240]),
    ],
)
def test_what_a_gradient_cuts_off(mode: str, wanted: int | None, expected: list[int]) -> None:
    file = IrFile()
    inputs = [file.parameter(1, 1, 3), file.constant(np.arange(1, 5, dtype=F32).reshape(1, 1, 4))]
    if wanted is not None:
        inputs.append(file.constant([wanted]))
    attributes = {"strides": 2, "pads_begin": 1, "pads_end": 0, "dilations": 1, "auto_pad": mode}
    y = file.layer("ConvolutionBackpropData", inputs, [(1, 1, len(expected))], **attributes)
    assert computed(file, y, np.array([[[1, 10, 100]]], F32)).reshape(-1).tolist() == expected


def test_groups_of_gradients() -> None:
    """Weights are [groups, inputs, outputs, kernel]: FCN's bilinear upsampling, a channel each."""
    file = IrFile()
    w = np.array([1, 2, 2, 1], F32).reshape(1, 1, 1, 4).repeat(2, 0)
    inputs = [file.parameter(1, 2, 2), file.constant(w)]
    attributes: dict[str, Any] = {"strides": 2, "pads_begin": 1, "pads_end": 1, "dilations": 1}
    y = file.layer("GroupConvolutionBackpropData", inputs, [(1, 2, 4)], **attributes)
    found = computed(file, y, np.array([[[1, 10], [100, 1000]]], F32))
    assert found.tolist() == [[[2, 12, 21, 20], [200, 1200, 2100, 2000]]]


@pytest.mark.parametrize(("opset", "order"), [(1, (1, 2, 0, 3, 4)), (5, (0, 1, 2, 3, 4))])
def test_where_batch_normalisation_takes_its_data(opset: int, order: tuple[int, ...]) -> None:
    file = IrFile()
    given = [file.parameter(1, 2), *(file.constant(np.array(row, F32)) for row in ((2, 3), (5, 7), (1, 1), (4, 9)))]
    y = file.layer("BatchNormInference", [given[i] for i in order], [(1, 2)], opset=opset, epsilon=0)
    assert computed(file, y, np.array([[3, 4]], F32)).tolist() == [[7, 10]]


def test_slopes_belong_to_channels() -> None:
    file = IrFile()
    y = file.layer("PReLU", [file.parameter(1, 2, 2), file.constant(np.array([2, 3], F32))], [(1, 2, 2)])
    assert computed(file, y, np.full((1, 2, 2), -1, F32)).tolist() == [[[-2, -2], [-3, -3]]]


@pytest.mark.parametrize(("python", "expected"), [(True, [-4, 3, 3, -4]), (False, [-3, 3, 3, -3])])
def test_integers_divide_as_the_layer_says(python: bool, expected: list[int]) -> None:
    file = IrFile()
    x = file.parameter(4, element_type="i32")
    y = file.constant(np.array([2, 2, -2, -2], np.int32))
    divided = file.layer("Divide", [x, y], [(4,)], precision="I32", auto_broadcast="numpy", m_pythondiv=python)
    assert computed(file, divided, np.array([-7, 7, -7, 7], np.int32)).tolist() == expected


def test_operands_along_the_first_dimensions() -> None:
    file = IrFile()
    x, y = file.parameter(1, 2, 2), file.constant(np.array([[10], [20]], F32))
    total = file.layer("Add", [x, y], [(1, 2, 2)], auto_broadcast="pdpd", axis=1)
    assert computed(file, total, np.zeros((1, 2, 2), F32)).tolist() == [[[10, 10], [20, 20]]]


def test_largest_elements_in_the_order_of_their_places() -> None:
    file = IrFile()
    attributes = {"axis": -1, "mode": "max", "sort": "index"}
    top = file.layer("TopK", [file.parameter(4), file.constant(np.array(2))], [(2,), (2,)], opset=3, **attributes)
    file.result(top)
    file.result((top[0], top[1] + 1))
    values, places = file.run(np.array([1, 5, 2, 9], F32))
    assert values.tolist() == [5, 9]
    assert (places.tolist(), places.dtype) == ([1, 3], np.int32)


def test_half_precision_is_how_weights_are_stored() -> None:
    """Without a Convert, as files of version 10 have it: inputs and outputs are single precision."""
    file = IrFile(version=10)
    x = file.parameter(2, element_type="f16")
    y = file.layer("Multiply", [x, file.constant(np.array([0.1, 2], np.float16))], [(2,)], precision="FP16")
    found = computed(file, y, np.array([1e6, 3], F32))
    np.testing.assert_array_equal(found, np.array([1e6 * F32(np.float16(0.1)), 6], F32))


def test_chains_that_work_out_shapes_leave_nothing_behind() -> None:
    """ShapeOf, StridedSlice, Convert, Divide, Unsqueeze and Concat, as converters of version 10 write them."""
    file = IrFile(version=10)
    x = file.parameter(1, 3, 4, 6)
    shape = file.layer("ShapeOf", [x], [(4,)], opset=3, precision="I64", output_type="i64")
    masks: dict[str, Any] = {
        "begin_mask": "1",
        "end_mask": "1",
        "new_axis_mask": "0",
        "shrink_axis_mask": "1",
        "ellipsis_mask": "0",
    }
    height = file.layer(
        "StridedSlice",
        [shape, file.constant([2]), file.constant([3]), file.constant([1])],
        [()],
        precision="I64",
        **masks,
    )
    real = file.layer("Convert", [height], [()], destination_type="f32")
    half = file.layer("Divide", [real, file.constant(np.array(2, F32))], [()])
    back = file.layer("Convert", [half], [()], precision="I64", destination_type="i64")
    row = file.layer("Unsqueeze", [back, file.constant([0])], [(1,)], precision="I64")
    wanted = file.layer("Concat", [row, file.constant([-1])], [(2,)], precision="I64", axis=0)
    file.result(file.layer("Reshape", [x, wanted], [(2, 36)], special_zero="true"))
    text = file.text.replace(b"</edges>", b'</edges><meta_data><MO_version value="2020"/></meta_data>')
    module = import_model(read_document(text, file.binary))
    assert [op.name for op in module.main.ops] == ["reshape"]
    assert module.main.results[0].type.shape == (2, 36)
