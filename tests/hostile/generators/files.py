"""Array files and images with other headers and damaged contents, as inputs and as samples for the calibration."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
import zlib
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

from tilewright.compiler.calibration.dataset import open_calibration_set
from tilewright.ir.types import DType, TensorType
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.report.execution import gather_inputs

from ..generator import Case, generator
from ..mutation import damage_bytes, damage_text, pick, pick_integer

SHAPE = (1, 3, 8, 8)
DTYPES = (
    "<f4",
    ">f4",
    "<f8",
    "|i1",
    "|b1",
    "|O",
    "<c8",
    "|S4",
    "<U7",
    "<M8[ns]",
    "|V9",
    "f4",
    "<f3",
    "",
    "[('a','<f4')]",
)
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF", "GIF", "ICO", "TGA")
MODES = ("L", "RGB", "RGBA", "P", "1", "I;16", "F", "LA", "CMYK")


def _header(rng: np.random.Generator) -> bytes:
    """The header of an array file that promises what it wants."""
    shape = [pick_integer(rng, n) if rng.integers(3) == 0 else n for n in (4, *SHAPE[1:])]
    shown = (
        repr(tuple(shape)) if rng.integers(6) else pick(rng, ("()", "(8,)", "[8]", "8", "(8, 8", "(True,)", "(1e3,)"))
    )
    descr = pick(rng, DTYPES) if rng.integers(3) == 0 else "<f4"
    text = f"{{'descr': {descr!r}, 'fortran_order': {pick(rng, ('False', 'True', '0', 'None'))}, 'shape': {shown}, }}"
    if rng.integers(4) == 0:
        text = pick(rng, (damage_text(rng, text), "(" * 3000, "{" * 100, text + " " * 60_000, "__import__('os')"))
    encoded = text.encode("latin-1", "replace") + b"\n"
    version = pick(rng, ((1, 0), (2, 0), (3, 0), (9, 9), (0, 0)))
    length = struct.pack("<H" if version[0] < 2 else "<I", len(encoded) % 65536)
    return b"\x93NUMPY" + bytes(version) + length + encoded


def _array(rng: np.random.Generator) -> bytes:
    """A .npy file."""
    elements = rng.random((4, *SHAPE[1:]), np.float32)
    if rng.integers(2):
        return _header(rng) + elements.tobytes()[: pick(rng, (None, None, 0, 100))]
    file = io.BytesIO()
    np.save(file, elements)
    return damage_bytes(rng, file.getvalue())


def _archive(rng: np.random.Generator) -> bytes:
    """A .npz file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for _ in range(pick(rng, (1, 1, 2, 50))):
            name = pick(rng, ("x.npy", "x", "../x.npy", "x.npy", " ", "a" * 200, "x.npy/"))
            content = _array(rng)
            archive.writestr(name, content + bytes(pick(rng, (0, 0, 0, 1 << 20))))
    return damage_bytes(rng, file.getvalue()) if rng.integers(2) else file.getvalue()


@cache
def images() -> list[bytes]:
    """Small images in every format and mode that Pillow writes."""
    found: list[bytes] = []
    for mode in MODES:
        for format in FORMATS:
            file = io.BytesIO()
            try:
                Image.new(mode, (9, 7)).save(file, format)
            except (OSError, KeyError, ValueError):
                continue
            found.append(file.getvalue())
    return found


def _thin_png(rng: np.random.Generator) -> bytes:
    """A PNG of a few bytes with any extents."""
    width, height = (abs(pick_integer(rng, n)) % 2**32 for n in (9, 7))
    bits, colour = pick(rng, ((8, 0), (8, 2), (1, 0), (16, 0), (16, 2), (8, 3), (8, 6), (4, 2), (0, 0)))
    pieces = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, pick(rng, (0, 0, 1))))]
    pieces += [(b"IDAT", zlib.compress(bytes(pick(rng, (0, 100, 1 << 20)))))] * pick(rng, (1, 1, 2))
    pieces += [(pick(rng, (b"tEXt", b"zTXt", b"iCCP")), bytes(20))] * pick(rng, (0, 1))
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in pieces
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + b"\0\0\0\0IEND\xaeB`\x82"


@generator("files", prepare=images)
def files(rng: np.random.Generator) -> Case:
    kind = rng.integers(4)
    if kind == 0:
        return Case("array", partial(_use_array, _array(rng), ".npy"))
    if kind == 1:
        return Case("archive", partial(_use_array, _archive(rng), ".npz"))
    content = _thin_png(rng) if kind == 2 else damage_bytes(rng, pick(rng, images()))
    suffix = pick(rng, (".png", ".jpg", ".tiff"))
    return Case(repr(content[:2000]), partial(_use_image, content, suffix))


def _use_array(content: bytes, suffix: str) -> None:
    """As samples, and as inputs."""
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        for _ in open_calibration_set(file.name, {"x": TensorType(SHAPE, DType.F32)}, limit=2):
            pass
        gather_inputs([TensorSpec("x", "f32", SHAPE)], [file.name], None)


def _use_image(content: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"image{suffix}").write_bytes(content)
        for _ in open_calibration_set(folder, {"x": TensorType(SHAPE, DType.F32)}, limit=2):
            pass
