"""``.h5`` files, as strangers may have made them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tilewright import limits
from tilewright.errors import InputError
from tilewright.runtime.api.simulator.h5_file import open_h5

Make = Callable[[h5py.File], object]


def made(path: Path, make: Make) -> str:
    with h5py.File(path, "w") as file:
        make(file)
    return os.fspath(path)


def refused(path: Path, make: Make | None = None) -> str:
    if make is not None:
        made(path, make)
    with pytest.raises(InputError) as error:
        for array in open_h5(os.fspath(path)).values():
            array.read()
    return str(error.value).replace(repr(os.fspath(path)), "PATH")


def test_datasets_of_every_layout_and_group_are_read(tmp_path: Path) -> None:
    expected = {
        "plain": np.arange(6, dtype=np.float32).reshape(2, 3),
        "one/two/chunked": np.arange(7, dtype=">i8"),
        "packed": np.zeros((5, 5), np.float16),
        "flags": np.array([True, False]),
        "number": np.array(3.0),
        "empty": np.zeros((0, 3)),
    }

    def make(file: h5py.File) -> None:
        for name, array in expected.items():
            chunks = {"one/two/chunked": (3,), "packed": (2, 4)}.get(name)
            file.create_dataset(name, data=array, chunks=chunks, compression="gzip" if name == "packed" else None)

    found = open_h5(made(tmp_path / "x.h5", make))
    assert found.keys() == expected.keys()
    for name, array in found.items():
        assert (array.shape, array.dtype) == (expected[name].shape, expected[name].dtype)
        np.testing.assert_array_equal(array.read(), expected[name])
        assert array.read().dtype == expected[name].dtype
    blocks = list(found["one/two/chunked"].blocks(2, 3))
    assert [block.tolist() for block in blocks] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda file: file.create_dataset("x", data="words"), "dataset 'x' of PATH holds no numbers; found elements"),
        (lambda file: file.create_dataset("x", data=[b"ab"]), "dataset 'x' of PATH holds no numbers; found elements"),
        (lambda file: file.create_dataset("x", data=np.zeros(2, "i4,f4")), "holds no numbers"),
        (lambda file: file.create_dataset("x", data=h5py.Empty("f4")), "'x' of PATH is no dataset of numbers."),
        (lambda file: file.__setitem__("x", np.dtype("f4")), "'x' of PATH is no dataset of numbers."),
        (lambda file: file.__setitem__("x", h5py.SoftLink("/y")), "'x' of PATH is a link; expected a dataset."),
        (
            lambda file: file.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/y")),
            "'x' of PATH is a link; expected a dataset.",
        ),
        (
            lambda file: file.create_dataset("x", (4,), "u1", external=[("/etc/passwd", 0, 4)]),
            "dataset 'x' of PATH lies in other files; expected a dataset in the file itself.",
        ),
        (
            lambda file: file.create_virtual_dataset("x", h5py.VirtualLayout((4,), "f4")),
            "dataset 'x' of PATH lies in other files; expected a dataset in the file itself.",
        ),
        (lambda file: file.create_dataset("x", (2**40,), "f4"), "dataset 'x' of PATH was not written whole."),
        (
            lambda file: file.create_dataset("x", (2**40,), "f4", chunks=(64,)).__setitem__(3, 1.0),
            "dataset 'x' of PATH was not written whole.",
        ),
        (
            lambda file: file.create_dataset("x", (2**28 + 4,), "f4", chunks=(2**26 + 1,)),
            "a chunk of dataset 'x' of PATH is too large; expected at most 268435456 bytes of a chunk",
        ),
        (
            lambda file: file.create_dataset("x", data=np.zeros((1,) * 18)),
            "is too large; expected at most 16 dimensions",
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, make: Make, text: str) -> None:
    assert text in refused(tmp_path / "x.h5", make)


def test_groups_that_lead_to_themselves_come_to_an_end(tmp_path: Path) -> None:
    def make(file: h5py.File) -> None:
        group = file.create_group("a")
        group["again"] = group
        group["once more"] = group

    assert refused(tmp_path / "x.h5", make).startswith(
        f"the list of what PATH holds is too large; expected at most {int(limits.H5_MEMBERS)} datasets and groups"
    )


def test_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    made(path, lambda file: file.create_dataset("x", data=np.arange(5000), chunks=(100,), compression="gzip"))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(200):
        content = bytearray(whole)
        for position in rng.integers(0, len(content), 3):
            content[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(content[: int(rng.integers(1, len(content) + 1))] if rng.random() < 0.3 else content)
        try:
            for array in open_h5(os.fspath(path)).values():
                array.read()
        except InputError:
            pass
    path.write_bytes(b"")
    assert "PATH is damaged, or no .h5 file" in refused(path)
    os.remove(path)
    assert refused(path) == "cannot read PATH: No such file or directory"


def test_without_h5py_the_message_says_what_to_install(tmp_path: Path) -> None:
    path = made(tmp_path / "x.h5", lambda file: file.create_dataset("x", data=[1.0]))
    program = f"""
import sys
sys.modules["h5py"] = None
from tilewright.runtime.api.simulator.h5_file import open_h5
open_h5({path!r})
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"reading {path!r} needs the package 'h5py', which the runtime alone does not install" in run.stderr
    assert "Install Tilewright with its extra 'simulator': pip install 'tilewright[simulator]'" in run.stderr
