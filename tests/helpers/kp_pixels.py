"""What devices of the kp API make of images, one pixel and one number at a time, from the documents' own words."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from tilewright.runtime.api.kp.enums import ImageFormat, NormalizeMode

RED, GREEN, BLUE = 0, 1, 2

PAIRS = {
    "YUYV": ("Y0", "CB", "Y1", "CR"),
    "YCBCR422_CRY1CBY0": ("CR", "Y1", "CB", "Y0"),
    "YCBCR422_CBY1CRY0": ("CB", "Y1", "CR", "Y0"),
    "YCBCR422_Y1CRY0CB": ("Y1", "CR", "Y0", "CB"),
    "YCBCR422_Y1CBY0CR": ("Y1", "CB", "Y0", "CR"),
    "YCBCR422_CRY0CBY1": ("CR", "Y0", "CB", "Y1"),
    "YCBCR422_CBY0CRY1": ("CB", "Y0", "CR", "Y1"),
    "YCBCR422_Y0CRY1CB": ("Y0", "CR", "Y1", "CB"),
    "YCBCR422_Y0CBY1CR": ("Y0", "CB", "Y1", "CR"),
}
"""The bytes of two pixels, by the name of the format."""

COLOURS = [format for format in ImageFormat if format.name[len("KP_IMAGE_FORMAT_") :] not in ("UNKNOWN", "RAW8")]


def byte_count(format: ImageFormat, width: int, height: int) -> int:
    """How many bytes an image has."""
    if format == ImageFormat.KP_IMAGE_FORMAT_RGBA8888:
        return width * height * 4
    if format == ImageFormat.KP_IMAGE_FORMAT_RAW8:
        return width * height
    return width * height * 3 // 2 if format == ImageFormat.KP_IMAGE_FORMAT_YUV420 else width * height * 2


def pixel(data: bytes, format: ImageFormat, width: int, height: int, x: int, y: int) -> tuple[int, int, int]:
    """Red, green and blue of a pixel."""
    if format == ImageFormat.KP_IMAGE_FORMAT_RAW8:
        grey = data[y * width + x]
        return grey, grey, grey
    if format == ImageFormat.KP_IMAGE_FORMAT_RGBA8888:
        first = (y * width + x) * 4
        return data[first], data[first + 1], data[first + 2]
    if format == ImageFormat.KP_IMAGE_FORMAT_RGB565:
        first = (y * width + x) * 2
        word = data[first] + 256 * data[first + 1]
        return word // 2048 * 8, word // 32 % 64 * 4, word % 32 * 8
    return red_green_blue(*chroma(data, format, width, height, x, y))


def chroma(data: bytes, format: ImageFormat, width: int, height: int, x: int, y: int) -> tuple[int, int, int]:
    """Y, Cb and Cr of a pixel."""
    if format == ImageFormat.KP_IMAGE_FORMAT_YUV420:
        quarter = width * height // 4
        shared = y // 2 * (width // 2) + x // 2
        return data[y * width + x], data[4 * quarter + shared], data[5 * quarter + shared]
    order = PAIRS[format.name.removeprefix("KP_IMAGE_FORMAT_")]
    first = y * width * 2 + x // 2 * 4
    pair = dict(zip(order, data[first : first + 4], strict=True))
    return pair[f"Y{x % 2}"], pair["CB"], pair["CR"]


def red_green_blue(luma: int, cb: int, cr: int) -> tuple[int, int, int]:
    """ITU-T T.871, with the constants of its table, rounded to nearest."""
    u, v = cb - 128, cr - 128
    red = Fraction(luma) + Fraction("1.402") * v
    green = Fraction(luma) - Fraction("0.344136286") * u - Fraction("0.714136286") * v
    blue = Fraction(luma) + Fraction("1.772") * u
    found = [min(255, max(0, math.floor(value + Fraction(1, 2)))) for value in (red, green, blue)]
    return found[RED], found[GREEN], found[BLUE]


def image(data: bytes, format: ImageFormat, width: int, height: int) -> np.ndarray:
    """All pixels: uint8[height, width, 3]."""
    rows = [[pixel(data, format, width, height, x, y) for x in range(width)] for y in range(height)]
    return np.array(rows, np.uint8)


def resize(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture of another size: uint8[height, width, channels]."""
    rows, columns, channels = picture.shape
    found = np.zeros((height, width, channels), np.uint8)
    for y in range(height):
        above, below, down = _between(y, rows, height)
        for x in range(width):
            left, right, across = _between(x, columns, width)
            for c in range(channels):
                upper = int(picture[above, left, c]) * (256 - across) + int(picture[above, right, c]) * across
                lower = int(picture[below, left, c]) * (256 - across) + int(picture[below, right, c]) * across
                found[y, x, c] = (upper * (256 - down) + lower * down + 2**15) // 2**16
    return found


def _between(position: int, source: int, target: int) -> tuple[int, int, int]:
    """The two positions of the source, and the weight of the second in 1/256."""
    exact = (Fraction(position) + Fraction(1, 2)) * source / target - Fraction(1, 2)
    if exact <= 0:
        return 0, 0, 0
    if exact >= source - 1:
        return source - 1, source - 1, 0
    first = math.floor(exact)
    return first, first + 1, round((exact - first) * 256)


def fit(width: int, height: int, target_width: int, target_height: int) -> tuple[int, int]:
    """The largest size of the same aspect that fits, rounded down."""
    scale = min(Fraction(target_width, width), Fraction(target_height, height))
    return max(1, math.floor(width * scale)), max(1, math.floor(height * scale))


def normalize(value: int, mode: NormalizeMode) -> int:
    """What a byte becomes, as int8."""
    name = mode.name.removeprefix("KP_NORMALIZE_")
    if name in ("KNERON", "TENSOR_FLOW", "CUSTOMIZED_SUB128"):
        return value - 128
    if name in ("YOLO", "CUSTOMIZED_DIV2"):
        return math.floor(value / 2)
    if name == "CUSTOMIZED_SUB128_DIV2":
        return math.floor((value - 128) / 2)
    return value if value < 128 else value - 256


def input_of(picture: np.ndarray, mode: NormalizeMode) -> np.ndarray:
    """The input of a network that a picture of its size becomes: int8[1, channels, height, width]."""
    table = np.array([normalize(value, mode) for value in range(256)], np.int8)
    return np.ascontiguousarray(table[picture].transpose(2, 0, 1)[None])
