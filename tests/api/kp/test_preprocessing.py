"""Preprocessing, compared with the formulas pixel by pixel."""

from __future__ import annotations

import kp_pixels as slow
import numpy as np
import pytest

from tilewright.runtime.api.kp.enums import ImageFormat, NormalizeMode, PaddingMode, ResizeMode
from tilewright.runtime.api.kp.exceptions import Refusal
from tilewright.runtime.api.kp.preprocessing.pipeline import Abilities, Crop, Picture, Prepared, input_of, prepare
from tilewright.runtime.api.kp.preprocessing.pixels import Box, Size, planes_of, resample

ENABLE, DISABLE = ResizeMode.KP_RESIZE_ENABLE, ResizeMode.KP_RESIZE_DISABLE
STRETCH, CORNER, SYMMETRIC = PaddingMode
KNERON = NormalizeMode.KP_NORMALIZE_KNERON
RGB565, RAW8 = ImageFormat.KP_IMAGE_FORMAT_RGB565, ImageFormat.KP_IMAGE_FORMAT_RAW8
YUV420, RGBA = ImageFormat.KP_IMAGE_FORMAT_YUV420, ImageFormat.KP_IMAGE_FORMAT_RGBA8888
WITHOUT_LIMITS = Abilities(width_multiple=1, padding=10_000)


def picture(
    rng: np.random.Generator,
    width: int,
    height: int,
    format: ImageFormat = RGB565,
    resize: ResizeMode = ENABLE,
    padding: PaddingMode = CORNER,
    normalize: NormalizeMode = KNERON,
) -> Picture:
    data = rng.integers(0, 256, slow.byte_count(format, width, height), np.uint8)
    return Picture(data, format, Size(width, height), resize, padding, normalize, ())


def prepared(given: Picture, box: Box | None, shape: tuple[int, int, int, int]) -> Prepared:
    return prepare(given, None if box is None else Crop(0, box), shape, WITHOUT_LIMITS)


@pytest.mark.parametrize("format", slow.COLOURS, ids=lambda format: format.name)
def test_every_format(format: ImageFormat, rng: np.random.Generator) -> None:
    given = picture(rng, 12, 6, format)
    found = prepared(given, None, (1, 3, 6, 12)).values
    expected = slow.input_of(slow.image(given.data.tobytes(), format, 12, 6), KNERON)
    np.testing.assert_array_equal(found, expected)


def test_all_colours_of_ycbcr(rng: np.random.Generator) -> None:
    """Every Cb with every Cr, at a luma that clips often and at one that does not."""
    cb, cr = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for luma in (16, 128):
        data = np.stack([np.full_like(cb, luma), cb, np.full_like(cb, luma), cr], -1).reshape(-1)
        found = planes_of(data, ImageFormat.KP_IMAGE_FORMAT_YUYV, 512, 256, Box(0, 0, 512, 256), 3)[..., ::2]
        u, v = cb - 128.0, cr - 128.0
        exact = np.stack([luma + 1.402 * v, luma - 0.344136286 * u - 0.714136286 * v, luma + 1.772 * u])
        # The bits of fraction move a value that lies next to a half.
        assert np.abs(np.clip(exact, 0, 255) - found).max() <= 0.5 + 2**-14
        rows, columns = rng.integers(0, 256, (2, 500))
        for row, column in zip(rows, columns, strict=True):
            assert tuple(found[:, row, column]) == slow.red_green_blue(luma, int(column), int(row))


def test_orders_are_those_of_the_names() -> None:
    """A pair of pixels whose four values differ, written in each order, is the same pair."""
    values = {"Y0": 60, "Y1": 200, "CB": 90, "CR": 170}
    pairs = set()
    for name, order in slow.PAIRS.items():
        data = np.array([values[each] for each in order], np.uint8)
        found = planes_of(data, ImageFormat[f"KP_IMAGE_FORMAT_{name}"], 2, 1, Box(0, 0, 2, 1), 3)
        pairs.add(found.tobytes())
    assert len(pairs) == 1
    assert pairs == {np.array([slow.red_green_blue(y, 90, 170) for y in (60, 200)], np.uint8).T.tobytes()}


def test_rgb565_fills_with_zeros() -> None:
    white = np.array([0xFF, 0xFF], np.uint8)
    assert planes_of(white, RGB565, 1, 1, Box(0, 0, 1, 1), 3).ravel().tolist() == [0xF8, 0xFC, 0xF8]
    red_first = np.array([0x00, 0xF8], np.uint8)
    assert planes_of(red_first, RGB565, 1, 1, Box(0, 0, 1, 1), 3).ravel().tolist() == [0xF8, 0, 0]


def test_grey_and_alpha(rng: np.random.Generator) -> None:
    grey = picture(rng, 4, 3, RAW8)
    values = grey.data.reshape(3, 4)
    assert (planes_of(grey.data, RAW8, 4, 3, Box(0, 0, 4, 3), 3) == values).all()
    assert (planes_of(grey.data, RAW8, 4, 3, Box(0, 0, 4, 3), 1)[0] == values).all()
    assert (planes_of(grey.data, RAW8, 4, 3, Box(0, 0, 4, 3), 4)[3] == 255).all()
    colour = picture(rng, 4, 3, RGBA)
    planes = colour.data.reshape(3, 4, 4).transpose(2, 0, 1)
    assert (planes_of(colour.data, RGBA, 4, 3, Box(0, 0, 4, 3), 4) == planes).all()
    weighted = np.tensordot((0.299, 0.587, 0.114), planes[:3].astype(float), 1)
    found = planes_of(colour.data, RGBA, 4, 3, Box(0, 0, 4, 3), 1)[0]
    assert np.abs(found - weighted).max() <= 0.501
    yuyv = picture(rng, 4, 3, ImageFormat.KP_IMAGE_FORMAT_YUYV)
    assert (planes_of(yuyv.data, yuyv.format, 4, 3, Box(0, 0, 4, 3), 1)[0] == yuyv.data[::2].reshape(3, 4)).all()


@pytest.mark.parametrize("format", [*slow.COLOURS, RAW8], ids=lambda format: format.name)
@pytest.mark.parametrize("box", [Box(0, 0, 12, 8), Box(3, 1, 5, 4), Box(2, 3, 1, 1), Box(11, 7, 1, 1)])
def test_crops(box: Box, format: ImageFormat, rng: np.random.Generator) -> None:
    given = picture(rng, 12, 8, format)
    found = prepared(given._replace(resize=DISABLE), box, (1, 3, box.height, box.width))
    whole = slow.image(given.data.tobytes(), format, 12, 8)
    part = whole[box.y : box.y + box.height, box.x : box.x + box.width]
    np.testing.assert_array_equal(found.values, slow.input_of(part, KNERON))
    assert found.taken == box


@pytest.mark.parametrize("mode", NormalizeMode, ids=lambda mode: mode.name)
def test_every_byte_normalised(mode: NormalizeMode) -> None:
    given = Picture(np.arange(256, dtype=np.uint8), RAW8, Size(256, 1), DISABLE, STRETCH, mode, ())
    found = prepared(given, None, (1, 1, 1, 256)).values
    assert found.dtype == np.int8
    assert found.ravel().tolist() == [slow.normalize(value, mode) for value in range(256)]


SIZES = [
    ((12, 10), (6, 5)),
    ((12, 10), (24, 20)),
    ((7, 5), (16, 16)),
    ((16, 12), (5, 9)),
    ((1, 1), (4, 3)),
    ((9, 2), (3, 8)),
    ((10, 10), (10, 10)),
]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_sizes(source: tuple[int, int], target: tuple[int, int], rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (source[1], source[0], 3), np.uint8)
    found = resample(np.ascontiguousarray(pixels.transpose(2, 0, 1)), target[1], target[0])
    np.testing.assert_array_equal(found.transpose(1, 2, 0), slow.resize(pixels, *target))


def test_sizes_are_those_of_opencv(rng: np.random.Generator) -> None:
    cv2 = pytest.importorskip("cv2")
    for _ in range(100):
        rows, columns, height, width = rng.integers(1, 70, 4).tolist()
        pixels = rng.integers(0, 256, (rows, columns), np.uint8)
        found = resample(pixels[None], height, width)[0]
        exact = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        np.testing.assert_array_equal(found, exact)
        usual = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR)
        assert np.abs(found.astype(int) - usual).max() <= 1


@pytest.mark.parametrize("padding", PaddingMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("normalize", [KNERON, NormalizeMode.KP_NORMALIZE_YOLO], ids=lambda mode: mode.name)
@pytest.mark.parametrize("source", [(20, 12), (12, 20), (16, 9), (5, 4), (3, 17)])
def test_padding(
    source: tuple[int, int], normalize: NormalizeMode, padding: PaddingMode, rng: np.random.Generator
) -> None:
    width, height = 16, 13
    given = picture(rng, *source, format=RGB565, padding=padding, normalize=normalize)
    found = prepared(given, None, (1, 3, height, width))
    whole = slow.image(given.data.tobytes(), RGB565, *source)
    fitted = (width, height) if padding is STRETCH else slow.fit(*source, width, height)
    left, top = ((width - fitted[0]) // 2, (height - fitted[1]) // 2) if padding is SYMMETRIC else (0, 0)
    expected = np.zeros((height, width, 3), np.uint8)
    expected[top : top + fitted[1], left : left + fitted[0]] = slow.resize(whole, *fitted)
    np.testing.assert_array_equal(found.values, slow.input_of(expected, normalize))
    place = found.placement
    assert place.size == fitted
    assert (place.left, place.top) == (left, top)
    assert (place.left + fitted[0] + place.right, place.top + fitted[1] + place.bottom) == (width, height)


def test_nothing_of_the_image_is_written(rng: np.random.Generator) -> None:
    for format in (RAW8, RGBA):
        given = picture(rng, 6, 4, format)
        before = given.data.copy()
        given.data.flags.writeable = False
        prepared(given, None, (1, 1 if format is RAW8 else 4, 4, 6))
        np.testing.assert_array_equal(given.data, before)


def refused(code: int, given: Picture, box: Box | None, shape: tuple[int, int, int, int], **limits: int) -> str:
    with pytest.raises(Refusal) as caught:
        prepare(given, box and Crop(0, box), shape, Abilities(**{"width_multiple": 1, "padding": 10_000, **limits}))
    assert caught.value.code == code
    return str(caught.value)


def test_resizing_disabled(rng: np.random.Generator) -> None:
    for padding in PaddingMode:
        given = picture(rng, 8, 8, resize=DISABLE, padding=padding)
        assert prepared(given, None, (1, 3, 8, 8)).placement == ((8, 8), 0, 0, 0, 0)
        assert "expected 9x8, found 8x8" in refused(107, given, None, (1, 3, 8, 9))
        assert prepared(given, Box(1, 2, 4, 3), (1, 3, 3, 4)).placement.size == (4, 3)
        refused(107, given, Box(1, 2, 4, 3), (1, 3, 8, 8))


def test_what_the_device_cannot_do(rng: np.random.Generator) -> None:
    odd = picture(rng, 10, 8)
    assert "expected a multiple of 4, found 10" in refused(23, odd, None, (1, 3, 8, 8), width_multiple=4)
    for format in (YUV420, ImageFormat.KP_IMAGE_FORMAT_YUYV):
        refused(23, picture(rng, 5, 4, format), None, (1, 3, 4, 5))
    refused(45, picture(rng, 4, 5, YUV420), None, (1, 3, 4, 4))
    wide = picture(rng, 40, 10)
    assert "found 30, for 40x10 in an input of 40x40" in refused(108, wide, None, (1, 3, 40, 40), padding=29)
    assert prepare(wide, None, (1, 3, 40, 40), Abilities(4, 30)).placement.bottom == 30
    assert prepare(wide._replace(padding=SYMMETRIC), None, (1, 3, 40, 40), Abilities(4, 15)).placement.top == 15
    assert "calls that bypass" in refused(108, wide, None, (1, 5, 40, 40))


@pytest.mark.parametrize(
    "box", [Box(0, 0, 9, 1), Box(8, 0, 1, 1), Box(0, 5, 2, 2), Box(1, 1, 0, 3), Box(2**32, 0, 1, 1)]
)
def test_boxes_outside(box: Box, rng: np.random.Generator) -> None:
    assert "found" in refused(112, picture(rng, 8, 6), box, (1, 3, 6, 8))


@pytest.mark.parametrize("alignment", [4, 16])
@pytest.mark.parametrize(("channels", "width"), [(3, 8), (4, 9), (2, 16), (1, 30)])
def test_buffers_of_pixels(channels: int, width: int, alignment: int, rng: np.random.Generator) -> None:
    values = rng.integers(-128, 128, (1, channels, 5, width)).astype(np.int8)
    row = -(-width // alignment) * alignment
    buffer = rng.integers(0, 256, (5, row, 4)).astype(np.int8)
    for c in range(channels):
        for x in range(width):
            buffer[:, x, c] = values[0, c, :, x]
    np.testing.assert_array_equal(input_of(buffer.reshape(-1).view(np.uint8), values.shape), values)


def test_buffers_of_one_channel_and_of_many(rng: np.random.Generator) -> None:
    grey = rng.integers(-128, 128, (1, 1, 3, 20)).astype(np.int8)
    rows = np.full((3, 32), 77, np.int8)
    rows[:, :20] = grey[0, 0]
    np.testing.assert_array_equal(input_of(rows.reshape(-1).view(np.uint8), grey.shape), grey)
    many = rng.integers(-128, 128, (1, 20, 3, 5)).astype(np.int8)
    blocks = np.full((2, 3, 5, 16), 77, np.int8)
    for c in range(20):
        blocks[c // 16, :, :, c % 16] = many[0, c]
    np.testing.assert_array_equal(input_of(blocks.reshape(-1).view(np.uint8), many.shape), many)


def test_buffers_of_another_size() -> None:
    with pytest.raises(Refusal, match="expected 192 bytes or 768 bytes, found 191") as caught:
        input_of(np.zeros(191, np.uint8), (1, 3, 12, 4))
    assert caught.value.code == 107
