"""Arrays from files of strangers: read right, or refused for a reason, within memory that was agreed on before."""

from __future__ import annotations

import os
import re
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilewright import limits
from tilewright.errors import InputError
from tilewright.runtime.files.array_file import StoredArray, open_array, open_arrays


def header(shape: object, *, descr: str = "'<f4'", order: object = False, version: bytes = b"\1\0") -> bytes:
    return raw_header(f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}", version=version)


def raw_header(text: str, *, version: bytes = b"\1\0") -> bytes:
    content = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + version + len(content).to_bytes(2 if version == b"\1\0" else 4, "little") + content


def stored(path: Path, content: bytes) -> StoredArray:
    path.write_bytes(content)
    return open_array(path)


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2", "|b1", "|i1", ">u2", "<i8", "<c16"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 2), (0, 3)])
def test_what_numpy_writes_is_read(
    dtype: str, shape: tuple[int, ...], tmp_path: Path, rng: np.random.Generator
) -> None:
    array = np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    np.save(tmp_path / "f.npy", np.array(array, order="F"))
    np.savez(tmp_path / "s.npz", array)
    arrays: dict[str, Any] = {"in/put:0": array, "f": np.array(array, order="F")}
    np.savez_compressed(tmp_path / "d.npz", **arrays)
    members = open_arrays(tmp_path / "d.npz")
    plain = open_arrays(tmp_path / "s.npz")
    assert isinstance(members, dict) and isinstance(plain, dict)
    assert list(members) == ["in/put:0", "f"]
    files = [open_array(tmp_path / "a.npy"), open_array(tmp_path / "f.npy"), *members.values(), *plain.values()]
    for file in files:
        assert (file.dtype, file.shape) == (array.dtype, array.shape)
        found = file.read()
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        if shape:
            blocks = list(file.blocks(1, shape[0]))
            assert len(blocks) == shape[0]
            np.testing.assert_array_equal(np.concatenate([np.empty((0, *shape[1:]), dtype), *blocks]), array)
            for first in range(shape[0]):
                (block,) = file.blocks(1, 1, first)
                np.testing.assert_array_equal(block, array[first : first + 1])


@pytest.mark.parametrize("version", [b"\1\0", b"\2\0", b"\3\0"])
def test_headers_as_other_programs_write_them(version: bytes, tmp_path: Path) -> None:
    content = np.arange(6, dtype="<f4").tobytes()
    for text in (
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }",
        '{"shape":(2,3),"descr":"<f4","fortran_order":False}',
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}   ",
    ):
        found = stored(tmp_path / "a.npy", raw_header(text, version=version) + content)
        np.testing.assert_array_equal(found.read(), np.arange(6, dtype=np.float32).reshape(2, 3))


DAMAGED = "{file} is damaged: its header is no description of an array. Save it again with numpy."
NO_NUMBERS = "Save it as an array of numbers with numpy.save or numpy.savez."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{file} is not a .npy or .npz file; found b'' at its beginning. " + NO_NUMBERS),
        (b"\x93NUMPY", "{file} is of an unknown version of the format; expected 1.0 to 3.0, found "),
        (
            header((2,), version=b"\4\0"),
            "{file} is of an unknown version of the format; expected 1.0 to 3.0, found 4.0",
        ),
        (b"\x93NUMPY\1\0", DAMAGED),
        (b"\x93NUMPY\1\0\xff\0{", DAMAGED),
        (
            b"\x93NUMPY\2\0\xff\xff\xff\xff",
            "the header of {file} is too large; expected at most 10000 bytes of the header of a .npy file, "
            "found 4294967295",
        ),
        (raw_header("{}"), DAMAGED),
        (raw_header("[" * 5000), DAMAGED),
        (raw_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} or 1"), DAMAGED),
        (header("(" + "9" * 5000 + ",)"), DAMAGED),
        (header("(2.5,)"), DAMAGED),
        (header("(1 2,)"), DAMAGED),
        (header((1,), order="None"), DAMAGED),
        (header((1,), order="'<f4'"), DAMAGED),
        (
            header((-1, 4)),
            "{file} is damaged: its shape is wrong; expected at most 17 extents of at least 0, found [-1, 4]. "
            "Save it again with numpy.",
        ),
        (
            header((1,) * 18),
            "{file} is damaged: its shape is wrong; expected at most 17 extents of at least 0, found "
            f"{[1] * 18}. Save it again with numpy.",
        ),
        (
            header((2**62, 2**62)),
            f"{{file}} is damaged: its length is not that of its shape; expected {2**126} bytes, found 0. "
            "Save it again with numpy.",
        ),
        (
            header((3,)) + bytes(13),
            "{file} is damaged: its length is not that of its shape; expected 12 bytes, found 13. "
            "Save it again with numpy.",
        ),
        (header((1,), descr="'|O'") + bytes(8), "{file} holds no numbers; found elements of type '|O'. " + NO_NUMBERS),
        (header((1,), descr="'<U4'"), "{file} holds no numbers; found elements of type '<U4'. " + NO_NUMBERS),
        (header((1,), descr="'|V99999'"), "{file} holds no numbers; found elements of type '|V99999'. " + NO_NUMBERS),
        (header((1,), descr="'<f9'"), "{file} holds no numbers; found elements of type '<f9'. " + NO_NUMBERS),
        (
            header((1,), descr="[('a', '<f4')]"),
            "{file} holds no numbers; found elements of type \"[('a', '<f4')]\". " + NO_NUMBERS,
        ),
    ],
)  # fmt: skip
def test_damaged_and_hostile_headers(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_arrays(tmp_path / "a.npy")
    assert str(caught.value) == message.replace("{file}", repr(str(tmp_path / "a.npy")))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(InputError, match=re.escape(f"array 'x' of {str(tmp_path / 'a.npz')!r}")):
        open_arrays(tmp_path / "a.npz")


def test_nothing_is_waited_for_and_no_device_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path, reason in (
        (tmp_path / "fifo", "it is not a regular file. Save what comes from a pipe in a file, and give its path."),
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "No such file or directory"),
        (tmp_path / ("a" * 300), "File name too long"),
    ):
        with pytest.raises(InputError) as caught:
            open_arrays(path)
        assert str(caught.value) == f"cannot read {str(path)!r}: {reason}"


def test_a_file_that_gets_shorter_is_an_error_and_no_signal(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 1_000_000), np.float32))
    array = open_array(tmp_path / "a.npy")
    blocks = array.blocks(1, 4)
    assert next(blocks).shape == (1, 1_000_000)
    os.truncate(tmp_path / "a.npy", 5_000_000)
    with pytest.raises(InputError, match=r"a\.npy' is damaged: it ends early\. Save it again with numpy\.$"):
        list(blocks)
    with pytest.raises(InputError, match=r"a\.npy' is damaged: its length is not that of its shape"):
        array.read()
    np.save(tmp_path / "a.npy", np.zeros((4, 1_000_001), np.float32))
    with pytest.raises(InputError, match=r"a\.npy' changed while it was read$"):
        array.read()


def test_an_array_without_elements_that_claims_to_be_huge(tmp_path: Path) -> None:
    array = stored(tmp_path / "a.npy", header((2**62, 0)))
    with pytest.raises(InputError) as caught:
        array.read()
    assert str(caught.value) == (
        f"{str(tmp_path / 'a.npy')!r} is too large; expected at most {limits.ELEMENTS} {limits.ELEMENTS.what}, "
        f"found [{2**62}, 0]"
    )


def test_booleans_are_0_or_1(tmp_path: Path) -> None:
    found = stored(tmp_path / "a.npy", header((4,), descr="'|b1'") + bytes([0, 1, 2, 255])).read()
    assert found.view(np.uint8).tolist() == [0, 1, 1, 1]


# Archives


def zipped(path: Path, method: int = zipfile.ZIP_DEFLATED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def test_of_a_bomb_no_more_is_unpacked_than_is_asked_for(tmp_path: Path) -> None:
    archive = zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with archive, archive.open("x.npy", "w", force_zip64=True) as member:
        member.write(header((512, 1 << 18)))
        for _ in range(512):
            member.write(bytes(1 << 20))
    tracemalloc.start()
    try:
        arrays = open_arrays(tmp_path / "a.npz")
        assert isinstance(arrays, dict)
        assert [block.shape for block in arrays["x"].blocks(1, 3)] == [(1, 1 << 18)] * 3
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_large_arrays_in_fortran_order_are_not_read_for_a_few_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FORTRAN_ORDER", limits.Limit(100, limits.FORTRAN_ORDER.what))
    np.save(tmp_path / "a.npy", np.asfortranarray(np.ones((5, 6), np.float32)))
    with pytest.raises(InputError) as caught:
        list(open_array(tmp_path / "a.npy").blocks(1, 2))
    assert str(caught.value) == (
        f"{str(tmp_path / 'a.npy')!r} is too large; expected at most 100 bytes of a calibration array in Fortran "
        "order, found 120 bytes. Save it in C order, with numpy.ascontiguousarray."
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives_that_numpy_does_not_write(tmp_path: Path) -> None:
    content = header((2,)) + bytes(8)
    path = zipped(tmp_path / "a.npz", x=content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(InputError, match=r"a\.npz' holds two arrays of one name; found x\.npy$"):
        open_arrays(path)
    zipped(path, x=content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "text")
    with pytest.raises(InputError, match=r"a\.npz' holds what is no array; found notes\.txt$"):
        open_arrays(path)
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(
            InputError,
            match=r"array 'x' of .*a\.npz' is compressed by an unknown method; "
            rf"expected stored or deflated, as numpy does it, found method {method}$",
        ):
            open_arrays(zipped(path, method, x=content))
    damaged = bytearray(zipped(path, x=content).read_bytes())
    damaged[damaged.index(b"PK\1\2") + 8] |= 1  # The flag of an encrypted member.
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"array 'x' of .*a\.npz' is encrypted\. Decrypt the archive first\.$"):
        open_arrays(path)


def test_archives_whose_parts_contradict_each_other(tmp_path: Path) -> None:
    content = header((2,)) + bytes(8)
    whole = zipped(tmp_path / "a.npz", zipfile.ZIP_STORED, x=content).read_bytes()
    directory = whole.index(b"PK\1\2")
    end = whole.index(b"PK\5\6")

    def changed(offset: int, form: str, value: int) -> bytes:
        return whole[:offset] + struct.pack(form, value) + whole[offset + struct.calcsize(form) :]

    cases = {
        "another length": (changed(directory + 24, "<I", len(content) + 1), "its length is not that of its shape"),
        "a length of 4 GB": (changed(directory + 24, "<I", 2**32 - 2), "its length is not that of its shape"),
        "a wrong checksum": (changed(directory + 16, "<I", 1), "Bad CRC-32 for file 'x.npy'"),
        "another start": (changed(directory + 42, "<I", 2**31), "is damaged: "),
        "a directory elsewhere": (changed(end + 16, "<I", 2**31), "is damaged: "),
        "another version": (changed(directory + 6, "<H", 255), "is damaged: zip file version 25.5"),
        "the end missing": (whole[:-10], "File is not a zip file"),
        "the middle missing": (whole[:40] + whole[directory - 4 :], "is damaged: "),
    }
    for name, (hostile, message) in cases.items():
        (tmp_path / "a.npz").write_bytes(hostile)
        with pytest.raises(InputError, match=re.escape(message)):
            found = open_arrays(tmp_path / "a.npz")
            assert isinstance(found, dict)
            found["x"].read()
            pytest.fail(name)


def test_a_directory_of_an_archive_that_fills_the_memory(tmp_path: Path) -> None:
    """A hole of 4 GB in a file takes no room on the disk."""
    with open(tmp_path / "a.npz", "wb") as file:
        file.write(b"PK\3\4")
        file.seek(2**32 - 30)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, 2**32 - 40, 8, 0))
    with pytest.raises(InputError, match=r"a\.npz' is too large; expected at most 1048576 bytes of the directory"):
        open_arrays(tmp_path / "a.npz")
