"""What is done to pictures before a network computes: their size and the order of their channels, means and scales."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from .blobs import Blob, blob_of, in_order_of_network
from .constants import ColorFormat, MeanVariant, Number, ResizeAlgorithm, StatusCode
from .errors import (
    InferenceEngineError,
    WrongIndexError,
    WrongTypeError,
    WrongValueError,
    checked,
    is_number,
    is_whole,
    shown,
)

_MOST_CHANNELS = 2**16

_LARGEST = float(np.finfo(np.float32).max)

_REVERSED = (ColorFormat.RGB, ColorFormat.RGBX)
_FOUR_CHANNELS = (ColorFormat.RGBX, ColorFormat.BGRX)


class _Settings:
    """Attributes that are checked when they are set, and that may be fixed."""

    _CHECKS: ClassVar[Mapping[str, Callable[[str, object], object]]]
    _is_fixed = False

    def __setattr__(self, name: str, value: object) -> None:
        if self._is_fixed:
            what = name.replace("mean_variant", "mean_image").replace("_", " ").strip()
            raise WrongTypeError(
                f"Cannot set {what} when called from constant", expected="the preprocess_info of a network's input"
            )
        super().__setattr__(name, self._CHECKS[name](name, value) if name in self._CHECKS else value)


def _number(name: str, value: object) -> float:
    if not is_number(value):
        raise WrongTypeError(f"{name} is no number", found=shown(value))
    if abs(value) > _LARGEST or (name == "std_scale" and not value):
        other = ", other than 0" if name == "std_scale" else ""
        raise WrongValueError(f"{name} is out of range", expected=f"finite{other}", found=shown(value))
    return float(value)


def _image(name: str, value: object) -> Blob | None:
    return None if value is None else checked(value, Blob, f"{name} is no blob", "a Blob, or None")


def _one_of(kind: type[Number]) -> Callable[[str, object], Number]:
    def member(name: str, value: object) -> Number:
        if not is_whole(value) or value not in list(kind):
            wrong = WrongValueError if is_whole(value) else WrongTypeError
            raise wrong(f"{name} is no {kind.__name__}", expected=", ".join(kind.__members__), found=shown(value))
        return kind(value)

    return member


def _colour(name: str, value: object) -> Number:
    found = _one_of(ColorFormat)(name, value)
    if found in (ColorFormat.NV12, ColorFormat.I420):
        raise InferenceEngineError(
            f"pictures of {found.name} are not implemented",
            StatusCode.NOT_IMPLEMENTED,
            expected="RAW, RGB, BGR, RGBX or BGRX",
            hint="Their blobs have two or three parts, which the Python API had no class for.",
        )
    return found


@dataclass
class PreProcessChannel(_Settings):
    """What is done to one channel of an input: the mean is subtracted, and it is divided by the scale.

    Attributes:
        mean_value: what is subtracted, with ``MeanVariant.MEAN_VALUE``.
        std_scale: what the channel is divided by, whatever the variant.
        mean_data: the picture that is subtracted, with ``MeanVariant.MEAN_IMAGE``: a blob of height and width.

    Raises:
        TypeError, ValueError: on setting, it is no finite number, or a scale of 0; or no blob.
    """

    _CHECKS: ClassVar = {"mean_value": _number, "std_scale": _number, "mean_data": _image}

    mean_value: float = 0.0
    std_scale: float = 1.0
    mean_data: Blob | None = None


@dataclass
class PreProcessInfo(_Settings):
    """What is done to an input before the network computes; ``input_info[name].preprocess_info`` of a network has one.

    Means and scales become part of the network when it is loaded, so that calibration knows them. Size and channels
    follow the blob that a request is given with ``set_blob``. Those of a request cannot be changed.

    Attributes:
        mean_variant: what is subtracted: ``MEAN_VALUE`` or ``MEAN_IMAGE`` of the channels, or ``NONE``.
        resize_algorithm: how pictures of another size become those of the input; ``set_blob`` takes them.
        color_format: the order of the channels in which pictures are given; all but ``RAW`` become blue, green, red.

    Raises:
        TypeError, ValueError: on setting, it is none of the numbers.
        RuntimeError: on setting, the colours are ``NV12`` or ``I420``.
    """

    _CHECKS: ClassVar = {
        "mean_variant": _one_of(MeanVariant),
        "resize_algorithm": _one_of(ResizeAlgorithm),
        "color_format": _colour,
    }

    mean_variant: MeanVariant = MeanVariant.NONE
    resize_algorithm: ResizeAlgorithm = ResizeAlgorithm.NO_RESIZE
    color_format: ColorFormat = ColorFormat.RAW
    _channels: list[PreProcessChannel] = field(default_factory=list, init=False, repr=False)

    def get_number_of_channels(self) -> int:
        """How many channels have a mean and a scale; 0 before `init`."""
        return len(self._channels)

    def init(self, number_of_channels: int) -> None:
        """Begin with channels of mean 0 and scale 1.

        Raises:
            TypeError, ValueError: it is no whole number in range.
        """
        if not is_whole(number_of_channels) or not 0 <= number_of_channels <= _MOST_CHANNELS:
            wrong = WrongValueError if is_whole(number_of_channels) else WrongTypeError
            text = "this is no number of channels"
            raise wrong(text, expected=f"0 to {_MOST_CHANNELS}", found=shown(number_of_channels))
        self._channels = [PreProcessChannel() for _ in range(number_of_channels)]

    def __getitem__(self, index: int) -> PreProcessChannel:
        """A channel, to be changed in place.
        Raises IndexError: there is none of this number; TypeError: it is no whole number."""
        if not is_whole(index):
            raise WrongTypeError("channels have numbers", found=shown(index))
        if not 0 <= index < len(self._channels):
            expected = f"0 to {len(self._channels) - 1}" if self._channels else "init first"
            raise WrongIndexError("there is no such channel", expected=expected, found=shown(index))
        return self._channels[index]

    def set_mean_image(self, mean_image: Blob) -> None:
        """Subtract a picture, and make `mean_variant` so.

        Args:
            mean_image: of FP32, channels, height and width.

        Raises:
            TypeError, ValueError: it is no such blob.
        """
        planes = _picture(mean_image, 3)
        if len(planes) != len(self._channels):
            expected, found = f"{len(self._channels)} channels", len(planes)
            raise WrongValueError("the mean image has other channels than init said", expected=expected, found=found)
        for channel, plane in enumerate(planes):
            self.set_mean_image_for_channel(blob_of(np.ascontiguousarray(plane), "HW"), channel)
        self.mean_variant = MeanVariant.MEAN_IMAGE

    def set_mean_image_for_channel(self, mean_image: Blob, channel: int) -> None:
        """Subtract a picture from one channel, and make `mean_variant` so.

        Args:
            mean_image: of FP32, height and width.

        Raises:
            TypeError, ValueError: it is no such blob.
            IndexError: there is no such channel.
        """
        _picture(mean_image, 2)
        self[channel].mean_data = mean_image
        self.mean_variant = MeanVariant.MEAN_IMAGE


def means_and_scales(info: PreProcessInfo) -> list[tuple[float | np.ndarray, float]]:
    """For each channel the number or the flat picture that is subtracted, and the scale.
    Raises InferenceEngineError: a channel has no picture although it is to have one."""
    found: list[tuple[float | np.ndarray, float]] = []
    for number, channel in enumerate(info._channels):
        mean: float | np.ndarray = channel.mean_value if info.mean_variant == MeanVariant.MEAN_VALUE else 0.0
        if info.mean_variant == MeanVariant.MEAN_IMAGE:
            if channel.mean_data is None:
                text = f"channel {number} has no mean image"
                raise InferenceEngineError(text, StatusCode.PARAMETER_MISMATCH, hint="Call set_mean_image.")
            mean = channel.mean_data.buffer.ravel()
        found.append((mean, channel.std_scale))
    return found


def fixed(info: PreProcessInfo) -> PreProcessInfo:
    """A copy that cannot be changed."""
    copy = deepcopy(info)
    for each in (copy, *copy._channels):
        vars(each)["_is_fixed"] = True
    return copy


def dims_for(info: PreProcessInfo, dims: Sequence[int], given: Sequence[int] | None = None) -> tuple[int, ...]:
    """The dimensions that a blob may have for an input.

    Args:
        dims: those of the input.
        given: those of the blob, whose height and width count where pictures change their size.

    Raises:
        InferenceEngineError: the input does not take pictures.
    """
    is_resized, colour = info.resize_algorithm != ResizeAlgorithm.NO_RESIZE, info.color_format
    if not is_resized and colour == ColorFormat.RAW:
        return tuple(dims)
    if len(dims) != 4 or (colour != ColorFormat.RAW and dims[1] != 3):
        raise InferenceEngineError(
            "the input takes no pictures whose size or channels could change",
            StatusCode.PARAMETER_MISMATCH,
            expected="4 dimensions, and 3 channels where they have colours",
            found=list(dims),
        )
    size = given[2:] if is_resized and given is not None and len(given) == 4 and 0 not in given[2:] else dims[2:]
    return (dims[0], 4 if colour in _FOUR_CHANNELS else dims[1], *size)


def apply(info: PreProcessInfo, array: np.ndarray, dims: Sequence[int]) -> np.ndarray:
    """Pictures as an input of these dimensions takes them; rounded to whole numbers where they were whole.

    ``RESIZE_BILINEAR`` weighs the four nearest pixels, ``RESIZE_AREA`` all that a pixel covers; to enlarge, both
    are bilinear.
    ``array``: [N, C, H, W], of dimensions that `dims_for` allows."""
    colour = info.color_format
    if not colour and not info.resize_algorithm:
        return array
    if colour in (*_REVERSED, *_FOUR_CHANNELS):
        array = array[:, 2::-1] if colour in _REVERSED else array[:, :3]
    if info.resize_algorithm == ResizeAlgorithm.NO_RESIZE or array.shape[2:] == tuple(dims[2:]):
        return array
    by_area = info.resize_algorithm == ResizeAlgorithm.RESIZE_AREA
    found = array.astype(np.float64)
    for axis in (2, 3):
        found = np.moveaxis(_resized(np.moveaxis(found, axis, -1), dims[axis], by_area=by_area), -1, axis)
    return found if array.dtype.kind == "f" else np.rint(found)


def _picture(blob: object, rank: int) -> np.ndarray:
    image = checked(blob, Blob, "a mean image is a blob", "a Blob")
    desc = image.tensor_desc
    if len(desc.dims) != rank or desc.precision != "FP32":
        raise WrongValueError("this is no mean image", expected=f"FP32 of {rank} dimensions", found=desc)
    return in_order_of_network(image)


def _resized(lines: np.ndarray, target: int, *, by_area: bool) -> np.ndarray:
    """Numbers along the last axis, so many of them."""
    source = lines.shape[-1]
    if by_area and source > target:
        edges = np.arange(target + 1) * (source / target)
        whole = np.minimum(edges.astype(int), source - 1)
        sums = np.concatenate((np.zeros_like(lines[..., :1]), np.cumsum(lines, -1)), -1)
        return np.diff(sums[..., whole] + (edges - whole) * lines[..., whole]) * (target / source)
    places = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    first = places.astype(int)
    second, weight = np.minimum(first + 1, source - 1), places - first
    return lines[..., first] * (1 - weight) + lines[..., second] * weight
