"""Files of every version say the same, and what is wrong with one is told by file, tensor and field."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import encodings_files
import numpy as np
import pytest
from encodings_files import VERSIONS, asymmetric, symmetric
from property_tests import given, settings, st

from tilewright import limits
from tilewright.compiler.quantization import encodings
from tilewright.compiler.quantization.encodings import Encoding, ModuleTensor, parse_encodings, read_encodings
from tilewright.compiler.quantization.simulated import grid_of
from tilewright.errors import InputError, ResourceError

ENTRY: dict[str, Any] = {
    "bitwidth": 8,
    "dtype": "int",
    "is_symmetric": "False",
    "min": -2.10916,
    "max": 2.6087,
    "offset": -114,
    "scale": 0.0185014,
}
TYPED: dict[str, Any] = {
    "name": "x",
    "enc_type": "PER_TENSOR",
    "dtype": "INT",
    "bw": 8,
    "is_sym": False,
    "scale": [0.5],
    "offset": [-3],
}


def activation(entry: object, version: str | None = "0.6.1") -> Encoding:
    """The encoding of the only activation of a file."""
    content = {"activation_encodings": {"x": entry}, "param_encodings": {}}
    return parse_encodings(json.dumps({**content, "version": version} if version else content)).activations["x"]


def typed(**changes: object) -> Encoding:
    text = json.dumps({"version": "1.0.0", "activation_encodings": [], "param_encodings": [{**TYPED, **changes}]})
    return parse_encodings(text).parameters["x"]


def numbers(encoding: Encoding) -> tuple[object, ...]:
    assert encoding.scale is not None and encoding.offset is not None
    return encoding.bits, encoding.scale.tolist(), encoding.offset.tolist()


@pytest.mark.parametrize("bits", [4, 8, 16, 31, 32])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_says_the_same(version: str, bits: int, tmp_path: Path, rng: np.random.Generator) -> None:
    weights = rng.standard_normal((6, 3))
    activations = {"x": asymmetric(-1.3, 2.7, bits), "y": asymmetric(0, 4, bits)}
    parameters = {"w": symmetric(weights, bits, 0), "v": symmetric(weights, bits, None)}
    found = read_encodings(encodings_files.write(tmp_path / "model.encodings", version, activations, parameters))
    if version != "2.0.0":
        assert set(found.activations) == {"x", "y"} and set(found.parameters) == {"w", "v"}
    every = {**found.activations, **found.parameters}
    for name, grid in {**activations, **parameters}.items():
        shape = () if grid.axis is None else (6,)
        assert numbers(every[name]) == (bits, grid.scale.reshape(shape).tolist(), grid.offset.reshape(shape).tolist())
        assert every[name].axis == (grid.axis if version == "2.0.0" else None)


def test_what_tools_add_means_nothing() -> None:
    content = {
        "version": "0.6.1",
        "activation_encodings": {"x": [ENTRY]},
        "param_encodings": {},
        "excluded_layers": ["y"],
        "producer": {"name": "aimet"},
        "quantizer_args": {"activation_bitwidth": 8, "quant_scheme": "post_training_tf_enhanced"},
        "modules": {"Conv_0": {"SNC_OP": "CONV", "SNC_params": {"a": [1]}, "Elements": {"input": ["x"]}}},
    }
    found = parse_encodings(json.dumps(content))
    assert numbers(found.activations["x"]) == (8, 0.0185014, -114)


@pytest.mark.parametrize(
    "text", ["", " \n", "{}", '{"activation_encodings": {}, "param_encodings": []}', '{"encodings": []}']
)
def test_an_empty_file_says_nothing(text: str, tmp_path: Path) -> None:
    file = tmp_path / "empty.encodings"
    file.write_text(text)
    found = read_encodings(file)
    assert not found.activations and not found.parameters


@pytest.mark.parametrize("truth", ["True", "False", "true", "FALSE", True, False])
def test_truth_values_may_be_texts(truth: object) -> None:
    assert numbers(activation([{**ENTRY, "is_symmetric": truth}])) == (8, 0.0185014, -114)


@pytest.mark.parametrize("bits, kept", [(16, 16), (32, 32)])
def test_floating_point(bits: int, kept: int) -> None:
    entry = activation([{"bitwidth": bits, "dtype": "float"}], "0.5.0")
    assert (entry.bits, entry.scale) == (kept, None)
    text = json.dumps({"version": "1.0.0", "activation_encodings": [{"name": "x", "dtype": "FLOAT", "bw": bits}]})
    assert parse_encodings(text).activations["x"] == Encoding(kept)


def test_files_of_pytorch_name_modules() -> None:
    content = {
        "activation_encodings": {"layer1.0.conv": {"input": {"0": ENTRY}, "output": {"0": [ENTRY], "1": ENTRY}}},
        "param_encodings": {"layer1.0.conv.weight": [ENTRY, {**ENTRY, "offset": -100}]},
    }
    found = parse_encodings(json.dumps(content))
    names = [("input", 0), ("output", 0), ("output", 1)]
    assert list(found.activations) == [ModuleTensor("layer1.0.conv", side, index) for side, index in names]
    assert numbers(found.parameters["layer1.0.conv.weight"]) == (8, [0.0185014] * 2, [-114, -100])


@pytest.mark.parametrize(
    "changes, scale, offset",
    [
        ({"offset": 114}, 0.0185014, -114),  # TensorFlow's side of AIMET
        ({"offset": None}, 0.0185014, -114),
        ({"scale": None, "min": -1.0, "max": 1.55, "offset": None}, 0.01, -100),
        ({"min": None, "max": None, "offset": None, "is_symmetric": "True"}, 0.0185014, -128),
        ({"min": None, "max": None, "offset": 11}, 0.0185014, 11),
        ({"min": 0.0, "offset": 0}, 0.0185014, 0),
    ],
)
def test_where_the_grid_begins(changes: dict[str, object], scale: float, offset: int) -> None:
    entry = {name: value for name, value in {**ENTRY, **changes}.items() if value is not None}
    bits, found, lowest = numbers(activation(entry))
    assert (bits, lowest) == (8, offset)
    assert found == pytest.approx(scale)


def test_blocks() -> None:
    block = {"enc_type": "PER_BLOCK", "scale": [1, 2, 3, 4], "offset": [-8] * 4, "bw": 4, "block_size": 16}
    encoding = typed(**block)
    assert numbers(encoding) == (4, [1, 2, 3, 4], [-8] * 4)
    assert (encoding.block_size, encoding.is_flat, encoding.axis) == (16, True, None)
    packed = typed(
        enc_type="LPBQ",
        scale=[0.5, 2],
        offset=[-128] * 2,
        compressed_bw=4,
        per_block_int_scale=[1, 2, 3, 16],
        block_size=8,
    )
    assert numbers(packed) == (4, [0.5, 1, 6, 32], [-8] * 4)


def test_version_2_is_that_of_onnx() -> None:
    entries = [
        {"name": "a", "output_dtype": "uint8", "y_scale": 0.5, "y_zero_point": 114},
        {"name": "b", "output_dtype": "int16", "y_scale": [0.5, 1], "axis": 1},
        {
            "name": "c",
            "output_dtype": "int4",
            "y_scale": [[1, 2]],
            "y_zero_point": [[0, 1]],
            "axis": 1,
            "block_size": 2,
        },
        {
            "name": "d",
            "output_dtype": "int4",
            "per_channel_float_scale": [[0.5], [2]],
            "per_block_int_scale": [[1, 2], [3, 4]],
            "axis": 1,
            "block_size": 8,
        },
    ]
    found = parse_encodings(json.dumps({"version": "2.0.0", "encodings": entries})).activations
    assert numbers(found["a"]) == (8, 0.5, -114)
    assert numbers(found["b"]) == (16, [0.5, 1], [-(2**15)] * 2)
    assert numbers(found["c"]) == (4, [[1, 2]], [[-8, -9]])
    assert numbers(found["d"]) == (4, [[0.5, 1], [6, 8]], [[-8, -8]] * 2)


WRONG: list[tuple[object, str]] = [
    ({**ENTRY, "bitwidth": 3}, ".bitwidth' is out of range; expected a whole number, 4 to 32, found 3"),
    ({**ENTRY, "bitwidth": 33}, ".bitwidth' is out of range; expected a whole number, 4 to 32, found 33"),
    ({**ENTRY, "bitwidth": True}, ".bitwidth' is out of range; expected a whole number, 1 to 64, found True"),
    ({**ENTRY, "bitwidth": "8"}, ".bitwidth' is out of range; expected a whole number, 1 to 64, found '8'"),
    ({**ENTRY, "dtype": "bfloat"}, ".dtype' is unknown; expected int or float, found 'bfloat'"),
    ({"bitwidth": 8, "dtype": "float"}, ".bitwidth' is not supported for floating point; expected 16 or 32, found 8"),
    ({**ENTRY, "scale": 0}, ".scale' is no scale; expected numbers, positive and finite in single precision, found 0"),
    (
        {**ENTRY, "scale": -0.5},
        ".scale' is no scale; expected numbers, positive and finite in single precision, found -0.5",
    ),
    (
        {**ENTRY, "scale": 1e-60},
        ".scale' is no scale; expected numbers, positive and finite in single precision, found 1e-60",
    ),
    ({**ENTRY, "scale": float("nan")}, ".scale' is not finite; expected finite numbers, found nan"),
    ({**ENTRY, "scale": 10**400}, ".scale' has the wrong type; expected a number, found 1000"),
    ({**ENTRY, "scale": [0.5]}, ".scale' has the wrong type; expected a number, found [0.5]"),
    ({**ENTRY, "offset": -1.5}, ".offset' is out of range; expected whole numbers, at most 8589934592, found -1.5"),
    (
        {**ENTRY, "offset": -1e15},
        ".offset' is out of range; expected whole numbers, at most 8589934592, found -1000000000000000.0",
    ),
    ({**ENTRY, "min": -1e30, "offset": 1}, ".min' is too far from 0 for the scale; found -1e+30"),
    ({"bitwidth": 8, "scale": 1.0}, ".offset' is missing; found no such field"),
    ({"bitwidth": 8, "offset": 0}, ".scale' has the wrong type; expected a number, found no such field"),
    ({"bitwidth": 8, "min": 1.0, "max": 1.0}, ".max' is not above min; found 1.0"),
    (
        {**ENTRY, "is_symmetric": "yes"},
        ".is_symmetric' is no truth value; expected true, false, or either as text, found 'yes'",
    ),
    ([], "' is an empty list; expected an entry for the tensor, or for each channel"),
    ([ENTRY, {**ENTRY, "bitwidth": 4}], ".bitwidth' is not the same for all channels; found 8"),
    ([1], "' is no object; found 1"),
    ({"input": 1}, ".input' is no object of indices; found 1"),
    ({"input": {"a": ENTRY}}, ".input' has a name that is no index; found 'a'"),
    ({"input": {}, "inside": {}}, ".inside' is unknown; expected input or output"),
]


@pytest.mark.parametrize("entry, message", WRONG, ids=range(len(WRONG)))
def test_wrong_entries(entry: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        activation(entry)
    assert str(caught.value).startswith(f"encodings: field 'activation_encodings.x{message}")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"enc_type": "PER_ROW"}, "enc_type' is unknown; expected per_tensor or per_channel or per_block or lpbq"),
        ({"scale": [1, 2], "offset": [0, 0]}, "scale' is not one number, as enc_type says"),
        ({"scale": []}, "scale' is no scale; expected numbers, positive and finite in single precision, found []"),
        ({"scale": [[1]]}, "scale' has the wrong type; expected a list of numbers"),
        ({"scale": [1, [2]]}, "scale' has the wrong type; expected a list of numbers"),
        ({"offset": [1, 2]}, "offset' is of another shape than the scales; expected [1], found [1, 2]"),
        ({"offset": "0"}, "offset' has the wrong type; expected numbers, in lists of equal lengths, found '0'"),
        ({"enc_type": "PER_BLOCK"}, "block_size' is out of range; expected a whole number, 1 to 2147483647, found no"),
        ({"enc_type": "LPBQ"}, "compressed_bw' is out of range; expected a whole number, 4 to 32, found no such field"),
        ({"zero_point_shift": [0.5]}, "zero_point_shift' is not supported; found [0.5]"),
        ({"bw": 2}, "bw' is out of range; expected a whole number, 4 to 32, found 2"),
    ],
)
def test_wrong_entries_of_version_1(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError) as caught:
        typed(**changes)
    assert str(caught.value).startswith(f"encodings: field 'param_encodings.x.{message}")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"output_dtype": "float8e4m3fn"}, "output_dtype' is unknown; expected int4 or"),
        ({"y_scale": {"a": 1}}, "y_scale' has the wrong type; expected numbers, in lists of equal lengths"),
        ({"y_scale": [1, 2]}, "y_scale' is neither one number nor one for each index along the axis"),
        ({"y_scale": [[1, 2]], "axis": 0}, "y_scale' is neither one number nor one for each index along the axis"),
        ({"block_size": 2}, "axis' is missing, along which the blocks lie"),
        ({"axis": 99}, "axis' is out of range; expected a whole number, -16 to 16, found 99"),
        (
            {"per_block_int_scale": [1, 2], "per_channel_float_scale": [1, 2, 3]},
            "per_block_int_scale' does not fit per_channel_float_scale",
        ),
        (  # 80 GB of products
            {"per_block_int_scale": [[1] * 10**5], "per_channel_float_scale": [[1]] * 10**5},
            "per_block_int_scale' does not fit per_channel_float_scale",
        ),
    ],
)
def test_wrong_entries_of_version_2(changes: dict[str, object], message: str) -> None:
    entry = {"name": "x", "output_dtype": "uint8", "y_scale": 1.0, **changes}
    with pytest.raises(InputError) as caught:
        parse_encodings(json.dumps({"version": "2.0.0", "encodings": [entry]}))
    assert str(caught.value).startswith(f"encodings: field 'encodings.x.{message}")


@pytest.mark.parametrize(
    "text, message",
    [
        ("nonsense", "not JSON: Expecting value: line 1 column 1 (char 0)"),
        ("[" * 100_000, "not JSON: nested too deeply"),
        (
            json.dumps({"param_encodings": dict.fromkeys(map(str, range(2**18 + 1)))}),
            "field 'param_encodings' is too long; expected at most 262144 tensors of a section of",
        ),
        (json.dumps({"encodings": [0] * (2**18 + 1)}), "field 'encodings' is too long; expected at most 262144 tens"),
        ("," * (limits.JSON_VALUES + 1), "not JSON: it has more than 4194304 commas in a JSON text"),
        ("[]", "the top level is no JSON object; found []"),
        (b"\xff\xfe{}", "not JSON: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        ('{"version": "3.0"}', "field 'version' is not known; expected 0.4 to 2.0.0, found '3.0'"),
        ('{"version": 1}', "field 'version' is not known; expected 0.4 to 2.0.0, found 1"),
        ('{"activation_encodings": 1}', "field 'activation_encodings' is neither an object nor a list; found 1"),
        ('{"param_encodings": [{"name": 1}]}', "field 'param_encodings[0].name' is no text; found 1"),
        ('{"param_encodings": [1]}', "field 'param_encodings[0].name' is no text; found None"),
        ('{"encodings": {}}', "field 'encodings' is no list; found {}"),
        ('{"activation_encodings": {"x": {}, "x": {}}}', "field 'x' is given twice"),
        (
            json.dumps({"encodings": [{"name": "x", "output_dtype": "int8", "y_scale": 1}] * 2}),
            "field 'encodings[1].name' is given twice; found 'x'",
        ),
    ],
)
def test_what_is_no_such_file(text: str | bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_encodings(text, "encodings file 'm.encodings'")
    assert str(caught.value).startswith(f"encodings file 'm.encodings': {message}")


def test_scales_are_repeated_where_they_fit_alone() -> None:
    """2^27 of them would follow from the blocks of a dimension that is never reached."""
    scale = np.ones((2**10, 1, 2))
    encoding = Encoding(8, scale, np.zeros(scale.shape, np.int64), axis=2, block_size=2**16, is_flat=False)
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"its scales do not fit the tensor; expected \[1, 1, 131072\], found"):
            grid_of(encoding, (1, 1, 2**17), None)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_what_takes_more_memory_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(encodings, "parse", failing)
    with pytest.raises(ResourceError, match="read encodings: this machine does not have enough memory"):
        parse_encodings("{}")


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.encodings"
    with pytest.raises(InputError, match=r"cannot read .*model.encodings': No such file or directory"):
        read_encodings(file)
    with pytest.raises(InputError, match="cannot read "):
        read_encodings(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InputError, match=r"cannot read .*fifo': it is not a regular file"):
        read_encodings(tmp_path / "fifo")
    file.write_text(" " * 101)
    monkeypatch.setattr(limits, "ENCODINGS", limits.Limit(100, "bytes of an encodings file"))
    with pytest.raises(InputError, match=r"model.encodings' is too large; expected at most 100 bytes .*, found 101"):
        read_encodings(file)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(["", "INT", "int", "float"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_a_file_says_is_taken_or_refused(data: st.DataObject) -> None:
    """Each version with a few fields replaced by anything: encodings that can be computed with, or one error."""
    grid = symmetric(np.array([[1.0, -2.0], [3.0, 4.0]]), 8, data.draw(st.sampled_from([None, 0])))
    content = encodings_files.content(data.draw(st.sampled_from(VERSIONS)), {"x": grid}, {"w": grid})
    for _ in range(data.draw(st.integers(0, 3))):
        place: Any = content
        while isinstance(place, (dict, list)) and place:
            key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.booleans()):
                place[key] = data.draw(VALUES)
                break
            place = place[key]
    try:
        found = parse_encodings(json.dumps(content))
    except InputError as error:
        assert str(error).startswith("encodings: ")
        return
    for encoding in (*found.activations.values(), *found.parameters.values()):
        assert encoding.bits in range(4, 33)
        if encoding.scale is not None and encoding.offset is not None:
            assert np.isfinite(encoding.scale).all() and (encoding.scale.astype(np.float32) > 0).all()
            assert encoding.scale.shape == encoding.offset.shape
