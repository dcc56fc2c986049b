"""From an image file to a network's input: every step declared, so that it can be repeated elsewhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from numbers import Real
from typing import Annotated, Any, Literal, Union

import numpy as np
from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from tilewright import limits
from tilewright.errors import CalibrationError, UsageError

from ...ir.types import TensorType
from .image_file import read_image, too_large

PreprocessingSource = Union["Preprocessing", Mapping[str, object], str]


def _not_zero(value: float) -> float:
    if value == 0:
        raise PydanticCustomError("zero", "numbers other than 0")
    return _ordinary(value)


def _ordinary(value: float) -> float:
    """Pixels are computed with in binary32, where this must be neither infinite nor vanish."""
    if value and not 1e-30 < abs(value) < 1e30:
        raise PydanticCustomError("extreme", "numbers between 1e-30 and 1e30")
    return value


class Preprocessing(BaseModel):
    """How an image becomes a tensor: resized, cropped, colours ordered, then (pixel - mean) * scale.

    Height, width and number of channels are those of the network's input.

    Attributes:
        resize: ``shorter`` scales the image until its shorter side is that of the input divided by ``fraction`` and
            crops the centre; ``central`` cuts the central box of ``fraction`` of either side and stretches it;
            ``stretch`` stretches the whole image.
        fraction: the part of the image that is kept, in [0.01, 1].
        interpolation: ``nearest``, ``bilinear`` or ``bicubic``, as Pillow defines them.
        colour: order of the channels. An input of one channel takes ``grey``, whatever this says.
        mean: subtracted from pixels of 0 to 255; one number, or one for each channel in the order of ``colour``.
        scale: the factor after that; one number, or one for each channel.
        layout: ``nchw`` or ``nhwc``, the order of the input's dimensions.

    Images count as most training code reads them: of 16 bits the upper 8, alpha left out and not blended, palettes and
    CMYK as RGB, only the first image of several, and as the pixels are stored: an orientation that a camera notes in
    EXIF is not applied.

    The default suits networks that were trained on inputs from -1 to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    resize: Literal["shorter", "central", "stretch"] = "shorter"
    fraction: float = Field(default=0.875, ge=0.01, le=1)
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    colour: Literal["rgb", "bgr", "grey"] = "rgb"
    mean: tuple[Annotated[float, AfterValidator(_ordinary)], ...] = Field(default=(127.5,), min_length=1)
    scale: tuple[Annotated[float, AfterValidator(_not_zero)], ...] = Field(default=(1 / 127.5,), min_length=1)
    layout: Literal["nchw", "nhwc"] = "nchw"

    @staticmethod
    def of(source: PreprocessingSource) -> Preprocessing:
        """Preprocessing as users give it: fields by name, or text as on a command line.

        Args:
            source: a mapping; or a JSON object; or pairs such as ``resize=central,mean=123.7/116.3/103.5,scale=1/58``:
                commas between the pairs, slashes between the numbers of a list. Since no image has two channels, two
                numbers are a quotient.

        Raises:
            UsageError: names the key and what it takes.
        """
        if isinstance(source, Preprocessing):
            return source
        if not isinstance(source, (str, Mapping)):
            expected = "a mapping, text or Preprocessing"
            raise UsageError("wrong preprocessing", expected=expected, found=type(source).__name__)
        fields = dict(source) if isinstance(source, Mapping) else _fields_of(source)
        for key in ("mean", "scale"):
            if isinstance(fields.get(key), Real):
                fields[key] = (fields[key],)
        try:
            return Preprocessing.model_validate(fields)
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            expected = first["msg"].removeprefix("Input should be ").partition(", unable")[0]
            expected = expected if name in Preprocessing.model_fields else ", ".join(Preprocessing.model_fields)
            found = fields.get(name)
            shown = "/".join(map(str, found)) if isinstance(found, tuple) else found
            raise UsageError(f"wrong preprocessing: {name}", expected=expected, found=shown) from None

    def check(self, type: TensorType) -> None:
        """Raise CalibrationError unless images can be made into an input of this type."""
        channels = type.shape[1 if self.layout == "nchw" else -1] if type.rank == 4 else 0
        is_number = type.dtype.is_float or type.dtype.is_integer
        if channels not in (1, 3) or 0 in type.shape or not is_number:
            raise CalibrationError(
                "images do not fit this input",
                expected="numbers of shape [N, 3, H, W] or [N, 1, H, W] (NHWC with layout=nhwc)",
                found=type,
                hint="Give the calibration inputs as .npy or .npz instead.",
            )
        for name, values in (("mean", self.mean), ("scale", self.scale)):
            if len(values) not in (1, channels):
                raise CalibrationError(
                    f"{name} does not match the channels of the input", expected=f"1 or {channels}", found=len(values)
                )

    def apply(self, image: Image.Image, type: TensorType) -> np.ndarray:
        """One image as an input of batch 1 in the shape and dtype of ``type``."""
        channels, height, width = self._extents(type)
        mode = self._mode(type)
        pixels = self._resized(image if image.mode == mode else image.convert(mode), height, width)
        array = np.asarray(pixels, np.float32)
        array = array[..., np.newaxis] if array.ndim == 2 else array
        array = np.repeat(array, channels, axis=2) if array.shape[2] != channels else array
        if self.colour == "bgr":
            array = array[..., ::-1]
        array = (array - np.asarray(self.mean, np.float32)) * np.asarray(self.scale, np.float32)
        if self.layout == "nchw":
            array = array.transpose(2, 0, 1)
        return np.ascontiguousarray(_as_dtype(array, type)[np.newaxis])

    def _resized(self, image: Image.Image, height: int, width: int) -> Image.Image:
        filter = Image.Resampling[self.interpolation.upper()]
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
        if self.resize != "shorter":
            return width, height
        ratio = max(width / self.fraction / image.width, height / self.fraction / image.height)
        return max(width, round(image.width * ratio)), max(height, round(image.height * ratio))

    def _extents(self, type: TensorType) -> tuple[int, int, int]:
        """Channels, height and width of an input."""
        _, *extents = type.shape
        return (extents[0], extents[1], extents[2]) if self.layout == "nchw" else (extents[2], extents[0], extents[1])

    def _mode(self, type: TensorType) -> str:
        return "L" if self._extents(type)[0] == 1 or self.colour == "grey" else "RGB"

    def load(self, file: str | os.PathLike[str], type: TensorType) -> np.ndarray:
        """The image in a file as an input of batch 1.

        Raises:
            CalibrationError: the file cannot be read as an image, or costs too much to resize; names it.
        """
        image = read_image(file, self._mode(type))
        _, height, width = self._extents(type)
        full = self._full_size(image, height, width)
        # Rows are resized before columns.
        if full[0] * max(image.height, full[1]) > limits.PIXELS:
            found = f"{image.width}x{image.height}, resized to {full[0]}x{full[1]}"
            raise too_large(os.fspath(file), limits.PIXELS, found)
        return self.apply(image, type)


def _fields_of(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except ValueError as error:
            raise UsageError(f"the preprocessing is not valid JSON: {error}", found=text) from None
    fields: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise UsageError("preprocessing is given as key=value pairs", found=pair)
        if key in fields:
            raise UsageError(f"preprocessing gives {key} twice", found=text)
        fields[key] = _numbers(value) if key in ("mean", "scale") else value
    return fields


def _numbers(text: str) -> tuple[object, ...]:
    parts = text.split("/")
    try:
        return (float(parts[0]) / float(parts[1]),) if len(parts) == 2 else tuple(parts)
    except (ValueError, ZeroDivisionError):
        return tuple(parts)


def _as_dtype(array: np.ndarray, type: TensorType) -> np.ndarray:
    if type.dtype.is_float:
        return array.astype(type.dtype.numpy)
    limits = np.iinfo(type.dtype.numpy)
    return np.clip(np.rint(array), limits.min, limits.max).astype(type.dtype.numpy)
