"""Images to calibrate with, damaged in their headers or anywhere, in every format that is read."""

from __future__ import annotations

import io
import os
import struct
import tempfile
import zlib
from contextlib import suppress
from functools import cache

import numpy as np
from PIL import Image

from tilewright.runtime.pictures.image_file import FORMATS
from tilewright.runtime.pictures.preprocessing import Preprocessing

from ..generator import Case, generator
from ..mutation import damage_bytes, pick, pick_integer
from .array_files import damage_numbers

_INPUT = (1, 3, 32, 32), np.dtype("f4")
_HEADERS = 200
_OPTIONS: dict[str, tuple[dict[str, object], ...]] = {
    "JPEG": ({}, {"progressive": True}),
    "WEBP": ({}, {"lossless": True}),
    "TIFF": tuple({"compression": each} for each in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")),
}
_TEXTUAL = (
    b"P3 3 2 255\n" + b"1 2 3 " * 6,
    b"P2 3 2 65535 1 2 3 4 5 6\n",
    b"P1 3 2\n1 0 1 0 1 0\n",
    b"P5 3 2 300\n" + bytes(12),
    b"Pf 3 2 -1.0\n" + bytes(24),
    b"P7\nWIDTH 3\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n" + bytes(18),
)


@cache
def images() -> dict[str, list[bytes]]:
    """Files by format, as Pillow writes them: colours, grey, palettes, 16 bits, alpha, two levels, runs."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    pixels[:10] = 7
    colour, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    wide = Image.fromarray(pixels[..., 0].astype(np.uint16) * 200)
    kinds = (colour, grey, wide, colour.convert("P"), colour.convert("RGBA"), grey.convert("1"), colour.convert("CMYK"))
    found: dict[str, list[bytes]] = {form: [] for form in FORMATS}
    for form in FORMATS:
        for image in kinds:
            for options in _OPTIONS.get(form, ({},)):
                content = io.BytesIO()
                with suppress(OSError, ValueError):
                    image.save(content, form, **options)
                    found[form].append(content.getvalue())
    found["PPM"] += _TEXTUAL
    header = struct.pack("<IiiHHIIiiII", 40, 30, 20, 1, 8, 1, 0, 0, 0, 256, 0)
    runs = bytes([30, 5, 0, 0] * 20 + [0, 1])
    found["BMP"].append(b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + runs)
    return found


def _with_checksums(png: bytes) -> bytes:
    """Checksums made right, so that what is wrong gets further."""
    content, at = bytearray(png), 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            break
        content[end : end + 4] = zlib.crc32(content[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(content)


def _with_other_digits(rng: np.random.Generator, content: bytes) -> bytes:
    digits = [index for index, byte in enumerate(content[:60]) if chr(byte).isdigit()]
    at = pick(rng, digits)
    return content[:at] + str(pick_integer(rng, 3)).encode() + content[at + 1 :]


@generator("image_files", prepare=images)
def image_files(rng: np.random.Generator) -> Case:
    form = pick(rng, FORMATS)
    content = pick(rng, images()[form])
    kind = rng.integers(4)
    if kind == 0:
        content = damage_bytes(rng, content)
    elif form == "PPM":
        content = _with_other_digits(rng, content)
    else:
        content = damage_numbers(rng, content, 0, _HEADERS)
    if form == "PNG" and rng.integers(4):
        content = _with_checksums(content)
    preprocessing = Preprocessing(resize=pick(rng, ("shorter", "central", "stretch")))

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "x.png")
            with open(path, "wb") as file:
                file.write(content)
            preprocessing.load(path, *_INPUT)

    return Case(f"{preprocessing.resize}, {form} of {len(content)} bytes that begins with {content[:_HEADERS]!r}", run)
