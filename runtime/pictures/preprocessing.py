"""From an image file to a network's input: every step declared, so that it can be repeated elsewhere."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Union

import numpy as np

from tilewright import limits
from tilewright.errors import InputError, UsageError
from tilewright.immutable import Immutable

from ..artifact.manifest import NUMPY_DTYPES
from ..compiler import NotInstalledError
from .declaration import Refusal, between, each, each_but_zero, one_of, plain_fields, wrong

if TYPE_CHECKING:
    from PIL import Image

PreprocessingSource = Union["Preprocessing", Mapping[str, object], str]


class Preprocessing(Immutable):
    """How an image becomes a tensor: resized, cropped, colours ordered, then (pixel - mean) * scale.

    Height, width and number of channels are those of the network's input.

    Attributes:
        resize: ``shorter`` scales the image until its shorter side is that of the input divided by ``fraction`` and
            crops the centre; ``central`` cuts the central box of ``fraction`` of either side and stretches it;
            ``stretch`` stretches the whole image; ``letterbox`` scales it so that it fits as a whole and puts it into
            the middle, ``corner`` into the upper left corner.
        fraction: the part of the image that is kept, in [0.01, 1].
        fill: the pixel, 0 to 255, around an image that ``letterbox`` or ``corner`` fits in.
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``, as Pillow defines them.
        colour: order of the channels, ``rgb``, ``bgr`` or ``grey``. An input of one channel takes ``grey``, whatever
            this says, and one of two grey and alpha; the last of four is alpha, whatever the order of the others.
        mean: subtracted from pixels of 0 to 255; one number, or one for each channel in the order of ``colour``.
        scale: the factor after that; one number, or one for each channel.
        layout: ``nchw`` or ``nhwc``, the order of the input's dimensions.
        orientation: ``exif`` turns images upright as cameras note it; ``stored`` takes pixels as they are stored.

    Images count as most training code reads them: of 16 bits the upper 8, alpha left out and not blended unless an
    input has a channel for it, palettes and CMYK as RGB, and only the first image of several. Where alpha is left in,
    what is opaque has 255, and Pillow resizes colours by how much they cover.

    The default suits networks that were trained on inputs from -1 to 1.

    Raises:
        UsageError: a field has a value that it cannot have; names the field and what it takes.
    """

    resize: Literal["shorter", "central", "stretch", "letterbox", "corner"] = "shorter"
    fraction: float = 0.875
    fill: float = 114.0
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    mean: tuple[float, ...] = (127.5,)
    scale: tuple[float, ...] = (1 / 127.5,)
    layout: Literal["nchw", "nhwc"] = "nchw"
    orientation: Literal["exif", "stored"] = "exif"

    def __post_init__(self) -> None:
        for name, read in _FIELDS.items():
            found = getattr(self, name)
            try:
                object.__setattr__(self, name, read(found))
            except Refusal as refusal:
                raise wrong(name, str(refusal), found) from None

    @staticmethod
    def of(source: PreprocessingSource) -> Preprocessing:
        """Preprocessing as users give it: fields by name, or text as on a command line.
        ``source``: a mapping; or a JSON object; or pairs such as ``resize=central,mean=123.7/116.3/103.5,scale=1/58``:
        commas between the pairs, slashes between the numbers of a list. Two numbers are a quotient: those of grey and
        alpha are given as JSON. Beside the fields there are ``std``, which divides in place of ``scale``; ``units``,
        ``0-255``, ``0-1`` or ``-1-1``, in which mean and deviation are given, without these the units of the input; and
        ``preset``, one of `PRESETS`, of which other keys change what they name. On a command line the name of a preset
        can stand alone.
        Raises UsageError: names the key and what it takes."""
        if isinstance(source, Preprocessing):
            return source
        if not isinstance(source, (str, Mapping)):
            expected = "a mapping, text or Preprocessing"
            raise UsageError("wrong preprocessing", expected=expected, found=type(source).__name__)
        given = plain_fields(source)
        for name in given:
            if name not in _FIELDS:
                raise wrong(str(name), ", ".join(NAMES), given[name])
        return Preprocessing(**given)

    def differences(self, other: Preprocessing) -> list[str]:
        """The names of fields in which another prepares images otherwise; what neither uses does not count."""

        def used(each: Preprocessing) -> dict[str, object]:
            unused = {"fraction": each.resize not in ("shorter", "central"), "fill": each.resize not in _FITTED}
            found = {name: getattr(each, name) for name in _FIELDS if not unused.get(name)}
            return {name: _alike(value) if isinstance(value, tuple) else value for name, value in found.items()}

        mine, its = used(self), used(other)
        return [name for name in _FIELDS if mine.get(name) != its.get(name)]

    def text(self, names: Sequence[str] | None = None) -> str:
        """As a command line says it; of fields of other names nothing."""
        found = ((name, getattr(self, name)) for name in _FIELDS if names is None or name in names)
        return ",".join(
            f"{name}={'/'.join(map(_short, value))}" if isinstance(value, tuple) else f"{name}={_short(value)}"
            for name, value in found
        )

    def range(self) -> tuple[float, float]:
        """The smallest and the largest number that a pixel can become."""
        ends = [(pixel - np.asarray(self.mean)) * np.asarray(self.scale) for pixel in (0, 255)]
        return float(np.minimum(*ends).min()), float(np.maximum(*ends).max())

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether an input of this shape can be an image."""
        return len(shape) == 4 and shape[1 if self.layout == "nchw" else 3] in CHANNELS and 0 not in shape

    def check(self, shape: Sequence[int], dtype: np.dtype) -> None:
        """Raise InputError unless images can be made into an input of this shape and element type."""
        if not self.fits(shape) or dtype.kind not in "fiu":
            names = {numpy: name for name, numpy in NUMPY_DTYPES.items()}
            expected = "numbers of shape [N, C, H, W], with layout=nhwc [N, H, W, C], of 1 to 4 channels C"
            found = f"{names.get(dtype, dtype)}[{','.join(map(str, shape))}]"
            raise InputError("images do not fit this input", expected=expected, found=found)
        channels, _, _ = self._extents(shape)
        expected = f"1 or {channels}" if channels > 1 else "1"
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if len(values) not in (1, channels):
                what = f"{name} does not match the channels of the input"
                hint = "Give one number, or one for each channel, of which alpha is the last."
                raise InputError(what, expected=expected, found=len(values), hint=hint)

    def apply(self, image: Image.Image, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """One image as an input of batch 1, of the element type and, but for the batch, of the shape."""
        channels, height, width = self._extents(shape)
        mode = self._mode(channels)
        pixels = self._resized(image if image.mode == mode else image.convert(mode), height, width)
        return self.normalize(np.asarray(pixels), shape, dtype)

    def stretch(self, pixels: np.ndarray, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """Pixels of any size as an input of batch 1: stretched whatever ``resize`` says, then as from a file.
        ``pixels``: uint8[height, width, 3] in the order red, green, blue.
        ``shape``, ``dtype``: those of the network's input, whose batch does not matter.
        Raises NotInstalledError: they are of another size than the input, or it is grey, and Pillow is not
        installed."""
        channels, height, width = self._extents(shape)
        if pixels.shape[:2] == (height, width) and self._mode(channels) == "RGB":
            return self.normalize(pixels, shape, dtype)
        try:
            from PIL import Image
        except ModuleNotFoundError:
            raise NotInstalledError("resizing images", "PIL") from None
        return replace(self, resize="stretch").apply(Image.fromarray(pixels), shape, dtype)

    def normalize(self, pixels: np.ndarray, shape: Sequence[int], dtype: np.dtype) -> np.ndarray:
        """Pixels of the input's size as an input of batch 1: ordered, then (pixel - mean) * scale in binary32.
        ``pixels``: uint8[height, width] in grey, or uint8[height, width, 3] in the order red, green, blue; with alpha
        behind the others where the input has a channel for it, uint8[height, width, 2 or 4].
        ``shape``, ``dtype``: those of the network's input, whose batch does not matter."""
        found = np.empty((1, *shape[1:]), dtype)
        planes = found[0] if self.layout == "nchw" else found[0].transpose(2, 0, 1)
        values, bands = _values(self.mean, self.scale, dtype.str), np.atleast_3d(pixels)
        for channel, plane in enumerate(planes):
            source = 2 - channel if self.colour == "bgr" else channel
            if len(planes) in WITH_ALPHA and channel == len(planes) - 1:
                source = -1
            elif bands.shape[2] < 3:
                source = 0
            # No index is out of bounds: to clip costs less than to check.
            np.take(values[channel if len(values) > 1 else 0], bands[..., source], out=plane, mode="clip")
        return found

    def _resized(self, image: Image.Image, height: int, width: int) -> Image.Image:
        from PIL import Image

        filter = Image.Resampling[self.interpolation.upper()]
        if self.resize in _FITTED:
            inner = self._full_size(image, height, width)
            at = (0, 0) if self.resize == "corner" else ((width - inner[0]) // 2, (height - inner[1]) // 2)
            fill = tuple(_OPAQUE if band == "A" else round(self.fill) for band in image.getbands())
            found = Image.new(image.mode, (width, height), fill)
            found.paste(image.resize(inner, filter), at)
            return found
        if self.resize == "stretch":
            return image.resize((width, height), filter)
        if self.resize == "central":
            kept_width, kept_height = image.width * self.fraction, image.height * self.fraction
            left, top = (image.width - kept_width) / 2, (image.height - kept_height) / 2
            return image.resize((width, height), filter, box=(left, top, left + kept_width, top + kept_height))
        full = self._full_size(image, height, width)
        left, top = (full[0] - width) // 2, (full[1] - height) // 2
        return image.resize(full, filter).crop((left, top, left + width, top + height))

    def _full_size(self, image: Image.Image, height: int, width: int) -> tuple[int, int]:
        """Width and height to which the whole image is resized."""
        if self.resize in _FITTED:
            ratio = min(width / image.width, height / image.height)
            return max(1, min(width, round(image.width * ratio))), max(1, min(height, round(image.height * ratio)))
        if self.resize != "shorter":
            return width, height
        ratio = max(width / self.fraction / image.width, height / self.fraction / image.height)
        return max(width, round(image.width * ratio)), max(height, round(image.height * ratio))

    def fit(self, sizes: Sequence[tuple[int, int]], shape: Sequence[int]) -> str:
        """What it takes to make images fit an input, in the median and in words; nothing where they fit as they are.
        ``sizes``: width and height of each image.
        ``shape``: that of the input, which images fit."""
        _, height, width = self._extents(shape)
        ratios = [each[0] * height / (each[1] * width) for each in sizes]
        # Lying and standing images are stretched alike, whichever side gives way.
        most = sorted(max(ratio, 1 / ratio) for ratio in ratios)[len(ratios) // 2] if ratios else 1.0
        if self.resize == "shorter":
            kept = self.fraction**2 / most
            return f"{kept:.0%} of an image kept (resize=shorter)" if ratios and kept < _WHOLE else ""
        if most < 1 / _WHOLE:
            return ""
        what = f"bars on {1 - 1 / most:.0%} of it" if self.resize in _FITTED else f"objects stretched by {most:.2f}"
        return f"{what} (resize={self.resize})"

    def nearest(self, file: str | os.PathLike[str], shapes: Sequence[Sequence[int]]) -> Sequence[int]:
        """Which shape is most like the image in a file: in height by width, then in size; the first if none is read."""
        from .image_file import noted

        width, height, _ = noted(file, upright=self.orientation == "exif")

        def distance(shape: Sequence[int]) -> tuple[float, float]:
            _, rows, columns = self._extents(shape)
            tall, wide = math.log(rows / height), math.log(columns / width)
            return round(abs(tall - wide), 2), abs(tall + wide)

        return min(shapes, key=distance) if width else shapes[0]

    def _extents(self, shape: Sequence[int]) -> tuple[int, int, int]:
        """Channels, height and width of an input."""
        _, *extents = shape
        return (extents[0], extents[1], extents[2]) if self.layout == "nchw" else (extents[2], extents[0], extents[1])

    def _mode(self, channels: int) -> Literal["L", "LA", "RGB", "RGBA"]:
        if channels < 3 or self.colour == "grey":
            return "LA" if channels in WITH_ALPHA else "L"
        return "RGBA" if channels in WITH_ALPHA else "RGB"

    def classes(self, file: str | os.PathLike[str], size: Sequence[int]) -> np.ndarray:
        """The mask in a file, whose pixels are classes, made to fit as images are: uint8[height, width].
        ``size``: height and width of the result; the proportions are to be those of the network's input.
        Raises InputError, NotInstalledError: as `load`, and where pixels are colours."""
        kept = Preprocessing(
            self.resize, self.fraction, UNCLASSED, "nearest", "grey", (0,), (1,), "nchw", self.orientation
        )
        return kept.load(file, (1, 1, *size), np.dtype(np.uint8), "P")[0, 0]

    def load(
        self, file: str | os.PathLike[str], shape: Sequence[int], dtype: np.dtype, mode: Literal["P"] | None = None
    ) -> np.ndarray:
        """The image in a file as an input of batch 1.
        ``shape``: that of the network's input, whose batch does not matter.
        ``dtype``: its element type.
        ``mode``: ``P`` takes what a palette numbers for the pixels, and refuses colours.
        Raises InputError: the file cannot be read as an image, or costs too much to resize; names it;
        NotInstalledError: Pillow is not installed."""
        try:
            from .image_file import read_image, too_large
        except ModuleNotFoundError as error:
            if error.name != "PIL":
                raise
            raise NotInstalledError("reading images", "PIL") from None

        channels, height, width = self._extents(shape)
        image = read_image(file, mode or self._mode(channels), upright=self.orientation == "exif")
        full = self._full_size(image, height, width)
        # Rows are resized before columns.
        if full[0] * max(image.height, full[1]) > limits.PIXELS:
            found = f"{image.width}x{image.height}, resized to {full[0]}x{full[1]}"
            raise too_large(os.fspath(file), limits.PIXELS, found)
        if mode is not None:
            from PIL import Image

            image = Image.fromarray(np.asarray(image))
        return self.apply(image, shape, dtype)


_FIELDS: dict[str, Callable[[object], object]] = {
    "resize": one_of("shorter", "central", "stretch", "letterbox", "corner"),
    "fraction": between(0.01, 1),
    "fill": between(0, 255),
    "interpolation": one_of("nearest", "bilinear", "bicubic"),
    "colour": one_of("rgb", "bgr", "grey", gray="grey"),
    "mean": each,
    "scale": each_but_zero,
    "layout": one_of("nchw", "nhwc"),
    "orientation": one_of("exif", "stored"),
}
"""What makes of a value that is given the value of a field, or refuses it."""

NAMES = (*_FIELDS, "std", "units", "preset", "color")
"""Keys that users may give."""


CHANNELS, WITH_ALPHA = (1, 2, 3, 4), (2, 4)
"""How many channels inputs of images may have, and of these what has alpha behind grey or the colours."""

_OPAQUE = 255

_FITTED = ("letterbox", "corner")
"""Ways to resize that keep the whole image as it is."""

UNCLASSED = 255
"""The pixel of a mask that has no class, as is usual, and of what a mask does not cover."""

_WHOLE = 0.98
"""The part of an image of which nobody misses the rest."""


def _alike(values: tuple[float, ...]) -> tuple[float, ...]:
    """Numbers as they compare: six digits count, and one for all channels is each of them."""
    found = tuple(float(f"{value:.6g}") for value in values)
    return found[:1] if len(set(found)) == 1 else found


def _short(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


@lru_cache(maxsize=16)
def _values(mean: tuple[float, ...], scale: tuple[float, ...], dtype: str) -> np.ndarray:
    """What each pixel value becomes: [channels, or 1 if they are alike; 256]."""
    levels, kind = np.arange(256, dtype=np.float32), np.dtype(dtype)
    values = (levels - np.asarray(mean, np.float32)[:, None]) * np.asarray(scale, np.float32)[:, None]
    if kind.kind == "f":
        return values.astype(kind, copy=False)
    limits = np.iinfo(kind)
    return np.clip(np.rint(values), limits.min, limits.max).astype(kind)
