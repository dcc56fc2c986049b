"""Images of strangers: read with the values that they show, or refused by name before they cost anything."""

from __future__ import annotations

import io
import re
import struct
import tracemalloc
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tilewright import limits
from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.errors import CalibrationError, InputError
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.pictures.image_file import FORMATS, read_image
from tilewright.runtime.pictures.preprocessing import Preprocessing

REPLACE = "Remove the file from the folder or replace it."
INPUT = (1, 3, 4, 4), np.dtype("f4")
PLAIN = Preprocessing(resize="stretch", mean=(0,), scale=(1,))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, before: bytes = b"", pixels: bytes | None = None) -> bytes:
    """A grey image, black if no pixels are given."""
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0))
    data = zlib.compress(bytes((width + 1) * height)) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def refusal(path: Path, content: bytes, preprocessing: Preprocessing = PLAIN) -> str:
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as caught:
            preprocessing.load(path, *INPUT)
    return str(caught.value).replace(repr(str(path)), "FILE")


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read_whatever_the_name_of_the_file(form: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(Image.new("RGB", (4, 4), (200, 200, 200)), form))
    assert np.unique(np.asarray(read_image(tmp_path / "a.png", "RGB"))).tolist() == [200]


@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n%%EOF\n",
        b"GIF89a" + bytes(20),
        b"no image",
        b"",
    ],
)
def test_other_formats_are_refused(content: bytes, tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.png", content) == (
        "cannot read FILE as an image: it is none of PNG, JPEG, BMP, WEBP, PPM, TIFF, or damaged. " + REPLACE
    )


@pytest.mark.parametrize(
    ("resize", "width", "height", "full"),
    [
        ("shorter", 3_500_000, 1, (16_000_000, 5)),
        ("shorter", 1, 3_500_000, (5, 16_000_000)),
        ("central", 1, 17_500_000, (4, 4)),
        ("stretch", 1, 17_500_000, (4, 4)),
    ],
)
def test_thin_images_are_refused_before_they_are_resized(
    resize: str, width: int, height: int, full: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.Image, "resize", lambda *_, **__: pytest.fail("resized"))
    message = (
        f"image FILE is too large; expected at most {2**26} pixels of an image, as it is and at each step "
        f"of resizing it, found {width}x{height}, resized to {full[0]}x{full[1]}. "
        "Remove the file from the folder or make it smaller."
    )
    declared = replace(PLAIN, resize=resize)
    assert refusal(tmp_path / "a.png", png(width, height), declared) == message


def test_sizes_are_refused_before_pixels_are_read(tmp_path: Path) -> None:
    end = "Remove the file from the folder or make it smaller."
    assert refusal(tmp_path / "a.png", png(10_000, 10_000, pixels=b"")) == (
        f"image FILE is too large; expected at most {2**26} pixels of an image, as it is and at each step "
        f"of resizing it, found 10000x10000. {end}"
    )
    # Pillow has a limit of its own, further up.
    assert "could be decompression bomb" in refusal(tmp_path / "a.png", png(60_000, 60_000, pixels=b""))
    with open(tmp_path / "b.png", "wb") as file:
        file.truncate(limits.IMAGE_FILE + 1)
    with pytest.raises(InputError, match=re.escape(f"at most {2**28} bytes of an image file, found {2**28 + 1}")):
        PLAIN.load(tmp_path / "b.png", *INPUT)


def test_text_that_unpacks_to_much_is_refused(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(100_000_000))
    for kind, head in ((b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")):
        assert refusal(tmp_path / "a.png", png(4, 4, before=chunk(kind, head + packed))).startswith(
            "cannot read FILE as an image: Decompressed data too large"
        ), kind


def test_jpeg_data_that_goes_through_its_image_again_and_again_is_refused(tmp_path: Path) -> None:
    content = encoded(Image.new("L", (8, 8)), "JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    (tmp_path / "a.jpg").write_bytes(content[:-2] + 50 * scan + content[-2:])
    assert PLAIN.load(tmp_path / "a.jpg", *INPUT).shape == INPUT[0]
    assert "; expected at most 100 scans of JPEG data in an image file, found 206. " in refusal(
        tmp_path / "a.jpg", content[:-2] + 200 * scan + content[-2:]
    )


def test_formats_that_pillow_decodes_in_python_have_a_limit_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their decoders go from pixel to pixel, also where a BMP of 1 KB says no more than that a line ends."""
    end_of_line = b"\0\0"
    header = struct.pack("<IiiHHIIiiII", 40, 2**23, 4, 1, 8, 1, 0, 0, 0, 256, 0)
    bmp = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + 4 * end_of_line
    monkeypatch.setattr(limits, "VALUES_IN_PYTHON", limits.Limit(2**16, limits.VALUES_IN_PYTHON.what))
    expected = f"; expected at most {2**16} values of pixels in run-length encoded BMP, or PPM of odd levels or as text"
    runs_of_no_pixel = bmp.replace(struct.pack("<ii", 2**23, 4), struct.pack("<ii", 4, 4)) + b"\0\2\0\0" * 2**16
    for content in (bmp, runs_of_no_pixel, b"P6 8388608 1 7\n", b"P3 8388608 1 255\n"):
        assert expected in refusal(tmp_path / "a.png", content)


def test_files_of_many_small_pieces_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow goes from chunk to chunk, and from segment to segment, in Python; comments it takes out one by one."""
    pieces = limits.IMAGE_PIECES.what
    monkeypatch.setattr(limits, "IMAGE_PIECES", limits.Limit(2**10, pieces))
    for content in (png(4, 4, before=chunk(b"abCd", b"") * 2**10), b"\xff\xd8" + b"\xff\xfe\0\2" * 2**11):
        assert f"expected at most {2**10} pieces that an image file is read in" in refusal(tmp_path / "a", content)
    commented = b"P3 2 2 255\n" + b"#\n" * 2**11 + b"1 " * 12
    assert "expected at most 1024 comments in an image as text, found 2048" in refusal(tmp_path / "a", commented)


def test_chunks_of_an_image_that_claim_to_be_huge(tmp_path: Path) -> None:
    """No more is read than is there."""
    content = bytearray(png(4, 4))
    start = content.index(b"IDAT") - 4
    content[start : start + 4] = b"\x7f\xff\xff\xff"
    (tmp_path / "a.png").write_bytes(content)
    tracemalloc.start()
    try:
        assert PLAIN.load(tmp_path / "a.png", *INPUT).max() == 0
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", FORMATS)
def test_images_that_end_early_are_refused(form: str, tmp_path: Path, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
    content = encoded(Image.fromarray(pixels), form)
    for length in (10, 30, len(content) // 2):
        assert refusal(tmp_path / "a.png", content[:length]).startswith("cannot read FILE as an image: ")


WIDE = np.array([[0, 255, 256, 65535]], np.uint16)


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.fromarray(WIDE), "PNG"),
        encoded(Image.fromarray(WIDE), "TIFF"),
        b"P5 4 1 65535\n" + WIDE.astype(">u2").tobytes(),
        b"P6 4 1 65535\n" + WIDE.astype(">u2").repeat(3).tobytes(),
        b"P5 4 1 4095\n" + (WIDE // 16).astype(">u2").tobytes(),
    ],
    ids=["png", "tiff", "pgm", "ppm", "pgm of 12 bits"],
)
def test_of_16_bits_the_upper_8_count(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    found = np.asarray(read_image(tmp_path / "a.png", "L"), np.int64)
    np.testing.assert_allclose(found, [[0, 0, 1, 255]], atol=1)
    assert found[0, 3] == 255
    assert found[0, 2] <= 1


@pytest.mark.parametrize(
    ("pixels", "mode"), [(np.ones((4, 4), np.float32), "F"), (np.ones((4, 4), np.int32), "I")], ids=["float", "int32"]
)
def test_pixels_without_a_known_range_are_refused(pixels: np.ndarray, mode: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.tif", encoded(Image.fromarray(pixels), "TIFF")) == (
        "the pixels of image FILE have no range that is known; expected 8 or 16 bits from black to white, "
        f"found mode {mode} of TIFF. Save it with 8 bits a channel."
    )


def test_16_bits_where_white_is_0_are_refused(tmp_path: Path) -> None:
    content = bytearray(encoded(Image.fromarray(WIDE), "TIFF"))
    entry = content.index(struct.pack("<HHI", 262, 3, 1))
    assert content[entry + 8] == 1
    content[entry + 8] = 0
    assert "have no range that is known" in refusal(tmp_path / "a.tif", bytes(content))


def test_colours_are_read_as_training_code_does(tmp_path: Path) -> None:
    """Alpha is left out and not blended; palettes and CMYK become RGB; a camera's orientation waits to be asked for."""
    red = (200, 0, 0)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, *red])
    images = {
        "alpha.png": encoded(Image.new("RGBA", (4, 4), (*red, 0)), "PNG"),
        "palette.png": encoded(palette, "PNG", transparency=1),
        "cmyk.tif": encoded(Image.new("CMYK", (4, 4), (55, 255, 255, 0)), "TIFF"),
    }
    for name, content in images.items():
        (tmp_path / name).write_bytes(content)
        found = np.asarray(read_image(tmp_path / name, "RGB"))
        assert np.unique(found.reshape(-1, 3), axis=0).tolist() == [list(red)]
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.png").write_bytes(encoded(Image.new("RGB", (4, 2)), "PNG", exif=exif))
    assert read_image(tmp_path / "turned.png", "RGB").size == (4, 2)
    assert read_image(tmp_path / "turned.png", "RGB", upright=True).size == (2, 4)
    broken = encoded(Image.new("RGB", (4, 2)), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    (tmp_path / "broken.png").write_bytes(broken)
    assert read_image(tmp_path / "broken.png", "RGB", upright=True).size == (4, 2)


def test_a_hostile_image_in_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(4, 4))
    (tmp_path / "b.png").write_bytes(png(60_000, 60_000, pixels=b""))
    samples = iter(open_calibration_set(tmp_path, {"image": TensorType(INPUT[0], DType.F32)}))
    next(samples)
    with pytest.raises(CalibrationError, match=r"b\.png' as an image: "):
        next(samples)


@pytest.mark.parametrize("type", [TensorType((1, 3, 0, 4), DType.F32), TensorType((1, 3, 4, 4), DType.BOOL)])
def test_inputs_of_no_pixels_or_no_numbers_take_no_images(type: TensorType) -> None:
    with pytest.raises(InputError, match=r"images do not fit this input; expected numbers of shape .* found "):
        PLAIN.check(type.shape, type.dtype.numpy)


def test_palettes_of_several_opacities_are_read_without_a_word(tmp_path: Path) -> None:
    """Pillow warns of them, where alpha is left out."""
    image = Image.new("P", (4, 4), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.save(tmp_path / "x.png", transparency=bytes([255, 100]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(tmp_path / "x.png", "RGB").getpixel((0, 0)) == (10, 20, 30)
        assert read_image(tmp_path / "x.png", "RGBA").getpixel((0, 0)) == (10, 20, 30, 100)
