"""Calibration sets: every kind of source, and every way in which one can be wrong."""

from __future__ import annotations

import io
import os
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from network_files import graph_model
from onnx import TensorProto, helper
from PIL import Image

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.calibration.dataset import are_images, open_calibration_set
from tilewright.compiler.calibration.open_inputs import told_shapes, with_open_inputs
from tilewright.compiler.calibration.sample_sets import ArrayFiles, ImageFiles, RandomSet, between, files_of, hold
from tilewright.compiler.demo import MODEL
from tilewright.compiler.options import CompileOptions
from tilewright.errors import CalibrationError, CalibrationWarning, UsageError
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.pictures import image_file
from tilewright.runtime.pictures.preprocessing import Preprocessing
from tilewright.runtime.report.execution import gather_inputs

IMAGE = {"image": TensorType((1, 3, 8, 8), DType.F32)}
VECTOR = {"x": TensorType((1, 4), DType.F32)}


def save_image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((16, 12, 3), value, np.uint8)).save(path)


def test_folder_of_images_in_order_of_names(tmp_path: Path) -> None:
    for index, name in enumerate(("b/2.png", "a.PNG", "c.png")):
        save_image(tmp_path / name, 10 * (index + 1))
    (tmp_path / "notes.txt").write_text("not an image")
    samples = open_calibration_set(tmp_path, IMAGE, preprocessing=Preprocessing(mean=(0,), scale=(1,)))
    assert len(samples) == 3
    assert [int(s["image"][0, 0, 0, 0]) for s in samples] == [20, 10, 30]
    assert all(s["image"].dtype == np.float32 and s["image"].shape == (1, 3, 8, 8) for s in samples)


def test_limit_spreads_over_a_sorted_folder(tmp_path: Path) -> None:
    for index in range(10):
        save_image(tmp_path / f"{index}.png", index)
    samples = open_calibration_set(tmp_path, IMAGE, limit=3)
    assert isinstance(samples, ImageFiles)
    assert [Path(file).stem for file in samples.files] == ["0", "3", "6"]


def test_folder_fills_batches(tmp_path: Path) -> None:
    for index in range(3):
        save_image(tmp_path / f"{index}.png", index)
    batched = {"image": TensorType((2, 3, 8, 8), DType.F32)}
    samples = open_calibration_set(tmp_path, batched, preprocessing=Preprocessing(mean=(0,), scale=(1,)))
    assert [s["image"][:, 0, 0, 0].tolist() for s in samples] == [[0, 1], [2, 0]]


def test_array_npy_and_npz_give_the_same_samples(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.standard_normal((3, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", x=array)
    for source in (array, {"x": array[:, np.newaxis]}, tmp_path / "x.npy", str(tmp_path / "x.npz")):
        samples = list(open_calibration_set(source, VECTOR))
        np.testing.assert_array_equal(np.concatenate([s["x"] for s in samples]), array)
    assert len(open_calibration_set(array, VECTOR, limit=2)) == 2


def test_a_folder_of_arrays_holds_a_sample_or_more_a_file(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.standard_normal((6, 3, 8, 8)).astype(np.float32)
    (tmp_path / "more").mkdir()
    np.save(tmp_path / "a.npy", array[0])
    np.save(tmp_path / "b.npy", array[1:2])
    (tmp_path / "b.npy").rename(tmp_path / "b.NPY")
    np.savez(tmp_path / "c.npz", image=array[2:5])
    np.save(tmp_path / "more" / "d.npy", array[5])
    (tmp_path / "notes.txt").write_text("of no interest")
    samples = open_calibration_set(tmp_path, IMAGE)
    assert isinstance(samples, ArrayFiles)
    assert len(samples) == 6
    for part, expected in (
        (samples, array),
        (between(samples, 1, 4), array[1:4]),
        (hold(samples, [0, 5]), array[[0, 5]]),
    ):
        np.testing.assert_array_equal(np.concatenate([each["image"] for each in part]), expected)
    assert [Path(file).name for file in files_of(samples)] == ["a.npy", "b.NPY", "c.npz", "d.npy"]
    assert not are_images(tmp_path)
    assert len(open_calibration_set(tmp_path, IMAGE, limit=2)) == 2
    np.save(tmp_path / "z.npy", array[0, :2])
    with pytest.raises(CalibrationError, match=r"z\.npy' does not fit input 'image'; expected \[samples, 3, 8, 8\]"):
        open_calibration_set(tmp_path, IMAGE)
    save_image(tmp_path / "0.png", 7)
    assert isinstance(open_calibration_set(tmp_path, IMAGE), ImageFiles)


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        ((5, 28, 28), r"Save the array as array\.reshape\(-1, 28, 28, 1\)\."),
        ((5, 1, 28, 28), r"Save the array as array\.reshape\(-1, 28, 28, 1\)\."),
        ((5, 28, 27), r"\[5, 28, 27\]$"),
    ],
)
def test_how_arrays_of_another_shape_become_samples_is_said(found: tuple[int, ...], hint: str) -> None:
    with pytest.raises(CalibrationError, match=hint):
        open_calibration_set(np.zeros(found, np.float32), {"x": TensorType((1, 28, 28, 1), DType.F32)})


def test_how_arrays_with_channels_elsewhere_become_samples_is_said() -> None:
    array = np.zeros((5, 16, 12, 3), np.float32)
    with pytest.raises(CalibrationError, match=r"Save the array as array\.transpose\(0, 3, 1, 2\)\.$"):
        open_calibration_set(array, {"x": TensorType((1, 3, 16, 12), DType.F32)})


def test_what_a_file_holds_counts_and_not_how_its_name_ends(tmp_path: Path) -> None:
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "y.npz", x=array)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    (tmp_path / "y.npz").rename(tmp_path / "y.npy")
    for name in ("x.npz", "y.npy"):
        samples = list(open_calibration_set(tmp_path / name, VECTOR))
        np.testing.assert_array_equal([sample["x"][0] for sample in samples], array)


def test_integers_become_wider_ones_alone() -> None:
    inputs = {"ids": TensorType((1, 2), DType.I64)}
    (sample,) = open_calibration_set(np.array([[3, -1]], np.int32), inputs)
    assert (sample["ids"].dtype, sample["ids"].tolist()) == (np.int64, [[3, -1]])


def test_samples_one_by_one(rng: np.random.Generator) -> None:
    array = rng.standard_normal((3, 4)).astype(np.float32)
    for source in (iter(array), list(array[:, np.newaxis]), ({"x": row} for row in array)):
        samples = open_calibration_set(source, VECTOR)
        assert len(samples) == 3
        np.testing.assert_array_equal(np.concatenate([s["x"] for s in samples]), array)
    assert len(open_calibration_set(iter(array), VECTOR, limit=2)) == 2
    with pytest.raises(CalibrationError, match="sample 1 does not have the names of the inputs; expected x, found y"):
        list(open_calibration_set([{"x": array[0]}, {"y": array[0]}], VECTOR))
    with pytest.raises(CalibrationError, match="sample 0 only works for networks with one input; found x, y"):
        list(open_calibration_set([array[0]], {**VECTOR, "y": VECTOR["x"]}))
    with pytest.raises(CalibrationError, match=r"sample 0 does not fit input 'x'; expected \[1, 4\], found \[3\]"):
        list(open_calibration_set([array[0, :3]], VECTOR))
    with pytest.raises(CalibrationError, match="the calibration data holds no sample; expected at least one"):
        open_calibration_set([], VECTOR)
    with pytest.raises(UsageError, match=r"wrong calibration data; expected a path, .* found int"):
        open_calibration_set(3, VECTOR)  # pyright: ignore[reportArgumentType]


def test_double_precision_is_narrowed_but_integers_are_not_guessed_at(rng: np.random.Generator) -> None:
    doubles = next(iter(open_calibration_set(rng.standard_normal((1, 4)), VECTOR)))
    assert doubles["x"].dtype == np.float32
    with pytest.raises(CalibrationError, match=r"expected float32, found int64\. Save the array as float32"):
        list(open_calibration_set(np.ones((2, 4), np.int64), VECTOR))


@pytest.mark.parametrize("limit", [10**6, 2**31, 2**63, 2**70])
def test_there_are_only_so_many_random_samples(limit: int) -> None:
    assert len(open_calibration_set("random", VECTOR, limit=limit)) == 1024


def test_random_is_the_same_each_time() -> None:
    inputs = {**VECTOR, "ids": TensorType((1, 6), DType.I64), "mask": TensorType((2,), DType.BOOL)}
    first, second = (list(open_calibration_set("random", inputs)) for _ in range(2))
    assert len(first) == 8
    for a, b in zip(first, second, strict=True):
        for name, type in inputs.items():
            np.testing.assert_array_equal(a[name], b[name])
            assert a[name].dtype == type.dtype.numpy
    other = next(iter(RandomSet(inputs, 8, seed=4)))
    assert not np.array_equal(other["x"], first[0]["x"])


def test_random_lengths_leave_something_to_compute() -> None:
    inputs = {"lengths": TensorType((2,), DType.I64), "ids": TensorType((1, 6), DType.I64)}
    samples = list(open_calibration_set("random", inputs))
    assert {int(length) for each in samples for length in each["lengths"]} == {1}
    assert {int(id) for each in samples for id in each["ids"][0]} == {0, 1}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_name_sample_and_count(tmp_path: Path, bad: float) -> None:
    array = np.zeros((3, 4), np.float32)
    array[1, 2] = bad
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(
        CalibrationError, match=r"x\.npy', sample 1 holds numbers .* 1 of 4 NaN or infinite in input 'x'"
    ):
        list(open_calibration_set(tmp_path / "x.npy", VECTOR))


def test_wrong_sources_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "other.bin").write_bytes(b"0")
    np.savez(tmp_path / "names.npz", y=np.zeros((2, 4), np.float32))
    cases = {
        "missing": r"there is no .*missing'; expected an image, a .npy, .npz or .wav file, a folder of these",
        "empty": r"there are no images in .*empty'; expected files that end in",
        "text.npy": r"text\.npy' is not a \.npy or \.npz file; found b'no arr' at its beginning\. Save it as",
        "text.npz": r"text\.npz' is not a \.npy or \.npz file; found b'no arc' at its beginning",
        "other.bin": r"is not calibration data; expected .* found \.bin",
        "names.npz": r"names\.npz' does not have the names of the inputs; expected x, found y\. Give 'x' as well\.",
    }
    for name, message in cases.items():
        with pytest.raises(CalibrationError, match=message):
            open_calibration_set(tmp_path / name, IMAGE if name == "empty" else VECTOR)


def test_what_lies_beside_the_samples_is_left_out(tmp_path: Path) -> None:
    path, x = tmp_path / "a.npz", np.ones((2, 4), np.float32)
    np.savez(path, x=x, labels=np.array(["cat", "dog"]), rate=np.array(16000))
    assert [each["x"].tolist() for each in open_calibration_set(path, VECTOR)] == [[[1] * 4]] * 2
    assert gather_inputs([TensorSpec("x", "f32", (2, 4))], [str(path)], None)["x"].tolist() == x.tolist()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_become_samples_of_up_to_four_channels(tmp_path: Path, channels: int) -> None:
    Image.new("RGBA", (8, 8), (60, 60, 60, 255)).save(tmp_path / "a.png")
    by = {"mean": 0, "scale": 1}
    (found,) = open_calibration_set(tmp_path, {"x": TensorType((1, channels, 8, 8), DType.F32)}, preprocessing=by)
    expected = [60.0] * (channels if channels in (1, 3) else channels - 1) + [255.0] * (channels in (2, 4))
    assert found["x"][0, :, 4, 4].tolist() == expected


def test_images_of_several_sizes_tell_what_a_model_leaves_open(tmp_path: Path) -> None:
    for index, size in enumerate([(100, 50), (70, 130), (90, 97)]):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    every = {"x": ["batch", 3, None, "width"]}
    last = {"x": [1, "height", "width", 3]}
    assert told_shapes(tmp_path, every) == told_shapes(f"x={tmp_path}", every) == {"x": (1, 3, 96, 64)}
    assert told_shapes(tmp_path / "1.png", every) == {"x": (1, 3, 128, 64)}
    assert told_shapes(tmp_path, {"x": ["batch", 3, 50, "width"]}) == {"x": (1, 3, 50, 64)}
    assert told_shapes(tmp_path, last, "layout=nhwc") == {"x": (1, 96, 64, 3)}
    with pytest.raises(CalibrationError) as error:
        told_shapes(tmp_path, last)
    assert str(error.value) == (
        "calibration: images do not fit this input; expected [N, C, H, W], or with layout=nhwc [N, H, W, C], found "
        "[1, 'height', 'width', 3]. Give --preprocess layout=nhwc."
    )
    # Neither of channels that are open, nor for one of several inputs.
    assert told_shapes(tmp_path, {"x": ["batch", "channels", None, None]}) == {}
    assert told_shapes(tmp_path, {**every, "z": ["batch", 3, None, None]}) == {}
    # What one name stands for is one number.
    assert told_shapes(tmp_path, {"x": ["batch", 3, "side", "side"]}) == {}
    (tmp_path / "1.png").write_bytes(b"no image")
    assert told_shapes(tmp_path / "1.png", every) == {}
    Image.new("RGB", (20, 30)).save(tmp_path / "1.png")
    assert told_shapes(tmp_path / "1.png", every) == {"x": (1, 3, 30, 20)}
    with pytest.warns(CalibrationWarning, match=r"leaves shapes open, and gets those of a sample.*x=1,3,48,64$"):
        weights = {"w": np.ones((2, 3, 1, 1), np.float32)}
        ends = [("x", TensorProto.FLOAT, ["batch", 3, 48, "width"])]
        model = graph_model([helper.make_node("Conv", ["x", "w"], ["y"])], ends, initializers=weights)
        tilewright.export(model, tmp_path / "y.onnx", quantized="qdq", calibration=tmp_path)


def test_arrays_tell_what_a_model_leaves_open(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((6, 3, 12, 16), np.float32))
    array, every = np.zeros((6, 1, 3, 12, 16), np.float32), ["batch", 3, None, "width"]
    one = {"x": (1, 3, 12, 16)}
    for source in (array, array[0, 0], tmp_path / "a.npy", tmp_path, f"x={tmp_path / 'a.npy'}", {"x": array[:, 0]}):
        assert told_shapes(source, {"x": every}) == one
    assert told_shapes("random", {"x": ["batch", 3, 8, 8]}) == {"x": (1, 3, 8, 8)}
    assert told_shapes("random", {"x": every}) == told_shapes(array, {"x": None}) == {}
    assert told_shapes(array, {"x": every, "z": [1, None]}) == {}
    # A first extent that may be a length is none of samples, and what is declared is not overruled.
    for shape, extents in (((20, 8), ["seq", 8]), ((20, 8), [None, 8]), ((6,), ["n"]), (None, ["frames", 8])):
        assert told_shapes("random" if shape is None else np.zeros(shape), {"x": extents}) == {}
    assert told_shapes(np.zeros((6, 50)), {"x": ["n"]}) == {"x": (50,)}
    assert told_shapes(np.zeros((5, 20, 8)), {"x": ["seq", 8]}) == {"x": (20, 8)}
    assert told_shapes(np.zeros((5, 20)), {"x": ["batch", "seq"]}) == {"x": (1, 20)}
    assert told_shapes(np.zeros((6, 12, 16, 3)), {"x": every}) == {}
    # A line of a table fills a batch of one; what one name stands for is one number.
    table = tmp_path / "t.csv"
    assert told_shapes(table, {"x": [None, 8]}) == told_shapes(f"x={table}", {"x": [None, 8]}) == {"x": (1, 8)}
    assert told_shapes(table, {"x": ["seq", None]}) == told_shapes(table, {"x": [None]}) == {}
    states = {"x": np.zeros((9, 24, 6)), "h": np.zeros((9, 2, 48))}
    assert told_shapes(states, {"x": ["batch", "time", 6], "h": [2, "batch", 48]}) == {}
    weights = {"w": np.ones((2, 3, 1, 1), np.float32)}
    ends = [("x", TensorProto.FLOAT, ["batch", 3, None, "width"])]
    model = graph_model([helper.make_node("Conv", ["x", "w"], ["y"])], ends, initializers=weights)
    with pytest.warns(CalibrationWarning, match=r"leaves shapes open, and gets those of a sample.*x=1,3,12,16$"):
        tilewright.export(model, tmp_path / "y.onnx", quantized="qdq", calibration=np.ones((6, 3, 12, 16), np.float32))
    ends = [("x", TensorProto.FLOAT, ["batch", 3, 12, "width"])]
    model = graph_model([helper.make_node("Conv", ["x", "w"], ["y"])], ends, initializers=weights)
    given = {"width": [16]}
    with pytest.warns(CalibrationWarning, match=r"leaves shapes open, and gets those of a sample.*x=1,3,12,16$"):
        tilewright.export(model, tmp_path / "z.onnx", quantized="qdq", input_shapes=given, calibration="random")


def test_integers_are_not_told_to_be_scaled() -> None:
    with pytest.raises(CalibrationError, match=r"found uint64\. Save the array as int64\.$"):
        next(iter(open_calibration_set(np.zeros((2, 4), np.uint64), {"x": TensorType((1, 4), DType.I64)})))


def test_lines_of_a_table_are_samples_of_one_input_or_of_those_that_name_columns(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text('"a","b",c,d\n1,2,3,4\n\n5,6,7,-8.5e0\n')
    found = open_calibration_set(file, VECTOR)
    np.testing.assert_array_equal([each["x"] for each in found], [[[1, 2, 3, 4]], [[5, 6, 7, -8.5]]])
    named = {"d": TensorType((1, 1), DType.F32), "a": TensorType((1, 1), DType.I64)}
    first, _ = open_calibration_set(file, named)
    assert {name: array.tolist() for name, array in first.items()} == {"d": [[4.0]], "a": [[1]]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c,d\n1,2,3,x\n", r"line 2 of the table .* is no number in column 4; .* found 'x'\. Leave out lines that"),
        ("1,2,3\n", r"does not fit input 'x'; expected 4 columns, found 3\. Leave out columns that are no inputs"),
        ("x,y,z\n1,2,3\n", r"does not fit input 'x'; expected 4 columns, found 3\."),
        ("1,2,3,4\n\n1,2\n", r"line 3 of the table .* is not as long as those before; expected 4 columns, found 2"),
        ("1,2,3,4x\n1,2,3,4\n", r"line 1 of the table .* is no number in column 4; .* found '4x'"),
        ("a;b;c;d\n1;2;3;4\n", r"line 2 of the table .*'1;2;3;4'\. Separate columns by commas, not by ';'"),
        ("1\t2\t3\t4\n1\t2\t3\t4\n", r"Separate columns by commas, not by '\\t'"),
        ("1;2;3;4\n", r"line 1 of the table .* Separate columns by commas, not by ';'"),
        ('1,"2\n,3,4\n', r"line 1 of the table .* cannot be read: "),
        ("1,2,1_0,4\n", r"no number in column 3; .* found '1_0'"),
        ("a,b,c,d\n", "is no table of samples; expected lines of numbers, found none"),
        ("", "is no table of samples"),
        ("1,2,3,nan\n", "line 1 of the table .* no number in column 4; .* found 'nan'"),
        ("1,2,3,1e300\n", r"line 1 .* cannot take in column 4; expected numbers that float32 holds, found 1e\+300"),
    ],
)
def test_tables_of_something_else_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CalibrationError, match=message):
        open_calibration_set(tmp_path / "t.csv", VECTOR)


@pytest.mark.parametrize(("dtype", "most"), [(DType.U8, 255), (DType.I8, 127), (DType.I64, 2**53 - 1)])
def test_columns_of_integers_hold_what_their_type_does(dtype: DType, most: int, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"0\n{most}\n")
    inputs = {"x": TensorType((1, 1), dtype)}
    assert [each["x"].item() for each in open_calibration_set(tmp_path / "t.csv", inputs)] == [0, most]
    for bad in ("1.7", "1e300", str(most + 1), str(2 * most), f"-{2 * most + 1024}"):
        (tmp_path / "t.csv").write_text(f"0\n{bad}\n")
        with pytest.raises(CalibrationError, match=r"line 2 .* in column 1; expected whole numbers from -?\d+ to"):
            open_calibration_set(tmp_path / "t.csv", inputs)


def test_columns_are_picked_by_names_only_where_that_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "T.CSV"
    file.write_text('x,"y, in m",z,w\n1,2,3,4\n')
    assert next(iter(open_calibration_set(file, VECTOR)))["x"].tolist() == [[1, 2, 3, 4]]
    one = {"x": TensorType((1, 1), DType.F32)}
    assert next(iter(open_calibration_set(file, one)))["x"].tolist() == [[1]]
    file.write_text("x,z,x\n1,3,2\n")
    with pytest.raises(CalibrationError, match=r"does not fit input 'x'; expected 1 columns, found 3"):
        open_calibration_set(file, one)
    pair = {"x": TensorType((1, 2), DType.F32), "z": one["x"]}
    assert next(iter(open_calibration_set(file, pair)))["x"].tolist() == [[1, 2]]
    with pytest.raises(CalibrationError, match=r"has no column 'y'; .* found x, z, x"):
        open_calibration_set(file, {"y": one["x"], "z": one["x"]})
    file.write_text("0,1,2,3\n5,6,7,8\n")
    with pytest.warns(CalibrationWarning, match="is 0 to 3 and taken for a sample, not for names"):
        assert len(open_calibration_set(file, VECTOR)) == 2


def test_lines_of_a_table_beyond_the_limit_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("5,6,7,8\n" * 3 + "no number")
    assert len(open_calibration_set(tmp_path / "t.csv", VECTOR, limit=3)) == 3
    with pytest.raises(CalibrationError, match="line 4"):
        open_calibration_set(tmp_path / "t.csv", VECTOR, limit=4)


def test_wrong_shapes_and_empty_arrays_are_refused() -> None:
    with pytest.raises(CalibrationError, match=r"expected \[samples, 4\], found \[2, 5\]"):
        open_calibration_set(np.zeros((2, 5), np.float32), VECTOR)
    with pytest.raises(CalibrationError, match="holds no sample"):
        open_calibration_set(np.zeros((0, 4), np.float32), VECTOR)
    with pytest.raises(CalibrationError, match="the limit leaves no sample; expected at least 1, found 0"):
        open_calibration_set(np.zeros((2, 4), np.float32), VECTOR, limit=0)
    for ragged in ({"x": [[1], [1, 2]]}, iter([[[1], [1, 2]]])):
        with pytest.raises(CalibrationError, match="holds no array for input 'x': "):
            list(open_calibration_set(ragged, VECTOR))  # pyright: ignore[reportArgumentType]
    with pytest.raises(CalibrationError, match=r"sample 1 is a path; .* found a\.png\. Give the folder"):
        list(open_calibration_set(iter([np.zeros(4, np.float32), "a.png"]), VECTOR))  # pyright: ignore[reportArgumentType]
    masked = np.ma.masked_equal(np.eye(4, dtype=np.float32), 1)
    for source in (masked, {"x": masked}, iter(masked), iter([[*masked]]), iter([{"x": masked[0]}])):
        with pytest.raises(CalibrationError, match=r"for input 'x' has masked elements; expected none, found [14]"):
            list(open_calibration_set(source, VECTOR))  # pyright: ignore[reportArgumentType]
    assert len(open_calibration_set(np.ma.masked_equal(np.eye(4, dtype=np.float32), 2), VECTOR)) == 4
    two = {**VECTOR, "y": VECTOR["x"]}
    with pytest.raises(CalibrationError, match=r"networks with one input; found x, y\. Give each its own"):
        open_calibration_set(np.zeros((2, 4), np.float32), two)
    with pytest.raises(CalibrationError, match=r"is given data twice; found x=a\.npy,y=b\.npy,x=c\.npy"):
        open_calibration_set("x=a.npy,y=b.npy,x=c.npy", two)
    with pytest.raises(CalibrationError, match="different numbers of samples"):
        open_calibration_set({"x": np.zeros((2, 4), np.float32), "y": np.zeros((3, 4), np.float32)}, two)
    assert len(open_calibration_set({"x": np.zeros((3, 4), np.float32), "y": "random"}, two)) == 3


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    with pytest.raises(CalibrationError, match=r"cannot read .*broken\.jpg' as an image"):
        list(open_calibration_set(tmp_path, IMAGE))


def test_of_a_file_so_much_is_read_as_the_limit_says(tmp_path: Path) -> None:
    """The archive holds 512 MB of zeros in half a megabyte."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (128, 1 << 20)})
    archive = zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("x.npy", "w", force_zip64=True) as member:
        member.write(header.getvalue())
        for _ in range(512):
            member.write(bytes(1 << 20))
    inputs = {"x": TensorType((1, 1 << 20), DType.F32)}
    tracemalloc.start()
    try:
        samples = open_calibration_set(tmp_path / "x.npz", inputs, limit=3)
        assert len(samples) == 3
        for _ in range(2):
            assert [sample["x"].shape for sample in samples] == [(1, 1 << 20)] * 3
        assert tracemalloc.get_traced_memory()[1] < 40 << 20
    finally:
        tracemalloc.stop()


def test_samples_of_a_file_in_any_order_and_batch(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.standard_normal((7, 4)).astype(np.float32)
    np.save(tmp_path / "c.npy", array)
    np.save(tmp_path / "f.npy", np.asfortranarray(array))
    np.savez_compressed(tmp_path / "z.npz", x=array)
    batched = {"x": TensorType((3, 4), DType.F32)}
    for name in ("c.npy", "f.npy", "z.npz"):
        samples = list(open_calibration_set(tmp_path / name, batched))
        assert len(samples) == 2
        np.testing.assert_array_equal(np.concatenate([sample["x"] for sample in samples]), array[:6])


def test_a_file_that_changes_between_samples_is_an_error_about_calibration(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((4, 1 << 18), np.float32))
    samples = iter(open_calibration_set(tmp_path / "x.npy", {"x": TensorType((1, 1 << 18), DType.F32)}))
    next(samples)
    os.truncate(tmp_path / "x.npy", 3 << 19)
    with pytest.raises(CalibrationError, match=r"calibration: '.*x\.npy' is damaged: it ends early"):
        list(samples)


def test_inputs_of_nothing_take_no_samples(tmp_path: Path) -> None:
    """A file of 128 bytes can hold 2^62 rows without elements."""
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**62, 0)})
    with pytest.raises(CalibrationError, match="holds no sample; expected at least one, found "):
        open_calibration_set(tmp_path / "x.npy", {"x": TensorType((1, 0), DType.F32)})
    takes_none = r"input 'x' takes no sample at all; expected a batch of at least 1, found f32\[0,4\]"
    with pytest.raises(CalibrationError, match=takes_none):
        open_calibration_set(np.zeros((2, 4), np.float32), {"x": TensorType((0, 4), DType.F32)})


def test_names_that_no_file_can_have() -> None:
    for name in ("a" * 5000, "a\0b"):
        with pytest.raises(CalibrationError, match="there is no 'a"):
            open_calibration_set(name, VECTOR)


def test_images_for_channels_that_come_last_are_told_what_to_give(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    last = {"x": TensorType((1, 8, 8, 3), DType.F32)}
    with pytest.raises(CalibrationError) as error:
        open_calibration_set(tmp_path, last)
    assert error.value.hint == "Give --preprocess layout=nhwc."
    assert len(open_calibration_set(tmp_path, last, preprocessing="layout=nhwc")) == 1


@pytest.mark.parametrize(("channels", "colours"), [(2, "grey"), (4, "red, green and blue")])
def test_images_for_channels_that_may_be_no_colours_are_doubted(tmp_path: Path, channels: int, colours: str) -> None:
    """Latents of four channels were given photographs as red, green, blue and 255."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    inputs = {"x": TensorType((1, channels, 8, 8), DType.F32)}
    told = rf"'x' has {channels} channels, which get the {colours} and the opacity of images\. Give arrays \(\.npy, "
    with pytest.warns(CalibrationWarning, match=told):
        open_calibration_set(tmp_path, inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_calibration_set(tmp_path, inputs, preprocessing="resize=stretch")


def test_images_of_one_size_are_taken_as_they_are_where_the_network_takes_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def noted(path: str, *, upright: bool) -> tuple[int, int, bool]:
        looked_at.append(Path(path).name)
        return image_file_noted(path, upright=upright)

    image_file_noted = image_file.noted
    monkeypatch.setattr(image_file, "noted", noted)
    for name in "ab":
        Image.new("RGB", (50, 35)).save(tmp_path / f"{name}.png")
    every = [("x", TensorProto.FLOAT, ["N", 3, "height", "width"])]
    nodes = [helper.make_node("AveragePool", ["x"], ["half"], kernel_shape=[2, 2], strides=[2, 2])]
    options = CompileOptions(precision="int8", calibration=tmp_path, preprocessing="tf")
    with pytest.warns(CalibrationWarning, match="--input-shape x=1,3,35,50$"):
        with_open_inputs(graph_model(nodes, every, ["half"]), options)
    assert looked_at == ["a.png", "b.png"]
    nodes += [helper.make_node("Resize", ["half", "", "scales"], ["whole"])]
    nodes += [helper.make_node("Add", ["x", "whole"], ["y"])]
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    with pytest.warns(CalibrationWarning, match="--input-shape x=1,3,32,32$"):
        with_open_inputs(graph_model(nodes, every, initializers=scales), options)


def test_files_without_arrays_for_open_inputs_are_told_of_instead_of_shapes(tmp_path: Path) -> None:
    np.savez(path := tmp_path / "s.npz", np.zeros((5, 4)))
    declared = {"ids": ["batch", "length"]}
    told = r"s\.npz' does not have the names of the inputs; expected ids, found arr_0\. Save arrays by name, as numpy"
    with pytest.raises(CalibrationError, match=told):
        told_shapes(str(path), declared)
    np.savez(path, ids=np.zeros((5, 4)), more=np.zeros(2))
    assert told_shapes(str(path), declared) == {"ids": (1, 4)}
    with pytest.raises(CalibrationError, match=r"Cut or pad the samples to one shape\.$"):
        open_calibration_set(np.zeros((1, 8), np.float32), {"x": TensorType((1, 9), DType.F32)})


@pytest.mark.parametrize("source", ["random", "image=random"])
def test_noise_is_told_of_once(tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(MODEL), "--calibration", source]
    assert main(["compile", *words, "-o", str(tmp_path / "d.twa"), "--engines", "software"]) == 0
    compiled = capsys.readouterr().err
    assert main(["export", *words, "-o", str(tmp_path / "d.onnx"), "--quantized", "qdq"]) == 0
    told = "warning: random inputs tell nothing of what the network will meet: calibrate with real samples"
    for shown in (compiled, capsys.readouterr().err):
        assert [line[: len(told)] for line in shown.splitlines()] == [told]
