"""Samples in files: names, stacks, types, and everything that can be wrong with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilewright.errors import InputError
from tilewright.runtime.api.simulator.input_data import InputData, NodeArg
from tilewright.runtime.files.input_file import InputFile

IMAGE = NodeArg("image", "tensor(float)", [1, 2, 3])
MASK = NodeArg("mask", "tensor(int64)", [4])


def floats(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_folder_has_one_file_a_sample(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", image=floats(1, 2, 3), mask=np.arange(4), label=np.array(3))
    np.savez(tmp_path / "a.npz", image=-floats(1, 2, 3), mask=np.arange(4))
    (tmp_path / "readme.txt").write_text("no sample")
    (tmp_path / ".hidden.npz").write_text("no sample")
    data = InputData(tmp_path, [IMAGE, MASK])
    assert list(data) == ["a", "b"] and len(data) == 2
    assert list(data["b"]) == ["image", "mask"]
    np.testing.assert_array_equal(data["a"]["image"], -floats(1, 2, 3))
    assert "c" not in data and "a[0]" not in data


def test_a_sample_of_a_stack_is_read_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = floats(1000, 2, 3)
    np.save(tmp_path / "many.npy", images)
    data = InputData(tmp_path / "many.npy", [IMAGE])
    read = 0

    def counted(self: InputFile, size: int = -1, original: Any = InputFile.read) -> bytes:
        nonlocal read
        found = original(self, size)
        read += len(found)
        return found

    monkeypatch.setattr(InputFile, "read", counted)
    np.testing.assert_array_equal(data["many[999]"]["image"], images[999:])
    assert 24 <= read < 1000


@pytest.mark.parametrize("ending", ["npy", "npz", "h5"])
@pytest.mark.parametrize("extra", [(), (1,)])
def test_a_larger_first_dimension_is_a_stack(tmp_path: Path, ending: str, extra: tuple[int, ...]) -> None:
    images = floats(5, *extra, 2, 3)
    path = tmp_path / f"many.{ending}"
    save(path, images)
    data = InputData(path, [IMAGE])
    assert list(data) == [f"many[{index}]" for index in range(5)] and len(data) == 5
    expected = images.reshape(5, 1, 2, 3)
    for index, (name, feeds) in enumerate(data.items()):
        assert name == f"many[{index}]" and list(feeds) == ["image"]
        np.testing.assert_array_equal(feeds["image"], expected[index])
    assert len(list(data.values())) == 5
    for index in (3, 0, 4):
        np.testing.assert_array_equal(data[f"many[{index}]"]["image"], expected[index])
    for name in ("many", "many[5]", "many[-1]", "many[03]", "few[0]"):
        with pytest.raises(KeyError):
            data[name]


def save(path: Path, array: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, image=array)
    else:
        import h5py

        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=array, chunks=(2, *array.shape[1:]), compression="gzip")


def test_batches_of_the_network_are_samples(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", floats(6, 3))
    data = InputData(tmp_path, [NodeArg("x", "tensor(float)", [2, 3])])
    assert list(data) == ["x[0]", "x[1]", "x[2]"]
    np.testing.assert_array_equal(data["x[2]"]["x"], floats(6, 3)[4:])


@pytest.mark.parametrize(
    ("stored", "wanted", "found"),
    [
        ((2, 3), [1, 2, 3], [(1, 2, 3)]),
        ((2, 3), ["batch", 2, 3], [(1, 2, 3)]),
        ((2, 2, 3), [None, 2, 3], [(1, 2, 3)] * 2),
        ((2, 1, 2, 3), ["batch", 2, "width"], [(1, 2, 3)] * 2),
        ((1, 7), [1, "length"], [(1, 7)]),
        ((), [], [()]),
        ((2,), [], [()] * 2),
        ((3,), [1], [(1,)] * 3),
        ((0, 3), [0, 3], [(0, 3)]),
    ],
)
def test_dimensions_that_are_left_open_or_out(
    tmp_path: Path, stored: tuple[int, ...], wanted: list[int | str | None], found: list[tuple[int, ...]]
) -> None:
    np.save(tmp_path / "x.npy", floats(*stored))
    data = InputData(tmp_path, [NodeArg("x", "tensor(float)", wanted)])
    assert [feeds["x"].shape for feeds in data.values()] == found


@pytest.mark.parametrize(
    ("stored", "type"),
    [
        (np.float64, "tensor(float)"),
        (">f4", "tensor(float)"),
        (np.float32, "tensor(float16)"),
        (np.float16, "tensor(double)"),
        (np.uint8, "tensor(int64)"),
        (np.int64, "tensor(uint8)"),
        (np.bool_, "tensor(bool)"),
    ],
)
def test_numbers_become_those_of_the_input(tmp_path: Path, stored: str, type: str) -> None:
    np.save(tmp_path / "x.npy", np.array([0, 1], stored))
    feeds = InputData(tmp_path, [NodeArg("x", type, [2])])["x"]
    names = {"float": "float32", "double": "float64"}
    wanted = type.removeprefix("tensor(").removesuffix(")")
    assert feeds["x"].dtype == np.dtype(names.get(wanted, wanted)) and feeds["x"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "type"), [([1, 2], "tensor(float)"), ([1.0, 2.0], "tensor(int32)"), ([300, 1], "tensor(uint8)")]
)
def test_numbers_that_would_change_are_refused(tmp_path: Path, values: list[float], type: str) -> None:
    np.save(tmp_path / "x.npy", np.array(values))
    with pytest.raises(InputError) as error:
        dict(InputData(tmp_path, [NodeArg("x", type, [2])]).items())
    names = {"float": "float32"}
    wanted = names.get(type[7:-1], type[7:-1])
    # Indices are not scaled.
    scaled = ", scaled as the network expects its input" if wanted == "float32" else ""
    assert str(error.value) == (
        f"input data: {str(tmp_path / 'x.npy')!r} does not fit input 'x'; expected {wanted}, found "
        f"{np.array(values).dtype}. Save the array as {wanted}{scaled}."
    )


def test_without_a_network_files_are_samples_as_they_are(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", floats(5, 2))
    np.savez(tmp_path / "b.npz", x=floats(2), y=floats(3))
    data = InputData(tmp_path)
    assert {name: {key: array.shape for key, array in feeds.items()} for name, feeds in data.items()} == {
        "a": {"input": (5, 2)},
        "b": {"x": (2,), "y": (3,)},
    }


def test_slashes_around_names_do_not_count(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("/model/image", data=floats(1, 2, 3))
    data = InputData(tmp_path, [NodeArg("/model/image", "tensor(float)", [1, 2, 3])])
    assert data["x"]["/model/image"].shape == (1, 2, 3)


def refused(path: Path, *inputs: NodeArg) -> str:
    with pytest.raises(InputError) as error:
        list(InputData(path, inputs or [IMAGE]).items())
    return str(error.value).replace(repr(os.fspath(path)), "PATH")


def test_what_is_not_there(tmp_path: Path) -> None:
    endings = ".npz, .npy, .h5, .hdf5"
    assert (
        refused(tmp_path / "x") == f"input data: there is no PATH; expected a folder, or a file that ends in {endings}"
    )
    assert refused(tmp_path) == f"input data: there is no sample in PATH; expected files that end in {endings}"
    (tmp_path / "x.jpg").write_bytes(b"\xff\xd8\xff")
    assert refused(tmp_path / "x.jpg").startswith("PATH is not a .npy or .npz file; found b'\\xff\\xd8\\xff'")


def test_a_file_of_other_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", picture=floats(1, 2, 3), mask=np.arange(4))
    assert refused(tmp_path / "x.npz", IMAGE, MASK) == (
        "input data: PATH does not have the names of the inputs; expected image, mask, found picture, mask"
    )
    np.savez(tmp_path / "none.npz")
    assert refused(tmp_path / "none.npz").endswith("expected image, found none")


def test_one_array_for_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", floats(1, 2, 3))
    assert refused(tmp_path / "x.npy", IMAGE, MASK) == (
        "input data: PATH only works for networks with one input; found image, mask. "
        "Give a .npz file with an array for each input."
    )


@pytest.mark.parametrize("shape", [(3, 2), (1, 2, 4), (0, 2, 3), (2, 0, 2, 3), (6,), (1, 1, 1, 2, 3)])
def test_other_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "x.npy", floats(*shape))
    assert refused(tmp_path / "x.npy") == (
        f"input data: PATH does not fit input 'image'; expected [1, 2, 3], or a stack of such, found {list(shape)}"
    )


def test_half_a_batch(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", floats(5, 3))
    assert refused(tmp_path / "x.npy", NodeArg("x", "tensor(float)", [2, 3])) == (
        "input data: PATH does not fit input 'x'; expected [2, 3], or a stack of such, found [5, 3]"
    )


def test_stacks_of_different_lengths(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=floats(3, 2, 3), mask=np.zeros((2, 4), np.int64))
    assert refused(tmp_path / "x.npz", IMAGE, MASK) == (
        "input data: PATH holds different numbers of samples; found 3 for image, 2 for mask"
    )


def test_two_files_of_one_name(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", floats(1, 2, 3))
    np.savez(tmp_path / "x.npz", image=floats(1, 2, 3))
    assert "two files of the same name are the sample 'x'; found" in refused(tmp_path)
    os.remove(tmp_path / "x.npz")
    np.save(tmp_path / "x[1].npy", floats(1, 2, 3))
    assert list(InputData(tmp_path, [IMAGE])) == ["x", "x[1]"]
    np.save(tmp_path / "x.npy", floats(2, 2, 3))
    assert refused(tmp_path) == "input data: 'x[1]' is a file, and the sample of another. Rename the file."


def test_a_pipe_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.npy")
    hint = "Save what comes from a pipe in a file, and give its path."
    assert refused(tmp_path / "x.npy") == f"cannot read PATH: it is not a regular file. {hint}"
