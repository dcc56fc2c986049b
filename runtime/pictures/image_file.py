"""Images from files, which may come from strangers: of a few formats, of bounded size, with 8 bits a channel."""

import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, TiffImagePlugin

from tilewright import limits
from tilewright.errors import InputError, TilewrightError

from ..files.input_file import contents
from ..files.input_file import too_large as file_too_large

FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")
"""What Pillow may take a file for. Others are read by few programs, some by starting one."""

# Whatever its readers run into, and not only what its documents name.
_PILLOW_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    SyntaxError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# Marker, length and number of components, in the only combinations that decoders take.
_START_OF_SCAN = re.compile(rb"\xff\xda\x00(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)", re.DOTALL)
_DECODERS_IN_PYTHON = frozenset({"bmp_rle", "ppm", "ppm_plain"})
_SMALLER = "Remove the file from the folder or make it smaller."
_PHOTOMETRIC, _BITS_PER_SAMPLE, _BLACK_IS_ZERO, _ORIENTATION = 262, 258, 1, 274


def read_image(path: str | os.PathLike[str], mode: str, *, upright: bool = False) -> Image.Image:
    """The image in a file, its first one, in Pillow's mode ``L``, ``LA``, ``RGB`` or ``RGBA``; in mode ``P`` only 8
    bits, no colours.

    Of 16 bits the upper 8 count. Alpha that the mode lacks is left out, not blended.
    ``upright``: turn it as a camera noted in EXIF; notes that cannot be read count as none.
    Raises InputError: the file is no image of a known format, damaged, too large, or has pixels of a kind whose range
    is not known (floating point, 32 or 12 bits)."""
    path = os.fspath(path)
    try:
        content = contents(path, limits.IMAGE_FILE, f"image {path!r}", hint=_SMALLER)
    except ValueError as error:
        raise _unreadable(path, str(error)) from None
    return image_of(content, path, mode, upright=upright)


def image_of(
    content: bytes, path: str, mode: str, formats: Sequence[str] = FORMATS, *, upright: bool = False
) -> Image.Image:
    """The image in the bytes of a file; as :func:`read_image`.
    ``path``: what errors call it.
    ``formats``: what Pillow may take it for."""
    try:
        image = _decoded(content, path, formats)
        if mode == "P" and image.mode not in ("P", "L"):
            raise ValueError(f"its pixels are of mode {image.mode}, and no numbers of classes in 8 bits")
        turn = _turn_of(image) if upright else None
        image = _eight_bits(image, path)
        image = image if turn is None else image.transpose(turn)
        with warnings.catch_warnings():
            # Of palettes that are left for colours without alpha.
            warnings.simplefilter("ignore")
            return image if image.mode == mode else image.convert(mode)
    except ValueError as error:
        raise _unreadable(path, str(error)) from None


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's number of an orientation: what turns such an image upright. 1 is upright."""


def _turn_of(image: Image.Image) -> Image.Transpose | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except (*_PILLOW_ERRORS, RecursionError):
        return None


def noted(path: str | os.PathLike[str], *, upright: bool) -> tuple[int, int, bool]:
    """Width and height of the image in a file, as it is stored or ``upright``, and whether a camera noted that these
    are two things; of one that cannot be read no pixels."""
    try:
        with warnings.catch_warnings(), Image.open(path, formats=FORMATS) as image:
            warnings.simplefilter("ignore")
            turn = _turn_of(image)
            sideways = upright and turn in [_TURNS[note] for note in (5, 6, 7, 8)]
            return (*(image.size[::-1] if sideways else image.size), turn is not None)
    except _PILLOW_ERRORS:
        return 0, 0, False


class _Content(io.BytesIO):
    """A file in memory. Readers that are written in Python take it in small pieces, of which there may not be many."""

    def __init__(self, content: bytes, path: str) -> None:
        super().__init__(content)
        self._path, self.at_most = path, limits.IMAGE_PIECES
        self._pieces = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._pieces += 1
        if self._pieces > self.at_most:
            raise too_large(self._path, self.at_most, "more")
        return super().read(size)


def _decoded(content: bytes, path: str, formats: Sequence[str]) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # What Pillow warns of either leads to an error here or is of no consequence.
            warnings.simplefilter("ignore")
            file = _Content(content, path)
            image = Image.open(file, formats=tuple(formats))
            decoders = {tile[0] for tile in image.tile}
            if not decoders.isdisjoint(_DECODERS_IN_PYTHON):
                file.at_most = limits.VALUES_IN_PYTHON
                values = image.width * image.height * len(image.getbands())
                if values > file.at_most:
                    raise too_large(path, file.at_most, values)
            if image.width * image.height > limits.PIXELS:
                raise too_large(path, limits.PIXELS, f"{image.width}x{image.height}")
            # Taking one out moves a megabyte.
            if "ppm_plain" in decoders and content.count(b"#") > limits.IMAGE_COMMENTS:
                raise too_large(path, limits.IMAGE_COMMENTS, content.count(b"#"))
            # JPEG data can go through its whole image again and again, in few bytes each time.
            scans = sum(1 for _ in _START_OF_SCAN.finditer(content))
            if scans > limits.IMAGE_SCANS:
                raise too_large(path, limits.IMAGE_SCANS, scans)
            image.load()
            return image
    except Image.UnidentifiedImageError:
        raise _unreadable(path, f"it is none of {', '.join(formats)}, or damaged") from None
    except _PILLOW_ERRORS as error:
        raise _unreadable(path, str(error).rstrip(".") or type(error).__name__) from None


def too_large(path: str, limit: limits.Limit, found: object) -> TilewrightError:
    """The error about an image that costs more than a limit allows."""
    return file_too_large(f"image {path!r}", limit, found, _SMALLER)


def _unreadable(path: str, reason: str) -> InputError:
    hint = "Remove the file from the folder or replace it."
    return InputError(f"cannot read {path!r} as an image: {reason}", hint=hint)


def _eight_bits(image: Image.Image, path: str) -> Image.Image:
    """The image itself, or what Pillow would clip to 8 bits scaled to them."""
    is_wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if is_wide and isinstance(image, TiffImagePlugin.TiffImageFile):
        is_wide = (image.tag_v2.get(_PHOTOMETRIC), image.tag_v2.get(_BITS_PER_SAMPLE)) == (_BLACK_IS_ZERO, (16,))
    if is_wide:
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "F" or image.mode.startswith("I"):
        raise InputError(
            f"the pixels of image {path!r} have no range that is known",
            expected="8 or 16 bits from black to white",
            found=f"mode {image.mode} of {image.format}",
            hint="Save it with 8 bits a channel.",
        )
    return image
